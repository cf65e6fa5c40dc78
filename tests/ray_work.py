"""Work for the workers of a Ray cluster, which import it from here."""

import contextlib
import logging
import os
import signal
import time
from pathlib import Path

from dermssl.core import left_out
from dermssl.core.errors import UserError


class KilledOnce:
    """The work of another; the first process that is in the middle of a group kills itself.

    Args:
        trainer: `GroupTrainer`.
        folder: where it notes the process of each group that it begins.
    """

    def __init__(self, trainer, folder):
        self.trainer, self.folder = trainer, Path(folder)

    def __call__(self, group):
        note(self.folder / "begun", f"{group[0].name} {os.getpid()}")
        self._die_at_the_third_batch()
        return self.trainer(group)

    def _die_at_the_third_batch(self):
        from dermssl.studies.grid.train import SharedCells

        epoch = SharedCells._epoch

        def dying(batches):
            for number, batch in enumerate(batches):
                yield batch
                if number == 2:
                    with contextlib.suppress(FileExistsError):  # only the first process dies
                        (self.folder / "killed").touch(exist_ok=False)
                        os.kill(os.getpid(), signal.SIGKILL)

        SharedCells._epoch = lambda cells, batches, n: epoch(cells, dying(batches), n)


def note(path, line):
    """Add a line to a file that several processes write."""
    with open(path, "a") as file:
        file.write(f"{line}\n")


def lines(path):
    """The lines of a file, none where there is no file."""
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def act(argument):
    """What a task is told to do: (what, folder, name)."""
    what, folder, name = argument
    note(Path(folder) / "begun", name)
    if what == "refuse":
        raise UserError(f"data.path {name}: not found")
    if what == "fail":
        raise ValueError("nobody foresaw this")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "warn":
        left_out.tell(logging.getLogger("dermssl.data"), "2 of 9 photos left out", [("a", "b")])
    if what == "wait":
        try:
            for _ in range(600):
                time.sleep(0.1)
        except KeyboardInterrupt:
            note(Path(folder) / "saved", name)
            raise
    return f"{name} {os.getcwd()}"
