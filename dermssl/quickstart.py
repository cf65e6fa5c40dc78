"""Run a whole experiment: data, pretraining, fine-tuning, comparison, report.

    python -m dermssl.quickstart                                  # synthetic photos, minutes
    python -m dermssl.quickstart --config experiments/ham10000_small.toml --data HAM10000

An experiment file names the arms (how the backbone starts), the label counts and the
seeds; every combination is one fine-tuning run, all on the same splits. What is finished
is not made again, so the same command resumes where it was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import cli, executor, progress, results
from dermssl.core import config as configs
from dermssl.core.commands import COMMANDS
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.studies.experiment import plan

DEMO = Path(__file__).with_suffix(".toml")
OUTPUT = COMMANDS["quickstart"].output

if TYPE_CHECKING:
    from dermssl.reporting.report import Report


def run(config: dict[str, Any]) -> Path:
    """Run an experiment.

    Args:
        config: settings from `core.config.configure`.

    Returns:
        Path of the comparison's folder, with `ssl_analysis_report.md`.
    """
    return _experiment(config)[0]


def _experiment(config):
    """The comparison's folder, and its report."""
    from dermssl import finetune, model_comparison, pretrain
    from dermssl.data.splits import prepare
    from dermssl.studies.experiment import label_budget

    tables = with_flags(config["tables"] if config["config"] else configs.read_toml(DEMO), config)
    output = Path(config["output"] or OUTPUT)
    started = time.time()
    plan.plan(tables, output, {})  # a mistake in the file shows now, not after the first run
    tables = plan.with_data(tables, output)
    data = configs.build(Data, tables.get("data", {}), "[data]")
    for arm in plan.arms(tables).values():
        plan.check_start(tables, arm)
    progress.log_progress(f"checking the photos in {data.path}")
    dataset = prepare(data)
    splits = dataset.index["split"].value_counts().to_dict()
    shares = ", ".join(f"{n} {split}" for split, n in splits.items())
    progress.log_progress(f"{len(dataset.index)} photos: {shares}")
    jobs = plan.plan(tables, output, splits)
    label_budget.check(jobs, dataset, tables)
    pretrainings = sum(job.is_pretraining for job in jobs)
    progress.log_progress(
        f"{len(jobs)} runs: {pretrainings} pretraining, {len(jobs) - pretrainings} fine-tuning"
    )
    makers = (pretrain.run, finetune.run)
    plan.run_jobs(jobs, makers, dataset, config["overwrite"], config["executor"])
    folders = [output / job.name for job in jobs if not job.is_pretraining]
    keywords = {"output": output / "model_comparison", "one_is_enough": True}
    comparison = configs.from_keywords("model_comparison", (folders,), keywords)
    written = model_comparison.compare(comparison)
    progress.log_progress(f"done in {progress.duration(time.time() - started)}")
    return written


def with_flags(tables: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The experiment's tables with the settings of this command put over them."""
    settings = config["quickstart"]
    tables = {
        key: dict(value) if isinstance(value, dict) else value for key, value in tables.items()
    }
    if settings.data:
        tables["data"] = {**tables.get("data", {}), "path": settings.data}
    arms = plan.arms(tables)
    for name in settings.arms or ():
        if name not in arms:
            raise UserError(f"quickstart.arms {name}: the config has {', '.join(arms)}")
    if settings.imagenet_weights:
        for arm in arms.values():
            if arm["weights"] == "imagenet":
                arm["weights"] = settings.imagenet_weights
    tables["arms"] = {name: arms[name] for name in settings.arms or arms}
    if settings.seeds:
        tables["experiment"] = {**tables.get("experiment", {}), "seeds": settings.seeds}
    return tables


def tell(config: dict[str, Any], written: tuple[Path, Report]) -> None:
    """Print what was found, where the report is, and how to see TensorBoard."""
    from dermssl.reporting import report

    path, findings = written
    print(f"\n{report.to_console(findings)}")
    print(f"report:      {path / 'ssl_analysis_report.md'}")
    print(f"table:       {path / 'performance_comparison.csv'}")
    typed = {"tensorboard": {"folder": config["output"] or OUTPUT}}
    print(f"TensorBoard: {configs.command_line('tensorboard', typed)}")


def _look(config):
    executor.check(config["executor"])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("quickstart", __doc__, _experiment, tell, argv, _look)


results.make_callable(__name__, run, results.Comparison)

if __name__ == "__main__":
    raise SystemExit(main())
