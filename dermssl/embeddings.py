"""Map a run's embeddings of photos in a plane, and show them in TensorBoard's projector.

    python -m dermssl.embeddings outputs/ssl_simclr
    python -m dermssl.embeddings outputs/ssl_finetuned --split test --colour-by site age

For pretraining runs (the photos it was pretrained on) and fine-tuning runs (all that it
predicted). t-SNE by default, --umap as well where umap-learn is installed. Writes into
RUN/embeddings/ and, for the projector, RUN/tensorboard/embeddings/.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results


def run(config: dict[str, Any]) -> Path:
    """Lay out the embeddings of a run's photos; returns the folder of the report."""
    from dermssl.studies.embedding_map.run import map_embeddings

    return map_embeddings(config)


def tell(config: dict[str, Any], path: Path) -> None:
    """Print where the pictures are."""
    print(f"embeddings: {path / 'report.md'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("embeddings", __doc__, run, tell, argv)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())
