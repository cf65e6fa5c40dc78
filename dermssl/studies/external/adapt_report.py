"""The report of an adaptation: before against after, on photos that weren't adapted to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import atomic_files, runs
from dermssl.core.study_settings import Adapt, Evaluate
from dermssl.data.class_map import MALIGNANCY
from dermssl.reporting import figures, report, results_csv, wording
from dermssl.reporting.figures import MUTED, PALETTE
from dermssl.reporting.interval_plot import Mark, Row, interval_plot, rows_height
from dermssl.studies.external import compute, levels

if TYPE_CHECKING:
    from dermssl.inference.finished_run import FinishedRun
    from dermssl.studies.external.adapt import Adaptation

BEFORE, SHARES, NORM, BOTH = ARMS = ("before", "class shares", "BatchNorm", "both")
LOWER = ("log_loss", "brier")


def write(folder: Path, found: Adaptation, run: FinishedRun, settings: Adapt, command: str) -> None:
    """adaptation.json, adaptation.csv, adaptation.png and the report."""
    rows = [
        {
            "metric": name, "arm": arm, **results_csv.bounds("score", one),
            **results_csv.bounds("difference", found.differences.get(arm, {}).get(name)),
        }
        for arm, metrics in found.arms.items()
        for name, one in metrics.items()
    ]  # fmt: skip
    results_csv.write_rows(folder / "adaptation.csv", rows, list(rows[0]) if rows else ["metric"])
    (folder / "adaptation.png").unlink(missing_ok=True)
    if found.arms:
        _draw(folder / "adaptation.png", found)
    shares = {
        arm: [
            {"class": title, "assumed": assumed, **vars(interval)}
            for title, assumed, interval in zip(
                _titles(found, run), _assumed(found, run), _estimates(found, run, arm)
            )
        ]
        for arm in found.shares
    }
    atomic_files.write_json(
        folder / "adaptation.json",
        {
            "run": str(run.path), "data": found.place.path, "command": command,
            "adapted_to": len(found.adapted_to), "scored": found.counts.get("n_fine", 0),
            "level": found.level, "left_out": found.place.left_out,
            "findings": findings(found, run, settings), "notes": notes(found, settings),
            "metrics": {arm: {name: vars(one) for name, one in metrics.items()}
                        for arm, metrics in found.arms.items()},
            "differences": {arm: {name: vars(one) for name, one in metrics.items()}
                            for arm, metrics in found.differences.items()},
            "shares": shares, "true_shares": found.true, "renamed": found.renamed,
            "versions": runs.versions(),
        },
    )  # fmt: skip
    report.write(build(found, run, settings, command), folder)


def _level(found):
    return found.level or levels.FINE


def _titles(found, run):
    return levels.taxonomy_at(_level(found), run.taxonomy).titles


def _assumed(found, run):
    return levels.shares_at(_level(found), found.source, run.taxonomy).tolist()


def _estimates(found, run, arm):
    drawn = found.shares[arm]
    return drawn._replace(
        sample=levels.shares_at(_level(found), drawn.sample[:, None], run.taxonomy)[:, 0],
        draws=levels.shares_at(_level(found), drawn.draws, run.taxonomy),
    ).intervals()


def findings(found: Adaptation, run: FinishedRun, settings: Adapt) -> list[str]:
    """One sentence each on BatchNorm, class shares, and what changed at all."""
    said = []
    if found.arms:
        name = levels.primary(found.level)
        said.append(_verdict(found, NORM, name, "New BatchNorm statistics"))
        said.append(_verdict(found, SHARES, "log_loss", "Re-estimated class shares alone"))
        for arm in (BEFORE, NORM):
            for one in found.thresholds[arm]:
                pair = ", ".join(f"{k} {wording.estimate(v)}" for k, v in one.here.items())
                said.append(
                    f"{arm}: at the threshold for {one.title} that keeps "
                    f"{settings.specificity:g} specificity on the run's validation photos "
                    f"(P ≥ {wording.number(one.threshold)}): {pair}."
                )
    said.append(f"{found.renamed:.0%} of the photos are called another class by the adapted model.")
    titles = _titles(found, run)
    k = titles.index("malignant") if found.level == MALIGNANCY else 0
    pairs = [f"{arm} {wording.estimate(_estimates(found, run, arm)[k])}" for arm in found.shares]
    true = found.true.get(titles[k])
    text = (
        f"Share of {titles[k]} re-estimated without labels: {', '.join(pairs)}; the run assumes "
        f"{wording.number(_assumed(found, run)[k])}"
    )
    if true is not None:
        text += f", true among the scored photos: {wording.number(true)}"
    return [*said, f"{text}."]


def _verdict(found, arm, name, what):
    before, after = found.arms[BEFORE][name], found.arms[arm][name]
    gap = found.verdicts[arm]
    title = compute.metric_title(found.level, name, Evaluate())
    text = (
        f"{what}: {title} on {wording.count(found.counts['n_fine'], 'photo')} that weren't adapted "
        f"to goes from {wording.estimate(before)} to {wording.estimate(after)}"
    )
    size = f"the difference {wording.estimate(gap, wording.digits(gap) if gap.is_defined else 3)}"
    if not (gap.is_defined and gap.excludes_zero):
        return f"{text}; {size} isn't shown to help or harm."
    better = (gap.low > 0) != (name in LOWER)
    return f"{text}; {size}: it {'helps' if better else 'harms'} here."


def notes(found: Adaptation, settings: Adapt) -> list[str]:
    """What to know before the numbers are trusted."""
    said = list(found.notes)
    if found.arms:
        counts = found.counts
        said += wording.few_groups(counts["n_groups"], counts["grouped_by"])
        said += wording.without_ids(counts["grouped_by"])
        said.append(
            "The findings on BatchNorm and on class shares hold together with 95%, by 97.5% "
            "intervals; those of the table are 95% ones that hold one by one."
        )
    if not found.place.overlap.empty:
        said.append(
            f"{wording.count(len(found.place.overlap), 'photo')} of this place were photos of the "
            "run (copies or near copies) and left out."
        )
    if not settings.keep_shares:
        said.append(
            "The saved run has the new BatchNorm statistics and the class shares of the old run; "
            "the setting keep_shares puts the re-estimated ones in."
        )
    return said


def build(
    found: Adaptation, run: FinishedRun, settings: Adapt, command: str
) -> report.Report:  # fmt: skip
    """The report."""
    how = (
        f"{wording.count(len(found.adapted_to), 'photo')} of {report.code(found.place.path)} were "
        f"adapted to, without their labels; {len(found.scored):,} others are scored"
        f"{f' as {levels.TITLES[found.level]}' if found.level else ''}. Lesions, or patients where "
        f"known, were dealt by label, {settings.share:.0%} of them to the first set: none is in "
        "both. No weight was changed and nothing was pretrained further: BatchNorm's means and "
        "variances were computed anew (AdaBN; Li et al. 2016), and class shares re-estimated by EM "
        "(Saerens, Latinne & Decaestecker 2002)."
    )
    kept = "has them" if settings.keep_shares else "doesn't have them"
    means = (
        "Balanced accuracy, accuracies and F1 are of the class that predict names, the likeliest "
        "by raw probabilities, which class shares don't change. ROC-AUC, log loss and Brier score "
        "are of the probabilities as predict gives them; the run's calibration was kept, since "
        f"labels would be needed for another. The saved run {kept}. Differences are paired: the "
        "same photos before and after. The run is one training."
    )
    return report.Report(
        f"{run.path.name} adapted to {found.place.name}",
        [
            report.Text(how),
            report.Warnings(notes(found, settings)),
            report.Findings(findings(found, run, settings)),
        ],
        [
            _before_after(found, means) if found.arms else None,
            report.Section(
                "Class shares", [_share_table(found, run), report.Text(
                    "Of the photos adapted to; the true ones are of those scored. EM is wrong "
                    "where a class's photos look different in the new place."
                )],
            ),
        ],
        provenance=[
            "Numbers in full: `adaptation.json`, `adaptation.csv`.",
            f"Intervals: bootstrap, {settings.n_resamples:,} draws of whole lesions or patients.",
            f"Adapted from {report.code(run.path)}, {report.hashes(run.status)}.",
            *([f"This page: {report.code(command)}"] if command else []),
        ],
    )  # fmt: skip


def _before_after(found, means):
    names = list(found.arms[BEFORE])
    rows: list[list[Any]] = []
    for name in names:
        title = compute.metric_title(found.level, name, Evaluate())
        rows.append([title, *(found.arms[arm].get(name) for arm in ARMS)])
        rows.append(["difference to before", "", *(_gap(found, arm, name) for arm in ARMS[1:])])
    for place, one in enumerate(found.thresholds[BEFORE]):
        for name in one.here:
            rows.append(
                [f"{name} ({one.title}) at the kept threshold",
                 *(found.thresholds[arm][place].here[name] for arm in ARMS)]
            )  # fmt: skip
    columns = ["metric", BEFORE, f"new {SHARES}", f"new {NORM} statistics", BOTH]
    return report.Section(
        "Before and after",
        [
            report.Table(columns, rows),
            report.Figure("adaptation.png", "Scores before and after, and paired differences"),
            report.Text(means),
        ],
    )


def _gap(found, arm, name):
    """The difference to before; class shares don't change which class is named."""
    gap = found.differences[arm].get(name)
    return "none" if gap and gap.estimate == 0 and not gap.is_defined else gap


def _share_table(found, run):
    estimates = {arm: _estimates(found, run, arm) for arm in found.shares}
    rows = [
        [title, assumed, *(one[k] for one in estimates.values()), found.true.get(title)]
        for k, (title, assumed) in enumerate(zip(_titles(found, run), _assumed(found, run)))
    ]
    columns = ["class", "assumed by the run", *(f"re-estimated, {arm}" for arm in estimates),
               "true"]  # fmt: skip
    number = [report.Column(title) for title in columns[:-1]]
    return report.Table([*number, report.Column("true", format=wording.number)], rows)


def _draw(path, found):
    names = [name for name in found.arms[BEFORE] if name not in LOWER]
    colours = (MUTED, PALETTE[1], PALETTE[0], PALETTE[2])
    scores, gaps = [], []
    for name in names:
        title = compute.metric_title(found.level, name, Evaluate())
        marks = [Mark(found.arms[arm][name], c) for arm, c in zip(ARMS, colours)]
        scores.append(Row(title, marks))
        gaps.append(
            Row(title, [Mark(found.differences[arm][name], c)
                        for arm, c in zip(ARMS[1:], colours[1:])])
        )  # fmt: skip
    figure, (left, right) = figures.new(11.0, 2.4 + 1.7 * rows_height(scores), 1, 2)
    interval_plot(left, scores, "score", "", series=ARMS)
    interval_plot(right, gaps, "difference to before", "", labels=False)
    figures.vertical(right, 0, style="-")
    figures.headline(figure, f"Adapted to {found.place.name}: {found.counts['n_fine']:,} photos")
    figures.save(figure, path)
