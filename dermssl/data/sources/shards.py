"""Photos in TFRecord shards, by the index beside them; see `data.shard_files`."""

from __future__ import annotations

from dermssl.data import shard_files
from dermssl.data.sources.listing import Listing


def listing(file: str) -> Listing:
    """What is in the shards of an index.

    Raises:
        UserError: the index can't be read, or a shard is missing or cut.
    """
    return Listing(shard_files.load(file), {})


def read(file: str, key: str) -> bytes:
    """The bytes of a photo or mask, checked.

    Raises:
        OSError: they can't be read, or aren't those that were written.
    """
    return shard_files.load(file).read(key)
