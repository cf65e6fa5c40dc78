"""Pretrain a backbone with SimCLR on photos without labels.

    python -m dermssl.pretrain --data PHOTOS --backbone efficientnetb1 --epochs 50

Only the training split is used, labels are ignored; validation and test photos, and
other photos of their lesions and patients, are kept out. The same command resumes where it
was stopped, and ends as if it never had been.
"""

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import atomic_files, cli, cluster, results, runs
from dermssl.core import config as configs
from dermssl.core.commands import EMBEDDED
from dermssl.core.errors import UserError
from dermssl.core.setting import PRETRAINED
from dermssl.core.settings import Logging

# Of the last epoch, what TensorBoard compares runs by; the probes are in it where labels are.
ENDS = ("loss", "accuracy", "entropy", "linear", "knn", "effective_rank")


def run(config: dict[str, Any], dataset: Any = None) -> Path:
    """Pretrain, and leave a run folder with the backbone and its statistics.

    Args:
        config: settings from `core.config.configure`.
        dataset: `Dataset` with splits, where the caller has one already.

    Returns:
        Path of the run's folder: `backbone.weights.h5`, `ssl_stats.json`, `history.csv`,
        `health.json`, `pool.csv`, `views.png`, `tensorboard/`, `config.toml`, `status.json`.

    Raises:
        UserError: bad input, before any training.
        RunFailed: the run diverged or its folder could not be written.
    """
    _check_chunks(config["pretrain"], config["backbone"].jit_compile)
    from dermssl.data import records, splits
    from dermssl.data.photos import photos_of
    from dermssl.models import simclr, weights
    from dermssl.reporting.wording import count
    from dermssl.training import (
        checkpoint,
        input_share,
        pretraining,
        pretraining_pool,
        run_setup,
        tensorboard,
    )
    from dermssl.training.ssl_health import panel as health

    settings, size = config["pretrain"], config["backbone"].image_size
    opened = run_setup.set_up_run("pretrain", config, PRETRAINED, dataset)
    config = opened.config
    dataset = opened.dataset
    pool = dataset.subset(records.TRAIN)
    splits.check_overlap(pool.index, dataset.index[dataset.index["split"] != records.TRAIN])
    if settings.batch_size > len(pool.index):
        raise UserError(
            f"pretrain.batch_size {settings.batch_size} is larger than the {len(pool.index)} "
            "training photos; use a smaller batch or more photos"
        )
    if opened.is_finished():
        return opened.output
    model = opened.model(
        lambda backbone: simclr.SimCLR(
            backbone,
            settings.projection,
            settings.temperature,
            config["seed"],
            settings.chunk_size,
            settings.remat,
        )
    )
    backbone = model.backbone
    with opened.run(backbone) as made:
        if made.status["status"] == runs.FINISHED:
            return made.path
        steps = len(pool.index) // settings.batch_size
        work = (
            f"{count(settings.epochs, 'epoch')} of {count(steps, 'step')} of "
            f"{settings.batch_size} photos, two views"
        )
        work += f", in chunks of {settings.chunk_size}" if settings.chunk_size else ""
        work += ", activations computed twice" if settings.remat else ""
        shorter = "pretrain.epochs, backbone.image_size or a smaller backbone.name"
        _say(run_setup.start_line(opened, len(pool.index), work, shorter))
        photos = photos_of(pool, config["data"], size)
        pretraining_pool.write(made, pool)
        panel = health.Panel(made, dataset, photos, config, _say)
        with opened.distribution.scope():
            history = pretraining.fit(
                made, model, photos, config, panel, opened.saved(made), opened.distribution
            )
        if not opened.distribution.is_chief:  # which writes the run
            return made.path
        with atomic_files.atomic_write(made / weights.BACKBONE_FILE) as temporary:
            backbone.save_weights(temporary)
        last = history[-1]
        atomic_files.write_json(
            made / "ssl_stats.json",
            {
                "backbone": opened.start.name,
                "image_size": size,
                "photos": len(photos),
                "epochs": settings.epochs,
                "loss": last["loss"],
                "loss_first_epoch": history[0]["loss"],
                "loss_without_learning": math.log(2 * settings.batch_size - 1),
                "contrastive_accuracy": last["accuracy"],
                "chance_accuracy": 1 / (2 * settings.batch_size - 1),
                "entropy_nats": last["entropy"],
                "health": panel.summary(),
                "seconds": sum(row["seconds"] for row in history),
                "input_share": input_share.of_run(history),
                "photos_per_second": len(photos) * len(history)
                / sum(row["seconds"] for row in history),
                "seed": config["seed"],
                "data_hash": opened.data_hash,
                "config_hash": configs.config_hash(config),
                "versions": runs.versions(),
            },
        )  # fmt: skip
        if (config.get("logging") or Logging()).tensorboard != "none":
            tensorboard.write_scores(made, config, {name: last.get(name) for name in ENDS})
        made.set_status(runs.FINISHED, seed=config["seed"], parameters=backbone.count_params())
        checkpoint.clear(made)
    return made.path


def _check_chunks(settings, jit_compile):
    """Refuse chunks that aren't equal parts of a batch, or that XLA would have to compile.

    A smaller last chunk would have BatchNorm statistics of fewer photos than all others, and the
    same weight in the moving statistics; and a command's batch can always be divided.
    """
    batch, chunk = settings.batch_size, settings.chunk_size
    if chunk and jit_compile:
        raise UserError(
            f"backbone.jit_compile: XLA can't compile a step in chunks (pretrain.chunk_size "
            f"{chunk}); leave one of them out"
        )
    if not chunk or (chunk > 1 and batch % chunk == 0):
        return
    where = f"pretrain.chunk_size {chunk}"
    if chunk == 1:
        raise UserError(
            f"{where}: BatchNorm would normalise each photo by its own two views; use 2 or more, "
            "or 0 for the whole batch"
        )
    if chunk > batch:
        raise UserError(
            f"{where} is larger than pretrain.batch_size {batch}; use a divisor of the batch size, "
            "or 0 for the whole batch"
        )
    fits = [size for size in range(2, batch + 1) if batch % size == 0]
    near = [*[size for size in fits if size < chunk][-1:], min(s for s in fits if s > chunk)]
    left = f"{batch % chunk} photo{'s' if batch % chunk > 1 else ''}"
    raise UserError(
        f"{where} doesn't divide pretrain.batch_size {batch}: the last chunk would have BatchNorm "
        f"statistics of {left} alone; use {' or '.join(map(str, near))}"
    )


def _say(line):
    print(cli.with_flags(line), file=sys.stderr, flush=True)


def tell(config: dict[str, Any], path: Path) -> None:
    """Print what was pretrained, and what comes next."""
    if cluster.told_by_chief(config["distribution"].strategy):
        return
    stats = runs.read_json(path / "ssl_stats.json")
    print(f"pretrained {stats['backbone']} on {stats['photos']} photos: {path}")
    print(f"  loss {stats['loss']:.3f} (without learning {stats['loss_without_learning']:.3f}), "
          f"contrastive accuracy {stats['contrastive_accuracy']:.3f}")  # fmt: skip
    if stats.get("health"):
        print(f"  health: {stats['health']['light']}, {stats['health']['reason']}")
    words = ["python", "-m", "dermssl.finetune"]
    bare = config["data"].path == EMBEDDED and str(path) == PRETRAINED
    if not bare:
        words += ["--data", config["data"].path, "--weights", str(path)]
    usual = configs.configure("finetune", {})["backbone"]  # without data
    if not bare or (stats["backbone"], stats["image_size"]) != (usual.name, usual.image_size):
        words += ["--backbone", stats["backbone"], "--image-size", str(stats["image_size"])]
    print(f"  next: {shlex.join(words)}")


def _look(config):
    from dermssl.data import first_look

    first_look.check(config["data"])
    cluster.look(config["distribution"].strategy)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("pretrain", __doc__, run, tell, argv, _look)


results.make_callable(__name__, run, results.Pretraining)

if __name__ == "__main__":
    raise SystemExit(main())
