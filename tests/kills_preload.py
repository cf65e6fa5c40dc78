"""What the process imports that `kills` forks from. It runs no TensorFlow operation."""

import importlib
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

for name in (
    "keras", "matplotlib.pyplot", "scipy.stats", "seaborn", "sklearn.metrics", "tensorboard",
    "dermssl.pretrain", "dermssl.finetune", "dermssl.grid", "dermssl.data.splits",
    "dermssl.data.contact_sheet",
    "dermssl.evaluation.hypothesis_tests", "dermssl.models.classifier",
    "dermssl.models.simclr", "dermssl.studies.grid.report", "dermssl.studies.grid.train",
    "dermssl.studies.grid.plan", "dermssl.training.tensorboard", "dermssl.training.finetuning",
):  # fmt: skip
    importlib.import_module(name)
