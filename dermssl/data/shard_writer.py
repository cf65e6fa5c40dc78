"""Write shards from the records of any reader, shard by shard; a killed writer goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from dermssl.core import atomic_files, file_locks, left_out, threads
from dermssl.core.errors import UserError
from dermssl.core.progress import Progress
from dermssl.data import decode, masks, paths, photo_bytes, shard_files, storage
from dermssl.data.records import MASK, Dataset, data_hash
from dermssl.data.shard_files import HEAD, INDEX, MARKER, TAIL, TEXTS, shard_name

QUALITY = 95  # of shrunk JPEGs: the training crops are scaled once more
SAMPLE = 64  # photos that are shrunk to know how many bytes all will take

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """What lies in a folder of shards now.

    Attributes:
        folder: of the shards.
        photos, masks: how many of each.
        sizes: bytes of each shard.
        new: shards that this call wrote.
    """

    folder: str
    photos: int
    masks: int
    sizes: list[int]
    new: int


def write(
    dataset: Dataset, folder: str, shrink: int = 0, shard_mb: float = 256, on_bad: str = "error",
    workers: int = 4,
) -> Written:  # fmt: skip
    """Write the photos of a data set, and their masks, into a folder of shards.

    Every photo is decoded once. A shard is there whole or not at all, and one that is there is
    not written again. The shards don't depend on the number of workers.

    Args:
        dataset: as from `readers.read`.
        folder: of the shards, perhaps with a scheme (see `storage`).
        shrink: photos whose shorter side is longer, in pixels, are shrunk to it and written as
            JPEG; 0: every photo's own bytes.
        shard_mb: bytes of a shard, MiB, about.
        on_bad: "error" refuses an unreadable photo or mask, "skip" leaves it out.
        workers: shards at a time.

    Raises:
        UserError: the folder has something else in it, or a photo can't be read.
    """
    folder = (storage.elsewhere(folder) or folder).rstrip("/")
    shard_files.arrow_modules(folder)
    entries = _Entries(dataset, shrink, on_bad)
    parts = entries.parts(shard_mb * 2**20)
    plan = {
        "version": shard_files.VERSION, "data": data_hash(dataset), "shrink": shrink,
        "shard_mb": shard_mb, "on_bad": on_bad,
        # The data hash has the labels, and nothing of what a taxonomy says about them.
        "taxonomy": json.loads(json.dumps(dataset.taxonomy and dataset.taxonomy.as_dict())),
    }  # fmt: skip
    names = [shard_name(number, len(parts)) for number in range(len(parts))]
    with _claimed(folder, plan) as there:
        todo = [] if INDEX in there else [
            number for number, name in enumerate(names) if not {name, f"{name}.json"} <= there
        ]  # fmt: skip

        def written(number):
            _write_shard(entries, parts[number], f"{folder}/{names[number]}")
            return len(parts[number])

        done = sum(map(len, parts)) - sum(len(parts[number]) for number in todo)
        if todo:
            with Progress("shards", sum(map(len, parts)), done) as progress:
                for count in threads.map_in_order(written, todo, workers, ahead=workers):
                    done += count
                    progress.reach(done)
        if INDEX not in there:
            _write_index(entries, folder, names)
        for name in {f"{name}.json" for name in names} & storage.names(folder):
            storage.remove(f"{folder}/{name}")
    file = paths.existing_folder(folder, "run.output")
    index, photos = shard_files.load(file), len(shard_files.records(file))
    return Written(folder, photos, len(index) - photos, index.info["shards"], len(todo))


class _Entries:
    """The photos to write, in a random order that is always the same."""

    def __init__(self, dataset, shrink, on_bad):
        self.dataset, self.shrink, self.on_bad = dataset, shrink, on_bad
        self.files = dataset.files
        self.masks = dataset.mask_files or [""] * len(self.files)
        self.paths = dataset.index["path"].tolist()
        # Several photos may share a mask; it lies beside the first one.
        self.owner: dict[str, int] = {}
        self.order = np.random.Generator(np.random.Philox(key=0)).permutation(len(self.files))
        for row in self.order:
            if self.masks[row]:
                self.owner.setdefault(self.masks[row], int(row))

    def parts(self, size):
        """Rows of each shard, in the order in which they are written; about `size` bytes each."""
        taken = np.array([photo.size for photo in photo_bytes.stored_all(self.files)], float)
        if self.shrink:
            taken[:] = self._shrunk_size() or np.mean(taken)
        for mask, row in self.owner.items():
            taken[row] += photo_bytes.stored(mask).size
        ends = np.cumsum(taken[self.order] + HEAD + TAIL)
        count = max(1, round(ends[-1] / size)) if len(ends) else 1
        cuts = np.searchsorted(ends, ends[-1] / count * np.arange(1, count)) if len(ends) else []
        return [part for part in np.split(self.order, cuts) if len(part)] or [self.order]

    def _shrunk_size(self):
        """Mean bytes of the first photos, shrunk; 0 where none of them can be read."""
        sizes = []
        for row in self.order[:SAMPLE]:
            with contextlib.suppress(decode.BadImage):
                sizes.append(len(self.photo(row)))
        return np.mean(sizes) if sizes else 0

    def photo(self, row):
        """The bytes to write of a photo.

        Raises:
            BadImage: it can't be read.
        """
        file = self.files[row]
        data = _bytes(file)
        pixels = decode.decode(file, strict=True, data=data)
        scale = self.shrink / min(pixels.shape[:2])
        if not self.shrink or scale >= 1:
            return data
        height, width = (max(self.shrink, round(side * scale)) for side in pixels.shape[:2])
        small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


def _bytes(file):
    try:
        if photo_bytes.stored(file).size <= decode.MAX_BYTES:
            return photo_bytes.read(file)
    except OSError:
        pass
    decode.verify(file)  # says what is wrong
    return photo_bytes.read(file)


def _write_shard(entries, rows, file):
    """One shard, then the list of what is in it, which makes it a finished one."""
    import tensorflow as tf

    found: dict[str, Any] = {"rows": [], "bad": []}
    at = 0
    with storage.writing(file) as half, tf.io.TFRecordWriter(half) as writer:

        def add(name, data, is_mask, mask=""):
            nonlocal at
            writer.write(data)
            digest = hashlib.sha256(data).hexdigest()
            found["rows"].append([name, at + HEAD, len(data), digest, is_mask, mask])
            at += HEAD + len(data) + TAIL

        for row in map(int, rows):
            mask = entries.masks[row]
            try:
                data = entries.photo(row)
            except decode.BadImage as error:
                if entries.on_bad == "error":
                    raise UserError(
                        f"{error}; or leave bad images out: shards.on_bad skip"
                    ) from error
                found["bad"].append([entries.files[row], str(error)])
                if mask and entries.owner[mask] == row and entries.masks.count(mask) > 1:
                    add(entries.dataset.index[MASK].iloc[row], photo_bytes.read(mask), True)
                continue
            own = ""
            if mask:
                (own,), messages = masks.usable(
                    [entries.files[row]], [mask], entries.on_bad, "shards.photos"
                )
                found["bad"] += [["", message] for message in messages]
                own = own and entries.dataset.index[MASK].iloc[row]
            add(entries.paths[row], data, False, own)
            if mask and entries.owner[mask] == row:
                add(entries.dataset.index[MASK].iloc[row], photo_bytes.read(mask), True)
    found["size"] = at
    storage.write(f"{file}.json", json.dumps(found).encode())


def _write_index(entries, folder, names):
    """The index, from the lists of all shards."""
    lists = [json.loads(storage.read(f"{folder}/{name}.json")) for name in names]
    columns = ["id", "at", "bytes", "sha256", "is_mask", "mask"]
    frames = [
        pd.DataFrame(found["rows"], columns=columns).assign(shard=number)
        for number, found in enumerate(lists)
    ]
    table = pd.concat(frames, ignore_index=True)
    if table["is_mask"].all():
        bad = [message for found in lists for _, message in found["bad"]]
        raise UserError(f"shards.photos: none of {len(bad)} images is readable, first: {bad[0]}")
    table["sha256"] = [bytes.fromhex(digest) for digest in table["sha256"]]
    known = entries.dataset.index.set_index("path")
    places = known.index.get_indexer(pd.Index(table["id"]))
    places[table["is_mask"].to_numpy(dtype=bool)] = -1
    for name in ("age", *TEXTS):
        if name != "mask":
            values = known[name].to_numpy()
            table[name] = np.append(values, 0 if name == "age" else "")[places]  # -1: the last
    bad = [(path, message) for found in lists for path, message in found["bad"]]
    left_out.tell_bad(log, bad, len(entries.files))
    sizes = [found["size"] for found in lists]
    shard_files.write_index(folder, table, sizes, entries.dataset.taxonomy)


@contextlib.contextmanager
def _claimed(folder, plan):
    """Make a folder, or find it with the shards of the same photos and settings, and hold it.

    Yields the names in it. Nothing is held on another file system, nor where all is written.
    """
    remote = storage.elsewhere(folder)
    free = remote or INDEX in _content(folder, plan)[0]
    with contextlib.nullcontext() if free else file_locks.of_output(folder):
        there, found = _content(folder, plan)  # once more: another process may have been first
        if MARKER not in there and remote:
            _make(folder)
        if found != plan:
            storage.write(f"{folder}/{MARKER}", json.dumps(plan).encode())
        if not remote:
            atomic_files.remove_leftovers(Path(folder))
        yield there


def _content(folder, plan):
    """(names in a folder, its plan or None); others' shards and files are refused."""
    try:
        names = storage.names(folder)
        text = storage.read(f"{folder}/{MARKER}") if MARKER in names else None
    except OSError as error:
        raise UserError(
            f"run.output {folder}: can't be read ({error.strerror or error}); give another folder"
        ) from error
    there = {name for name in names if not name.startswith((".tmp", file_locks.NAME))}
    if text is None and there:
        raise UserError(
            f"run.output {folder}: not empty, and no shards (it has no {MARKER}); give another "
            "folder"
        )
    if text is None:
        return there, None
    try:
        found = json.loads(text)
        same = dict(found)
        if (found["on_bad"], plan["on_bad"]) == ("error", "skip"):
            same["on_bad"] = "skip"  # what is finished had no bad photo
        changed = [name for name in plan if same.get(name) != plan[name]]
    except (ValueError, TypeError, KeyError, AttributeError):
        changed = ["version"]
    if changed:
        raise UserError(
            f"run.output {folder}: shards of other photos or settings "
            f"({', '.join(changed)}); give another folder, or delete this one"
        )
    return there, found


def _make(folder):
    try:
        storage.make_folder(folder)
    except OSError as error:
        raise UserError(
            f"run.output {folder}: can't be made ({error.strerror or error}); give another folder"
        ) from error
