"""A run's folder: its lock, its settings and its status.

Nothing else in the package writes into outputs/. Files are written by `dermssl.core.atomic_files`,
whole or not at all; its functions can be had from here.
"""

import contextlib
import dataclasses
import json
import logging
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w

from dermssl.core import config as configs
from dermssl.core import errors, file_locks, memory, signals
from dermssl.core.atomic_files import remove_leftovers, write_json, write_text
from dermssl.core.commands import SECTIONS
from dermssl.core.errors import RunFailed, UserError

log = logging.getLogger("dermssl")

STATES = ("RUNNING", "FINISHED", "FAILED", "DIVERGED", "KILLED")
RUNNING, FINISHED, FAILED, DIVERGED, KILLED = STATES
CHECKPOINTS = "checkpoints"
NO_MEMORY = "out_of_memory"  # in status.json: what a run failed of
# What is said of a run lies in its folder, and is not true of the next one there.
DERIVED_OUTPUTS = (
    "evaluation_train", "evaluation_validation", "evaluation_test", "stress_test", "explanations",
    "explained_photos", "embeddings", "forms", "tensorboard", "health.json", "external",
    "external_*", "export_*", "likeness.npz",
)  # fmt: skip
BACKBONE_FILE = "backbone.weights.h5"  # of a pretraining run; naming it means its run
PACKAGES = ("dermssl", "tensorflow", "keras", "numpy", "pandas", "scikit-learn", "pillow")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


class Run:
    """An open, locked run folder. Use `open_run` to make one."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.started = time.time()
        self.stop = signals.Watch()
        self.listeners: list[Callable[[list[dict[str, Any]]], None]] = []  # get the history

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def status(self) -> dict[str, Any]:
        """The content of status.json as a dict; empty if there is none."""
        return read_json(self / "status.json") if (self / "status.json").exists() else {}

    def set_status(self, state: str, **details: Any) -> None:
        """Replace status.json, keeping what it said before and is not said anew."""
        entry = {"seconds": round(time.time() - self.started, 1)}
        write_json(self / "status.json", {**self.status, "status": state, **entry, **details})


def read_json(path: Path | str) -> dict[str, Any]:
    """A JSON object from a file of a run, or a `UserError` that names it."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: can't be read ({error.strerror}); is this the folder of a finished run?"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); the run must be made again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no JSON object; the run must be made again")
    return found


def is_finished(
    path: Path | str,
    command: str,
    config: dict[str, Any],
    data_hash: str,
    start: str = "none",
    classes: str = "",
) -> bool:
    """Whether `path` holds this very run, finished; a different run there is refused.

    For a look before anything is made; arguments as in `open_run`.
    """
    before = Run(path).status
    if before and not _holds_nothing(path, before):
        _refuse_difference(path, before, _identity(command, config, data_hash, start, classes))
    return before.get("status") == FINISHED


def _identity(command, config, data_hash, start, classes):
    tables = configs.as_tables(config)
    found = {"command": command, "data_hash": data_hash, "start": start, "config": tables}
    return found | ({"classes": classes} if classes else {})


@contextlib.contextmanager
def open_run(
    path: Path | str,
    command: str,
    config: dict[str, Any],
    data_hash: str,
    overwrite: bool = False,
    start: str = "none",
    classes: str = "",
) -> Iterator[Run]:
    """Open a run's folder for writing, and hold its lock until the block ends.

    A folder that holds the same run is continued; one that holds another (a changed
    setting, seed or data set) is refused with the difference, unless `overwrite`.
    A block that raises leaves the status FAILED (or KILLED, for Ctrl-C) with the reason.

    Args:
        path: the folder; made if missing.
        command: the command's name, e.g. "pretrain".
        config: dict as from `dermssl.core.config.from_flags`.
        data_hash: str, from `dermssl.data.records.data_hash`.
        start: str, the weights it starts from, from `dermssl.models.weights.fingerprint`.
        classes: str, from `Taxonomy.fingerprint`; "" where a run has none.
        overwrite: replace what is there, and remove `DERIVED_OUTPUTS`.

    Yields:
        `Run`. `run.status["status"] == "FINISHED"` means there is nothing left to do.
    """
    run = Run(path)
    with file_locks.of_output(path):
        identity = _identity(command, config, data_hash, start, classes)
        if overwrite and (run / "status.json").exists():  # else it is nobody's, and not ours
            remove_derived(run.path)
        before = {} if overwrite else run.status
        if _holds_nothing(path, before):
            before = {}
        if before:
            _refuse_difference(path, before, identity)
        else:
            # First of all: a kill must not leave new files under an old "FINISHED".
            (run / "status.json").unlink(missing_ok=True)
            shutil.rmtree(run / CHECKPOINTS, ignore_errors=True)
            write_text(run / "config.toml", tomli_w.dumps(identity["config"]))
            details = {"config_hash": configs.config_hash(config), "versions": versions()}
            run.set_status(RUNNING, **identity, **details)
        remove_leftovers(run.path)
        if before and before["status"] != FINISHED:
            run.started -= before.get("seconds") or 0
            again = {NO_MEMORY: False} if NO_MEMORY in before else {}
            run.set_status(RUNNING, reason=None, **again)
        try:
            with signals.watch_signals() as run.stop:
                yield run
        except KeyboardInterrupt as stopped:
            _end(run, KILLED, str(stopped) or "interrupted")
            raise
        except RunFailed as error:
            no_memory = {NO_MEMORY: True} if isinstance(error, memory.OutOfMemory) else {}
            _end(run, FAILED, str(error), **no_memory)
            raise
        except BaseException as error:
            if memory.is_out_of_memory(error):
                said = memory.message(config)
                _end(run, FAILED, said, **{NO_MEMORY: True})
                raise memory.OutOfMemory(said) from error
            _end(run, FAILED, errors.one_line(error))
            raise


def remove_derived(folder: Path) -> None:
    """Remove what is said of a run in a folder that another one takes the place of."""
    for path in [path for name in DERIVED_OUTPUTS for path in folder.glob(name)]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _end(run, state, reason, **details):
    """Say in status.json why a run ended early, unless it had ended in its own way before."""
    with contextlib.suppress(RunFailed):  # a full disk must not hide the error itself
        if run.status.get("status") == RUNNING:
            run.set_status(state, reason=reason, **details)


def _holds_nothing(path, before):
    """Whether a run ran out of memory before it saved anything.

    It was told to take smaller settings, and loses nothing when it does.
    """
    checkpoints = Path(path) / CHECKPOINTS
    saved = checkpoints.is_dir() and any(checkpoints.iterdir())
    return before.get("status") == FAILED and before.get(NO_MEMORY) and not saved


def _refuse_difference(path, before, now):
    """Raise a `UserError` that shows the first settings in which two runs differ."""
    old, new = _flat(before), _flat(now)
    _refuse_other_version(path, before.get("config") or {}, " with run.overwrite")
    keys = [key for key in new | old if old.get(key) != new.get(key)]
    if keys:
        shown = "; ".join(
            f"{key}: {old.get(key)!r} there, {new.get(key)!r} now" for key in keys[:3]
        )
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        raise UserError(
            f"run.output {path}: holds a different run ({shown}{more}); "
            "choose another run.output, or run.overwrite"
        )


def _flat(identity):
    names = {"command": "command", "data": "data_hash", "starting weights": "start"}
    flat = {name: identity.get(key) for name, key in (names | {"taxonomy": "classes"}).items()}
    for section, value in configs.comparable(identity.get("config", {})).items():
        if isinstance(value, dict):
            later = {
                field.name: configs.default_of(field)
                for field in (dataclasses.fields(SECTIONS[section]) if section in SECTIONS else ())
                if field.metadata["added"]
            }
            flat |= {f"{section}.{key}": item for key, item in (later | value).items()}
        else:
            flat[section] = value
    # The weights that a run starts from are known by their own hash, "starting weights".
    for name in ("backbone.weights", "grid.weights"):
        flat.pop(name, None)
    return flat


def first_start(weights: str) -> str:
    """What a backbone began with, before the pretraining runs on its way.

    Args:
        weights: a setting `backbone.weights`.

    Returns:
        "none", "imagenet", a weights file, or the folder of a pretraining run that isn't there.
    """
    while status := pretraining_status(weights):
        weights = status["config"]["backbone"]["weights"]
    return weights


def pretraining_start(status: dict[str, Any]) -> str:
    """What the pretraining began from that a run's backbone is of, as of `first_start`.

    Args:
        status: of the run, whose `backbone.weights` name a pretraining run.

    Returns:
        "" where neither the status tells nor the folder of the pretraining run, which isn't there.

    >>> pretraining_start({"pretraining_start": "imagenet"})
    'imagenet'
    """
    if told := status.get("pretraining_start"):
        return told
    weights = status.get("config", {}).get("backbone", {}).get("weights", "none")
    found = first_start(weights)
    return "" if found == weights else found


def pretraining_status(weights: str) -> dict[str, Any]:
    """The status of the run that made `weights` (its folder, or its file); {} where none is there.

    >>> pretraining_status("imagenet")
    {}
    """
    folder = Path(weights)
    folder = folder.parent if folder.name == BACKBONE_FILE else folder
    file = folder / "status.json"
    return read_json(file) if weights not in ("none", "") and file.is_file() else {}


def finished(
    path: Path | str, command: str | None = None, sections: Sequence[str] = ()
) -> dict[str, Any]:
    """The status of a finished run at `path`, or a `UserError` that says what is there.

    Its config has at least the `sections`, as dicts.
    """
    path = Path(path)
    if not (path / "status.json").is_file():
        raise UserError(f"{path}: no run found there (no status.json); give a run's folder")
    status = read_json(path / "status.json")
    if status.get("status") != FINISHED:
        raise UserError(
            f"{path}: this run is {status.get('status')}; run its command again to finish it"
        )
    if command and status.get("command") != command:
        raise UserError(
            f"{path}: a run of dermssl.{status.get('command')}, not of dermssl.{command}"
        )
    config = status.get("config") or {}
    for name in sections:
        if not isinstance(config, dict) or not isinstance(config.get(name), dict):
            raise UserError(f"{path}: its status.json has no settings [{name}]; make the run again")
    _refuse_other_version(path, config)
    return status


def _refuse_other_version(path, config, way_out=""):
    """Refuse a run whose settings aren't the ones of this version."""
    for name, table in config.items() if isinstance(config, dict) else ():
        section = SECTIONS.get(name)
        if section is None or not isinstance(table, dict):
            continue
        table = configs.of_today(section, table)
        fields = dataclasses.fields(section)
        later = {field.name for field in fields if field.metadata["added"]}
        known = {field.name for field in fields}
        if odd := sorted((known - later - table.keys()) | (table.keys() - known)):
            raise UserError(
                f"{path}: a run of another version of dermssl, which differs in the settings "
                f"[{name}] {', '.join(odd)}; make the run again{way_out}"
            )
