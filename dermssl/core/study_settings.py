"""The settings of commands that score, compare, explain and audit; as `settings` has the others."""

from dataclasses import dataclass
from typing import Any

from dermssl.core.setting import FINETUNED, ON_BAD, PRETRAINED, SPLITS, data_format, setting

# Settings that several commands have.


def _finetuned_run() -> Any:
    return setting(FINETUNED, "folder of a finished fine-tuning run", positional="RUN")


def _moved_photos() -> Any:
    return setting("", "the folder of the run's photos, if it has moved")


def _scored_split() -> Any:
    return setting("test", "records to score", choices=SPLITS)


def _n_resamples(default: int = 1000) -> Any:
    return setting(default, "bootstrap resamples", low=1)


def _batch_size() -> Any:
    return setting(32, "photos through the network at once", low=1)


def _margin() -> Any:
    return setting(
        0.0, "smallest difference in balanced accuracy that matters; none: no verdict of "
        "equivalence or worth", low=0.0, high=1.0,
    )  # fmt: skip


def _primary() -> Any:
    return setting(
        "", "the one comparison that was planned, ARM:ARM or ARM:ARM:LABELS; it has 95% alone"
    )


@dataclass(frozen=True)
class Evaluate:
    """Which records are scored, at which point of a curve, and how they are grouped."""

    run: str = _finetuned_run()
    split: str = _scored_split()
    n_resamples: int = _n_resamples()
    one_class: str = setting(
        "auto",
        "fine class that is scored against the rest; auto: mel, or the second of two",
        flag="class",
    )
    specificity: float = setting(
        0.9, "specificity at which sensitivities are read", low=0.0, high=1.0
    )
    min_sensitivity: float = setting(
        0.8, "partial AUC is taken above this sensitivity", low=0.0, high=0.99
    )
    top_k: int = setting(2, "guesses a record in top-k accuracy", low=1)
    age_bands: list[int] = setting(
        [30, 50, 70], "years at which a new age band begins", low=1, high=130
    )
    readers: str = setting("", "CSV of human readers' answers: reader, path, answer")
    coverage: float = setting(
        0.9, "share of photos of each class whose set of classes holds it", low=0.3, high=0.99
    )
    prevalence: list[float] = setting(
        [],
        "shares of yes at which predictive values and net benefit are given, beside the photos' "
        "own",
        low=0.0001,
        high=0.9999,
    )
    without_photos: bool = setting(
        False, "leave small photos, and heat maps of errors, out of the HTML page"
    )
    data: list[str] = setting(
        [], "labelled folders of photos from elsewhere, scored whole; none: the run's own split"
    )
    classes: str = setting(
        "", "with data: a .toml file with [classes] theirs = ours, for names that don't match"
    )
    run_data: str = setting(
        "",
        "the folder of the run's photos, if it has moved; with data, copies of them are looked for",
    )
    on_bad: str = setting("error", f"with data: {ON_BAD}", choices=("error", "skip"))
    batch_size: int = setting(32, "with data: photos through the network at once", low=1)


@dataclass(frozen=True)
class ModelComparison:
    """Which runs are compared, and how."""

    runs: list[str] = setting(
        [],
        "a run, or a folder that holds some; none: the output of --config, else outputs/",
        positional="RUN",
    )
    baseline: str = setting("", "arm that the others are compared with; none: random, if there")
    split: str = _scored_split()
    margin: float = _margin()
    primary: str = _primary()
    n_resamples: int = _n_resamples()
    skip_unfinished: bool = setting(False, "list runs that did not finish and leave them out")
    allow_different_budget: bool = setting(
        False, "compare arms that were tuned differently, with a warning in the report"
    )
    one_is_enough: bool = setting(False, "report a run that is alone, too")


@dataclass(frozen=True)
class Report:
    """Whose runs and reports are listed."""

    folder: str = setting("outputs", "folder that holds runs, in any depth", positional="FOLDER")


@dataclass(frozen=True)
class TensorBoard:
    """Whose events are shown, and where."""

    folder: str = setting("outputs", "folder that holds runs, in any depth", positional="FOLDER")
    port: int = setting(6006, "of the page on localhost", low=1, high=65535)


@dataclass(frozen=True)
class SampleSize:
    """Which difference is to be told apart."""

    comparison: str = setting(
        "outputs/model_comparison", "folder of dermssl.model_comparison", positional="COMPARISON"
    )
    difference: float = setting(
        0.05, "in balanced accuracy, to be told apart or the margin of equivalence", low=0.001,
        high=1.0,
    )  # fmt: skip
    power: float = setting(0.8, "chance that it is told apart", low=0.05, high=0.999)
    pair: str = setting("", "ARM:ARM for one pair; none: every pair")


@dataclass(frozen=True)
class Adapt:
    """To which photos a run is adapted, and how it is seen whether that helps."""

    run: str = _finetuned_run()
    data: str = setting("", "folder of photos from the new place; labels are for scoring only")
    share: float = setting(
        0.5, "share of the lesions, or patients, that is adapted to; the rest, where labelled, is "
        "scored", low=0.05, high=1.0,
    )  # fmt: skip
    pretrain_epochs: int = setting(
        0, "epochs of SimCLR on the new photos and the run's training photos, before its head is "
        "trained again on the run's labels; 0: none", low=0,
    )  # fmt: skip
    keep_shares: bool = setting(
        False, "put the re-estimated class shares into the saved run's probabilities, too"
    )
    classes: str = setting(
        "", "a .toml file with [classes] theirs = ours, for names that don't match"
    )
    run_data: str = _moved_photos()
    specificity: float = setting(
        0.9, "specificity on validation at which the kept threshold lies", low=0.0, high=1.0
    )
    n_resamples: int = _n_resamples()
    on_bad: str = setting("error", ON_BAD, choices=("error", "skip"))
    batch_size: int = setting(64, "photos through the network at once", low=2)


@dataclass(frozen=True)
class Predict:
    """Which photos are predicted, and how."""

    run: str = setting("", "folder of a fine-tuned run", positional="RUN")
    source: list[str] = setting([], "images and folders of them", positional="IMAGE_OR_FOLDER")
    batch_size: int = _batch_size()
    on_bad: str = setting("skip", ON_BAD, choices=("error", "skip"))
    uncalibrated: bool = setting(False, "raw probabilities, not calibrated")
    coverage: float = setting(
        0.0,
        "a column with the set of classes that holds the true one in this share of the photos of "
        "each class; 0: none",
        low=0.0,
        high=0.99,
    )
    explain: str = setting(
        "", "folder for a heat map (Grad-CAM) of each photo, with a column of their paths"
    )


@dataclass(frozen=True)
class App:
    """Which run answers, and where."""

    run: str = _finetuned_run()
    port: int = setting(7860, "that the page is at; 0: any free one", low=0, high=65535)
    host: str = setting(
        "127.0.0.1", "address to listen at; another one lets other machines use the port"
    )
    data: str = _moved_photos()


@dataclass(frozen=True)
class Export:
    """In which format a run's network leaves, and on which photos the file is checked."""

    run: str = _finetuned_run()
    format: str = setting("keras", "of the file", choices=("keras", "savedmodel", "onnx", "litert"))
    quantize: str = setting(
        "none", "smaller numbers, for litert: float16 weights, or int8 calibrated on training "
        "photos", choices=("none", "float16", "int8"),
    )  # fmt: skip
    prepared: bool = setting(
        False, "export a run with data.preprocess, which no file holds, for photos that have been "
        "prepared so",
    )  # fmt: skip
    data: str = _moved_photos()
    max_photos: int = setting(
        200, "test photos that the file is checked on, at most, spread evenly over the classes",
        low=1,
    )  # fmt: skip


@dataclass(frozen=True)
class Explain:
    """Which photos get a heat map."""

    run: str = _finetuned_run()
    photos: list[str] = setting(
        [], "photos and folders; none: a choice of the run's own", positional="PHOTO_OR_FOLDER"
    )
    data: str = _moved_photos()
    split: str = setting("test", "where the choice is made", choices=SPLITS)
    count: int = setting(6, "most confident correct predictions, and as many wrong ones", low=1)
    batch_size: int = _batch_size()


@dataclass(frozen=True)
class Embeddings:
    """Which photos are laid out, and how."""

    run: str = setting(PRETRAINED, "folder of a pretraining or fine-tuning run", positional="RUN")
    data: str = _moved_photos()
    split: str = setting("all", "records to show", choices=("all", *SPLITS))
    max_photos: int = setting(
        # Beyond, t-SNE takes many minutes and its picture is a cloud.
        5000, "at most N, spread evenly over the classes; 0: all", low=0
    )  # fmt: skip
    perplexity: float = setting(0.0, "of t-SNE; 0: 30, or less for few photos", low=0.0)
    umap: bool = setting(False, "UMAP too; needs umap-learn")
    colour_by: list[str] = setting([], "a picture for each of these columns too")
    n_resamples: int = _n_resamples()
    batch_size: int = _batch_size()


@dataclass(frozen=True)
class StressTest:
    """What is done to which photos."""

    run: str = _finetuned_run()
    data: str = _moved_photos()
    split: str = _scored_split()
    max_photos: int = setting(0, "at most N, spread evenly over the classes; 0: all", low=0)
    masks: str = setting("", "folder of lesion masks; none: the run's")
    strength: float = setting(1.0, "of the artefacts", low=0.01, high=1.0)
    n_resamples: int = _n_resamples()
    batch_size: int = _batch_size()


@dataclass(frozen=True)
class Leakage:
    """How often the inflation is measured."""

    folds: int = setting(5, "parts of the data; each lesion is tested in one of them", low=2)
    n_seeds: int = setting(3, "repetitions with other folds and other tested photos", low=1)
    n_resamples: int = _n_resamples()


@dataclass(frozen=True)
class Forms:
    """Whose forms are filled, and with what the author states."""

    run: str = _finetuned_run()
    data: str = _moved_photos()
    stated: str = setting(
        "", 'TOML file with what the author states, by form and item: [claim] 44 = "No funding."'
    )


@dataclass(frozen=True)
class CheckData:
    """What counts as a duplicate, and how many suspects are shown."""

    run: str = setting("", "run whose embeddings are compared, too: pretraining, or fine-tuning")
    near: int = setting(
        # Of 255; where it comes from stands in dermssl.data.perceptual_hash.
        28, "bits of 255 up to which photos are near duplicates; -1: none", low=-1, high=64
    )  # fmt: skip
    similarity: float = setting(
        0.95, "cosine of centred embeddings from which photos are similar", low=0.01, high=1.0
    )
    suspects: int = setting(
        24, "likely label errors and off-topic photos to show; 0: none are looked for", low=0
    )
    strict: bool = setting(False, "exit with 1 on unreadable photos, leaks or contradicting labels")
    show_augmentations: str = setting("", "only draw what each augmentation does, to this .png")


@dataclass(frozen=True)
class Doctor:
    """How long the look at this machine may take."""

    quick: bool = setting(False, "leave out the training of two steps")


@dataclass(frozen=True)
class LabelEfficiency:
    """Arms x labels x seeds. Without them here, an experiment file's are used."""

    arms: list[str] = setting(
        [], "random, ssl, imagenet, ssl_imagenet, or of the file; NAME=WEIGHTS starts from a file "
        "or a pretraining run; none: the file's, else random ssl",
    )  # fmt: skip
    labels: list[str] = setting([], "10 (a class), 5% or all; none: the file's, else 1% 10% 100%")
    seeds: list[int] = setting([], "training seeds; none: the file's, else 0 1 2", low=0)
    imagenet_weights: str = setting("", "file to take where an arm asks for imagenet")
    classes: list[str] = setting(
        [], "keep only these fine classes; none: the file's, else all", added=True
    )
    probe: bool = setting(
        False, "fast: a logistic regression on frozen features instead of fine-tuning; arms that "
        "pretrain still do",
    )  # fmt: skip
    margin: float = _margin()
    primary: str = _primary()
    n_resamples: int = _n_resamples(2000)


@dataclass(frozen=True)
class Shards:
    """Which photos are written, and how."""

    photos: str = setting("", "folder with the photos, of any format", positional="PHOTOS")
    format: str = data_format()
    taxonomy: str = setting("auto", "built-in taxonomy, a .toml file, or auto")
    masks: str = setting("auto", "lesion masks: auto writes them too", choices=("auto", "ignore"))
    on_bad: str = setting("error", ON_BAD, choices=("error", "skip"))
    shrink: int = setting(
        0, "shrink photos to a shorter side of N pixels and write them as JPEG; 0: the bytes of "
        "their files", low=0,
    )  # fmt: skip
    shard_mb: int = setting(256, "bytes of a shard, MiB, about", low=1)
    workers: int = setting(4, "shards that are written at a time", low=1)


@dataclass(frozen=True)
class Quickstart:
    """Changes to the experiment file."""

    data: str = setting("", "folder with photos; none: drawn ones, or the file's")
    imagenet_weights: str = setting("", "file to take where an arm asks for imagenet")
    arms: list[str] = setting([], "only these arms of the file")
    seeds: list[int] = setting([], "training seeds; none: the file's", low=0)
