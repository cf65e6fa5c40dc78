"""Check a data set before training: duplicates, leaks between splits, contradicting labels.

    python -m dermssl.check_data --data PHOTOS

Finds unreadable photos, equal files and pixels, near duplicates (also mirrored, turned, resized or
re-encoded), lesions and patients in two splits, lesions and duplicates with different labels.
Ranks photos that may be off topic. With --run (a pretraining or fine-tuning run) also photos that
its backbone takes for alike, and labels that other lesions' photos speak against, as contact
sheets: suggestions, nothing is removed. Writes a report, and CSV files.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results, runs
from dermssl.core import config as configs
from dermssl.core.errors import RunFailed
from dermssl.data import paths, shard_files


def run(config: dict[str, Any]) -> Path:
    """Audit a data set; returns the folder of the report."""
    from dermssl.studies.data_audit.run import audit_data

    return audit_data(config)


def tell(config: dict[str, Any], path: Path) -> None:
    """Print the findings; where asked for, faults are an error."""
    settings = config["check_data"]
    if settings.show_augmentations:
        print(f"augmentations: {path}")
        return
    summary = runs.read_json(path / "check_data.json")
    for finding in summary["findings"]:
        print(f"- {cli.with_flags(finding)}")
    print(f"report: {path / 'report.md'}")
    print(_next(config, summary))
    if settings.strict and summary["faults"]:
        raise RunFailed(
            f"check_data.strict: {'; '.join(summary['faults'])}; see {path / 'report.md'}"
        )


def _next(config, summary):
    """What to type next."""
    data = _flags(config["data"])
    if summary.get("refused"):
        return f"next: put that right, then python -m dermssl.check_data {data}"
    if summary.get("unreadable") and _is_shards(config["data"].path):
        # A training can't leave single photos of shards out: it doesn't decode them first.
        return (
            f"next: copy the shards again, or {shard_files.AGAIN}; then python -m "
            f"dermssl.check_data {data}"
        )
    if any(summary.get(name) for name in ("missing", "unreadable", "bad_masks")):
        data += "" if "--on-bad" in data else " --on-bad skip"
    return f"next: python -m dermssl.pretrain {data}"


def _is_shards(path):
    return shard_files.is_index(paths.existing_folder(path, "data.path"))


def _flags(data):
    """The settings of the data as they are typed."""
    words = []
    for field in dataclasses.fields(data):
        value = getattr(data, field.name)
        if value != configs.default_of(field):
            words += [f"--{configs.flag_of(field)}"]
            words += map(str, value if isinstance(value, list) else [value])
    return shlex.join(words)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("check_data", __doc__, run, tell, argv)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())
