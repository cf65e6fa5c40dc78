"""Run a command by name: `dermssl COMMAND ...` is `python -m dermssl.COMMAND ...`."""

import importlib
import sys
from collections.abc import Sequence

from dermssl.core.commands import COMMANDS
from dermssl.core.errors import unknown_name


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return importlib.import_module(f"dermssl.{argv[0]}").main(argv[1:])
    listed = "\n".join(f"  {name:18}{command.purpose}" for name, command in COMMANDS.items())
    usage = f"usage: dermssl COMMAND ...\n\n{listed}\n\ndermssl COMMAND --help shows its options."
    if argv and argv[0] in ("-h", "--help"):
        print(usage)
        return 0
    error = f"no command given; choose one of: {', '.join(COMMANDS)}"
    if argv:
        error = str(unknown_name("command", argv[0], COMMANDS))
    print(f"dermssl: error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
