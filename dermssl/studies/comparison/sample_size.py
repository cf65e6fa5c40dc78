"""How many lesions and training runs tell a difference, or show that there is none.

From a finished comparison: its records' variance V_0 at n_0 lesions and its runs' standard
deviations. More lesions shrink the first part, more runs the second:

    V = V_0 n_0 / n,    v = (s_a^2 + s_b^2) / S

A difference d is told apart where it exceeds sqrt(z^2 V + t^2 v'), the half width of the very
interval that `model_comparison` would print, by enough for its estimate to do so with the chance
`power`; v' is the luck as S runs show it, over whose chi-square distributions the chance is taken.
Equivalence within d, where the arms are equal, asks for the two one-sided tests instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize, stats

from dermssl.core.errors import UserError
from dermssl.evaluation.contrasts import METRIC
from dermssl.evaluation.metric_tables import NAMES
from dermssl.evaluation.run_groups import TITLES
from dermssl.reporting import report, results_csv, wording

FILE = "differences.csv"
GRID = 40  # quantiles of each arm's sample variance that a chance is averaged over
COLUMNS = (
    "labels", "a", "b", "runs", "difference", "power", "lesions", "lesions_for_equivalence",
)  # fmt: skip
RUNS = (2, 3, 5, 10, 20, 50)
MOST = 10_000_000  # lesions; beyond, it is said that no number will do


@dataclass(frozen=True)
class Known:
    """What a comparison tells of one pair.

    Attributes:
        labels, a, b: the pair.
        n_lesions: independent groups that were scored.
        record_variance: of the difference, at `n_lesions`.
        sd: standard deviations over the runs of a and of b.
        runs: of a and of b.
        above_chance: whether one of them is shown to be above a guess. Where both guess, how far
            their scores vary says nothing of arms that have learnt.
        titles: of a and b; None for those of `run_groups.TITLES`.
    """

    labels: str
    a: str
    b: str
    n_lesions: int
    record_variance: float
    sd: tuple[float, float]
    runs: tuple[int, int]
    above_chance: bool = True
    titles: tuple[str, str] | None = None

    @property
    def title(self) -> str:
        """ "SimCLR − random init, all labels"."""
        a, b = self.titles or (TITLES.get(arm, arm) for arm in (self.a, self.b))
        labels = "all labels" if self.labels == "all" else f"{self.labels} labels"
        return f"{a} − {b}, {labels}"


def read(folder: Path | str, pair: str = "") -> list[Known]:
    """The pairs of a comparison that tell their variances.

    Args:
        folder: of `dermssl.model_comparison`.
        pair: "ARM:ARM" for one pair alone.

    Raises:
        UserError: no comparison there, no such pair, or one run an arm.
    """
    file = Path(folder) / FILE
    if not file.is_file():
        raise UserError(f"{folder}: no {FILE}; give the folder of dermssl.model_comparison")
    table = results_csv.read_rows(file)
    for name in ("record_variance", "above_chance"):
        if name not in table:
            raise UserError(f"{file}: no column '{name}'; make the comparison again")
    rows = table[(table["metric"] == METRIC) & table["family"].notna()].to_dict("records")
    if pair:
        there = ", ".join(dict.fromkeys(f"{row['a']}:{row['b']}" for row in rows))
        rows = [row for row in rows if {row["a"], row["b"]} == set(pair.split(":"))]
        if not rows:
            raise UserError(
                f"sample_size.pair {pair}: no such pair in {file}; there: {there or 'none'}"
            )
    needed = ("seed_variance", "record_variance")
    rows = [row for row in rows if not any(np.isnan(row[name]) for name in needed)]
    if not rows:
        raise UserError(
            f"{file}: no pair with 2 runs or more an arm, so the luck of training isn't known; "
            "compare 3 seeds an arm first"
        )
    return [
        Known(
            str(row["labels"]), row["a"], row["b"], int(row["n_groups"]), row["record_variance"],
            (row["sd_a"], row["sd_b"]), (int(row["runs_a"]), int(row["runs_b"])),
            bool(row["above_chance"]),
            # Of a comparison of before, which had no titles, the arms have to do.
            (row["title_a"], row["title_b"]) if "title_a" in row else None,
        )
        for row in rows
    ]  # fmt: skip


def lesions(
    known: Known,
    runs: int,
    difference: float,
    power: float = 0.8,
    equivalence: bool = False,
    level: float = 0.95,
) -> float:
    """Lesions that are needed with so many runs an arm; infinite where no number will do.

    Args:
        known: from `read`.
        runs: an arm, 2 or more.
        difference: to be told apart, or the margin of equivalence.
        power: chance that it is.
        equivalence: whether equality within the margin is to be shown, of arms that are equal.
        level: of the interval.
    """

    def short(variance):
        return power - chance(known, variance, runs, difference, equivalence, level)

    least = known.record_variance * known.n_lesions / MOST
    if short(least) > 0:
        return np.inf
    if not known.record_variance:
        return 1.0
    most = optimize.brentq(short, least, max(1.0, 10 * difference**2))
    return float(np.ceil(known.record_variance * known.n_lesions / most))


def chance(
    known: Known,
    variance: float,
    runs: int,
    difference: float,
    equivalence: bool = False,
    level: float = 0.95,
) -> float:
    """The chance that a difference is told apart, or that equal arms are shown to be equivalent.

    Args:
        known, runs, difference, equivalence, level: as in `lesions`.
        variance: of the difference, by lesions.
    """
    # The sample variances of normal scores are independent of their means, and of each other.
    shown = stats.chi2.ppf((np.arange(GRID) + 0.5) / GRID, runs - 1) / (runs - 1)
    a, b = known.sd[0] ** 2 / runs * shown[:, None], known.sd[1] ** 2 / runs * shown[None]
    luck = a + b
    parts = (a**2 + b**2) / (runs - 1)
    df = np.divide(luck**2, parts, out=np.full(parts.shape, 2.0 * (runs - 1)), where=parts > 0)
    p = level if equivalence else (1 + level) / 2
    half = np.sqrt(stats.norm.ppf(p) ** 2 * variance + stats.t.ppf(p, df) ** 2 * luck)
    spread = np.sqrt(variance + sum(sd**2 for sd in known.sd) / runs)
    within = stats.norm.cdf((difference - half) / spread)
    return float(np.mean(np.maximum(0, 2 * within - 1) if equivalence else within))


def table(known: list[Known], difference: float, power: float = 0.8) -> pd.DataFrame:
    """Lesions needed: a row a pair and number of runs an arm; infinite where none will do.

    None of a pair of which both arms guess.
    """
    return pd.DataFrame([
        {
            "labels": one.labels, "a": one.a, "b": one.b, "runs": runs, "difference": difference,
            "power": power, "lesions": lesions(one, runs, difference, power),
            "lesions_for_equivalence": lesions(one, runs, difference, power, True),
        }
        for one in known
        if one.above_chance
        for runs in RUNS
    ], columns=list(COLUMNS))  # fmt: skip


def sentences(known: list[Known], difference: float, power: float) -> list[str]:
    """What each pair needs, with the runs it had and with more."""
    said = []
    for one in known:
        if not one.above_chance:
            said.append(
                f"{one.title}: neither arm is shown to be above chance, so nothing tells how far "
                "arms that have learnt would vary: how many lesions to collect can't be said. "
                "Train longer, or on more labels, and compare again."
            )
            continue
        runs = max(2, min(one.runs))
        now = lesions(one, runs, difference, power)
        need = f"no number of lesions tells {difference:g} apart"
        if np.isfinite(now):
            need = f"{wording.count(int(now), 'lesion')} tell {difference:g} apart"
        text = f"{one.title}: with {runs} runs an arm {need} (chance {power:.0%})"
        enough = next((r for r in RUNS if np.isfinite(lesions(one, r, difference, power))), None)
        if not np.isfinite(now):
            more = f"; at least {enough} runs an arm do" if enough else ", nor do up to 50 runs"
            text += more
        said.append(f"{text}. It had {one.n_lesions:,} lesions.")
    return said


def build(known: list[Known], difference: float, power: float, command: str) -> report.Report:
    """The report."""
    rows = [
        [
            one.title, runs, *(
                _count(lesions(one, runs, difference, power, equal)) for equal in (False, True)
            ),
        ]
        for one in known
        if one.above_chance
        for runs in RUNS
    ]  # fmt: skip
    columns = [
        "pair", report.Column("runs an arm", right=True),
        report.Column("lesions to tell it apart", right=True, format=str),
        report.Column("lesions to show equivalence", right=True, format=str),
    ]  # fmt: skip
    basis = [
        [
            one.title, one.n_lesions, f"{np.sqrt(one.record_variance):.4f}", f"{one.sd[0]:.4f}",
            f"{one.sd[1]:.4f}", f"{one.runs[0]} and {one.runs[1]}",
        ]
        for one in known
    ]  # fmt: skip
    notes = [
        "Standard deviations of two or three runs are rough: the true one may be several times "
        "as large. Plan with more runs than the table asks for.",
        "Lesions of the same mix of classes, photos a lesion and difficulty as here; one "
        "comparison at 95%, as of the planned one (model_comparison.primary).",
    ]
    return report.Report(
        "How many lesions and runs",
        [report.Text(f"To tell a difference of {difference:g} in {NAMES[METRIC]} apart, or to show "
                     f"that equal arms are equivalent within it, with a chance of {power:.0%}.")],
        [
            report.Section("What was found", [
                report.Findings(sentences(known, difference, power)), report.Warnings(notes),
            ]),
            report.Section("Numbers", [report.Table(columns, rows)]),
            report.Section("What it is computed from", [
                report.Table(["pair", "lesions", "sd by lesions", "sd of the first's runs",
                              "of the second's", "runs"], basis),
                report.Text("The interval is the one of model_comparison, with a half width of "
                            "√(z² V n₀/n + t² (s_a² + s_b²)/S); the chance is taken over the "
                            "scores of new lesions and runs."),
                report.Command(command),
            ]),
        ],
    )  # fmt: skip


def _count(n: float) -> report.Cell:
    return report.Cell(f"{int(n):,}" if np.isfinite(n) else "more runs are needed")
