"""Fine-tune a classifier in two phases: backbone frozen, then unfrozen.

    python -m dermssl.finetune --data PHOTOS --weights outputs/ssl_simclr

The backbone starts from a pretraining run, ImageNet, a weights file, or nothing.
Training stops by the validation split; the test split is only predicted, at the end.
The same command resumes where it was stopped, and ends as if it never had been.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import atomic_files, cli, cluster, progress, results, runs
from dermssl.core import config as configs
from dermssl.core.commands import EMBEDDED
from dermssl.core.errors import UserError
from dermssl.core.setting import FINETUNED, PRETRAINED


def run(config: dict[str, Any], dataset: Any = None) -> Path:
    """Fine-tune, predict, and leave a run folder.

    Args:
        config: settings from `core.config.configure`.
        dataset: `Dataset` with splits, where the caller has one already.

    Returns:
        Path of the run's folder: `model.keras`, `temperature.json`, `predictions.csv` (raw),
        `likeness.npz`, `finetuned_stats.json`, `history.csv`, `taxonomy.json`, `tensorboard/`,
        `classes.csv` (what became of each), `config.toml`, `status.json`.

    Raises:
        UserError: bad input, before any training.
        RunFailed: the run diverged or its folder could not be written.
    """
    import dataclasses

    from dermssl.data import records, splits
    from dermssl.evaluation import calibrator
    from dermssl.inference import likeness
    from dermssl.models import weights
    from dermssl.models.classifier import LesionClassifier
    from dermssl.reporting.wording import count
    from dermssl.training import checkpoint, finetuning, run_setup

    config = _from_embedded_pretraining(config)
    settings, seed = config["finetune"], config["seed"]
    finetuning.check(settings)
    opened = run_setup.set_up_run("finetune", config, FINETUNED, dataset)
    config = opened.config
    dataset = opened.dataset
    if dataset.taxonomy is None:
        raise UserError(
            f"data.path {config['data'].path}: no photo has a label; fine-tuning needs some"
        )
    if len(dataset.taxonomy.fine) < 2:
        raise UserError(
            f"data.path {config['data'].path}: one class only, {dataset.taxonomy.fine[0]}, so that "
            "there is nothing to tell apart; give photos of two classes or more"
        )
    shown = splits.few_labels(dataset, settings.labels_per_class, settings.label_fraction, seed)
    train = finetuning.labelled_rows(shown, records.TRAIN)
    validation = finetuning.labelled_rows(shown, records.VALIDATION)
    if settings.batch_size > len(train):
        raise UserError(
            f"finetune.batch_size {settings.batch_size} is larger than the {len(train)} labelled "
            "training photos; use a smaller batch or more labels"
        )
    finetuning.check_last_batch(settings, len(train), opened.distribution.replicas)
    if opened.is_finished():
        _check_arm(opened.output, settings.arm)
        return opened.output
    model = opened.model(
        lambda backbone: LesionClassifier(
            backbone, dataset.taxonomy, settings.head, settings.dropout, seed
        )
    )
    finetuning.check_depth(settings, model)
    with opened.run(model.backbone) as made:
        if made.status["status"] == runs.FINISHED:
            _check_arm(made.path, settings.arm)
            return made.path
        steps = settings.steps_per_epoch or -(-len(train) // settings.batch_size)
        epochs = f"{settings.frozen_epochs} frozen and {settings.unfrozen_epochs} unfrozen epochs"
        work = f"at most {epochs} of {count(steps, 'step')} of {settings.batch_size} photos"
        shorter = "finetune.frozen_epochs, finetune.unfrozen_epochs or backbone.image_size"
        progress.log_progress(run_setup.start_line(opened, len(train), work, shorter))
        arm = settings.arm or weights.arm_of(config["backbone"], opened.pretrained)
        made.set_status(runs.RUNNING, arm=arm, seed=seed, n_labels=len(train))
        if opened.pretrained is not None:  # so that reports tell it where its folder isn't
            first = runs.first_start(str(opened.pretrained))
            made.set_status(runs.RUNNING, pretraining_start=first)
        atomic_files.write_json(made / "taxonomy.json", dataset.taxonomy.as_dict())
        if opened.class_table is not None:
            atomic_files.write_csv(made / "classes.csv", opened.class_table)
        train_labels, validation_labels = (
            finetuning.labelled_photos(shown, rows, model.taxonomy, config)
            for rows in (train, validation)
        )
        title = f"Fine-tuning {arm}, {len(train)} labels, seed {seed}"
        with opened.distribution.scope():
            history, manifests = finetuning.run_phases(
                made, model, train_labels, validation_labels, settings, seed, title,
                config.get("checkpoint"), opened.saved(made), opened.distribution,
                config["backbone"].jit_compile, config.get("logging"),
            )  # fmt: skip
        if not opened.distribution.is_chief:  # which writes the run
            return made.path
        with atomic_files.atomic_write(made / weights.MODEL_FILE) as temporary:
            model.save(temporary)
        table = finetuning.predict(model, dataset, config)
        atomic_files.write_csv(made / "predictions.csv", table)
        calibrator.write(made.path, table, dataset.taxonomy, dataclasses.asdict(settings))
        likeness.leave(made.path, model.backbone, dataset, config["data"])
        finetuning.write_stats(made, table, history, manifests, model.taxonomy, opened)
        made.set_status(runs.FINISHED, parameters=model.count_params(), n_records=len(table))
        checkpoint.clear(made)
    return made.path


def _from_embedded_pretraining(config):
    """On the embedded data set, start from its pretraining if that is finished."""
    if config["data"].path != EMBEDDED or "weights" in config["tables"].get("backbone", {}):
        return config
    import dataclasses

    from dermssl.inference import finished_run

    if not Path(PRETRAINED, "status.json").is_file():
        print(f"starts from random weights: no pretraining in {PRETRAINED}", flush=True)
        return config
    try:
        pretrained = finished_run.load(PRETRAINED, "pretrain")
        name = pretrained.settings["backbone"].name
        if pretrained.data.path != EMBEDDED or name != config["backbone"].name:
            raise UserError(f"{PRETRAINED}: of {name} on {pretrained.data.path}")
    except UserError as error:
        print(f"starts from random weights, not from the pretraining: {error}", flush=True)
        return config
    print(f"starts from {PRETRAINED}; --weights none starts from random weights", flush=True)
    backbone = dataclasses.replace(config["backbone"], weights=PRETRAINED)
    return config | {"backbone": backbone}


def _check_arm(folder, arm):
    """A finished run keeps its name."""
    there = runs.read_json(folder / "status.json")["arm"]
    if arm not in ("", there):
        raise UserError(
            f"finetune.arm {arm}: the run in {folder} is finished, as '{there}'; "
            "give another run.output"
        )


def tell(config: dict[str, Any], path: Path) -> None:
    """Print the scores of each split, and what comes next."""
    if cluster.told_by_chief(config["distribution"].strategy):
        return
    stats = runs.read_json(path / "finetuned_stats.json")
    print(f"fine-tuned ({stats['arm']}, {stats['n_labels']} labels): {path}")
    for split, scores in stats["scores"].items():
        shown = {key: scores[key] for key in ("balanced_accuracy", "coarse_accuracy", "roc_auc")}
        line = ", ".join(f"{k} {'n/a' if v is None else f'{v:.3f}'}" for k, v in shown.items())
        print(f"  {split}: n {scores['n_fine'] or scores['n_coarse']}, {line}")
    print(f"  next: {configs.command_line('evaluate', {'evaluate': {'run': path}})}")


def _look(config):
    from dermssl.data import first_look

    first_look.check(config["data"])
    cluster.look(config["distribution"].strategy)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("finetune", __doc__, run, tell, argv, _look)


results.make_callable(__name__, run, results.Finetuning)

if __name__ == "__main__":
    raise SystemExit(main())
