"""The two errors that a user may see: bad input and a failed run."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: a file, an option or a data set that can't be used as it is.

    The message names the file or option, what was found, what was expected and
    what to do, on one line. Command modules print it without a traceback and
    exit with code 2.

    Example:

    >>> try:
    ...     dermssl.load_dataset("NOWHERE")
    ... except UserError as error:
    ...     print(error)
    data.path 'NOWHERE': not found; ...
    """

    exit_code = 2


class RunFailed(Exception):
    """A run that started and could not end well (diverged, disk full, ...).

    Command modules print the message without a traceback and exit with code 1.

    Example:

    >>> RunFailed("the loss is NaN").exit_code
    1
    """

    exit_code = 1


def one_line(error: BaseException, longest: int = 400) -> str:
    """An exception in one line: TensorFlow puts thousands of characters of a graph into some.

    Example:

    >>> one_line(ValueError("a  b\\nc"))
    'ValueError: a b c'
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """A `UserError` for a name that is in no registry; it lists the valid ones.

    Example:

    >>> str(unknown_name("head", "flat", ["hierarchical", "independent"]))
    "unknown head 'flat'; choose one of: hierarchical, independent"
    """
    valid = list(valid)
    return UserError(
        f"unknown {kind} '{name}'; choose one of: {', '.join(valid)}{did_you_mean(name, valid)}"
    )


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The name that was likely meant, for the end of a message; "" where none is near.

    Example:

    >>> did_you_mean("--modles", ["--models", "--depths"])
    '; did you mean --models?'
    """
    near = difflib.get_close_matches(name, valid, 1)
    return f"; did you mean {near[0]}?" if near else ""
