"""Export a run's network for another runtime: calibrated probabilities without this package.

    python -m dermssl.export outputs/ssl_finetuned --format onnx
    python -m dermssl.export outputs/ssl_finetuned --format litert --quantize int8

The graph takes square RGB photos in [0, 255] and gives calibrated probabilities of fine and coarse
classes; what can't be in it (decoding, the central square, the resizing) stands in labels.json
with the names of the classes, the thresholds and how photos are to be given. The file is then
loaded in a fresh process and compared with the run on up to 200 of its test photos: in float32 a
probability that differs by more than 1e-4 is an error. Writes into RUN/export_FORMAT/ (or
RUN/export_FORMAT_QUANTIZATION/). Not for diagnosis.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results, runs


def run(config: dict[str, Any]) -> Path:
    """Export a run; returns the folder."""
    from dermssl.studies.export.run import export

    return export(config)


def tell(config: dict[str, Any], path: Path) -> None:
    """Print the comparison, and what is to be done before the network."""
    from dermssl.studies.export import report

    content = runs.read_json(path / "labels.json")
    print(f"exported: {path / content['file']}, checked on {content['checked_on']}")
    print(report.console(content))
    for note in content["notes"]:
        print(f"note: {note}")
    print(cli.with_flags(content["calibration"]["what"]))
    print("before the network, not inside it:")
    for number, step in enumerate(content["before"], start=1):
        print(f"  {number}. {step}")
    for what in content["not_inside"]:
        print(cli.with_flags(f"not in the file: {what}"))
    print(f"classes, thresholds and the rest: {path / 'labels.json'}; report: {path / 'export.md'}")


def _look(config: dict[str, Any]) -> None:
    from dermssl.studies.export import formats

    formats.chosen(config["export"].format, config["export"].quantize)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("export", __doc__, run, tell, argv, _look)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())
