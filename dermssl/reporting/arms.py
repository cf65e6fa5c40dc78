"""Colours and markers of arms, the same in all figures."""

# Okabe & Ito (2008), and a grey for the arm that knows nothing. The marker says it once more.
COLOURS = {"random": "#6B7280", "imagenet": "#E69F00", "ssl": "#0072B2", "ssl_imagenet": "#009E73"}


MARKERS = {"random": "o", "imagenet": "s", "ssl": "D", "ssl_imagenet": "^"}


SPARE = (("#CC79A7", "v"), ("#D55E00", "P"), ("#56B4E9", "X"), ("#000000", "*"))


def looks(arms):
    """dict of arm -> (colour, marker); unknown arms take the spare ones by name."""
    unknown = sorted(arm for arm in arms if arm not in COLOURS)
    spare = {arm: SPARE[k % len(SPARE)] for k, arm in enumerate(unknown)}
    return {arm: spare.get(arm) or (COLOURS[arm], MARKERS[arm]) for arm in arms}
