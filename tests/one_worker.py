"""A command as one worker of a cluster, with an accident at the n-th time that workers agree.

python tests/one_worker.py SIGNAL N COMMAND ARGV...
"""

import importlib
import os
import signal
import sys

from dermssl.core import cli


def main(name, count, command, *argv):
    """The command's exit code."""
    cli.quiet_tensorflow()
    from dermssl.training import distribution

    distribution.SILENCE_SECONDS = 10  # a busy machine's worker may be silent for a few seconds
    original, calls = distribution.Distribution.agree, [0]

    def agree(self, wish):
        calls[0] += 1
        if calls[0] == int(count):
            os.kill(os.getpid(), getattr(signal, name))
            # A handler sets the run's wish after the step has been asked for: the next one says it.
        return original(self, wish)

    distribution.Distribution.agree = agree
    return importlib.import_module(f"dermssl.{command}").main(list(argv))


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
