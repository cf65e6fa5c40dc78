"""The two errors that a user may see: bad input and a failed run."""


class UserError(Exception):
    """Bad input: a file, an option or a data set that can't be used as it is.

    The message names the file or option, what was found, what was expected and
    what to do, on one line. Command modules print it without a traceback and
    exit with code 2.
    """

    exit_code = 2


class RunFailed(Exception):
    """A run that started and could not end well (diverged, disk full, ...).

    Command modules print the message without a traceback and exit with code 1.
    """

    exit_code = 1


def unknown_name(kind, name, valid):
    """A `UserError` for a name that is in no registry; it lists the valid ones."""
    return UserError(f"unknown {kind} '{name}'; choose one of: {', '.join(valid)}")
