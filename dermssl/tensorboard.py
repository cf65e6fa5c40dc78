"""Show all runs below a folder in TensorBoard, on localhost: for this machine alone.

    python -m dermssl.tensorboard outputs/

Curves, histograms, photos with their probabilities, confusion matrices, heat maps, embeddings,
reports, and under HParams the settings and scores of all runs beside each other. Ctrl-C ends it.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, ports, results, signals
from dermssl.core.errors import RunFailed, UserError


def run(config: dict[str, Any]) -> Path:
    """Start TensorBoard in the background; it ends with this process.

    Raises:
        UserError: no such folder, no events in it, or a port that can't be had.
    """
    return _started(config)[0]


def _started(config: dict[str, Any]) -> tuple[Path, str]:
    """The folder, and the address of the page."""
    settings = config["tensorboard"]
    folder = Path(settings.folder)
    if not folder.is_dir():
        what = "a file" if folder.is_file() else "no such folder"
        raise UserError(f"{folder}: {what}; give a folder that holds runs")
    walk = os.walk(folder, followlinks=True)
    if not any("tfevents" in name for _, _, names in walk for name in names):
        raise UserError(
            f"{folder}: no events of TensorBoard in it; give a folder that holds runs, which leave "
            "some unless logging.tensorboard is none"
        )
    ports.listen("127.0.0.1", settings.port, "tensorboard").close()
    cli.quiet_tensorflow()
    from tensorboard import program

    server = program.TensorBoard()
    where = ["--logdir", str(folder), "--host", "localhost", "--port", str(settings.port)]
    server.configure(["tensorboard", *where])
    try:
        return folder, server.launch()
    except program.TensorBoardServerException as error:
        raise RunFailed(f"tensorboard.port {settings.port}: {error}") from error


def tell(config: dict[str, Any], started: tuple[Path, str]) -> None:
    """Print the address of the page, and wait for Ctrl-C."""
    folder, address = started
    print(f"TensorBoard of {folder}: {address} (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    except signals.Stopped:
        raise
    except KeyboardInterrupt:
        print("ended")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("tensorboard", __doc__, _started, tell, argv)


results.make_callable(__name__, run, results.Result)

if __name__ == "__main__":
    raise SystemExit(main())
