"""Say what works on this machine, what doesn't, and what to do about it.

    python -m dermssl.doctor            # some seconds
    python -m dermssl.doctor --quick    # without the training of two steps

Versions, devices, memory, disk, decoders, fonts, ImageNet weights and a training of two steps.
Nothing is downloaded or left behind. The output holds no photo, no name of you or of this machine,
and paths below your home folder begin with ~. --output is the folder that your runs go to.
Exit code 1: something that dermssl needs is broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dermssl.core import cli, results
from dermssl.core.commands import COMMANDS
from dermssl.core.errors import RunFailed

if TYPE_CHECKING:
    import pandas as pd

    from dermssl.studies.doctor.check import Check


def run(config: dict[str, Any]) -> list[Check]:
    """Check this machine; returns what was found."""
    return list(_checks(config))


def _checks(config) -> Iterator[Check]:
    from dermssl.studies.doctor.run import checks

    return checks(config["output"] or COMMANDS["doctor"].output, config["doctor"].quick)


def _printed(config):
    """Print each finding as it comes: a library that is broken may end the process."""
    print("dermssl doctor")
    found = []
    for check in _checks(config):
        print("\n".join(check.lines()), flush=True)
        found.append(check)
    return found


def tell(config: dict[str, Any], found: list[Check]) -> None:
    """Print the sum; what is broken is an error."""
    broken = [check.what for check in found if check.broken]
    noted = sum(check.state == "note" for check in found)
    notes = f", {noted} to read" if noted else ""
    print(f"{len(found)} checks: {len(broken)} broken{notes}. For help, paste this into an issue.")
    if broken:
        raise RunFailed(f"broken here: {', '.join(broken)}; see the lines above")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("doctor", __doc__, _printed, tell, argv)


def _table(found: list[Check]) -> pd.DataFrame:
    import pandas as pd

    rows = [(check.what, check.state, check.value, check.advice) for check in found]
    return pd.DataFrame(rows, columns=["what", "state", "value", "advice"])


results.make_callable(__name__, run, _table)

if __name__ == "__main__":
    raise SystemExit(main())
