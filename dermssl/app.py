"""Try a run in the browser: drop a photo, see its classes, a heat map and similar lesions.

    python -m dermssl.app outputs/ssl_finetuned
    curl -F file=@PHOTO.jpg http://127.0.0.1:7860/predict

The page shows calibrated probabilities as a tree of coarse and fine classes, the heat map
(Grad-CAM) of the class named, the nearest training lesions (their photos where the run found them),
and warns of photos that the run isn't confident of or that are unlike its own. /predict answers
programs with the same numbers as JSON (/openapi.json describes it), /health says whether the server
answers. One thread runs the network, and 32 requests wait at most; a photo may have 20 MB and 64
million pixels. No photo is written to disk, and neither it nor its name is logged. Only this
machine reaches the page unless --host says otherwise; others then see no training photos. Ctrl-C
ends it. Not for diagnosis.
"""

import contextlib
import importlib.util
import logging
from collections.abc import Sequence
from typing import Any

from dermssl.core import cli, ports, results
from dermssl.core.errors import UserError

# What the extra `app` brings.
NEEDED = ("fastapi", "uvicorn", "python_multipart")


def run(config: dict[str, Any]) -> None:
    """Answer photos until Ctrl-C.

    Raises:
        UserError: no such run, a port that can't be used, or a package that isn't installed.
    """
    _check_installed()
    settings = config["app"]
    with ports.listen(settings.host, settings.port, "app") as listening:
        from dermssl.studies.app import answer, page, server

        local = ports.is_local(settings.host)
        if not local:
            logging.getLogger("dermssl").warning(
                "app.host %s: anyone who reaches the port can use it; they see no training photos",
                settings.host,
            )
        answerer = answer.load(settings.run, settings.data, shows_records=local)
        model = answerer.model
        files = page.render(answerer.taxonomy, model.run, server.MAX_BYTES)
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        app = server.create(answerer, files, model, (*server.LOCAL, shown) if local else ())
        print(f"open http://{shown}:{listening.getsockname()[1]} (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serving(app).run(sockets=[listening])


def _check_installed():
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"dermssl.app needs {name}, which isn't installed; pip install 'dermssl[app]'"
            )


def _look(config: dict[str, Any]) -> None:
    """Refuse a port that can't be used, before the seconds that TensorFlow takes to start."""
    _check_installed()
    ports.listen(config["app"].host, config["app"].port, "app").close()


def tell(config: dict[str, Any], nothing: None) -> None:
    """Say that the server has ended."""
    print("ended")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("app", __doc__, run, tell, argv, _look)


results.make_callable(__name__, run, lambda nothing: None)

if __name__ == "__main__":
    raise SystemExit(main())
