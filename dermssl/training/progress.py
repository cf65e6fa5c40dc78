"""How far a long prediction has come, for those who sit before a terminal."""

import contextlib

from rich import progress
from rich.console import Console


@contextlib.contextmanager
def counted(title, total):
    """A line on stderr with the time left; nothing where there is no terminal.

    Args:
        title: str, what is being done.
        total: int, how many photos.

    Yields:
        function of the number done so far.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done: None
        return
    columns = [
        progress.TextColumn("{task.description}"), progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(), progress.TimeRemainingColumn(),
    ]  # fmt: skip
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
