"""The report of the inflation by a leaky split."""

from dataclasses import asdict

from dermssl.core import atomic_files, runs
from dermssl.reporting import report, results_csv
from dermssl.reporting.figures import INK, MUTED, PALETTE, new, save, titled
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
    report.write(
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
    figure, (axes,) = new(8.4, 1.4 + 0.62 * len(rows))
    for place, row in enumerate(rows):
        for kind, shift, colour in (("clean", -0.12, PALETTE[0]), ("leaky", 0.12, PALETTE[3])):
            found = row[kind]
            if found.is_defined:
                axes.plot([found.low, found.high], [place + shift] * 2, color=colour, linewidth=2)
            axes.plot(
                [found.estimate], [place + shift], "o", color=colour,
                label=f"{'without' if kind == 'clean' else 'with'} twins in training"
                if not place else None,
            )  # fmt: skip
        axes.annotate(
            estimate(row["inflation"]), (1.01, place), xycoords=("axes fraction", "data"),
            va="center", fontsize=9, color=INK, annotation_clip=False,
        )  # fmt: skip
    axes.annotate("inflation", (1.01, -0.6), xycoords=("axes fraction", "data"), fontsize=9,
                  color=MUTED, annotation_clip=False)  # fmt: skip
    labels = [f"{NAMES[row['metric']]}, {row['subset']} (n = {row['n']:,})" for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.4, -0.8)
    titled(axes, f"The same {settings['unit']}s, scored twice", "score (95% interval)")
    axes.legend(fontsize=9, frameon=False, labelcolor=INK, loc="lower left")
    return save(figure, path)
