"""From the `[data]` section to checked, split records: the same for every command."""

import logging

from dermssl.data import readers, splits

log = logging.getLogger("dermssl")


def prepare(config):
    """Read, check every photo, and split.

    Args:
        config: `dermssl.config.Data`.

    Returns:
        `Dataset` with every record in train, validation or test. Without any labels all
        of it is train.
    """
    dataset = readers.read(config)
    dataset, bad = readers.checked(dataset, config.on_bad, f"--data {config.path}")
    report_skipped(bad, len(bad) + len(dataset.index))
    return splits.assign(
        dataset, config.validation, config.test, config.split_seed, config.group_by
    )


def report_skipped(bad, total):
    """Say how many photos were left out, and each with its reason, in the log.

    Args:
        bad: list of (path, message) as from `readers.checked`.
        total: int, photos before.
    """
    if bad:
        log.warning("skipped: %d of %d photos", len(bad), total)
    for _, message in bad:
        log.warning("skipped: %s", message)
