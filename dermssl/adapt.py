"""Adapt a run to photos of another place without their labels, and see whether it helps.

    python -m dermssl.adapt outputs/ssl_finetuned --data OTHER_HOSPITAL

BatchNorm statistics are computed anew over half of the photos (AdaBN); no weight changes. Class
shares are re-estimated without labels. With --pretrain-epochs N SimCLR also goes on from the run's
backbone, on these photos and the run's training photos, and the head is trained again on the run's
labels; the same command resumes where it was stopped. Where photos have labels, the other half is
scored before and after: no lesion is in both halves. The run's own test photos are scored, too. The
adapted model is left as a run folder that dermssl.predict and dermssl.evaluate take.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results, runs


def run(config: dict[str, Any]) -> Path:
    """Adapt a run; returns the folder of the adapted run, with its report."""
    from dermssl.core.errors import UserError

    settings = config["adapt"]
    runs.finished(settings.run, command="finetune")
    if not settings.data:
        raise UserError("adapt.data is empty; name the folder with the new place's photos")
    cli.quiet_tensorflow()
    from dermssl import finetune, pretrain
    from dermssl.studies.external.adapt import adapt_run

    return adapt_run(config, (pretrain.run, finetune.run))


def tell(config: dict[str, Any], path: Path) -> None:
    """Print the findings."""
    summary = runs.read_json(path / "adaptation.json")
    for sentence in [*summary["findings"], *(f"note: {text}" for text in summary["notes"])]:
        print(f"- {cli.with_flags(sentence)}")
    print(f"adapted run ({summary['saved']}): {path}")
    print(f"report: {path / 'report.md'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("adapt", __doc__, run, tell, argv)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())
