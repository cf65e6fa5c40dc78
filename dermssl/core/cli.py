"""Run a command: parse its flags, map exceptions to one-line messages and exit codes."""

import argparse
import contextlib
import gc
import logging
import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from dermssl.core import config as configs
from dermssl.core import left_out, memory, runs, signals
from dermssl.core.commands import COMMANDS, EMBEDDED, SECTIONS
from dermssl.core.errors import RunFailed, UserError, did_you_mean, one_line, unknown_name
from dermssl.core.setting import NO_WEIGHTS

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
BROKEN_PIPE = 141  # 128 + SIGPIPE
OF_EVERY_RUN = ("output", "seed", "overwrite", "config", "debug")
NEW_OBJECTS = 50_000  # before Python looks for garbage among them; its own rule is 700
FEWEST_DRAWS = 100  # below, the ends of a 95% interval are the luck of two or three draws


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage of fifty flags."""

    def error(self, message: str) -> NoReturn:
        if "arguments are required" in message:  # positional ones: say what they are
            places = [action for action in self._actions if not action.option_strings]
            needs = " and ".join(f"{each.metavar} ({each.help})" for each in places)
            words = " ".join(str(each.metavar) for each in places)
            message = f"it needs {needs}: {self.prog} {words}"
        elif flag := re.search(r"unrecognized arguments: .*?(--[^\s=]+)", message):
            message += did_you_mean(flag[1], self._option_string_actions)
        raise SystemExit(_say(f"error: {message}; {self.prog} --help shows the options", 2))


def parser(command: str, doc: str) -> Parser:
    """The parser of a command, made from its settings (see `core.commands`)."""
    entry = COMMANDS[command]
    made = Parser(
        prog=f"python -m dermssl.{command}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for section, field in configs.fields_of(command):
        if field.metadata["positional"]:
            _add_positional(made, section, field)
    made.add_argument("--config", metavar="F.toml", help="experiment file; flags win over it")
    if entry.seeded:
        made.add_argument("--seed", type=int, help="seed of everything random (default: 0)")
    if entry.output:
        made.add_argument(
            "--output", metavar="FOLDER", help=f"where to write (default: {entry.output})"
        )
    if entry.resumable:
        made.add_argument("--overwrite", action="store_true", help="replace a different run there")
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    groups = {name: made.add_argument_group(name, SECTIONS[name].__doc__)
              for name in entry.sections}  # fmt: skip
    for section, field in configs.fields_of(command):
        if not field.metadata["positional"]:
            _add_flag(groups[section], section, field, entry.from_imagenet)
    return made


def _add_positional(parser, section, field):
    several = configs.element_type(field.type)[1]
    help_text = field.metadata["help"].replace("%", "%%")
    default = configs.default_of(field)
    # After one that must be given (predict's RUN), so must these.
    needed = any(not each.option_strings and each.nargs is None for each in parser._actions)
    options: dict[str, Any] = {"nargs": "+" if needed else "*"} if several else {}
    if default and not several:
        options = {"nargs": "?", "default": argparse.SUPPRESS}
        help_text += f" (default: {default})"
    word = field.metadata["positional"]
    parser.add_argument(f"{section}.{field.name}", metavar=word, help=help_text, **options)


def _add_flag(group, section, field, from_imagenet=""):
    """One flag, its help with the true default and the valid names."""
    kind, several = configs.element_type(field.type)
    meta = field.metadata
    default = _shown(configs.default_of(field))
    if from_imagenet == f"{section}.{field.name}":
        default = "imagenet; none for cnn, mlp and the embedded data set"
    text = f"{meta['help']} (default: {default})"
    if meta["names"]:
        text += f"; one of: {', '.join(meta['names'])}"
    options = {
        "dest": f"{section}.{field.name}",
        "default": argparse.SUPPRESS,
        "help": text.replace("%", "%%"),
    }
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction
    else:
        # A choice is checked with all other values, in `config`.
        names = f"{{{','.join(meta['choices'])}}}" if meta["choices"] else None
        options |= {"type": kind, "metavar": names or {int: "N", float: "X", str: "NAME"}[kind]}
        if several:
            options["nargs"] = "+"
    group.add_argument(f"--{configs.flag_of(field)}", **options)


def _shown(value):
    """A default in words: nothing is "none", a list is its items."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in ("", []):
        return "none"
    return " ".join(map(str, value)) if isinstance(value, list) else value


def main(
    command: str,
    doc: str,
    function: Callable[[dict[str, Any]], Any],
    tell: Callable[[dict[str, Any], Any], None],
    argv: Sequence[str] | None = None,
    first: Callable[[dict[str, Any]], Any] | None = None,
) -> int:
    """The whole of a command: parse, call `function(config)`, `tell` what came out.

    Args:
        command: its name in `COMMANDS`.
        doc: its help.
        function: takes the settings from `config.configure`; returns what it wrote or counted.
        tell: takes the settings and what `function` returned; prints.
        argv: list of str; None takes the command line.
        first: takes the settings; a look at what they name, before the seconds that TensorFlow
            takes to start.

    Returns:
        the exit code, as of `run`.
    """

    def work(args):
        config = from_flags(command, args)
        if "data" in config and config["data"].path == EMBEDDED:
            print(f"No --data: the embedded data set, drawn photos in {EMBEDDED}, in a small size; "
                  "its scores say nothing about skin", flush=True)  # fmt: skip
        for section in COMMANDS[command].sections:
            if hasattr(config[section], "n_resamples"):
                check_resamples(f"{section}.n_resamples", config[section].n_resamples)
        if COMMANDS[command].heavy:
            look_ahead(command, config)
            if first:
                first(config)
            quiet_tensorflow()
        with memory.explained(config):
            with left_out.collected() as notes:
                made = function(config)
            notes.write(made, config.get("output"))
            tell(config, made)

    return run(parser(command, doc), work, argv)


def from_flags(command: str, args: argparse.Namespace) -> dict:
    """The settings of a command from its parsed flags; see `config.configure`."""
    typed: dict[str, dict] = {}
    for name, value in vars(args).items():
        section, dot, field = name.partition(".")
        if dot and value != []:
            typed.setdefault(section, {})[field] = value
    options = {name: getattr(args, name, None) for name in ("config", "seed", "output")}
    return configs.configure(command, typed, **options, overwrite=getattr(args, "overwrite", False))


def look_ahead(command: str, config: dict[str, Any]) -> None:
    """Refuse unknown names, weights that aren't there and unfinished runs, without TensorFlow."""
    for section, field in configs.fields_of(command):
        value, name = getattr(config[section], field.name), f"{section}.{field.name}"
        for each in value if isinstance(value, list) else [value]:
            if field.metadata["names"] and each not in field.metadata["names"]:
                raise unknown_name(name, each, field.metadata["names"])
            words = each in ("none", "imagenet")
            if name == "backbone.weights" and not words and not os.path.exists(each):
                raise UserError(f"{name} {each}: {NO_WEIGHTS}")
        if field.name == "run" and field.metadata["positional"] and value:
            runs.finished(value)


def check_resamples(name: str, n: int) -> None:
    """Refuse bootstrap resamples too few for the intervals that a report promises.

    A call from Python may take fewer.
    """
    if n < FEWEST_DRAWS:
        raise UserError(
            f"{name} is {n}; it must be at least {FEWEST_DRAWS}, as fewer draws give no "
            "95% interval; leave it out for the default"
        )


def with_flags(message: str) -> str:
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
    if not field:
        return match.group()
    return field.metadata["positional"] or f"--{configs.flag_of(field)}"


def quiet_tensorflow() -> None:
    """Import TensorFlow without the lines about oneDNN and CUDA that it prints on every start.

    They come from C++, before any log level is read, so the file descriptor is turned away
    for that while. Should the import fail, they are shown. Later ones, such as XLA's, are below
    the level that is set unless the user has set one.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # warnings and errors
    with quiet_stderr(), _seldom_collected():
        import tensorflow as tf

        keep_freed_memory()
        tf.config.list_physical_devices()  # the search for a GPU prints, too


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what C++ writes to standard error to itself, unless the block raises an exception."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except Exception:  # not Ctrl-C or SIGTERM, which end with one line
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextlib.contextmanager
def _seldom_collected():
    """Look for garbage seldom: not while TensorFlow is imported, nor among its million objects.

    An import and the trace of a graph make objects that stay. Python's collector looked through
    them again and again: a tenth of the time to the first step of EfficientNetB1.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
        gc.enable()


def keep_freed_memory() -> None:
    """Let TensorFlow keep the memory of tensors that it is done with, for the next step.

    Else the C library gives large tensors back to the system at every operation, and the system
    clears each page anew: a fifth of an EfficientNetB1 step on a CPU. Where TensorFlow computes by
    oneDNN, it keeps memory already, and a second pool only takes more. Call it before TensorFlow
    makes its first tensor; what the user has set in the environment stays.
    """
    with contextlib.suppress(ImportError):  # no public name; without it memory stays as it was
        from tensorflow.python.util import _pywrap_util_port as port

        if not port.IsMklEnabled():
            os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
            # The pool ends at 64 GB else; it grows as it is used.
            os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(2**20))


def run(
    parser: argparse.ArgumentParser,
    function: Callable[[argparse.Namespace], Any],
    argv: Sequence[str] | None = None,
) -> int:
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
    args = parser.parse_intermixed_args(argv)  # photos may also follow an option
    try:
        with signals.sigterm_raises(), _log_to_stderr():
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]
        return BROKEN_PIPE
    except (UserError, RunFailed) as error:
        _trace(args)
        return _say(f"error: {with_flags(str(error))}", error.exit_code)
    except Exception as error:  # the one place for it: here a command meets its user
        _trace(args)
        hint = "" if _debug(args) else " (run again with --debug for the traceback)"
        return _say(f"internal error: {one_line(error)}{hint}", FAILED)
    return 0


class _WithFlags(logging.Formatter):
    """Log lines name settings; the command line shows flags."""

    def format(self, record: logging.LogRecord) -> str:
        return with_flags(super().format(record))


@contextlib.contextmanager
def _log_to_stderr():
    """What the library logs, on stderr, in the words of the command line."""
    log, handler = logging.getLogger("dermssl"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithFlags())
    handler.setLevel(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _debug(args):
    return getattr(args, "debug", False)


def _trace(args):
    if _debug(args):
        traceback.print_exc()


def _say(message, code):
    """One line on stderr, whatever the message holds."""
    print(f"dermssl: {' '.join(message.split())}", file=sys.stderr)
    return code
