"""Colours and markers of arms, the same in all figures."""

from collections.abc import Iterable

# Okabe & Ito (2008), and a grey for the arm that knows nothing. The marker says it once more.
LOOKS = {
    "random": ("#6B7280", "o"),
    "imagenet": ("#E69F00", "s"),
    "ssl": ("#0072B2", "D"),
    "ssl_imagenet": ("#009E73", "^"),
}
SPARE = (("#CC79A7", "v"), ("#D55E00", "P"), ("#56B4E9", "X"), ("#000000", "*"))


def looks(arms: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Arm -> (colour, marker); unknown arms take the spare ones by name."""
    unknown = sorted(arm for arm in arms if arm not in LOOKS)
    spare = {arm: SPARE[k % len(SPARE)] for k, arm in enumerate(unknown)}
    return {arm: LOOKS.get(arm) or spare[arm] for arm in arms}
