"""Every setting of every command: its default, its help text and its bounds in one place.

One frozen dataclass a section; `dermssl.core.config` fills them from TOML files and flags.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SPLITS = ("train", "validation", "test")
PRETRAINED, FINETUNED = "outputs/ssl_simclr", "outputs/ssl_finetuned"  # where runs are left
# The names in the registries of the same name, for `--help`, which must not wait for Keras.
BACKBONES = (
    "mobilenet", "mobilenetv2", "resnet50", "inceptionv3", "densenet121", "efficientnetb0",
    "efficientnetb1", "efficientnetv2b0", "cnn", "mlp",
)  # fmt: skip
AUGMENTATIONS = (
    "none", "flip_hv", "brightness", "flip_brightness", "skin", "skin_artefacts", "skin_cutout",
    "skin_randaugment", "skin_mixup", "skin_cutmix", "simclr",
)  # fmt: skip
ON_BAD = "what to do with an unreadable image: stop with an error, or skip it"


def setting(
    default: Any, help: str, flag: str | None = None, choices: Sequence[Any] | None = None,
    low: float | None = None, high: float | None = None, identity: bool = True,
    positional: str | bool = False, names: Sequence[str] | None = None,
) -> Any:  # fmt: skip
    """A dataclass field with what the command line and the checks need to know.

    Args:
        default: the value where nobody says another.
        help: str, for `--help`.
        flag: str, the flag without dashes; None: by the field's name.
        positional: str, how an argument without a flag is shown in `--help`; False for a flag.
        names: tuple of str, valid names to show in `--help`; a registry refuses others.
        choices, low, high: what is valid.
        identity: bool, whether runs with different values are different runs. False for what
            changes neither weights nor predictions.
    """
    metadata = {
        "help": help, "flag": flag, "choices": choices, "low": low, "high": high,
        "identity": identity, "positional": positional, "names": names,
    }  # fmt: skip
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Data:
    """Where the photos are, what their labels mean, how they are split."""

    path: str = setting("", "folder with the photos (and labels, if any)", flag="data")
    format: str = setting(
        "auto",
        "how to read the folder",
        flag="data-format",
        choices=("auto", "folders", "labels", "ham10000", "unlabelled"),
    )
    taxonomy: str = setting("auto", "built-in taxonomy, a .toml file, or auto")
    unlabelled: str = setting("", "one more folder of photos, used for pretraining only")
    group_by: str = setting(
        "auto",
        "what must never cross two splits; auto: patient, else lesion, else photo",
        choices=("auto", "patient_id", "lesion_id", "path"),
    )
    validation: float = setting(0.15, "share of the groups for validation", low=0.0, high=0.9)
    test: float = setting(0.2, "share of the groups for the test split", low=0.0, high=0.9)
    split_seed: int = setting(0, "seed of the split; keep it equal between compared runs", low=0)
    on_bad: str = setting("error", ON_BAD, choices=("error", "skip"))
    cache_mb: int = setting(
        2048, "memory for decoded photos, MiB; beyond it they are re-read", low=0, identity=False
    )
    cache_dir: str = setting(
        "", "folder that keeps decoded photos between runs; empty: none", identity=False
    )
    cache_disk_mb: int = setting(10_000, "what --cache-dir may hold, MiB", low=0, identity=False)
    masks: str = setting(
        "auto",
        "lesion masks: auto aims crops at the lesion where a photo has one",
        choices=("auto", "ignore"),
    )
    preprocess: list[str] = setting(
        [],
        "done to every photo, in this order, in training and in prediction",
        choices=("lesion_crop", "hair_removal", "shades_of_grey", "sharpen"),
    )


@dataclass(frozen=True)
class Backbone:
    """The network under both heads."""

    name: str = setting(
        "efficientnetb1", "network under the heads", flag="backbone", names=BACKBONES
    )
    image_size: int = setting(224, "side of the square input, pixels", low=8, high=2048)
    weights: str = setting(
        "none",
        "start from: none, imagenet, a weights file or a run folder",
        flag="weights",
    )
    batchnorm_momentum: float = setting(
        0.9, "moving average of BatchNorm; Keras's 0.99 lags behind runs of a few hundred steps",
        low=0.0, high=1.0,
    )  # fmt: skip
    mixed_precision: bool = setting(False, "compute in float16 (GPU)")


@dataclass(frozen=True)
class Pretrain:
    """SimCLR (Chen et al., 2020)."""

    epochs: int = setting(50, "passes over the unlabelled photos", low=1)
    batch_size: int = setting(64, "photos a step; each gives two views", low=2)
    temperature: float = setting(0.1, "temperature of NT-Xent", low=1e-3, high=100.0)
    projection: list[int] = setting([512, 128], "widths of the projection head", low=1)
    learning_rate: float = setting(1e-3, "peak learning rate of Adam", low=0.0, high=100.0)
    warmup: float = setting(0.1, "share of the steps that warm up linearly", low=0.0, high=1.0)
    weight_decay: float = setting(0.0, "decoupled weight decay on kernels", low=0.0, high=1.0)
    strength: float = setting(1.0, "strength of the view augmentation, 0 to 1", low=0.0, high=1.0)
    probe_every: int = setting(
        5, "epochs between two looks at the health panel, first and last included; 0: none", low=0,
        identity=False,
    )  # fmt: skip
    probe_photos: int = setting(
        500, "validation photos of its probes, at most; half as many pairs of views", low=4
    )


@dataclass(frozen=True)
class Finetune:
    """A frozen phase, then an unfrozen one, each with a fresh optimizer and cosine decay."""

    frozen_epochs: int = setting(10, "epochs with the backbone frozen", low=0)
    frozen_learning_rate: float = setting(
        1e-3, "peak rate of the frozen phase", low=0.0, high=100.0
    )
    unfrozen_epochs: int = setting(20, "epochs with the backbone unfrozen", low=0)
    unfrozen_learning_rate: float = setting(1e-4, "peak rate, unfrozen phase", low=0.0, high=100.0)
    depth: int = setting(-1, "unfreeze only the last N layers; -1: all of them", low=-1)
    batchnorm: str = setting(
        "train",
        "BatchNorm of unfrozen layers: train, or frozen in inference mode",
        choices=("train", "frozen"),
    )
    batch_size: int = setting(32, "photos a step", low=1)
    steps_per_epoch: int = setting(0, "steps an epoch; 0: one pass over the labelled photos", low=0)
    labels_per_class: int = setting(0, "keep only this many labels a fine class; 0: all", low=0)
    label_fraction: float = setting(1.0, "keep only this share of the labels", low=0.0, high=1.0)
    head: str = setting(
        "hierarchical",
        "hierarchical: P(coarse) is the sum of its P(fine); independent: two heads",
        choices=("hierarchical", "independent"),
    )
    gamma: float = setting(2.0, "focusing parameter of the focal loss; 0: cross-entropy", low=0.0)
    class_balance: str = setting(
        "alpha",
        "weights from class counts: in the focal loss, as sample weights, or none",
        choices=("alpha", "sample_weights", "none"),
    )
    coarse_weight: float = setting(0.5, "weight of the coarse loss against the fine one", low=0.0)
    dropout: float = setting(0.2, "dropout before the head", low=0.0, high=0.99)
    weight_decay: float = setting(1e-4, "decoupled weight decay on kernels", low=0.0, high=1.0)
    select_by: str = setting(
        "balanced_accuracy",
        "what the best epoch is chosen by, on the validation split",
        choices=("balanced_accuracy", "loss"),
    )
    patience: int = setting(10, "epochs without a better one before a phase ends", low=1)
    augmentation: str = setting(
        "skin", "training augmentation (see dermssl.data.augmentation.opencv)"
    )
    arm: str = setting("", "name in comparisons; none: by the weights", identity=False)
    predict: str = setting(
        "all",
        "records to predict at the end: all, or held_out for validation and test alone",
        choices=("all", "held_out"),
    )


@dataclass(frozen=True)
class Checkpoint:
    """How often a run is saved, to resume from it; no part of what it computes."""

    seconds: int = setting(
        300, "save after a step when this much time has passed; 0: after each",
        flag="checkpoint-seconds", low=0,
    )  # fmt: skip
    steps: int = setting(
        0, "save also every N steps; 0: by time alone", flag="checkpoint-steps", low=0
    )


@dataclass(frozen=True)
class Grid:
    """Transfer learning compared: every model x depth x augmentation x seed is a cell."""

    models: list[str] = setting(["mobilenet"], "backbones", names=BACKBONES)
    depths: list[int] = setting([2, 4, 6, 8, 10], "unfrozen layers; -1: all", low=-1)
    depth_unit: str = setting(
        "layers",
        "what a depth counts: layers of the graph, or only those with a kernel",
        choices=("layers", "kernels"),
    )
    augmentations: list[str] = setting(
        ["none", "flip_hv", "brightness", "flip_brightness"],
        "training augmentations",
        names=AUGMENTATIONS,
    )
    seeds: list[int] = setting([0], "training seeds", low=0, high=2**31 - 1)
    image_size: int = setting(224, "side of the square input, pixels", low=8, high=2048)
    small_size: str = setting(
        "refuse", "a size under a model's minimum: refuse, or raise it", choices=("refuse", "raise")
    )
    weights: list[str] = setting(
        ["none"], "none, imagenet, a file or a pretraining run; MODEL=... for one model alone"
    )
    epochs: int = setting(10, "passes over the training photos", low=1)
    learning_rate: float = setting(1e-3, "of Adam, constant", flag="lr", low=0.0, high=100.0)
    batch_size: int = setting(32, "photos a step", low=1)
    batchnorm: str = setting("train", "BatchNorm of unfrozen layers", choices=("train", "frozen"))
    dropout: float = setting(0.0, "dropout before the head", low=0.0, high=0.99)
    gamma: float = setting(0.0, "of the focal loss; 0: cross-entropy", low=0.0)
    folds: int = setting(0, "cross-validate over K folds; 0: one test split", low=0, high=100)
    classes: list[str] = setting([], "keep only these fine classes")
    balance: bool = setting(False, "train on equally many photos a class")
    test_per_class: int = setting(0, "test photos a class; 0: by --test", low=0)
    shared_trunk: bool = setting(True, "compute the frozen trunk once for all depths")
    feature_cache_mb: int = setting(
        1024, "memory for the trunk's features, MiB", low=0, identity=False
    )
    feature_dtype: str = setting(
        "float32",
        "data type of the trunk's features, cached or not",
        choices=("float32", "float16"),
    )
    n_resamples: int = setting(500, "draws of each bootstrap interval", low=1)
    dry_run: bool = setting(False, "print the plan, train nothing", identity=False)


@dataclass(frozen=True)
class Evaluate:
    """Which records are scored, at which point of a curve, and how they are grouped."""

    run: str = setting(FINETUNED, "folder of a finished fine-tuning run", positional="RUN")
    split: str = setting("test", "records to score", choices=SPLITS)
    n_resamples: int = setting(1000, "bootstrap resamples", low=1)
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


@dataclass(frozen=True)
class ModelComparison:
    """Which runs are compared, and how."""

    runs: list[str] = setting(
        [], "a run, or a folder that holds some; none: the output of --config", positional="RUN"
    )
    baseline: str = setting("", "arm that the others are compared with; none: random, if there")
    split: str = setting("test", "records to score", choices=SPLITS)
    n_resamples: int = setting(1000, "bootstrap resamples", low=1)
    skip_unfinished: bool = setting(False, "list runs that did not finish and leave them out")
    allow_different_budget: bool = setting(
        False, "compare arms that were tuned differently, with a warning in the report"
    )
    one_is_enough: bool = setting(False, "report a run that is alone, too")


@dataclass(frozen=True)
class Predict:
    """Which photos are predicted, and how."""

    run: str = setting("", "folder of a fine-tuned run", positional="RUN")
    source: str = setting("", "an image, or a folder of images", positional="IMAGE_OR_FOLDER")
    batch_size: int = setting(32, "photos through the network at once", low=1)
    on_bad: str = setting("error", ON_BAD, choices=("error", "skip"))
    uncalibrated: bool = setting(False, "raw probabilities, not calibrated")


@dataclass(frozen=True)
class Explain:
    """Which photos get a heat map."""

    run: str = setting(FINETUNED, "folder of a finished fine-tuning run", positional="RUN")
    photos: list[str] = setting(
        [], "photos and folders; none: a choice of the run's own", positional="PHOTO_OR_FOLDER"
    )
    data: str = setting("", "the folder of the run's photos, if it has moved")
    split: str = setting("test", "where the choice is made", choices=SPLITS)
    count: int = setting(6, "most confident correct predictions, and as many wrong ones", low=1)
    batch_size: int = setting(32, "photos through the network at once", low=1)


@dataclass(frozen=True)
class Embeddings:
    """Which photos are laid out, and how."""

    run: str = setting(PRETRAINED, "folder of a pretraining or fine-tuning run", positional="RUN")
    data: str = setting("", "the folder of the run's photos, if it has moved")
    split: str = setting("all", "records to show", choices=("all", *SPLITS))
    max_photos: int = setting(
        # Beyond, t-SNE takes many minutes and its picture is a cloud.
        5000, "at most N, spread evenly over the classes; 0: all", low=0
    )  # fmt: skip
    perplexity: float = setting(0.0, "of t-SNE; 0: 30, or less for few photos", low=0.0)
    umap: bool = setting(False, "UMAP too; needs umap-learn")
    colour_by: list[str] = setting([], "a picture for each of these columns too")
    n_resamples: int = setting(1000, "bootstrap resamples", low=1)
    batch_size: int = setting(32, "photos through the network at once", low=1)


@dataclass(frozen=True)
class StressTest:
    """What is done to which photos."""

    run: str = setting(FINETUNED, "folder of a finished fine-tuning run", positional="RUN")
    data: str = setting("", "the folder of the run's photos, if it has moved")
    split: str = setting("test", "records to score", choices=SPLITS)
    max_photos: int = setting(0, "at most N, spread evenly over the classes; 0: all", low=0)
    masks: str = setting("", "folder of lesion masks; none: the run's")
    strength: float = setting(1.0, "of the artefacts", low=0.01, high=1.0)
    n_resamples: int = setting(1000, "bootstrap resamples", low=1)
    batch_size: int = setting(32, "photos through the network at once", low=1)


@dataclass(frozen=True)
class Leakage:
    """How often the inflation is measured."""

    folds: int = setting(5, "parts of the data; each lesion is tested in one of them", low=2)
    n_seeds: int = setting(3, "repetitions with other folds and other tested photos", low=1)
    n_resamples: int = setting(1000, "bootstrap resamples", low=1)


@dataclass(frozen=True)
class CheckData:
    """What counts as a duplicate."""

    run: str = setting("", "pretraining run whose embeddings are compared, too")
    near: int = setting(
        # Of 255; where it comes from stands in dermssl.studies.data_audit.perceptual_hash.
        28, "bits of 255 up to which photos are near duplicates; -1: none", low=-1, high=64
    )  # fmt: skip
    similarity: float = setting(
        0.95, "cosine of centred embeddings from which photos are similar", low=0.01, high=1.0
    )
    strict: bool = setting(False, "exit with 1 on unreadable photos, leaks or contradicting labels")
    show_augmentations: str = setting("", "only draw what each augmentation does, to this .png")


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
    probe: bool = setting(
        False, "fast: a logistic regression on frozen features instead of fine-tuning; arms that "
        "pretrain still do",
    )  # fmt: skip
    n_resamples: int = setting(2000, "bootstrap resamples", low=1)


@dataclass(frozen=True)
class Quickstart:
    """Changes to the experiment file."""

    data: str = setting("", "folder with photos; none: drawn ones, or the file's")
    imagenet_weights: str = setting("", "file to take where an arm asks for imagenet")
    arms: list[str] = setting([], "only these arms of the file")
    seeds: list[int] = setting([], "training seeds; none: the file's", low=0)


SECTIONS = {
    "data": Data, "backbone": Backbone, "pretrain": Pretrain, "finetune": Finetune, "grid": Grid,
    "checkpoint": Checkpoint, "evaluate": Evaluate, "model_comparison": ModelComparison,
    "predict": Predict, "explain": Explain, "embeddings": Embeddings, "stress_test": StressTest,
    "leakage": Leakage, "check_data": CheckData, "label_efficiency": LabelEfficiency,
    "quickstart": Quickstart,
}  # fmt: skip
