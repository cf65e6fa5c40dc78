"""Figure of label efficiency: a curve for each arm, and the paired differences."""

import numpy as np
from matplotlib import ticker

from dermssl.evaluation.metric_tables import NAMES
from dermssl.evaluation.run_groups import TITLES
from dermssl.reporting import figures, wording
from dermssl.reporting.arms import looks
from dermssl.reporting.figures import INK, MUTED
from dermssl.studies.label_efficiency.compute import METRIC

SHIFT = 0.012  # of the axis, between two arms at one number of labels: bars must not hide bars


def curve(path, found):
    """Draw a `label_curve.Curve`.

    Args:
        path: of the PNG.
        found: `label_curve.Curve`.
    """
    look = looks(found.compared.arms)
    figure, (top, below) = figures.new(10.4, 7.2, 2, 1, height_ratios=(3, 2), sharex=True)
    _scores(top, found, look)
    _differences(below, found, look)
    counts = sorted({model.members[0].status["n_labels"] for model in found.compared.models})
    below.set_xscale("log")
    below.set_xticks(counts, [f"{n:,}" for n in counts])
    below.xaxis.set_minor_locator(ticker.NullLocator())
    below.set_xlim(counts[0] / 1.35, counts[-1] * 1.35)
    top.tick_params(labelbottom=True)
    figure.suptitle(
        "How much pretraining is worth, by number of labels", x=0.012, ha="left", fontsize=14,
        fontweight="bold", color=INK,
    )  # fmt: skip
    n_seeds = max(len(model.seeds) for model in found.compared.models)
    basis = wording.scope(n_seeds, found.counts, found.compared.split)
    figure.supxlabel(
        f"symbol: mean over seeds · small: single seeds · {basis}", x=0.012, ha="left",
        fontsize=9.5, color=MUTED,
    )  # fmt: skip
    return figures.save(figure, path)


def _scores(axes, found, look):
    name = NAMES[METRIC]
    axes.axhline(found.chance, color=MUTED, linewidth=1.2, linestyle=(0, (2, 3)))
    axes.annotate(
        "chance", (1, found.chance), xycoords=("axes fraction", "data"), xytext=(-4, 4),
        textcoords="offset points", ha="right", fontsize=9, color=MUTED,
    )  # fmt: skip
    arms = found.compared.arms
    for place, arm in enumerate(arms):
        models = [model for model in found.compared.models if model.arm == arm]
        x = np.array([model.members[0].status["n_labels"] for model in models], float)
        x *= _shift(place, arms, found)
        for at, model in zip(x, models):
            seeds = found.by_seed[arm, model.labels]
            axes.scatter(np.full(len(seeds), at), seeds, s=9, color=look[arm][0], alpha=0.6)
        _line(
            axes, x, [found.intervals[arm, model.labels] for model in models], *look[arm],
            TITLES.get(arm, arm),
        )  # fmt: skip
    title = f"{name[0].upper()}{name[1:]}, 95% intervals"
    figures.titled(axes, title, "", name)
    _legend(axes)


def _differences(axes, found, look):
    axes.axhline(0, color=MUTED, linewidth=1.2)
    for place, ((a, b), steps) in enumerate(found.pairs.items()):
        known = [step for step in steps if step.joint is not None]
        x = np.array([step.n_labels for step in known], float) * _shift(place, found.pairs, found)
        label = f"{TITLES.get(a, a)} − {TITLES.get(b, b)}"
        # Held against the baseline a line is whole, against another arm dashed.
        style = "-" if b == found.baseline else "--"
        _line(axes, x, [step.joint for step in known], *look[a], label, style)
    figures.titled(
        axes, "Paired differences, the wider intervals",
        "labels to train on (log scale)", "difference",
    )  # fmt: skip
    if found.pairs:
        _legend(axes)
    else:
        figures.nothing(axes, "only one arm is here")


def _line(axes, x, intervals, colour, marker, label, style="-"):
    """Estimates joined by a line, an interval each where there is one."""
    y = np.array([each.estimate for each in intervals], float)
    bounds = np.array([[each.low, each.high] for each in intervals], float).reshape(-1, 2)
    reach = np.abs(bounds - y[:, None]).T
    axes.errorbar(
        x, y, yerr=reach, color=colour, marker=marker, linestyle=style, linewidth=1.8,
        markersize=6.5, markeredgecolor="white", capsize=3, label=label,
    )  # fmt: skip


def _shift(place, several, found):
    """The factor that moves the bars of one line aside."""
    counts = [model.members[0].status["n_labels"] for model in found.compared.models]
    width = 1.35**2 * max(counts) / min(counts)
    return width ** (SHIFT * (place - (len(several) - 1) / 2))


def _legend(axes):
    """Beside the panel, where it hides nothing."""
    axes.legend(
        loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9.5, frameon=False, labelcolor=INK
    )
