"""Run the tasks of an experiment: one after the other in this process, or on a Ray cluster."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermssl.core import ray_tasks
from dermssl.core.errors import UserError
from dermssl.core.settings import Executor

KNOCK, CONNECT = 5, 30  # seconds that a cluster has to answer, and to take in a process
_PROBE = (
    "import logging, sys, ray\n"
    "try: ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)\n"
    "except (ConnectionError, RuntimeError, ValueError) as error: sys.exit(f'{error}')"
)


@dataclass(frozen=True)
class Task:
    """One piece of work that can be done anywhere.

    Attributes:
        key: its name, in messages; no two tasks share one.
        argument: what the work is called with.
        after: the key of an earlier task that must have ended before, or None.
    """

    key: str
    argument: Any
    after: str | None = None


def run(
    work: Callable[[Any], Any],
    tasks: Sequence[Task],
    settings: Executor,
    reads: Sequence[Path] = (),
    writes: Path | None = None,
    announce: Callable[[Task], None] = lambda task: None,
) -> Generator[tuple[Task, Any]]:
    """Call `work` with the argument of each task.

    Args:
        work: of one argument; what it keeps serves the next tasks of the same process. For Ray it
            must be picklable, and so must what it takes and returns.
        tasks: in an order in which each comes after the one that it waits for.
        settings: which engine, and what a task takes of it.
        reads: files and folders that the work reads.
        writes: folder that the work writes into, None where it only returns.
        announce: called with each task: here as it begins, on Ray as it has ended.

    Yields:
        (task, what `work` returned): here in order, on Ray as they end. Close it (by
        `contextlib.closing`) to cancel what has not ended.

    Raises:
        UserError, RunFailed: as `work` raised it, at once; such a task is not repeated.
        RunFailed: the worker of a task was lost again and again; after all others have ended.

    Example:

    >>> tasks = [Task("two", 2), Task("three", 3)]
    >>> [(task.key, square) for task, square in run(lambda x: x * x, tasks, Executor())]
    [('two', 4), ('three', 9)]
    """
    check(settings)
    yield from ENGINES[settings.engine](work, tasks, settings, reads, writes, announce)


def check(settings: Executor) -> None:
    """Refuse an engine that isn't there, before anything is computed.

    Raises:
        UserError: Ray isn't installed, or no cluster answers at the address in time.
    """
    address = settings.ray_address
    if settings.engine != "ray":
        if address:
            raise UserError(
                f"executor.ray_address {address}: executor.engine is {settings.engine}, which "
                "needs no address; use executor.engine ray, or leave the address out"
            )
        return
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "executor.engine ray: Ray isn't installed; pip install 'dermssl[ray]', or use "
            "executor.engine local"
        )
    if address:
        _knock(address)


def _knock(address):
    """Refuse an address where no cluster answers.

    A process of its own asks: Ray waits for minutes, and may end the process that waits.
    """
    where = f"executor.ray_address {address}"
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or "/" in host or int(port) > 65535:
            raise UserError(f"{where}: give HOST:PORT of the head node, or auto")
        try:
            socket.create_connection((host.strip("[]"), int(port)), KNOCK).close()
        except OSError as error:
            raise UserError(
                f"{where}: nothing answers there ({error}); start a cluster with: ray start --head"
            ) from error
    command = [sys.executable, "-c", _PROBE, address]
    try:
        probe = subprocess.run(command, capture_output=True, text=True, timeout=CONNECT)
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{where}: no Ray cluster answers there within {CONNECT} seconds; give the address "
            "that ray start --head printed"
        ) from None
    if probe.returncode and "AuthToken" in probe.stderr:
        raise UserError(
            f"{where}: that cluster wants a token; set RAY_AUTH_MODE=token, and have the head "
            "node's token (~/.ray/auth_token) here"
        )
    if probe.returncode:
        said = probe.stderr.strip().splitlines() or ["no Ray cluster answers there"]
        raise UserError(f"{where}: {said[-1][:300]}; start one with: ray start --head")


def on_local(
    work: Callable[[Any], Any],
    tasks: Sequence[Task],
    settings: Executor,
    reads: Sequence[Path],
    writes: Path | None,
    announce: Callable[[Task], None],
) -> Generator[tuple[Task, Any]]:
    """One task after the other, in this process; arguments as in `run`."""
    for task in tasks:
        announce(task)
        yield task, work(task.argument)


ENGINES = {"local": on_local, "ray": ray_tasks.on_ray}
