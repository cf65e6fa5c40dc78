"""Draw heat maps (Grad-CAM) of what a classifier's predictions rest on.

    python -m dermssl.explain outputs/ssl_finetuned
    python -m dermssl.explain outputs/ssl_finetuned NEW_PHOTO.jpg FOLDER

Without photos it takes the surest hits and misses of the test split and one photo of every class;
at the fine and the coarse level, for the predicted class and, where it is another, the true one.
Writes into RUN/explanations/ (RUN/explained_photos/ for given photos), and the same pictures for
TensorBoard. Not for diagnosis.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results


def run(config: dict[str, Any]) -> Path:
    """Explain photos; returns the folder of the report."""
    from dermssl.studies.explain.run import explain_photos

    return explain_photos(config)


def tell(config: dict[str, Any], path: Path) -> None:
    """Print where the heat maps are."""
    print(f"heat maps: {path / 'report.md'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("explain", __doc__, run, tell, argv)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())
