"""The report of an adaptation: before against after, on photos that weren't adapted to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import atomic_files, runs
from dermssl.core.study_settings import Adapt, Evaluate
from dermssl.data.class_map import MALIGNANCY
from dermssl.evaluation.interval import joint_level
from dermssl.reporting import figures, report, results_csv, wording
from dermssl.reporting.figures import MUTED, PALETTE
from dermssl.reporting.interval_plot import Mark, Row, interval_plot, rows_height
from dermssl.studies.external import compute, levels
from dermssl.studies.external.adapt_scores import BEFORE, BOTH, FURTHER, NORM, SHARES, Adaptation

if TYPE_CHECKING:
    from dermssl.inference.finished_run import FinishedRun

TITLES = {SHARES: f"new {SHARES}", NORM: f"new {NORM} statistics"}
COLOURS = {
    BEFORE: MUTED,
    SHARES: PALETTE[1],
    NORM: PALETTE[0],
    BOTH: PALETTE[2],
    FURTHER: PALETTE[3],
}
LOWER = ("log_loss", "brier")
ELSEWHERE, HOME = "new place", "the run's own test"  # whose photos a row of adaptation.csv scores


def write(folder: Path, found: Adaptation, run: FinishedRun, settings: Adapt, command: str) -> None:
    """adaptation.json, adaptation.csv, adaptation.png and the report."""
    rows = _rows(found)
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
            "saved": found.saved,
            "metrics": _as_dicts(found.arms), "differences": _as_dicts(found.differences),
            "differences_to_batchnorm": {n: vars(one) for n, one in found.beyond_norm.items()},
            "home": {"n": found.home.n, "metrics": _as_dicts(found.home.arms),
                     "differences": _as_dicts(found.home.differences)} if found.home else None,
            "further_pretraining": _further(found),
            "shares": shares, "true_shares": found.true, "renamed": found.renamed,
            "versions": runs.versions(),
        },
    )  # fmt: skip
    report.write(build(found, run, settings, command), folder)


def _rows(found):
    """The rows of adaptation.csv."""
    kinds = [(ELSEWHERE, found.arms, found.differences)]
    if found.home:
        kinds.append((HOME, found.home.arms, found.home.differences))
    rows = []
    for photos, arms, differences in kinds:
        for arm, metrics in arms.items():
            for name, one in metrics.items():
                row = {"photos": photos, "metric": name, "arm": arm}
                row |= results_csv.bounds("score", one)
                row |= results_csv.bounds("difference", differences.get(arm, {}).get(name))
                if found.further:
                    beyond = found.beyond_norm.get(name)
                    row |= results_csv.bounds(
                        "difference_to_batchnorm",
                        beyond if (photos, arm) == (ELSEWHERE, FURTHER) else None,
                    )
                rows.append(row)
    return rows


def _as_dicts(scores):
    return {
        arm: {name: vars(one) for name, one in metrics.items()} for arm, metrics in scores.items()
    }


def _level(found):
    return found.level or levels.FINE


def _titles(found, run):
    return levels.taxonomy_at(_level(found), run.taxonomy).titles


def _further(found):
    """The further pretraining in adaptation.json, or None."""
    further = found.further
    if further is None:
        return None
    return {
        "new_photos": further.n_new, "own_photos": further.n_own,
        "epochs": further.recipe.epochs, "batch_size": further.recipe.batch_size,
        "loss": further.loss, "head_epochs": further.head_epochs,
    }  # fmt: skip


def _assumed(found, run):
    return levels.shares_at(_level(found), found.source, run.taxonomy).tolist()


def _estimates(found, run, arm):
    drawn = found.shares[arm]
    return drawn._replace(
        sample=levels.shares_at(_level(found), drawn.sample[:, None], run.taxonomy)[:, 0],
        draws=levels.shares_at(_level(found), drawn.draws, run.taxonomy),
    ).intervals()


def findings(found: Adaptation, run: FinishedRun, settings: Adapt) -> list[str]:
    """One sentence each on BatchNorm, class shares, pretraining, and what changed at all."""
    said = []
    if found.arms:
        name = levels.primary(found.level)
        said.append(_verdict(found, NORM, name, "New BatchNorm statistics"))
        said.append(_verdict(found, SHARES, "log_loss", "Re-estimated class shares alone"))
        if found.further:
            what = "Further pretraining, with a new head"
            said.append(_verdict(found, FURTHER, name, what))
            said.append(_verdict(found, FURTHER, name, f"{what}, against {NORM} alone", NORM))
        for arm in (BEFORE, NORM, *([FURTHER] if found.further else [])):
            for one in found.thresholds[arm]:
                pair = ", ".join(f"{k} {wording.estimate(v)}" for k, v in one.here.items())
                said.append(
                    f"{arm}: at the threshold for {one.title} that keeps "
                    f"{settings.specificity:g} specificity on the run's validation photos "
                    f"(P ≥ {wording.number(one.threshold)}): {pair}."
                )
    if found.home:
        said.append(_at_home(found.home))
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


def _at_home(home):
    """What became of the score on the run's own test photos; numbers, no verdict."""
    name = levels.primary(levels.FINE)
    title = compute.metric_title(levels.FINE, name, Evaluate())
    parts = [
        f"to {wording.estimate(home.arms[arm][name])} with {TITLES.get(arm, arm)} (difference "
        f"{_size(gaps[name])})"
        for arm, gaps in home.differences.items()
    ]
    return (
        f"On {wording.count(home.n, 'test photo')} of the run's own, {title} goes from "
        f"{wording.estimate(home.arms[BEFORE][name])} {' and '.join(parts)}; 95% intervals that "
        "hold one by one."
    )


def _size(gap):
    return wording.estimate(gap, wording.digits(gap) if gap.is_defined else 3)


def _verdict(found, arm, name, what, base=BEFORE):
    before, after = found.arms[base][name], found.arms[arm][name]
    gap = found.verdicts[arm, base]
    title = compute.metric_title(found.level, name, Evaluate())
    text = (
        f"{what}: {title} on {wording.count(found.counts['n_fine'], 'photo')} that weren't adapted "
        f"to goes from {wording.estimate(before)} to {wording.estimate(after)}"
    )
    if not gap.is_defined and gap.estimate == 0:
        return f"{text}: the answers are the same, so nothing tells whether it helps or harms."
    size = f"the difference {_size(gap)}"
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
        n = len(found.verdicts)
        about = "on BatchNorm and on class shares"
        if found.further:
            about = f"that say of {NORM}, class shares and further pretraining what helps"
        said.append(
            f"The findings {about} hold together with 95%, by {100 * joint_level(n):g}% "
            "intervals; those of the tables are 95% ones that hold one by one."
        )
    if not found.place.overlap.empty:
        said.append(
            f"{wording.count(len(found.place.overlap), 'photo')} of this place were photos of the "
            "run (copies or near copies) and left out."
        )
    if found.further:
        said.append(
            "The saved run is that of the further pretraining: the pretrained backbone with the "
            f"new head and its own calibration. Its {NORM} statistics are those of SimCLR's "
            "training, on both places' photos; they were not computed anew for this place alone."
        )
    if not settings.keep_shares:
        has = "no re-estimated class shares" if found.further else (
            "the new BatchNorm statistics and the class shares of the old run"
        )  # fmt: skip
        said.append(f"The saved run has {has}; adapt.keep_shares puts the re-estimated ones in.")
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
        f"both. {_what_was_done(found)}"
    )
    kept = "has the new shares" if settings.keep_shares else "doesn't have the new shares"
    but, once = "", "The run is one training."
    if found.further:
        but = "; the new head has its own, from the run's validation records"
        once = "The run is one training, and so is the further pretraining: another seed differs."
    means = (
        "Balanced accuracy, accuracies and F1 are of the class that predict names, the likeliest "
        "by raw probabilities, which class shares don't change. ROC-AUC, log loss and Brier score "
        "are of the probabilities as predict gives them; the run's calibration was kept, since "
        f"labels would be needed for another{but}. The saved run {kept}. Differences are paired: "
        f"the same photos before and after. {once}"
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
            _home(found.home) if found.home else None,
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


def _what_was_done(found):
    """What the arms are, in words."""
    norm = (
        "BatchNorm's means and variances were computed anew (AdaBN; Li et al. 2016), and class "
        "shares re-estimated by EM (Saerens, Latinne & Decaestecker 2002)."
    )
    further = found.further
    if further is None:
        return f"No weight was changed and nothing was pretrained further: {norm}"
    recipe = further.recipe
    return (
        f"Without a change of weights, {norm} In an arm of its own, SimCLR went on from the run's "
        f"backbone for {wording.count(recipe.epochs, 'epoch')} in batches of {recipe.batch_size}, "
        f"on {wording.count(further.n_new, 'photo')} of those adapted to and the run's own "
        f"{wording.count(further.n_own, 'training photo')}, so that the embedding keeps what the "
        "run's classes are told by. A new head was trained on the run's own labels with this "
        f"backbone frozen (at most {wording.count(further.head_epochs, 'epoch')}; the best by the "
        "run's validation records, on which it was calibrated). What the pretraining does and what "
        "the new head does can't be told apart here."
    )


def _before_after(found, means):
    rows = _score_rows(found.level, found.arms, found.differences)
    if found.further:
        for name, gap in found.beyond_norm.items():
            title = compute.metric_title(found.level, name, Evaluate())
            rows.append([f"{title}, difference to {NORM}", *([""] * (len(found.arms) - 1)), gap])
    for place, one in enumerate(found.thresholds[BEFORE]):
        for name in one.here:
            rows.append(
                [f"{name} ({one.title}) at the kept threshold",
                 *(found.thresholds[arm][place].here[name] for arm in found.arms)]
            )  # fmt: skip
    columns = ["metric", *(TITLES.get(arm, arm) for arm in found.arms)]
    return report.Section(
        "Before and after",
        [
            report.Table(columns, rows),
            report.Figure("adaptation.png", "Scores before and after, and paired differences"),
            report.Text(means),
        ],
    )


def _home(home):
    """The run's own test photos, before and after."""
    text = (
        f"{wording.count(home.n, 'photo')} of the run's own test split, which nothing was trained "
        "on: what the adaptation costs where the run came from. Each model has its own "
        "calibration, without new class shares."
    )
    columns = ["metric", *(TITLES.get(arm, arm) for arm in home.arms)]
    rows = _score_rows(levels.FINE, home.arms, home.differences)
    return report.Section("At home", [report.Text(text), report.Table(columns, rows)])


def _score_rows(level, arms, differences):
    """Of each metric a row of scores, and one of differences to before."""
    rows: list[list[Any]] = []
    for name in arms[BEFORE]:
        title = compute.metric_title(level, name, Evaluate())
        rows.append([title, *(arms[arm].get(name) for arm in arms)])
        rows.append(
            ["difference to before", "", *(_gap(differences[arm].get(name)) for arm in differences)]
        )
    return rows


def _gap(gap):
    """A difference to before; class shares don't change which class is named."""
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
    arms = list(found.arms)
    scores, gaps = [], []
    for name in names:
        title = compute.metric_title(found.level, name, Evaluate())
        marks = [Mark(found.arms[arm][name], COLOURS[arm]) for arm in arms]
        scores.append(Row(title, marks))
        gaps.append(
            Row(title, [Mark(found.differences[arm][name], COLOURS[arm]) for arm in arms[1:]])
        )  # fmt: skip
    figure, (left, right) = figures.new(11.0, 2.4 + 1.7 * rows_height(scores), 1, 2)
    interval_plot(left, scores, "score", "", series=arms)
    interval_plot(right, gaps, "difference to before", "", labels=False)
    figures.vertical(right, 0, style="-")
    figures.headline(figure, f"Adapted to {found.place.name}: {found.counts['n_fine']:,} photos")
    figures.save(figure, path)
