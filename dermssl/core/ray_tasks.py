"""Run tasks on a Ray cluster: what the driver does, and what happens in a worker.

Ray places the tasks, and repeats those whose worker was lost. What a task returns arrives at the
driver, which writes it.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import math
import os
import queue
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import atomic_files, cli, progress, runs, signals
from dermssl.core.errors import RunFailed, UserError, one_line

if TYPE_CHECKING:
    from dermssl.core.executor import Task
    from dermssl.core.settings import Executor

log = logging.getLogger("dermssl")

RETRIES = 3  # of a task whose worker was lost
PATIENCE = 30  # seconds that running tasks have to save what they can, when all must end
# Of a Ray of our own. Results are a few MB and soon fetched.
OWN = {"object_store_memory": 200 * 2**20, "include_dashboard": False}
MARKER = ".shared"  # in the folder that tasks write into, while they do


def on_ray(
    work: Callable[[Any], Any],
    tasks: Sequence[Task],
    settings: Executor,
    reads: Sequence[Path],
    writes: Path | None,
    announce: Callable[[Task], None],
) -> Generator[tuple[Task, Any]]:
    """Tasks of a Ray cluster; arguments as in `executor.run`."""
    if not tasks:
        return
    token = uuid.uuid4().hex
    with connected(settings.ray_address) as ray, _marked(writes, token) as marker:
        cpus, gpus = resources(ray.nodes(), settings)
        places = (Path.cwd(), *(Path(path).absolute() for path in reads))
        shared = Shared([ray.put(work)], token, cpus, places, marker, runs.versions())
        call = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_on_worker)
        sent: dict[str | None, Any] = {}
        for task in tasks:
            sent[task.key] = call.remote(shared, task.argument, sent.get(task.after))
        waiting = {sent[task.key]: task for task in tasks}
        sent.clear()  # Ray drops a result when nobody refers to it any more
        told: set[str] = set()
        lost: list[str] = []
        try:
            for ref in _ended(ray, [*waiting]):
                task, outcome = waiting.pop(ref), _outcome(ray, ref)
                _tell_again(outcome.records, told)
                if outcome.lost:
                    lost.append(f"{task.key}: {outcome.lost}")
                    continue
                if outcome.repeats:
                    log.warning("%s: its worker was lost, so that it was repeated", task.key)
                if outcome.error:
                    raise outcome.error
                announce(task)
                yield task, outcome.value
        finally:
            _cancel(ray, [*waiting])
    if lost:
        raise RunFailed(
            f"{len(lost)} of {len(tasks)} tasks lost their worker {RETRIES + 1} times, the first: "
            f"{lost[0]}; the same command makes what is missing"
        )


@dataclass(frozen=True)
class Shared:
    """What all tasks of one call share; `work` is a reference, fetched once a process."""

    work: list
    token: str
    cpus: int
    places: tuple[Path, ...]
    marker: Path | None
    versions: dict[str, str]


@dataclass(frozen=True)
class _Outcome:
    """How a task ended, and how often it was repeated; `lost` says what took its last worker."""

    value: Any = None
    error: UserError | RunFailed | None = None
    lost: str = ""
    repeats: int = 0
    records: list[logging.LogRecord] = field(default_factory=list)


# In a worker: the work of the call that it serves, by token.
_fetched: dict[str, Callable[[Any], Any]] = {}


def _on_worker(shared, argument, before=None):
    """In a Ray worker: the outcome of one task."""
    if before is not None and before.error:
        return before
    records: queue.SimpleQueue = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(records)
    handler.setLevel(logging.WARNING)
    log.addHandler(handler)
    value = error = None
    try:
        look_around(shared)
        value = _fetch(shared)(argument)
    except (UserError, RunFailed) as raised:
        error = raised
    except KeyboardInterrupt:
        # What was interrupted, such as an import, may be half done: the process must not serve
        # again. Ray takes it for lost, and repeats the task elsewhere if it wasn't cancelled.
        os._exit(1)
    finally:
        log.removeHandler(handler)
    return _Outcome(value, error, "", _repeats(), [records.get() for _ in range(records.qsize())])


def _repeats():
    """How often this task was begun before; Ray tells it under no public name."""
    from ray._private import worker

    return worker.global_worker.core_worker.get_current_task_attempt_number()


def look_around(shared):
    """Refuse a node that doesn't see the driver's disk or has other versions."""
    node = f"Ray node {socket.gethostname()}"
    unseen = [path for path in shared.places if not path.exists()]
    if shared.marker and not _holds(shared.marker, shared.token):
        unseen.append(shared.marker.parent)
    if unseen:
        raise UserError(
            f"{node} doesn't see {unseen[0]} as this machine does: photos, weights and output "
            "folders must lie on a disk that all nodes share, under the same path"
        )
    here = runs.versions()
    for name in shared.versions | here:
        if here.get(name) != shared.versions.get(name):
            raise UserError(
                f"{node} has {name} {here.get(name)}, this machine {shared.versions.get(name)}; "
                "install the same versions on all nodes"
            )
    os.chdir(shared.places[0])


def _holds(path, text):
    with contextlib.suppress(OSError):
        return path.read_text() == text
    return False


def _fetch(shared):
    """The work, the same object for all tasks of one process."""
    if shared.token not in _fetched:
        import ray

        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, str(shared.cpus))  # before TensorFlow starts
        cli.quiet_tensorflow()
        _fetched.clear()
        _fetched[shared.token] = ray.get(shared.work[0])
    return _fetched[shared.token]


def _ended(ray, refs):
    """Yields each reference when its task has ended; a signal ends it between two looks."""
    with signals.watch_signals() as watch:
        while refs:
            # Within Ray's wait an exception of a handler would become a plain KeyboardInterrupt.
            with watch.defer_signal():
                ended, refs = ray.wait(refs, num_returns=1, timeout=1)
            yield from ended


def _outcome(ray, ended):
    """The `_Outcome` of a task that has ended; an error that nobody foresaw is raised."""
    try:
        return ray.get(ended)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if "failed to import" in str(cause):
            raise UserError(
                "a node of the Ray cluster can't import dermssl as it is here; install the same "
                f"version on all nodes ({str(cause).strip().splitlines()[-1]})"
            ) from error
        if not isinstance(cause, ray.exceptions.RayError):
            raise cause from error
        return _Outcome(lost=one_line(cause, 200))
    except ray.exceptions.RayError as error:
        return _Outcome(lost=one_line(error, 200))


def _tell_again(records, told):
    """Log here what a worker logged, each line once: runs of an experiment share a data set."""
    for record in records:
        line = record.getMessage()
        if line not in told:
            told.add(line)
            logging.getLogger(record.name).handle(record)


def _cancel(ray, refs):
    """End all tasks: those that wait at once, those that run when they have saved what they can."""
    for ref in refs:
        ray.cancel(ref)
    if refs:
        ray.wait(refs, num_returns=len(refs), timeout=PATIENCE)
    for ref in refs:
        ray.cancel(ref, force=True)


@contextlib.contextmanager
def connected(address):
    """The module `ray`, connected: to the cluster that the caller has, to `address`, or to our own.

    Ray's own cluster on this machine lasts as long as this block.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))  # without end otherwise
    import ray

    if ray.is_initialized():
        yield ray
        return
    own: dict[str, Any] = {} if address else OWN
    with _kept_sigterm():
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = f"executor.ray_address {address}" if address else "executor.engine ray"
            raise UserError(f"{where}: Ray doesn't start ({one_line(error)})") from error
    # What Ray prints of lost workers, paragraphs each; this has no public name.
    ray._private.worker._worker_logs_enabled = False
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _kept_sigterm():
    """Put back the handler of SIGTERM after the block, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _marked(folder, token):
    """A file that holds `token` in `folder` for this block, by which workers know the folder."""
    if folder is None:
        yield None
        return
    path = Path(folder).absolute() / MARKER
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_files.write_text(path, token)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def resources(nodes, settings):
    """(CPU cores, GPUs) of a task: what was asked for, else a node's cores a GPU, and one GPU."""
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    alive = [node for node in alive if node.get("CPU", 0) >= 1]  # a head node may only direct
    gpus = settings.task_gpus
    if gpus < 0:
        gpus = int(any(node.get("GPU", 0) >= 1 for node in alive))
    most = max((int(node.get("GPU", 0)) for node in alive), default=0)
    if gpus > most:
        raise UserError(
            f"executor.task_gpus {gpus}: no node of the Ray cluster has as many (most: {most})"
        )
    fit = [node for node in alive if node.get("GPU", 0) >= gpus]
    if not fit:
        raise UserError("executor.engine ray: no node of the Ray cluster has a CPU for tasks")
    at_once = [int(node["GPU"] // gpus) if gpus else 1 for node in fit]
    cpus = settings.task_cpus or max(1, min(int(node["CPU"] // n) for node, n in zip(fit, at_once)))
    most = max(int(node["CPU"]) for node in fit)
    if cpus > most:
        raise UserError(
            f"executor.task_cpus {cpus}: no node of the Ray cluster has as many (most: {most})"
        )
    running = sum(
        int(min(node["CPU"] // cpus, node["GPU"] // gpus if gpus else math.inf)) for node in fit
    )
    total = int(sum(node["CPU"] for node in fit))
    progress.log_progress(
        f"Ray: {len(fit)} node{'' if len(fit) == 1 else 's'} with {total} CPU cores; tasks of "
        f"{cpus} CPU and {gpus} GPU (executor.task_cpus, executor.task_gpus), {running} at once; a "
        "line as each ends"
    )
    return cpus, gpus
