"""What a leaky split is worth, as sentences, a table and a picture."""

from dataclasses import asdict

from dermssl.core import atomic_files, runs
from dermssl.reporting import figures, results_csv, template_pages
from dermssl.reporting.figures import PALETTE
from dermssl.reporting.interval_plot import Mark, Row, interval_plot, rows_height
from dermssl.reporting.wording import count, dropped, estimate, few_groups, number

NAMES = {
    "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy",
    "macro_roc_auc": "macro ROC-AUC",
}  # fmt: skip
BALANCED = ("balanced_accuracy", "macro_roc_auc")  # undefined in draws without some class


def write(folder, rows, predicted, settings):
    """leakage.json, leakage.csv, leakage.png and the report.

    Args:
        folder: Path.
        rows: list of dicts as from `evaluation.leakage.score`.
        predicted: `evaluation.leakage.Predicted`.
        settings: dict: data, unit, photos, groups, with_twins, classes, backbone, ...
    """
    said = [sentence(row, settings) for row in rows if row["metric"] == "balanced_accuracy"]
    kinds = ("clean", "leaky", "inflation")
    numbers = {
        **settings,
        "photos_in_training": predicted.n_train,
        "twins_in_training": predicted.n_twins,
        "scores": [{**row, **{kind: asdict(row[kind]) for kind in kinds}} for row in rows],
        "findings": said,
        "versions": runs.versions(),
    }
    atomic_files.write_json(folder / "leakage.json", numbers)
    cells = []
    for row in rows:
        cell = {name: row[name] for name in ("subset", "metric", "n")}
        for kind in kinds:
            cell |= results_csv.bounds(kind, row[kind])
        cells.append(cell)
    results_csv.write_rows(folder / "leakage.csv", cells)
    _draw(folder / "leakage.png", rows, settings)
    template_pages.write(
        folder / "report.md", "leakage.md", numbers=numbers, rows=rows, names=NAMES,
        settings=settings, notes=notes(rows, settings),
        versions=", ".join(f"{name} {text}" for name, text in numbers["versions"].items()),
    )  # fmt: skip


def notes(rows, settings):
    """What to know before the numbers are believed."""
    said = []
    if settings["left_out"]:
        names = ", ".join(f"{name} ({n})" for name, n in settings["left_out"].items())
        said.append(
            f"Left out, with fewer independent patients or lesions than the {settings['folds']} "
            f"folds: {names}. There, twins would decide whether training knows the class at all."
        )
    said += few_groups(min(row["inflation"].n_clusters for row in rows), "group", " in some rows")
    return said + dropped([row["inflation"] for row in rows if row["metric"] in BALANCED])


def sentence(row, settings):
    """The verdict on one subset; it follows from the interval alone."""
    inflation, name = row["inflation"], NAMES[row["metric"]]
    unit = settings["unit"]
    which = "all" if row["subset"] == "all" else "those with other photos of their own"
    basis = f"{count(row['n'], unit)}, {count(len(settings['seeds']), 'seed')}"
    where = f"Over {which} ({basis})"
    if not inflation.is_defined:
        return f"{where}, nothing can be said of {name}: no interval can be given."
    text = f"95% interval {number(inflation.low)} to {number(inflation.high)}"
    if inflation.excludes_zero and inflation.estimate > 0:
        return (
            f"{where}, a leaky split inflates {name} by {number(inflation.estimate)} ({text}): "
            f"{number(row['leaky'].estimate)} instead of {number(row['clean'].estimate)}."
        )
    if inflation.excludes_zero:
        return f"{where}, twins in training lower {name} by {number(-inflation.estimate)} ({text})."
    return f"{where}, no inflation of {name} found ({number(inflation.estimate)}; {text})."


def _draw(path, rows, settings):
    """Clean and leaky score of each metric and subset, with intervals."""
    shown = [
        Row(
            f"{NAMES[row['metric']]}, {row['subset']} (n = {row['n']:,})",
            [Mark(row["clean"], PALETTE[0]), Mark(row["leaky"], PALETTE[3])],
            estimate(row["inflation"]),
        )
        for row in rows
    ]
    figure, (axes,) = figures.new(8.6, 1.7 + rows_height(shown))
    interval_plot(
        axes, shown, f"The same {settings['unit']}s, scored twice", "score (95% interval)",
        series=("without twins in training", "with twins in training"), note="inflation",
    )  # fmt: skip
    return figures.save(figure, path)
