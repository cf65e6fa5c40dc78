"""A look at the folders that settings name, before the seconds that TensorFlow takes to start."""

import os

from dermssl.core.commands import EMBEDDED
from dermssl.core.settings import Data
from dermssl.data import paths


def check(data: Data) -> None:
    """Refuse folders that aren't there; what is in them is for the readers to say.

    Args:
        data: the settings. A `path` that isn't set is refused by who needs one.

    Raises:
        UserError: a folder isn't there.
    """
    for name in ("path", "unlabelled"):
        path = getattr(data, name)
        if path and path != EMBEDDED and not os.path.exists(os.path.expanduser(path)):
            paths.existing_folder(path, f"data.{name}")
