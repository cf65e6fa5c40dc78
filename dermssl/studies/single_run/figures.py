"""Pictures of the curves of one run: ROC, precision and recall, net benefit."""

import textwrap

import numpy as np

from dermssl.evaluation.subgroups import BALANCED, FEW, SENSITIVITY, SPECIFICITY
from dermssl.reporting import figures
from dermssl.reporting.figures import (
    GRID,
    INK,
    MUTED,
    PALETTE,
    STYLES,
    escape_dollar,
    new,
    nothing,
    save,
    titled,
)
from dermssl.studies.single_run.wording import AXES

AXIS_COLOUR = "#8A95A3"  # an axis such as malignancy, beside the classes it is made of
DASHED = (0, (2, 3))


def roc(path, tables, labels, title):
    """One-vs-rest ROC curves.

    Args:
        path: of the PNG.
        tables: dict of (name, kind) -> table of `curves.roc`; kind "class" or "axis".
        labels: dict of (name, kind) -> (title, its numbers as text).
        title: of the picture.
    """
    figure, axes = _frame()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED)
    for key, table, style in _styled(tables):
        axes.plot(
            1 - table["specificity"], table["sensitivity"], label=_text(*labels[key]), **style
        )
    titled(axes, title, "1 − specificity", "sensitivity")
    return _finish(path, figure, axes, "one against the rest: AUC (95% interval)")


def precision_recall(path, tables, labels, title):
    """Precision against recall, one against the rest; arguments as in `roc`."""
    figure, axes = _frame()
    for key, table, style in _styled(tables):
        # Up to the first threshold's recall the precision is that of the first threshold.
        recall = np.concatenate([[0.0], table["recall"]])
        precision = np.concatenate([table["precision"][:1], table["precision"]])
        axes.plot(recall, precision, label=_text(*labels[key]), drawstyle="steps-pre", **style)
    titled(axes, title, "recall (sensitivity)", "precision")
    return _finish(
        path, figure, axes,
        "one against the rest: average precision (95% interval)\n"
        "n records and their share, which is what a guess gets",
    )  # fmt: skip


def decision(path, questions, split):
    """Net benefit of acting on the model, on everyone, on no one; a panel a question.

    Args:
        path: of the PNG.
        questions: `evaluated.Question`s.
        split: name of the split.
    """
    figure, every = new(0.6 + 5.0 * len(questions), 5.6, 1, len(questions))
    for axes, question in zip(every, questions):
        target = question.target
        basis = f"{target.n_positive:,} of {target.n:,} {split} photos"
        titled(
            axes, textwrap.fill(f"{escape_dollar(target.title)}: {basis}", 46),
            "threshold: act where P is at least this", "net benefit per photo",
        )  # fmt: skip
        if target.n == 0:
            nothing(axes, "no labelled record")
            continue
        share = target.n_positive / target.n
        _benefit(axes, question.benefit)
        lowest = min(table["model"].min() for table in question.benefit.values())
        low = min(-0.02, -0.25 * share, max(1.15 * lowest, -share))
        axes.set(xlim=(0, 1), ylim=(low, max(0.02, 1.15 * share)))
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=9, frameon=False,
            labelcolor=INK,
        )  # fmt: skip
    return save(figure, path)


def _benefit(axes, benefit):
    """The model's curves with the interval of the last, and the two plain policies."""
    table = list(benefit.values())[-1]
    axes.plot(table["threshold"], table["all"], color=MUTED, linewidth=1.4, label="act on all")
    axes.axhline(0, color=INK, linewidth=1.2, linestyle=DASHED, label="act on none")
    if len(benefit) > 1:
        raw = benefit["raw"]
        axes.plot(
            raw["threshold"], raw["model"], color=PALETTE[1], linewidth=1.6, linestyle="--",
            label="model, as predicted",
        )  # fmt: skip
    axes.fill_between(
        table["threshold"], table["model_low"], table["model_high"], color=PALETTE[0], alpha=0.18,
        linewidth=0,
    )  # fmt: skip
    name = "model, as predict gives it" if len(benefit) > 1 else "model, as predicted"
    axes.plot(table["threshold"], table["model"], color=PALETTE[0], linewidth=2, label=name)


def _frame():
    figure, (axes,) = new(11.2, 5.2)
    return figure, axes


def _styled(tables):
    """(key, table, line style) of each curve that exists; classes keep their colours."""
    k = 0
    for key, table in tables.items():
        if key[1] == "axis":
            style = {"color": AXIS_COLOUR, "linewidth": 3.2, "zorder": 1.5}
        else:
            line = STYLES[k // len(PALETTE) % len(STYLES)]
            style = {"color": PALETTE[k % len(PALETTE)], "linewidth": 1.8, "linestyle": line}
            k += 1
        if len(table):
            yield key, table, style


def _text(title, numbers):
    return f"{escape_dollar(textwrap.shorten(title, 38, placeholder=' …'))}: {numbers}"


def _finish(path, figure, axes, heading):
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_box_aspect(1)
    axes.set_anchor("W")  # the legend needs the room on the right
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(1.02, 1.02), fontsize=9.5, frameon=False,
            labelcolor=INK, title=heading, alignment="left",
        )  # fmt: skip
        legend.get_title().set(color=INK, fontsize=9.5)
    else:
        nothing(axes, "no curve: fewer than two classes have records")
    return save(figure, path)


COLOURS = {BALANCED: PALETTE[0], SENSITIVITY: PALETTE[3], SPECIFICITY: PALETTE[2]}


def groups(path, made, basis):
    """The groups of an evaluation.

    Args:
        path: of the PNG.
        made: `evaluated.Evaluation` with groups.
        basis: str, what the numbers rest on.
    """
    asked = made.question
    overall = {BALANCED: made.intervals["balanced_accuracy"].estimate}
    titles = {BALANCED: "balanced accuracy"}
    if asked and "fixed_sensitivity" in asked.found:
        what = figures.escape_dollar(textwrap.shorten(asked.target.title, 30, placeholder=" …"))
        overall[SENSITIVITY] = asked.found["fixed_sensitivity"].estimate
        overall[SPECIFICITY] = asked.found["fixed_specificity"].estimate
        titles |= {SENSITIVITY: f"{what}: sensitivity", SPECIFICITY: f"{what}: specificity"}
    rows, y = [], 0.0
    for axis in dict.fromkeys(group.axis for group in made.groups):
        rows.append((y, axis, None))
        for group in made.groups:
            if group.axis == axis:
                y += 1.0
                rows.append((y, None, group))
        y += 1.4
    figure, every = figures.new(3.2 + 2.9 * len(titles), 1.5 + 0.33 * y, 1, len(titles))
    for axes, (metric, title) in zip(every, titles.items()):
        _panel(axes, rows, metric, overall[metric], made)
        figures.titled(axes, title)
        axes.grid(False, axis="y")
        axes.set(xlim=(-0.03, 1.03), ylim=(rows[-1][0] + 0.7, -0.7), yticks=[])
        axes.spines["left"].set_visible(False)
    _names(every[0], rows)
    figure.supxlabel(
        f"dot: estimate · bar: 95% interval · dashed: all {basis} · hollow: some classes have too "
        f"few lesions here and are left out\ngrey: fewer than {FEW} photos",
        x=0.012, ha="left", fontsize=8.5, color=MUTED,
    )  # fmt: skip
    return figures.save(figure, path)


def _names(axes, rows):
    across = axes.get_yaxis_transform()
    for y, axis, group in rows:
        if group is None:
            title = AXES[axis] + (", years" if axis == "age" else "")
            axes.text(-0.06, y, title, transform=across, ha="right", va="center", fontsize=10,
                      color=INK, fontweight="bold")  # fmt: skip
            continue
        name = textwrap.shorten(group.value, 26, placeholder=" …") or group.value[:24]
        text = f"{figures.escape_dollar(name)}  (n = {group.n:,})"
        axes.text(-0.06, y, text, transform=across, ha="right", va="center", fontsize=9.5,
                  color=MUTED if group.n < FEW else INK)  # fmt: skip


def _panel(axes, rows, metric, overall, made):
    if not np.isnan(overall):
        axes.axvline(overall, color=MUTED, linewidth=1.1, linestyle=(0, (2, 3)), zorder=1)
    for y, _, group in rows:
        if group is None:
            continue
        axes.axhline(y, color=GRID, linewidth=1, zorder=0)
        interval = group.found.get(metric)
        if interval is None or np.isnan(interval.estimate):
            axes.text(0.5, y, "n/a", ha="center", va="center", fontsize=8, color=MUTED)
            continue
        colour = "#9AA5B1" if group.n < FEW else COLOURS[metric]
        hollow = metric == BALANCED and (group.few or group.missing)
        if interval.is_defined:
            axes.plot([interval.low, interval.high], [y, y], color=colour, linewidth=5, alpha=0.35,
                      solid_capstyle="round", zorder=2)  # fmt: skip
        axes.scatter(
            interval.estimate, y, s=46, zorder=3, linewidth=1.6, edgecolor=colour,
            facecolor="white" if hollow else colour,
        )  # fmt: skip
