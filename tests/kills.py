"""Runs that are killed and started again, and what they must equal.

Each attempt is a process of its own, forked from one that has done nothing but import: that
saves the seconds TensorFlow's import takes, and no state can come along.
"""

import collections
import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

ALWAYS = {"TF_CPP_MIN_LOG_LEVEL": "3"}
# Files whose bytes are no function of the run: the lock, the time, and what holds a duration.
NOT_COMPARED = {".lock", "status.json", "config.toml"}
TIMES = ("seconds", "epoch_seconds", "photos_per_second", "input_share")


class Attempts:
    """Starts commands in forked processes, and may kill them."""

    def __init__(self, log):
        self.log = Path(log)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["kills_preload"])
        os.environ.update(ALWAYS)

    def start(self, command, argv, fuse=None):
        """A running process of `dermssl.COMMAND ARGV`; `fuse` holds the arguments of `_light`."""
        arguments = (command, [str(word) for word in argv], str(self.log), fuse)
        process = self.context.Process(target=_work, args=arguments)
        process.start()
        return process

    def finish(self, command, argv, fuse=None):
        """Its exit code; minus the signal's number where it was killed."""
        process = self.start(command, argv, fuse)
        process.join(300)
        if process.is_alive():
            process.kill()
            raise AssertionError(f"{command} hangs: {self.said()}")
        return process.exitcode

    def said(self):
        """The last lines of what the attempts wrote to stdout and stderr."""
        return self.log.read_text(errors="replace")[-2000:]


def _work(command, argv, log, fuse):
    """In the process: run the command; what it says goes to the log."""
    import importlib

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout.reconfigure(line_buffering=True)
    _keep_last_checkpoint()
    if fuse:
        _light(*fuse)
    code = importlib.import_module(f"dermssl.{command}").main(argv)
    sys.stdout.flush()
    os._exit(code)


def _keep_last_checkpoint():
    """Beside a finished run its last checkpoint is copied: it alone holds SimCLR's optimizer."""
    import shutil

    from dermssl.training import checkpoint

    clear = checkpoint.clear

    def copy_and_clear(run):
        newest = checkpoint._files(run)[:1]
        for path in newest:
            shutil.copy(path, run.path.with_suffix(".last"))
        clear(run)

    checkpoint.clear = copy_and_clear


def _light(name, word, count, after):
    """SIGKILL to this very process at the `count`-th call of os.NAME, before it or after.

    Only calls with `word` in an argument count; with "" all do.
    """
    original, calls = getattr(os, name), [0]

    def call(*args, **kwargs):
        calls[0] += any(word in str(arg) for arg in args)
        if calls[0] >= count and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls[0] >= count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, name, call)


class Chain:
    """One run killed again and again until it has finished.

    Args:
        attempts: `Attempts`.
        command: str.
        argv: function of (output folder, random.Random) -> list of words.
        reference: folder for the same run, never killed; it is made here.
        files: int, the kills at a file come at one of the first so many that an attempt writes.
    """

    def __init__(self, attempts, command, argv, reference, files=12):
        self.attempts, self.command, self.argv, self.files = attempts, command, argv, files
        began = time.time()
        self._end(reference, random.Random(0))
        self.seconds = time.time() - began
        self.wanted = content(reference)
        self.places = collections.Counter()  # where the kills of `run` hit

    def run(self, output, kills, rng):
        """Kill at `kills` random moments, or until it ends; then compare. The kills that hit."""
        hits, ended = 0, False
        while hits < kills and not ended:
            ended = not self._killed(output, rng)
            if not ended:
                hits += 1
                self.places[_place(Path(output))] += 1
        if not ended:
            self._end(output, rng)
        same(content(output), self.wanted)
        return hits

    def run_with_fuses(self, output, fuses):
        """Kill at these moments, which must all be reached; then compare."""
        rng = random.Random(0)
        for fuse in fuses:
            code = self.attempts.finish(self.command, self.argv(output, rng), fuse)
            assert code == -signal.SIGKILL, (fuse, code, self.attempts.said())
        self._end(output, rng)
        same(content(output), self.wanted)

    def _end(self, output, rng):
        code = self.attempts.finish(self.command, self.argv(output, rng))
        assert code == 0, self.attempts.said()

    def _killed(self, output, rng):
        """Whether the kill hit before the run's end."""
        argv, began = self.argv(output, rng), time.time()
        if rng.random() < 0.5:  # around the moments at which a file becomes whole
            after = rng.random() < 0.5
            fuse = (rng.choice(["fsync", "replace"]), "", rng.randint(1, self.files), after)
            code = self.attempts.finish(self.command, argv, fuse)
        else:
            process = self.attempts.start(self.command, argv)
            process.join(rng.uniform(0, self.seconds))
            process.kill()
            process.join()
            code = process.exitcode
        assert code in (0, -signal.SIGKILL), (code, self.attempts.said())
        if code == 0:  # the machine may have been busier before
            self.seconds = min(self.seconds, time.time() - began)
        return code != 0


def _place(folder):
    """How far a killed run had come, in words."""
    if not (folder / "status.json").exists():
        return "before its folder"
    if "FINISHED" in (folder / "status.json").read_text():
        return "after its end"
    if any((folder / "checkpoints").glob("*.ckpt")) or (folder / "results.csv").exists():
        return "with something to go on from"
    return "before the first save"


def content(folder):
    """dict of file -> what must be equal in two runs of the same; times are left out."""
    folder = Path(folder)
    assert json.loads((folder / "status.json").read_text())["status"] == "FINISHED"
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        assert not path.name.startswith(".tmp"), f"left behind: {path}"
        if path.is_dir() or path.name in NOT_COMPARED or path.name.endswith(".lock"):
            continue
        found[name] = _content(path)
    for board in [path for path in folder.rglob("tensorboard") if path.is_dir()]:
        name = str(board.relative_to(folder))  # also those of runs below, as of adapt
        found = {k: v for k, v in found.items() if not k.startswith(f"{name}/")}
        found[name] = _events(board)
    last = folder.with_suffix(".last")
    if last.exists():
        found["last checkpoint"] = _content(last)
    return found


def _content(path):
    import pandas as pd

    if path.suffix == ".csv":
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return table.drop(columns=[c for c in (*TIMES, "run") if c in table]).to_csv()
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return _weights(archive.open("model.weights.h5"))
    if path.suffix == ".h5":
        return _weights(path)
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return {name: _digest(archive[name].tobytes()) for name in archive.files}
    if path.suffix == ".last":
        from dermssl.training import checkpoint

        arrays = checkpoint._read(path).arrays
        return {name: [_digest(one.tobytes()) for one in own] for name, own in arrays.items()}
    if path.suffix in (".md", ".html"):  # they show durations
        return "a page"
    return _digest(path.read_bytes())


def _timeless(value):
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _weights(file):
    """Every array of an HDF5 file, the optimizer's too."""
    import h5py

    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = _digest(np.ascontiguousarray(item[()]).tobytes())

    with h5py.File(file) as opened:
        opened.visititems(visit)
    return found


def _events(folder):
    """(folder, tag, step, value) of all but times and reports."""
    import tensorflow as tf
    from tensorboard.backend.event_processing import event_accumulator

    found = []
    for part in sorted({path.parent for path in folder.rglob("events*")}):
        events = event_accumulator.EventAccumulator(str(part), {"tensors": 0})
        events.Reload()
        for tag in sorted(set(events.Tags()["tensors"]) - {f"epoch_{name}" for name in TIMES}):
            for event in events.Tensors(tag):
                value = tf.make_ndarray(event.tensor_proto)
                if tag != "report":  # it shows durations
                    content = value.tolist()
                    content = content if value.ndim == 0 else _digest(repr(content).encode())
                    found.append((str(part.relative_to(folder)), tag, event.step, content))
    return found


def _digest(data):
    return hashlib.sha256(data).hexdigest()


def same(found, wanted):
    """Fail with the names of what differs."""
    assert set(found) == set(wanted)
    differ = [name for name in wanted if found[name] != wanted[name]]
    assert not differ, {name: (found[name], wanted[name]) for name in differ[:2]}
