"""The results that commands return in Python, and what makes their modules callable."""

import inspect
import json
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import config as configs
from dermssl.core import left_out, memory
from dermssl.core.commands import COMMANDS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """What a command wrote. It can stand wherever a path can.

    Attributes:
        path: Path of its folder.
    """

    path: Path

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def table(self, name: str) -> "pd.DataFrame":
        """One of the folder's CSV files as a DataFrame; "n/a" is NaN.

        Args:
            name: file name, with or without `.csv`.
        """
        import pandas as pd

        file = self.path / (name if name.endswith(".csv") else f"{name}.csv")
        return pd.read_csv(file, na_values=["n/a"], keep_default_na=False)

    def json(self, name: str) -> dict[str, Any]:
        """One of the folder's JSON files."""
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    @property
    def report(self) -> str:
        """The report as Markdown; "" where the command writes none."""
        reports = sorted(self.path.glob("*.md"), key=lambda path: (path.name != "report.md", path))
        return reports[0].read_text(encoding="utf-8") if reports else ""

    def _repr_markdown_(self) -> str:
        return self.report or f"`{self.path}`"


@dataclass(frozen=True)
class Pretraining(Result):
    """A finished pretraining run."""

    @cached_property
    def stats(self) -> dict[str, Any]:
        """ssl_stats.json: losses, contrastive accuracy, health, seed, versions."""
        return self.json("ssl_stats.json")

    @cached_property
    def history(self) -> "pd.DataFrame":
        """One row an epoch."""
        return self.table("history")


@dataclass(frozen=True)
class Finetuning(Result):
    """A finished fine-tuning run."""

    @cached_property
    def stats(self) -> dict[str, Any]:
        """finetuned_stats.json: scores by split, phases, seed, versions."""
        return self.json("finetuned_stats.json")

    @cached_property
    def history(self) -> "pd.DataFrame":
        """One row an epoch of each phase."""
        return self.table("history")

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """One row a record, with raw probabilities."""
        return self.table("predictions")

    def evaluate(self, **settings: Any) -> "Evaluation":
        """Score this run; the settings are those of `dermssl.evaluate`."""
        import dermssl

        return dermssl.evaluate(self, **settings)


@dataclass(frozen=True)
class Evaluation(Result):
    """One run, scored."""

    @cached_property
    def metrics(self) -> "pd.DataFrame":
        """One row a metric: `estimate` with `low` and `high`, and `n` records."""
        import pandas as pd

        values = {name: value for name, value in self.json("metrics.json")["metrics"].items()
                  if value}  # fmt: skip
        return pd.DataFrame.from_dict(values, orient="index").rename_axis("metric")

    @cached_property
    def findings(self) -> list[str]:
        """The sentences that the report opens with."""
        return self.json("metrics.json")["findings"]


@dataclass(frozen=True)
class GridRun(Result):
    """A finished grid."""

    @cached_property
    def results(self) -> "pd.DataFrame":
        """One row a cell: model, depth, augmentation, seed, each metric with its interval."""
        return self.table("results")


@dataclass(frozen=True)
class Comparison(Result):
    """Runs, compared."""

    @cached_property
    def performance(self) -> "pd.DataFrame":
        """One row a model."""
        return self.table("performance_comparison")

    @cached_property
    def differences(self) -> "pd.DataFrame":
        """One row a pair of models and a metric."""
        return self.table("differences")


@dataclass(frozen=True)
class LabelCurve(Result):
    """Scores by the number of labels."""

    @cached_property
    def curve(self) -> "pd.DataFrame":
        """One row an arm and a number of labels."""
        return self.table("label_efficiency")

    @cached_property
    def differences(self) -> "pd.DataFrame":
        """One row a pair of arms and a number of labels."""
        return self.table("label_differences")


class _Door(types.ModuleType):
    """A command's module that can be called, so that `dermssl.pretrain(data=...)` works."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.function(*arguments, **keywords)


def make_callable(
    name: str, function: Callable[..., Any], result: Callable[[Any], Any] = Result
) -> None:
    """Let the module `name` of a command be called with its settings.

    `dermssl.pretrain` must be a module (for `python -m`) and a function (for notebooks); a
    submodule always takes the place of a function of its name, so the module is callable.

    Args:
        name: `__name__` of the module.
        function: takes the settings from `config.configure`; returns the folder it wrote. It may
            take a `Dataset` as `dataset`, which a call gives as `data`.
        result: class of what a call returns.
    """
    if name == "__main__":
        return
    command = name.rpartition(".")[2]

    def call(*arguments: Any, **keywords: Any) -> Any:
        extra = {}
        if hasattr(keywords.get("data"), "with_index"):  # a Dataset, not a path
            extra["dataset"] = keywords["data"]
            keywords = keywords | {"data": str(extra["dataset"].root)}
        config = configs.from_keywords(command, arguments, keywords)
        with memory.explained(config):
            with left_out.collected() as notes:
                made = function(config, **extra)
            notes.write(made, config.get("output"))
            return result(made)

    module = sys.modules[name]
    call.__name__, call.__doc__ = command, _documentation(command, module.__doc__)
    call.__signature__ = _signature(command)  # type: ignore[attr-defined]
    module.function = call  # type: ignore[attr-defined]
    module.__signature__ = call.__signature__  # type: ignore[attr-defined]
    module.__class__ = _Door


def _signature(command):
    """The settings of a command as keywords with their defaults."""
    kinds = inspect.Parameter
    parameters = []
    for keyword, (_, field) in configs.keyword_names(command).items():
        if keyword != configs.flag_of(field).replace("-", "_"):
            continue
        positional = bool(field.metadata["positional"])
        kind = kinds.POSITIONAL_OR_KEYWORD if positional else kinds.KEYWORD_ONLY
        default = configs.default_of(field)
        parameters.append(kinds(keyword, kind, default=default, annotation=field.type))
    parameters += [
        kinds(name, kinds.KEYWORD_ONLY, default=None) for name in configs.special_names(command)
    ]
    return inspect.Signature(parameters)


def _documentation(command, text):
    lines = [f"    {configs.flag_of(field).replace('-', '_')}: {field.metadata['help']}."
             for _, field in configs.fields_of(command)]  # fmt: skip
    where = COMMANDS[command].output
    return f"{text}\n\nArgs:\n" + "\n".join(lines) + (f"\n\n{where}: the folder." if where else "")
