"""The picture of the flow of exclusions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dermssl.data.records import SPLITS, TRAIN
from dermssl.reporting.figures import INK, MUTED, new, save, wrap

BOX = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": MUTED}


def boxes(numbers: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """The words of the boxes: down the middle, what was left out beside it, and the splits."""
    known = numbers["found"] is not None
    middle = [f"{numbers['found']:,} photos found"] if known else ["photos found: not known"]
    middle.append(f"{numbers['records_in_predictions']:,} records predicted")
    left_out = [numbers["note"]]
    if known:
        left_out = [
            f"{numbers['without_row']:,} without a row",
            f"{numbers['unreadable']:,} unreadable",
        ]
    left_out.append(f"{numbers['left_out_rare_classes']:,} for a rare class")
    splits = []
    for name in SPLITS:
        shown = name != TRAIN or numbers["all_records_predicted"]
        photos = f"{numbers['in_splits'][name]:,} photos" if shown else "not predicted"
        splits.append(f"{name}\n{photos}")
    if numbers["labels_trained_on"] is not None:
        splits[0] += f"\n{numbers['labels_trained_on']:,} labels used"
    return middle, left_out, splits


def flow(path: Path, numbers: dict[str, Any]) -> Path:
    """Boxes and arrows from the photos found to the splits."""
    middle, left_out, splits = boxes(numbers)
    figure, (axes,) = new(8.0, 4.4)
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    words: dict[str, Any] = {
        "ha": "center",
        "va": "center",
        "fontsize": 9.5,
        "color": INK,
        "bbox": BOX,
    }
    axes.text(0.5, 0.92, middle[0], **words)
    axes.text(0.85, 0.72, "left out:\n" + "\n".join(wrap(text, 30) for text in left_out), **words)
    axes.text(0.5, 0.5, middle[1], **words)
    arrow: dict[str, Any] = {"arrowstyle": "->", "color": MUTED}
    axes.annotate("", (0.5, 0.545), (0.5, 0.88), arrowprops=arrow)
    axes.annotate("", (0.72, 0.72), (0.5, 0.72), arrowprops=arrow)
    for x, text in zip((0.16, 0.5, 0.84), splits):
        axes.text(x, 0.14, text, **words)
        axes.annotate("", (x, 0.23), (0.5, 0.455), arrowprops=arrow)
    return save(figure, path)
