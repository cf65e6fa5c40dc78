"""What the benchmarks share: their usual flags, and the time of a call."""

import argparse
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
