"""The one way a command ends: its exit code, and what it says when it can't go on."""

import argparse
import os
import re
import shlex
import sys
import tempfile
import traceback

from dermssl.core import signals
from dermssl.core.errors import RunFailed, UserError
from dermssl.core.settings import SECTIONS

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
BROKEN_PIPE = 141  # 128 + SIGPIPE
OF_EVERY_RUN = ("output", "seed", "overwrite", "config", "debug")
FEWEST_DRAWS = 100  # below, the ends of a 95% interval are the luck of two or three draws


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage of fifty flags."""

    def error(self, message):
        raise SystemExit(_say(f"error: {message}; {self.prog} --help shows the options", 2))


def parser(command, doc):
    """An argument parser for `python -m dermssl.COMMAND` that shows the module's docstring."""
    return Parser(
        prog=f"python -m dermssl.{command}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def check_resamples(n):
    """Refuse a --n-resamples that is too small for the intervals that the report promises.

    Args:
        n: int, as typed. `run(..., n_resamples=20)` from Python stays allowed.
    """
    if n < FEWEST_DRAWS:
        raise UserError(
            f"--n-resamples is {n}; it must be at least {FEWEST_DRAWS}, as fewer draws give no "
            "95% interval; leave it out for the default"
        )


def changed(options):
    """The flags to type for options that aren't at their defaults: for "the same again".

    Args:
        options: dict of flag without its dashes -> (value, default).

    Returns:
        list of str.
    """
    return [
        word
        for name, (value, default) in options.items()
        if value != default
        for word in (f"--{name}", str(value))
    ]


def with_flags(message):
    """A library's message as the command line shows it: settings become their flags.

    The library names a setting as `section.field`, e.g. data.validation, and what all commands
    have as run.output, run.seed or run.overwrite.

    Example:

    >>> with_flags("data.validation is 2; it must be at most 0.9")
    '--validation is 2; it must be at most 0.9'
    """
    # Not within the name of a file, such as outputs/backbone.weights.h5.
    return re.sub(r"(?<![\w/.])([a-z_]+)\.([a-z_]+)\b(?!/|\.\w)", _flag_of, message)


def _flag_of(match):
    section, name = match.groups()
    if section == "run" and name in OF_EVERY_RUN:
        return f"--{name}"
    field = SECTIONS.get(section) and SECTIONS[section].__dataclass_fields__.get(name)
    return f"--{field.metadata['flag'] or name.replace('_', '-')}" if field else match.group()


def quiet_tensorflow():
    """Import TensorFlow without the lines about oneDNN and CUDA that it prints on every start.

    They come from C++, before any log level is read, so the file descriptor is turned away
    for that while. Should the import fail, they are shown.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()  # the search for a GPU prints, too
        except Exception:  # not Ctrl-C or SIGTERM, which end with one line
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def run(parser, function, argv=None):
    """Parse `argv`, call `function(args)`, and turn what it raises into an exit code.

    Errors go to stderr on one line; a traceback only with `--debug`, which the parser
    may or may not have.

    Args:
        parser: an `argparse.ArgumentParser`.
        function: called with the parsed arguments; what it returns is ignored.
        argv: list of str; None takes the command line.

    Returns:
        0; 2 for a `UserError`, 1 for a `RunFailed` or an error nobody foresaw, 130 for Ctrl-C,
        143 for SIGTERM.
    """
    args = parser.parse_args(argv)
    try:
        with signals.sigterm_raises():
            function(args)
            sys.stdout.flush()  # a closed pipe shows here, not at the interpreter's exit
    except signals.Stopped as stopped:
        words = sys.argv[1:] if argv is None else argv
        # With --overwrite it would begin anew.
        words = [word for word in words if word != "--overwrite"]
        command = shlex.join([*parser.prog.split(), *words])
        onward = "run it again" if isinstance(stopped, signals.StoppedWithoutRun) else "go on"
        return _say(f"{stopped}; {onward} with: {command}", 128 + stopped.number)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # `... | head` closed our output. Without a new one the interpreter's exit complains too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
        return BROKEN_PIPE
    except (UserError, RunFailed) as error:
        _trace(args)
        return _say(f"error: {with_flags(str(error))}", error.exit_code)
    except Exception as error:  # the one place for it: here a command meets its user
        _trace(args)
        hint = "" if _debug(args) else " (run again with --debug for the traceback)"
        return _say(f"internal error: {type(error).__name__}: {error}{hint}", FAILED)
    return 0


def _debug(args):
    return getattr(args, "debug", False)


def _trace(args):
    if _debug(args):
        traceback.print_exc()


def _say(message, code):
    """One line on stderr, whatever the message holds."""
    print(f"dermssl: {' '.join(message.split())}", file=sys.stderr)
    return code
