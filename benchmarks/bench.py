"""What the benchmarks share: their usual flags, and the time of a call."""

import argparse
import os
import resource
import time


def parser(doc, quick):
    """A command line with the flags that every benchmark has.

    Args:
        doc: the benchmark's docstring; its first paragraph is shown.
        quick: what `--quick` does, in a few words.
    """
    made = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    made.add_argument("--quick", action="store_true", help=quick)
    made.add_argument("--check", action="store_true", help="exit 1 if a goal is missed")
    made.add_argument("--json", metavar="F", help="write the numbers there")
    return made


def add_torch_python(made):
    """Add the flag that names another environment's Python, for peers on PyTorch."""
    made.add_argument(
        "--torch-python", metavar="PATH", default=os.environ.get("TORCH_PYTHON"),
        help="a Python that has torch, torchvision and lightly (default: $TORCH_PYTHON, else ours)",
    )  # fmt: skip


def turned(names, number):
    """The names in the order of a round: each round another one is first."""
    names = list(names)
    start = number % max(1, len(names))
    return names[start:] + names[:start]


def family(pid):
    """A process and all that it started."""
    import psutil

    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu_of(pid):
    """Seconds of CPU that a process and those it started have used."""
    times = [process.cpu_times() for process in family(pid)]
    return sum(time.user + time.system for time in times)


def now():
    """(wall, CPU) seconds since some moment, all threads of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), usage.ru_utime + usage.ru_stime


def timed(function, count=1):
    """(wall, CPU) seconds of so many calls, all threads of this process."""
    wall, cpu = now()
    for _ in range(count):
        function()
    end = now()
    return end[0] - wall, end[1] - cpu
