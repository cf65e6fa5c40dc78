"""Figures of the stress test: example photos, and the drop of each condition."""

import textwrap

import numpy as np

from dermssl.reporting import figures

CELL = 1.15  # inches a photo on the contact sheet


def conditions(path, pictures, names, titles):
    """A contact sheet: a row a photo, a column a condition, each named.

    Args:
        path: of the PNG.
        pictures: list (photos) of lists (conditions) of uint8 (h, w, 3) RGB.
        names: what to print beside each row.
        titles: what to print over each column.
    """
    rows, columns = len(pictures), len(titles)
    size = (CELL * columns + 0.9, CELL * rows + 0.5)
    figure, every = figures.new(*size, rows, columns)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for k, axes in enumerate(every):
        row, column = divmod(k, columns)
        axes.imshow(pictures[row][column], interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if row == 0:
            axes.set_title(textwrap.fill(titles[column], 14), fontsize=8, color=figures.INK)
        if column == 0:
            axes.set_ylabel(textwrap.fill(names[row], 16), fontsize=8, color=figures.INK)
    return figures.save(figure, path)


def scores(path, rows, chance, title):
    """Balanced accuracy of every condition, and what it lost against the clean photos.

    Args:
        path: of the PNG.
        rows: list of (title, `shortcuts.Score`), the clean one first.
        chance: balanced accuracy of a guess.
        title: of the picture.
    """
    figure, (left, right) = figures.new(10.2, 1.7 + 0.34 * len(rows), 1, 2, sharey=True)
    places = np.arange(len(rows))
    for place, (_, score) in zip(places, rows):
        colour = figures.INK if score.drop is None else figures.PALETTE[0]
        _whisker(left, place, score.balanced_accuracy, colour)
        if score.drop is not None:
            found = score.drop.is_defined and score.drop.excludes_zero
            _whisker(right, place, score.drop, figures.PALETTE[3] if found else figures.MUTED)
    left.axvline(rows[0][1].balanced_accuracy.estimate, color=figures.MUTED, linewidth=1)
    left.axvline(chance, color=figures.MUTED, linewidth=1, linestyle=(0, (2, 3)))
    right.axvline(0, color=figures.MUTED, linewidth=1)
    figures.titled(left, "balanced accuracy", "solid: clean photos, dotted: chance")
    figures.titled(right, "drop against the clean photos", "to the right: worse")
    left.set_xlim(left=0)
    left.set_yticks(places, [name for name, _ in rows])
    left.invert_yaxis()
    right.tick_params(labelleft=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=figures.INK, fontweight="bold")
    return figures.save(figure, path)


def _whisker(axes, place, interval, colour):
    if interval.is_defined:
        axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=2.2)
    axes.plot(interval.estimate, place, "o", color=colour, markersize=6)
