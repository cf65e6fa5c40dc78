"""The photos that a run's tables name, found again on the disk."""

from pathlib import Path

import numpy as np

from dermssl.core.errors import UserError
from dermssl.data import masks, paths, preprocess
from dermssl.data.photos import Photos
from dermssl.data.records import COLUMNS, MASK, Dataset


def dataset(table, taxonomy, config, moved=None):
    """The records of a run's predictions.csv or pool.csv as a `Dataset` with files.

    Args:
        table: DataFrame with the columns of `index.COLUMNS`, `path` relative to the data folder.
        taxonomy: `Taxonomy` or None.
        config: dict, the run's [data] section.
        moved: the data folder now, if it isn't where the run found it.

    Returns:
        `Dataset`, its rows in the order of the table.

    Raises:
        UserError: the folder or a photo isn't there; a path leads out of the folder.
    """
    path = moved or config["path"]
    try:
        root = paths.existing_folder(path, "--data")
    except UserError as error:
        if moved:
            raise
        raise UserError(
            f"{path}: the run's photos aren't there any more; say where with --data"
        ) from error
    index = table[[name for name in (*COLUMNS, MASK) if name in table]].reset_index(drop=True)
    second = _second(config)
    there = np.array([_is_there(root, name, second) for name in index["path"]], dtype=bool)
    if not there.all():
        gone = index["path"][~there]
        raise UserError(
            f"--data {root}: {len(gone)} of {len(index)} photos of the run aren't there, "
            f"such as '{gone.iloc[0]}'; give the folder the run was made with"
        )
    if MASK in index:
        index[MASK] = _masks(root, index[MASK], second, config)
    return Dataset(root, index, taxonomy)


def _masks(root, column, second, config):
    """The column `mask` without files that aren't there; a run that crops must have them."""
    there = [not name or _is_there(root, name, second) for name in column]
    if not all(there) and preprocess.CROP in (config.get("preprocess") or ()):
        gone = column[~np.array(there, dtype=bool)]
        raise UserError(
            f"--data {root}: {len(gone)} masks of the run aren't there, such as "
            f"'{gone.iloc[0]}'; it learnt from photos cropped to them, so put them back"
        )
    return column.where(there, "")


def _second(config):
    """The real path of the run's --unlabelled folder, or None."""
    if not config.get("unlabelled") or not Path(config["unlabelled"]).expanduser().is_dir():
        return None
    return paths.existing_folder(config["unlabelled"], "--unlabelled")


def _is_there(root, name, second):
    """Whether a photo is below the data folder, or below the run's second one."""
    real = Path(root, name).resolve()
    inside = paths.is_inside(root, str(real)) or (second and paths.is_inside(second, str(real)))
    return bool(inside) and real.is_file()


def photos(dataset, config, size, cache_mb=0, prepared=True):
    """The photos of a data set as the run saw them.

    Args:
        dataset: `Dataset`, from `dataset`.
        config: dict, the run's [data] section. What it says under "preprocess" is done again.
        size: int, side of the network's input.
        cache_mb: int, memory to use, MiB.
        prepared: False to crop at most, and leave the other steps to the caller.

    Returns:
        `pipeline.Photos`.
    """
    steps = config.get("preprocess") or []
    if not prepared:
        steps = [name for name in steps if name == preprocess.CROP]
    found = masks_of(dataset) if preprocess.CROP in steps else None
    return Photos(dataset.files, size, cache_mb, steps=steps, mask_files=found)


def masks_of(dataset):
    """The mask of each photo: list of full paths, "" for none.

    Those that the run used. Where its tables have no masks, what the data folder says now.
    """
    if MASK in dataset.index:
        return dataset.mask_files
    found = masks.MaskIndex(dataset.root).of(dataset.index["path"])
    return [str(dataset.root / path) if path else "" for path in found]


def stratified_subset(labels, count, seed=0):
    """Positions of at most `count` records, as evenly over the classes as they allow.

    Every class is shuffled by the seed alone, then each gives one record in turn until there
    are enough; so a smaller count is a subset of a larger one.

    Args:
        labels: sequence (n,) of hashable labels.
        count: int; 0 takes all.
        seed: int.

    Returns:
        int64 array, ascending.
    """
    labels = np.asarray(labels)
    if not count or count >= len(labels):
        return np.arange(len(labels))
    shuffled = np.random.Generator(np.random.Philox(key=seed)).permutation(len(labels))
    turn = np.zeros(len(labels), dtype=np.int64)
    for name in np.unique(labels):
        own = shuffled[labels[shuffled] == name]
        turn[own] = np.arange(len(own))
    place = np.empty_like(shuffled)
    place[shuffled] = np.arange(len(labels))
    return np.sort(np.lexsort((place, turn))[:count])
