"""Measure with how many labels self-supervised pretraining helps, and where that ends.

    python -m dermssl.label_efficiency --data PHOTOS --arms random ssl imagenet \\
        --labels 1% 10% 100% --seeds 0 1 2

At one seed all arms see the same labels on the same splits, and more labels add to fewer. Writes
a curve with intervals (label_efficiency.png, .csv, .md, .html) and one sentence a pair of arms.
Finished runs are not made again. LABELS: 10 (a class), 5% (of each class) or all.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import cli, executor, progress, results
from dermssl.core import config as configs
from dermssl.core.commands import COMMANDS
from dermssl.core.settings import Data, Finetune
from dermssl.studies.experiment import plan
from dermssl.studies.label_efficiency import arms

if TYPE_CHECKING:
    from dermssl.reporting.report import Report

OUTPUT = COMMANDS["label_efficiency"].output


def run(config: dict[str, Any]) -> Path:
    """Make the runs that are missing, and write the curve.

    Args:
        config: settings from `core.config.configure`; the experiment file's sections pretrain and
            finetune are used, too.

    Returns:
        Path of the folder, with `label_efficiency.md`.

    Raises:
        UserError: bad input, before any training.
        RunFailed: a run diverged; the same call resumes it.
    """
    return _measure(config)[0]


def _measure(config: dict[str, Any]) -> tuple[Path, Report]:
    """The folder, and the report that was written there."""
    from dermssl import finetune, pretrain
    from dermssl.data import class_choice
    from dermssl.data.splits import prepare
    from dermssl.evaluation import contrasts
    from dermssl.studies.experiment import label_budget

    contrasts.check_margin(config["tables"], "label_efficiency")
    settings, tables = config["label_efficiency"], arms.with_settings(config)
    output, started, probe = Path(config["output"] or OUTPUT), time.time(), settings.probe
    # How many labels there are is for the experiment to say, not for [finetune].
    tables = {**tables, "finetune": {**tables.get("finetune", {}), "label_fraction": 1.0}}
    plan.plan(tables, output, {})  # a mistake in the file shows now, not after the first run
    tables = plan.with_data(tables, output)
    tables, left_out = arms.without_missing_weights(tables)
    data = configs.build(Data, tables.get("data", {}), "[data]")
    progress.log_progress(f"checking the photos in {data.path}")
    dataset = prepare(data)
    splits = dataset.index["split"].value_counts().to_dict()
    finetuning = configs.build(Finetune, tables.get("finetune", {}), "[finetune]")
    learnt = class_choice.choose(dataset, finetuning)
    counts = label_budget.count(learnt, plan.amounts(tables))
    shown = ", ".join(f"{amount.key} = {n:,}" for amount, n in counts.items())
    progress.log_progress(f"{len(dataset.index):,} photos; labels to train on: {shown}")
    # A probe has neither batches nor epochs.
    jobs = plan.plan(tables, output, splits, None if probe else counts)
    if probe:
        from dermssl.studies.experiment import linear_probe

        linear_probe.check(learnt)
        jobs, train = (
            linear_probe.replace_finetuning_by_probes(jobs, len(dataset.index)),
            linear_probe.LinearProbeRunner(dataset).run,
        )
    else:
        label_budget.check(jobs, dataset, tables)
        train = finetune.run
    plan.run_jobs(jobs, (pretrain.run, train), dataset, config["overwrite"], config["executor"])
    folders = [output / job.name for job in jobs if not job.is_pretraining]
    findings = _report(folders, output, left_out, settings, config["command"])
    progress.log_progress(f"done in {progress.duration(time.time() - started)}")
    return output, findings


def _report(folders, output, left_out, settings, command):
    """Score the runs, and write and return the report on them."""
    from dermssl.evaluation import run_groups
    from dermssl.reporting import report, results_csv
    from dermssl.studies.label_efficiency import compute, figures
    from dermssl.studies.label_efficiency import report as page

    found = run_groups.gather(folders)
    curve = compute.score(found, settings.n_resamples, settings.margin, settings.primary)
    results_csv.write_rows(output / "label_efficiency.csv", compute.rows(curve))
    results_csv.write_rows(
        output / "label_differences.csv", compute.difference_rows(curve),
        compute.DIFFERENCES,
    )  # fmt: skip
    figures.curve(output / "label_efficiency.png", curve)
    findings = page.build(curve, command, left_out)
    report.write(findings, output, "label_efficiency")
    return findings


def tell(config: dict[str, Any], written: tuple[Path, Report]) -> None:
    """Print what was found, and what comes next."""
    from dermssl.reporting import report

    path, findings = written
    print(report.to_console(findings))
    print(f"report: {path / 'label_efficiency.md'}")
    # Probes and fine-tuning may lie in one folder; they are no runs of one model.
    kind = "probe" if config["label_efficiency"].probe else "finetune"
    print(f"next:   python -m dermssl.model_comparison {shlex.quote(str(path))}/{kind}_*")


def _look(config):
    from dermssl.data import first_look

    executor.check(config["executor"])
    first_look.check(config["data"])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("label_efficiency", __doc__, _measure, tell, argv, _look)


results.make_callable(__name__, run, results.LabelCurve)

if __name__ == "__main__":
    raise SystemExit(main())
