"""Finished fine-tuning runs without any training: simulated probabilities of chosen skill."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.core import config as configs
from dermssl.core import taxonomy as taxonomies
from dermssl.core.settings import Backbone, Data, Finetune
from dermssl.data import records as index
from dermssl.evaluation import predictions
from dermssl.reporting import figures

HAM = taxonomies.load("ham10000")
SHARES = (0.14, 0.45, 0.1, 0.08, 0.13, 0.05, 0.05)


def records(n=600, photos_a_lesion=2, taxonomy=HAM, shares=SHARES, seed=0, ids=True):
    """A record table: lesions with several photos, dealt to train, validation and test."""
    rng = np.random.default_rng(seed)
    lesion = np.arange(n) // photos_a_lesion
    label = rng.choice(len(taxonomy.fine), size=lesion.max() + 1, p=shares)[lesion]
    split = np.array(["train", "test", "validation", "test"])[lesion % 4]
    return index.make_index(
        {
            "path": [f"photo_{k:05d}.png" for k in range(n)],
            "fine": np.array(taxonomy.fine, dtype=object)[label],
            "coarse": np.array(taxonomy.parents, dtype=object)[label],
            "lesion_id": [f"L{k}" if ids else "" for k in lesion],
            "split": split,
        }
    )


def simulate(table, skill, seed=0, taxonomy=HAM):
    """float32 [n, F]: probabilities that lean by `skill` towards the truth."""
    rng = np.random.default_rng([seed, 99])
    truth = index.label_arrays(table, taxonomy)[0]
    logits = rng.normal(size=(len(table), len(taxonomy.fine)))
    logits += skill * np.eye(len(taxonomy.fine))[truth]
    p = np.exp(logits)
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def make(
    folder, table, p_fine, *, arm="random", seed=0, n_labels=70, taxonomy=HAM, p_coarse=None,
    weights="none", data_hash="d4d4d4d4d4d4", finetune=None, status=None, preprocess=(),
):  # fmt: skip
    """Write a run folder as `dermssl.finetune` leaves it; returns its Path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"labels_per_class": 10 if n_labels == 70 else 0, **(finetune or {})}
    if n_labels not in (70, "all"):
        settings["label_fraction"] = 0.5
    config = {
        "data": Data(path="photos", preprocess=list(preprocess)),
        "backbone": Backbone(name="mobilenet", image_size=64, weights=weights, precision="float32"),
        "finetune": Finetune(**settings),
        "seed": seed,
    }
    atomic_files.write_csv(
        folder / "predictions.csv", predictions.table(table, p_fine, p_coarse, taxonomy)
    )
    atomic_files.write_json(folder / "taxonomy.json", taxonomy.as_dict())
    atomic_files.write_csv(folder / "history.csv", history(seed + 10 * len(arm)))
    entry = {
        "status": runs.FINISHED,
        "command": "finetune",
        "config": configs.as_tables(config),
        "config_hash": configs.config_hash(config),
        "data_hash": data_hash,
        "versions": {"python": "3.11.9", "keras": "3.15.1"},
        "seconds": 61.5 + seed,
        "arm": arm,
        "seed": seed,
        "n_labels": 300 if n_labels == "all" else n_labels,
        "parameters": 3_229_000,
        # A run of today tells it, as its pretraining's folder may go.
        **({"pretraining_start": "none"} if arm == "ssl" else {}),
        **(status or {}),
    }
    atomic_files.write_json(folder / "status.json", entry)
    return folder


def no_pictures(monkeypatch):
    """Save empty files instead of pictures: drawing is most of a report's time."""
    blank = cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes()
    monkeypatch.setattr(figures, "save", lambda figure, path: path.write_bytes(blank))


def change_status(folder, **entries):
    """Replace entries of a run's status.json."""
    file = Path(folder) / "status.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def history(seed, epochs=(4, 6)):
    """A plausible history.csv of two phases."""
    rng = np.random.default_rng([seed, 7])
    n = sum(epochs)
    fall = np.exp(-np.arange(n) / 4)
    noise = rng.normal(scale=0.02, size=(6, n))
    return pd.DataFrame(
        {
            "phase": ["frozen"] * epochs[0] + ["unfrozen"] * epochs[1],
            "epoch": [*range(1, epochs[0] + 1), *range(1, epochs[1] + 1)],
            "loss": 0.3 + fall + noise[0],
            "fine_accuracy": 0.8 - 0.6 * fall + noise[1],
            "coarse_accuracy": 0.85 - 0.5 * fall + noise[2],
            "learning_rate": 1e-3,
            "val_loss": 0.6 + fall + noise[3],
            "val_fine_accuracy": 0.65 - 0.4 * fall + noise[4],
            "val_coarse_accuracy": 0.72 - 0.4 * fall + noise[4],
            "val_fine_balanced_accuracy": 0.6 - 0.4 * fall + noise[5],
            "seconds": 2.5,
        }
    )


def experiment(folder, arms, seeds=(0, 1, 2), n_labels=(70,), table=None, **options):
    """Runs of several arms: `arms` maps each to its skill (at 70 labels); returns `folder`."""
    table = records() if table is None else table
    for number, (arm, skill) in enumerate(arms.items()):
        weights = {"random": "none", "imagenet": "imagenet"}.get(arm, "outputs/pretrain_ssl")
        for labels in n_labels:
            better = skill + (1.0 if labels == "all" else 0.0)
            for seed in seeds:
                make(
                    Path(folder) / f"{arm}_{labels}_{seed}", table,
                    simulate(table, better, seed + 100 * number), arm=arm, seed=seed,
                    n_labels=labels, weights=weights, **options,
                )  # fmt: skip
    return Path(folder)
