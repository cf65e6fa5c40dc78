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
    for _, message in bad:
        log.warning("skipped: %s", message)
    return splits.assign(
        dataset, config.validation, config.test, config.split_seed, config.group_by
    )
