"""An application of `dermssl.studies.app` behind a real server, in a thread of the test."""

import contextlib
import threading

from dermssl.core import ports
from dermssl.studies.app import server


@contextlib.contextmanager
def served(app):
    """Yields the number of the port that `app` answers at."""
    listening = ports.listen("127.0.0.1", 0, "app")
    serving = server.serving(app)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        serving.should_exit = True
        thread.join(20)
        listening.close()
