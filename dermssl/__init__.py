"""Self-supervised pretraining, fine-tuning and honest comparison of skin-lesion classifiers.

The names below are imported when they are first used, so `import dermssl` takes a moment and
no TensorFlow.
"""

import importlib
import importlib.abc
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dermssl.core.commands import COMMANDS

if TYPE_CHECKING:  # "as" says that they are public
    from dermssl.core.errors import RunFailed as RunFailed
    from dermssl.core.errors import UserError as UserError
    from dermssl.core.taxonomy import Taxonomy as Taxonomy
    from dermssl.data.augmentation.policies import AUGMENTATIONS as AUGMENTATIONS
    from dermssl.data.pipeline import two_views as two_views
    from dermssl.data.records import Dataset as Dataset
    from dermssl.data.splits import load_dataset as load_dataset
    from dermssl.inference.finished_run import load as load_run  # noqa: F401
    from dermssl.losses.focal import SparseFocalLoss as SparseFocalLoss
    from dermssl.losses.nt_xent import NTXent as NTXent
    from dermssl.losses.nt_xent import nt_xent as nt_xent
    from dermssl.models.backbones import BACKBONES as BACKBONES
    from dermssl.models.backbones import Backbone as Backbone
    from dermssl.models.classifier import CoarseFromFine as CoarseFromFine
    from dermssl.models.classifier import LesionClassifier as LesionClassifier
    from dermssl.models.freezing import set_depth as set_depth
    from dermssl.models.simclr import SimCLR as SimCLR
    from dermssl.training.metrics import BalancedAccuracy as BalancedAccuracy
    from dermssl.training.metrics import KnownAccuracy as KnownAccuracy

# Public name -> its module, or "module:" with the name there, or "module:" alone for the module;
# first of those that `keras.saving.load_model` finds.
_KERAS = {
    "SimCLR": "dermssl.models.simclr",
    "LesionClassifier": "dermssl.models.classifier",
    "CoarseFromFine": "dermssl.models.classifier",
    "NTXent": "dermssl.losses.nt_xent",
    "SparseFocalLoss": "dermssl.losses.focal",
    "KnownAccuracy": "dermssl.training.metrics",
    "BalancedAccuracy": "dermssl.training.metrics",
}
_PUBLIC = {
    **_KERAS,
    "nt_xent": "dermssl.losses.nt_xent",
    "Backbone": "dermssl.models.backbones",
    "BACKBONES": "dermssl.models.backbones",
    "set_depth": "dermssl.models.freezing",
    "Dataset": "dermssl.data.records",
    "Taxonomy": "dermssl.core.taxonomy",
    "load_dataset": "dermssl.data.splits",
    "two_views": "dermssl.data.pipeline",
    "AUGMENTATIONS": "dermssl.data.augmentation.policies",
    "load_run": "dermssl.inference.finished_run:load",
    "UserError": "dermssl.core.errors",
    "RunFailed": "dermssl.core.errors",
    **{name: f"dermssl.{name}:" for name in COMMANDS},  # modules that can be called
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'dermssl' has no attribute '{name}'")
    module, colon, attribute = _PUBLIC[name].partition(":")
    value = importlib.import_module(module)
    if attribute or not colon:
        value = getattr(value, attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_PUBLIC)


class _NotImported:
    """Stands for a Keras class whose module nobody has imported, and imports it when asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def from_config(self, config: dict[str, Any]) -> Any:
        return __getattr__(self.name).from_config(config)


def _register() -> None:
    """Tell Keras where our classes are. A class that is imported registers itself."""
    known = importlib.import_module("keras").saving.get_custom_objects()
    known.update({f"dermssl>{name}": _NotImported(name) for name in _KERAS} | known)


class _WaitForKeras(importlib.abc.MetaPathFinder):
    """Calls `_register` as soon as Keras is imported, which takes seconds.

    Keras looks up a class among those that are registered, and imports no module to find one
    but its own.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "keras":
            return None
        sys.meta_path.remove(self)  # the other finders find it
        spec = importlib.util.find_spec(name)
        sys.meta_path.insert(0, self)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


if "keras" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _WaitForKeras())
