"""Photos that are packed into archives, and files that could hold photos: what to do with them."""

from __future__ import annotations

from pathlib import Path

from dermssl.core import left_out
from dermssl.data import photo_bytes, shard_files

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
DEPTH = 1  # folders below the root in which packed files are looked for


def is_archive(name: str) -> bool:
    """Whether a file is an archive of files, by its name."""
    return name.lower().endswith(ARCHIVES)


def way_out(root: Path) -> str:
    """What is packed in a folder and what to do; "" where nothing is.

    Args:
        root: the data folder.

    Raises:
        UserError: a container of photos can't be read.
    """
    files = sorted(
        file for depth in range(DEPTH + 1) for file in root.glob("*/" * depth + "*")
        if file.is_file() and not file.name.startswith((".", "._"))
    )  # fmt: skip
    zipped = [str(file.relative_to(root)) for file in files if is_archive(file.name)]
    if zipped:
        return f"{', '.join(zipped)} is packed; unpack it first"
    if shards := [file.name for file in files if shard_files.is_shard(file.name)]:
        return (
            f"shards without their {shard_files.INDEX} ({left_out.few(shards)}); copy it again, or "
            f"{shard_files.AGAIN}"
        )
    for file in filter(lambda file: photo_bytes.is_container(file.name), files):
        content = photo_bytes.listing(file)
        if not content.photos:
            inside = [f"{key}: {kind}" for key, kind in content.others.items()] or ["nothing"]
            return (
                f"{file.relative_to(root)} holds no photos ({left_out.few(inside)}); write each to "
                "a dataset of its own (uint8, the bytes of its file), or to a file"
            )
    return ""
