"""Shards: many photos in few TFRecord files, and the index that says where each lies.

A folder of shards has

- `shard-00000-of-00012.tfrecord`, ...: a record is the bytes of a photo's file, or of its mask.
  `tf.data.TFRecordDataset` reads them.
- `index.parquet`: a row a photo or mask, sorted by `id`: its shard, where its bytes begin there,
  how many they are, their SHA-256, and the columns of the record table. The schema's metadata has
  the version, the classes and the bytes of each shard.
- `dermssl_shards.json`: of which photos, with which settings. It is written first.

The id of a photo is its path in the folder that it came from, so that a photo is the same record
here and there. The records lie in a random order: each part of a shard is a fair sample.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import atomic_files, output_folders, taxonomy
from dermssl.core.errors import UserError
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import storage
from dermssl.data.sources.listing import Stored

VERSION = 1
INDEX, MARKER, HOME = "index.parquet", output_folders.SHARDS, "home.json"
HEAD, TAIL = 12, 4  # bytes of a TFRecord around its data: length and its checksum; a checksum
# What a row has besides its place; the same as `records.COLUMNS` and the mask, path is `id`.
TEXTS = (
    "fine", "coarse", "lesion_id", "patient_id", "split", "site", "sex", "skin_tone", "source",
    "mask",
)  # fmt: skip
AGAIN = "delete the folder and write the shards anew"  # the command leaves finished ones alone
_KEY = b"dermssl_shards"


class DamagedShard(OSError):
    """A shard that has other bytes than were written."""


def shard_name(number: int, count: int) -> str:
    """The file name of one of `count` shards.

    Example:

    >>> shard_name(3, 12)
    'shard-00003-of-00012.tfrecord'
    """
    return f"shard-{number:05d}-of-{count:05d}.tfrecord"


def root_of(folder: Path) -> Path:
    """Where the paths of a folder's photos begin: at the index of shards, else at the folder.

    Raises:
        UserError: the shards aren't finished, or not whole.
    """
    if not (folder / MARKER).is_file():
        if (folder / INDEX).is_file() and any(map(is_shard, os.listdir(folder))):
            raise UserError(f"{folder}: shards without their {MARKER}; copy it again, or {AGAIN}")
        return folder
    if not (folder / INDEX).is_file():
        raise UserError(
            f"{folder}: its shards have no {INDEX}, so they aren't finished; give the command that "
            "writes them once more, it goes on"
        )
    return folder / INDEX


def is_shard(name: str) -> bool:
    """Whether a file is a shard, by its name."""
    return bool(re.fullmatch(r"shard-\d{5,}-of-\d{5,}\.tfrecord", name))


def is_index(path: Path | str) -> bool:
    """Whether a root, as of `root_of`, is the index of shards."""
    return os.path.basename(path) == INDEX and os.path.isfile(path)


def fetched(url: str, where: str) -> Path:
    """The index of shards on another file system, copied to this machine: its path.

    The copy is renewed when the original has changed.

    Args:
        url: of the folder.
        where: the setting that names it, for errors.
    """
    url = url.rstrip("/")
    try:
        there = storage.names(url)
    except OSError as error:
        raise UserError(f"{where} {url}: can't be read ({error}); check the address") from error
    if INDEX not in there:
        found = "the shards there aren't finished" if MARKER in there else f"no {INDEX} there"
        raise UserError(
            f"{where} {url}: {found}; on other file systems only the folders of "
            "dermssl.shards can be read"
        )
    folder = _copies() / hashlib.sha256(url.encode()).hexdigest()[:16]
    size, changed = storage.version(f"{url}/{INDEX}")
    home = {"url": url, "bytes": size, "changed": changed}
    try:
        if json.loads((folder / HOME).read_text()) == home and changed:
            return folder / INDEX
    except (OSError, ValueError):  # none yet
        pass
    folder.mkdir(parents=True, exist_ok=True)
    data = storage.read(f"{url}/{INDEX}")
    storage.write(str(folder / INDEX), data)
    atomic_files.write_json(folder / HOME, home)
    return folder / INDEX


def _copies():
    """The folder with the indexes of shards that lie elsewhere."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.path.realpath(caches)) / "dermssl" / "shards"


class Index(Mapping[str, Stored]):
    """Where each photo and mask lies: id -> `Stored`. `load` makes one.

    Attributes:
        file: path of the index.
        home: folder of the shards, perhaps with a scheme.
        info: dict of the schema's metadata: version, classes, shards.
    """

    def __init__(self, file: str) -> None:
        arrow, self.info = _opened(file)
        table = arrow.read(columns=["id", "shard", "at", "bytes", "sha256"]).combine_chunks()
        self.file, self.home = file, _home(file)
        self._rows = dict(zip(table["id"].to_pylist(), range(len(table))))
        self._shard, self._at, self._bytes = (
            table[name].to_numpy() for name in ("shard", "at", "bytes")
        )
        hashes = table["sha256"].chunk(0).buffers()[1] if len(table) else b""
        self._hashes = np.frombuffer(hashes, np.uint8).reshape(-1, 32)[: len(table)]
        self._check_shards()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __getitem__(self, key: str) -> Stored:
        row = self._rows[key]
        size = self._bytes.item(row)
        page = self._shard.item(row) << 32 | self._at.item(row) // storage.PAGE
        return Stored(size, size, None, page)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def read(self, key: str) -> bytes:
        """The bytes of a photo or mask, as they were written.

        Raises:
            DamagedShard: its shard is cut or damaged.
            OSError: its shard isn't there any more.
        """
        row = self._rows[key]
        size = self._bytes.item(row)
        shard = shard_name(self._shard.item(row), len(self.info["shards"]))
        data = storage.read_part(f"{self.home}/{shard}", self._at.item(row), size)
        if len(data) < size:
            raise DamagedShard(f"{shard} is cut")
        if hashlib.sha256(data).digest() != self._hashes[row].tobytes():
            raise DamagedShard(f"{shard} is damaged: these aren't the bytes that were written")
        return data

    def _check_shards(self):
        """All shards are there and as long as they were. (Elsewhere only the first is asked.)"""
        sizes = self.info["shards"]
        there = storage.names(self.home)
        for number, size in enumerate(sizes):
            name = shard_name(number, len(sizes))
            if name not in there:
                gone = sum(shard_name(k, len(sizes)) not in there for k in range(len(sizes)))
                raise UserError(
                    f"{self.home}: {gone} of {len(sizes)} shards are missing, the first is {name}; "
                    f"copy them again, or {AGAIN}"
                )
            if storage.elsewhere(self.home):  # a request each
                continue
            found = os.path.getsize(f"{self.home}/{name}")
            if found != size:
                raise UserError(
                    f"{self.home}/{name}: {found:,} bytes, not the {size:,} of its index; copy it "
                    f"again, or {AGAIN}"
                )


def load(file: Path | str) -> Index:
    """The index in a file, read once as long as it doesn't change.

    Raises:
        UserError: it or its shards can't be used; one line says why.
    """
    info = os.stat(file)
    return _load(os.fspath(file), info.st_mtime_ns, info.st_size)


@functools.lru_cache(maxsize=4)
def _load(file, modified, size):
    return Index(file)


def records(file: Path | str) -> pd.DataFrame:
    """The records in an index: `path`, and the other columns of the record table."""
    arrow, _ = _opened(os.fspath(file))
    columns = ["id", *TEXTS, "age", "is_mask"]
    table = arrow.read(columns=columns).to_pandas()
    table = table[~table.pop("is_mask")].rename(columns={"id": "path"})
    if table["age"].hasnans:  # "" where it isn't known, as all readers have it
        table["age"] = table["age"].astype(object).fillna("")
    if not table["mask"].any():  # then the column says nothing
        table = table.drop(columns="mask")
    return table.reset_index(drop=True)


def classes(file: Path | str) -> Taxonomy | None:
    """The classes of the labels in an index; None without labels."""
    _, info = _opened(os.fspath(file))
    return taxonomy.from_dict(info["classes"], file) if info["classes"] else None


def write_index(
    folder: str, table: pd.DataFrame, sizes: list[int], classes: Taxonomy | None
) -> None:
    """Write the index of shards, which makes them complete.

    Args:
        folder: of the shards.
        table: a row a photo or mask: `id`, `shard`, `at`, `bytes`, `sha256`, `is_mask`, `TEXTS`
            and `age`.
        sizes: bytes of each shard.
        classes: what the labels mean.
    """
    pa, parquet = arrow_modules(folder)
    info = {"version": VERSION, "shards": sizes, "classes": classes and classes.as_dict()}
    fields = [
        ("id", pa.string()), ("shard", pa.int32()), ("at", pa.int64()), ("bytes", pa.int64()),
        ("sha256", pa.binary(32)), ("is_mask", pa.bool_()),
        ("age", pa.from_numpy_dtype(table["age"].dtype)),  # of whole years, they stay so
        *((name, pa.string()) for name in TEXTS),
    ]  # fmt: skip
    schema = pa.schema(fields, metadata={_KEY: json.dumps(info)})
    arrow = pa.Table.from_pandas(table.sort_values("id"), schema, preserve_index=False)
    arrow = arrow.replace_schema_metadata(schema.metadata)
    file = f"{folder}/{INDEX}"
    buffer = pa.BufferOutputStream()
    parquet.write_table(arrow, buffer)
    storage.write(file, buffer.getvalue().to_pybytes())


def arrow_modules(where: Path | str) -> tuple[Any, Any]:
    """pyarrow and its Parquet; `where` names the shards in the error if it isn't installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"{where}: shards need pyarrow; pip install 'dermssl[parquet]', or give a folder of "
            "photos"
        ) from error
    return pyarrow, pyarrow.parquet


def _opened(file):
    """(the Parquet file, its metadata as a dict)."""
    pa, parquet = arrow_modules(file)
    try:
        opened = parquet.ParquetFile(file)
        text = (opened.schema_arrow.metadata or {}).get(_KEY)
        info = json.loads(text) if text else None
    except (OSError, ValueError, pa.ArrowException) as error:
        line = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: damaged or cut ({line}); copy it again, or {AGAIN}") from error
    if info is None:
        raise UserError(f"{file}: not an index of dermssl's shards; move it out of the folder")
    if info["version"] != VERSION:
        raise UserError(
            f"{file}: shards of version {info['version']}, and this dermssl reads version "
            f"{VERSION}; {AGAIN}"
        )
    return opened, info


def _home(file):
    """The folder of the shards: beside the index, or where a copied one is from.

    Only our copies are asked: a data folder is closed, and can't name another place.
    """
    folder = os.path.dirname(file)
    if os.path.dirname(folder) != str(_copies()):
        return folder
    with open(f"{folder}/{HOME}", encoding="utf-8") as home:
        return json.load(home)["url"]
