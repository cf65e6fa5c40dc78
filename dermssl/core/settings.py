"""The settings of data, training and the grid: defaults, help texts and bounds in one place.

One frozen dataclass a section; `dermssl.core.config` fills them from TOML files and flags. Those of
the studies that follow a training stand in `study_settings`.
"""

from dataclasses import dataclass

from dermssl.core.cluster import STRATEGIES
from dermssl.core.setting import AUGMENTATIONS, BACKBONES, ON_BAD, PRECISIONS, data_format, setting


@dataclass(frozen=True)
class Data:
    """Where the photos are, what their labels mean, how they are split."""

    # Not how a path was typed, but what lies there makes a run: its data hash.
    path: str = setting(
        "", "folder with the photos (and labels, if any)", flag="data", identity=False
    )
    format: str = data_format()
    taxonomy: str = setting("auto", "built-in taxonomy, a .toml file, or auto")
    unlabelled: str = setting(
        "", "one more folder of photos, used for pretraining only", identity=False
    )
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
    precision: str = setting(
        "auto",
        "what to compute in; auto: bfloat16 on GPUs of compute capability 8.0 or more, float16 on "
        "those from 7.0 on, else float32",
        choices=PRECISIONS,
        was=("mixed_precision", {False: "float32", True: "mixed_float16"}),
    )
    jit_compile: bool = setting(
        False,
        "compile the training step with XLA, on one device: a CPU loses, of a GPU "
        "benchmarks/gpu.py tells; draws other masks of dropout",
        added=True,
    )
    sync_batchnorm: bool = setting(
        False,
        "BatchNorm over the whole batch, not over each device's share of it",
        added=True,
    )


@dataclass(frozen=True)
class Pretrain:
    """SimCLR (Chen et al., 2020)."""

    epochs: int = setting(50, "passes over the unlabelled photos", low=1)
    batch_size: int = setting(64, "photos a step; each gives two views", low=2)
    chunk_size: int = setting(
        0,
        "photos through the network at once, a divisor of the batch size: large batches in little "
        "memory (gradient caching); 0: the whole batch",
        low=0,
        added=True,
    )
    remat: bool = setting(
        False,
        "forget activations and compute them again for the gradient: the same steps in less memory "
        "and more time",
        added=True,
    )
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
    arm: str = setting("", "name in comparisons; none: by the weights", identity=False, added=True)
    classes: list[str] = setting([], "keep only these fine classes", added=True)
    rare_classes: str = setting(
        "train",
        "a class of too few lesions to be in every split: train on it without scoring it, drop it, "
        "or stop with an error",
        choices=("train", "drop", "error"),
        added=True,
    )
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
class Distribution:
    """The devices and machines that share a run's batches."""

    strategy: str = setting(
        "auto",
        "auto: multiworker where TF_CONFIG is set, mirrored where there are several GPUs, "
        "else none: one device",
        choices=STRATEGIES,
    )


@dataclass(frozen=True)
class Logging:
    """What a training or a report leaves for those who watch; no part of what it computes."""

    tensorboard: str = setting(
        "full",
        "scalars: curves and scores; full: also histograms, photos with their probabilities, "
        "confusion matrices and heat maps",
        choices=("full", "scalars", "none"),
    )
    mlflow: str = setting(
        "", "an MLflow server's address, or a folder, that gets settings, metrics and files"
    )


@dataclass(frozen=True)
class Executor:
    """What computes the cells of a grid, or the runs of an experiment."""

    engine: str = setting(
        "local",
        "local: one after the other, on this machine; ray: in parallel, on a Ray cluster",
        flag="executor",
        choices=("local", "ray"),
    )
    ray_address: str = setting(
        "",
        "the cluster: HOST:PORT of its head node, or auto: the one that this machine is in; none: "
        "a Ray of its own, on this machine alone",
    )
    task_cpus: int = setting(
        0, "CPU cores of a task on Ray; 0: those of a node, shared out among its GPUs", low=0
    )
    task_gpus: int = setting(
        -1, "GPUs of a task on Ray; -1: one, where the cluster has any", low=-1
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
