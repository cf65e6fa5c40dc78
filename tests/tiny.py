"""Configs of runs that take seconds: the CNN, or the even smaller MLP, on 32 px photos."""

import os
import subprocess
import sys
from pathlib import Path

from dermssl.core.settings import Backbone, Data, Finetune, Pretrain

ROOT = Path(__file__).parents[1]
# Flags of a command on the tiny photos.
SMALL = ("--backbone", "mlp", "--image-size", 32, "--batch-size", 16)
# The trainings of an experiment's file.
EXPERIMENT = """
[pretrain]
epochs = 1
batch_size = 16
projection = [16, 8]
probe_every = 0
[finetune]
frozen_epochs = 1
unfrozen_epochs = 1
batch_size = 16
steps_per_epoch = 2
predict = "held_out"
"""


def pretraining(photos, output, name="cnn", weights="none", seed=0, **settings):
    """A config for `pretrain.run`; `settings` are those of `config.Pretrain`."""
    settings = {"epochs": 2, "batch_size": 16, "projection": [32, 16]} | settings
    return {
        "data": Data(path=str(photos)),
        "backbone": Backbone(name=name, image_size=32, weights=weights),
        "pretrain": Pretrain(**settings),
        "seed": seed,
        "output": str(output),
    }


def finetuning(photos, output, name="cnn", weights="none", seed=0, **settings):
    """A config for `finetune.run`; `settings` are those of `config.Finetune`."""
    settings = {"frozen_epochs": 1, "unfrozen_epochs": 1, "batch_size": 16} | settings
    return {
        "data": Data(path=str(photos)),
        "backbone": Backbone(name=name, image_size=32, weights=weights),
        "finetune": Finetune(**settings),
        "seed": seed,
        "output": str(output),
    }


def python(*arguments, cwd=None):
    """Run a fresh Python on the repository; returns the finished process, output as text."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def call(command, *argv):
    """The exit code of `python -m dermssl.COMMAND ARGV`, run in this process."""
    try:
        return command.main([str(word) for word in argv])
    except SystemExit as stopped:
        return stopped.code
