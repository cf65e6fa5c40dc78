"""Show all runs below a folder in TensorBoard, on localhost: for this machine alone.

    python -m dermssl.tensorboard outputs/

Curves, histograms, photos with their probabilities, confusion matrices, heat maps, embeddings,
reports, and under HParams the settings and scores of all runs beside each other. Ctrl-C ends it.
"""

import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results, signals
from dermssl.core.errors import RunFailed, UserError

PORTS = 100  # that are tried for one to name in place of a port in use


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
        raise UserError(f"{folder}: no such folder; give one that holds runs")
    walk = os.walk(folder, followlinks=True)
    if not any("tfevents" in name for _, _, names in walk for name in names):
        raise UserError(
            f"{folder}: no events of TensorBoard in it; give a folder that holds runs, which leave "
            "some unless logging.tensorboard is none"
        )
    _check_port(settings.port)
    cli.quiet_tensorflow()
    from tensorboard import program

    server = program.TensorBoard()
    where = ["--logdir", str(folder), "--host", "localhost", "--port", str(settings.port)]
    server.configure(["tensorboard", *where])
    try:
        return folder, server.launch()
    except program.TensorBoardServerException as error:
        raise RunFailed(f"tensorboard.port {settings.port}: {error}") from error


def _check_port(port):
    reason = _refused(port)
    if reason is None:
        return
    others = (other for other in range(port + 1, 65536) if _refused(other) is None)
    other = next((str(other) for other, _ in zip(others, range(PORTS))), "of another number")
    raise UserError(
        f"tensorboard.port {port}: can't be had ({reason}); use tensorboard.port {other}"
    )


def _refused(port):
    """Why a port can't be listened at; None where it can."""
    try:
        socket.create_server(("localhost", port)).close()
    except OSError as error:
        return os.strerror(error.errno).lower() if error.errno else str(error)
    return None


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
