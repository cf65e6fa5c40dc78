"""Measure how much a leaky split inflates a score: photos of one lesion in training and test.

    python -m dermssl.leakage --data PHOTOS --backbone mobilenet --image-size 96 \\
        --weights RUN_OR_FILE

The same test lesions are scored twice, with and without their other photos in training; the
training sets are equally large. Frozen features of the backbone and a logistic regression keep it
affordable; what a fine-tuned network would memorise is not measured, it has more room to.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results, runs


def run(config: dict[str, Any]) -> Path:
    """Measure the inflation by leaks; returns the folder of the report."""
    from dermssl.studies.leakage.run import measure_leakage

    return measure_leakage(config)


def tell(config: dict[str, Any], path: Path) -> None:
    """Print the findings."""
    for sentence in runs.read_json(path / "leakage.json")["findings"]:
        print(f"- {sentence}")
    print(f"report: {path / 'report.md'}")


def _look(config):
    from dermssl.data import first_look

    first_look.check(config["data"])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("leakage", __doc__, run, tell, argv, _look)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())
