"""Score a classifier under artefacts, without the lesion, and with the lesion alone.

    python -m dermssl.stress_test outputs/ssl_finetuned

Every photo of the split is shown clean, with each artefact drawn on it (hair, ruler, ink, ...),
with its lesion erased, and with nothing but its lesion. The drop against the clean photos is
paired. A score clearly above chance without the lesion is reported as a shortcut. Lesions are
erased by the run's masks, or those found below DATA (masks/NAME.png, NAME_segmentation.png), where
there are any, else by a disc in the centre. Writes into RUN/stress_test/.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results, runs


def run(config: dict[str, Any]) -> Path:
    """Stress a finished run; returns the folder of the report."""
    from dermssl.studies.stress.run import stress_run

    return stress_run(config)


def tell(config: dict[str, Any], path: Path) -> None:
    """Print the score under each condition and what follows."""
    from dermssl.reporting import wording
    from dermssl.studies.stress.conditions import title

    settings, summary = config["stress_test"], runs.read_json(path / "stress.json")
    print(f"{settings.run}: {summary['n']} {settings.split} photos, "
          f"chance {summary['chance']:.3f}")  # fmt: skip
    for name, entry in summary["conditions"].items():
        print(
            f"  {title(name):<20} balanced accuracy {wording.of_json(entry['balanced_accuracy'])}"
        )
    for sentence in summary["findings"]:
        print(f"- {sentence}")
    for warning in summary["warnings"]:
        print(f"warning: {warning}")
    print(f"report: {path / 'report.md'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("stress_test", __doc__, run, tell, argv)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())
