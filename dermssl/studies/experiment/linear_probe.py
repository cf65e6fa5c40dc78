"""Linear probes as runs: a logistic regression on the features of a frozen backbone.

The features of all photos are computed once a backbone; each number of labels and seed then
takes a second. It says how much is linearly there, not what fine-tuning would reach.
"""

import dataclasses
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from dermssl.core import atomic_files, runs
from dermssl.core.errors import UserError
from dermssl.data import pipeline, records, splits
from dermssl.data.photos import photos_of
from dermssl.data.records import label_arrays
from dermssl.evaluation import predictions
from dermssl.inference import outputs
from dermssl.studies.experiment.plan import Job
from dermssl.training import run_setup

COMMAND = "probe"
PENALTIES = (0.001, 0.01, 0.1, 1.0)  # inverse ones, of scikit-learn; the validation split chooses
ROUNDS = 300  # of the solver
BATCH = 64  # photos through the backbone at once


def check(dataset: records.Dataset) -> None:
    """Refuse a data set whose validation split can't choose a penalty."""
    if not ((dataset.index["split"] == records.VALIDATION) & (dataset.index["fine"] != "")).any():
        raise UserError(
            "label_efficiency.probe: no photo with a fine label in the validation split, which "
            "chooses the penalty; give it some ([data] validation)"
        )


def replace_finetuning_by_probes(jobs: Sequence[Job], n_photos: int) -> list[Job]:
    """The jobs of an experiment with a probe of `n_photos` in the place of each fine-tuning."""
    return [job if job.is_pretraining else _instead(job, float(n_photos)) for job in jobs]


def _instead(job, work):
    folder = Path(job.config["output"])
    name = job.name.replace("finetune_", "probe_", 1)
    config = {**job.config, "output": str(folder.with_name(name))}
    title = job.title.replace("fine-tuning", "probing", 1)
    return dataclasses.replace(job, name=name, title=title, config=config, work=work)


class LinearProbeRunner:
    """Makes probe runs, and keeps the features of their backbones (10,000 photos: 50 MiB).

    Args:
        dataset: `Dataset` with splits, of all its runs.
    """

    def __init__(self, dataset: records.Dataset) -> None:
        self._dataset = dataset
        self._features: dict[tuple[Any, ...], np.ndarray] = {}

    def run(self, config: dict[str, Any], dataset: records.Dataset | None = None) -> Path:
        """Fit, predict, and leave a run folder like that of `dermssl.finetune`.

        Args:
            config: dict, as of `dermssl.finetune.run`; of the fine-tuning only the labels and
                `predict` are read.
            dataset: `Dataset`; None for that of this object.

        Returns:
            Path of the folder: `predictions.csv`, `taxonomy.json`, `history.csv`,
            `config.toml`, `status.json`.
        """
        settings, seed = config["finetune"], config["seed"]
        opened = run_setup.set_up_run(COMMAND, config, config["output"], dataset or self._dataset)
        dataset = opened.dataset  # of the classes that are learnt
        taxonomy = dataset.taxonomy
        if taxonomy is None:
            raise UserError(f"{dataset.root}: no photo has a label; a probe needs some")
        few = splits.few_labels(dataset, settings.labels_per_class, settings.label_fraction, seed)
        fine, _ = label_arrays(few.index, taxonomy)
        split = few.index["split"].to_numpy()
        train = (split == records.TRAIN) & (fine >= 0)
        if len(np.unique(fine[train])) < 2:
            raise UserError(
                f"label_efficiency.probe: {train.sum()} labelled training photos of fewer "
                "than two classes; use more labels"
            )
        check(dataset)
        if opened.is_finished():
            return opened.output
        with opened.run() as made:
            if made.status["status"] == runs.FINISHED:
                return made.path
            began = time.time()
            vectors = self._of(opened)
            validation = (split == records.VALIDATION) & (fine >= 0)
            with threadpool_limits(1):  # on small matrices BLAS threads wait for one another
                penalty, p_fine = _fitted(vectors, fine, train, validation, taxonomy)
            shown = split != records.TRAIN if settings.predict == "held_out" else split != ""
            table = predictions.table(dataset.index[shown], p_fine[shown], None, taxonomy)
            atomic_files.write_json(made / "taxonomy.json", taxonomy.as_dict())
            atomic_files.write_csv(made / predictions.NAME, table)
            row = {"phase": COMMAND, "epoch": 1, "inverse_penalty": penalty}
            row["seconds"] = round(time.time() - began, 2)
            atomic_files.write_csv(made / "history.csv", pd.DataFrame([row]))
            details = {
                "arm": settings.arm,
                "seed": seed,
                "n_labels": int(train.sum()),
                "probe": True,
            }
            made.set_status(runs.FINISHED, n_records=len(table), **details)
        return made.path

    def _of(self, opened):
        """float32 (n, d): the features of every photo under one backbone."""
        start, seed = opened.start, opened.config["seed"]
        # Random weights are the seed's; others are the same for all seeds.
        key = (start, opened.origin, seed if start.weights == "none" else None)
        if key not in self._features:
            photos = photos_of(opened.dataset, opened.config["data"], start.image_size, share=0)
            data = pipeline.evaluation_data(photos, BATCH, start.image_size)
            self._features[key] = outputs.embed(opened.backbone(), data)
        return self._features[key]


def _fitted(vectors, fine, train, validation, taxonomy):
    """The penalty that is best on validation, and float (n, F) probabilities under it."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    best, found = -1.0, None
    for penalty in PENALTIES:
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=penalty, class_weight="balanced", max_iter=ROUNDS),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(vectors[train], fine[train])
        guess = model.predict(vectors[validation])
        with warnings.catch_warnings():  # of classes that validation lacks
            warnings.simplefilter("ignore", UserWarning)
            score = balanced_accuracy_score(fine[validation], guess)
        if score > best:  # ties go to the stronger penalty, which comes first
            best, found = score, (penalty, model)
    penalty, model = found
    p_fine = np.zeros((len(vectors), len(taxonomy.fine)))
    p_fine[:, model.classes_] = model.predict_proba(vectors)
    return penalty, p_fine
