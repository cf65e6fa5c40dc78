"""How long something takes, said to those who wait."""


def minutes(seconds):
    """ "7 min" or "42 s"."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
