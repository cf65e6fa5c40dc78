"""Write a folder of photos as a few large files, for 100,000 photos and more.

    python -m dermssl.shards PHOTOS --output SHARDS

SHARDS is a data folder like any other (--data SHARDS), with the same records, labels and splits. It
may lie on another file system: gs://bucket/folder. A photo's bytes stay as they are; --shrink 512
makes them fewer. The same command goes on where it was killed. It needs pyarrow: pip install
'dermssl[parquet]'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dermssl.core import cli, results
from dermssl.core import config as configs

if TYPE_CHECKING:
    from dermssl.data.shard_writer import Written


def run(config: dict[str, Any]) -> str:
    """Write the shards; returns their folder.

    Raises:
        UserError: no photos there, an unreadable one, or something else in the output's folder.
    """
    return _write(config)[0]


def _write(config: dict[str, Any]) -> tuple[str, Written]:
    """The folder, and what lies there."""
    from dermssl.core.errors import UserError
    from dermssl.core.settings import Data
    from dermssl.data import readers, shard_writer

    settings, output = config["shards"], config["output"] or "outputs/shards"
    data = Data(
        path=settings.photos, format=settings.format, taxonomy=settings.taxonomy,
        masks=settings.masks, on_bad=settings.on_bad,
    )  # fmt: skip
    try:
        dataset = readers.read(data)
    except UserError as error:  # the reader names the settings of data
        raise UserError(
            str(error).replace("data.path", "shards.photos").replace("data.", "shards.")
        ) from error
    written = shard_writer.write(
        dataset, output, settings.shrink, settings.shard_mb, settings.on_bad, settings.workers
    )
    return written.folder, written


def tell(config: dict[str, Any], made: tuple[str, Written]) -> None:
    """Print what lies there."""
    folder, written = made
    masks = f" and {written.masks:,} masks" if written.masks else ""
    total = sum(written.sizes) / 2**20
    new = f", {written.new:,} of them new" if written.new < len(written.sizes) else ""
    n = len(written.sizes)
    shards = f"{n:,} shard{'' if n == 1 else 's'}"
    print(f"{written.photos:,} photos{masks} in {shards}{new}, {total:,.1f} MiB")
    if shrink := config["shards"].shrink:
        print(f"photos with a shorter side over {shrink} px were shrunk to it and are JPEGs now")
    print(f"next: {configs.command_line('pretrain', {'data': {'path': folder}})}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("shards", __doc__, _write, tell, argv)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())
