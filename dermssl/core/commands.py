"""The registry of commands: purpose, settings and output folder of each."""

from dataclasses import dataclass, field
from typing import Any

from dermssl.core import settings, study_settings
from dermssl.core.setting import FINETUNED, PRETRAINED

# The sections of a config file.
SECTIONS = {
    "data": settings.Data,
    "backbone": settings.Backbone,
    "pretrain": settings.Pretrain,
    "finetune": settings.Finetune,
    "grid": settings.Grid,
    "checkpoint": settings.Checkpoint,
    "distribution": settings.Distribution,
    "logging": settings.Logging,
    "executor": settings.Executor,
    "evaluate": study_settings.Evaluate,
    "model_comparison": study_settings.ModelComparison,
    "report": study_settings.Report,
    "tensorboard": study_settings.TensorBoard,
    "sample_size": study_settings.SampleSize,
    "adapt": study_settings.Adapt,
    "predict": study_settings.Predict,
    "app": study_settings.App,
    "explain": study_settings.Explain,
    "export": study_settings.Export,
    "embeddings": study_settings.Embeddings,
    "stress_test": study_settings.StressTest,
    "leakage": study_settings.Leakage,
    "check_data": study_settings.CheckData,
    "forms": study_settings.Forms,
    "doctor": study_settings.Doctor,
    "label_efficiency": study_settings.LabelEfficiency,
    "shards": study_settings.Shards,
    "quickstart": study_settings.Quickstart,
}

# Where the embedded data set is drawn, for commands that get no data.
EMBEDDED = "outputs/embedded"

# Photos are looked at as they are, once.
_NOT_OF_AN_AUDIT = ("data.preprocess", "data.cache_mb", "data.cache_dir", "data.cache_disk_mb")


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        purpose: str, one line.
        sections: names of its sections in `SECTIONS`.
        output: str, where it writes if nobody says another place; "" if it writes nothing.
        seeded: whether it takes a seed.
        resumable: whether its folder holds a run, or a file for others to use, which `overwrite`
            replaces; a report is written anew each time.
        heavy: whether it needs TensorFlow.
        to_address: whether it can write to another file system, such as gs://bucket.
        without: settings of its sections, as `section.field`, that it has no use for.
        embedded: `section.field` -> its value on the embedded data set, where none was given:
            two cores finish it in minutes.
        from_imagenet: `section.field` of the weights that are ImageNet's on data of one's own,
            where none were given; "": they are the setting's default.
    """

    purpose: str
    sections: tuple[str, ...]
    output: str
    seeded: bool = True
    resumable: bool = False
    heavy: bool = True
    to_address: bool = False
    without: tuple[str, ...] = ()
    embedded: dict[str, Any] = field(default_factory=dict)
    from_imagenet: str = ""


COMMANDS = {
    "quickstart": Command(
        "the whole road: data, pretraining, fine-tuning, comparison, report",
        ("quickstart", "executor"),
        "outputs/quickstart",
        seeded=False,
        resumable=True,
    ),
    "pretrain": Command(
        "pretrain a backbone with SimCLR on photos without labels",
        ("data", "backbone", "pretrain", "checkpoint", "distribution", "logging"),
        PRETRAINED,
        resumable=True,
        embedded={
            "backbone.image_size": 64,
            "pretrain.epochs": 10,
            "pretrain.batch_size": 32,
            "pretrain.probe_photos": 100,
        },
    ),
    "finetune": Command(
        "fine-tune a classifier from a backbone",
        ("data", "backbone", "finetune", "checkpoint", "distribution", "logging"),
        FINETUNED,
        resumable=True,
        embedded={
            "backbone.image_size": 64,
            "finetune.frozen_epochs": 5,
            "finetune.unfrozen_epochs": 5,
        },
        from_imagenet="backbone.weights",
    ),
    "grid": Command(
        "transfer-learning grid: models x unfrozen layers x augmentations",
        ("data", "grid", "executor", "logging"),
        "outputs/grid",
        seeded=False,
        resumable=True,
        without=("logging.tensorboard",),
        embedded={"grid.image_size": 64, "grid.epochs": 3, "grid.n_resamples": 200},
        from_imagenet="grid.weights",
    ),
    "evaluate": Command(
        "metrics with intervals and figures of one run",
        ("evaluate", "logging"),
        "RUN/evaluation_SPLIT",
        seeded=False,
        heavy=False,
        without=("logging.tensorboard",),
    ),
    "model_comparison": Command(
        "compare runs and report",
        ("model_comparison",),
        "outputs/model_comparison",
        seeded=False,
        heavy=False,
    ),
    "report": Command(
        "all runs below a folder in one page: state, settings that differ, scores, reports",
        ("report",),
        "FOLDER",
        seeded=False,
        heavy=False,
    ),
    "tensorboard": Command(
        "TensorBoard for all runs below a folder, on this machine alone",
        ("tensorboard",),
        "FOLDER",
        seeded=False,
        heavy=False,
    ),
    "sample_size": Command(
        "how many lesions and runs would tell a difference apart",
        ("sample_size",),
        "COMPARISON/sample_size",
        seeded=False,
        heavy=False,
    ),
    "explain": Command("heat maps: where a run looks", ("explain",), "RUN/explanations"),
    "export": Command(
        "a run's network for another runtime, with its calibration inside, checked",
        ("export",),
        "RUN/export_FORMAT",
        seeded=False,
        resumable=True,
    ),
    "embeddings": Command(
        "a run's embeddings in a plane and in TensorBoard's projector",
        ("embeddings",),
        "RUN/embeddings",
    ),
    "stress_test": Command(
        "score a run under artefacts and without the lesion", ("stress_test",), "RUN/stress_test"
    ),
    "forms": Command(
        "reporting forms of a run: participants, flow, TRIPOD+AI, CLAIM, CLEAR Derm, model card",
        ("forms",),
        "RUN/forms",
        seeded=False,
        heavy=False,
    ),
    "label_efficiency": Command(
        "with how many labels pretraining helps: arms x labels x seeds",
        ("data", "backbone", "label_efficiency", "executor"),
        "outputs/label_efficiency",
        seeded=False,
        resumable=True,
    ),
    "predict": Command(
        "probabilities for new photos", ("predict",), "standard output", seeded=False
    ),
    "app": Command(
        "try a run in the browser: a page and an HTTP endpoint, on this machine",
        ("app",),
        "",
        seeded=False,
    ),
    "adapt": Command(
        "adapt a run to another place's photos without labels, and see whether it helps",
        ("adapt", "checkpoint"),
        "RUN_adapted_NAME",
        resumable=True,
    ),
    "check_data": Command(
        "duplicates, leaks and contradictions of a data set",
        ("data", "check_data"),
        "outputs/check_data",
        heavy=False,
        without=_NOT_OF_AN_AUDIT,
    ),
    "shards": Command(
        "write a folder of photos as a few large files, for 100,000 photos and more",
        ("shards",),
        "outputs/shards",
        seeded=False,
        to_address=True,
    ),
    "leakage": Command(
        "how much a leaky split inflates the score",
        ("data", "backbone", "leakage"),
        "outputs/leakage",
        embedded={"backbone.image_size": 64},
    ),
    "doctor": Command(
        "what works on this machine, what doesn't, and what to do; for issues",
        ("doctor",),
        "outputs",
        seeded=False,
        heavy=False,
    ),
}
