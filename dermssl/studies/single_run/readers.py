"""Human readers beside the model, on the photos that each of them answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import multi_reader, shares
from dermssl.evaluation.bootstrap import cluster_codes
from dermssl.evaluation.bootstrap_metrics import PlannedMetric
from dermssl.evaluation.interval import Interval, joint_level
from dermssl.evaluation.multi_reader import MeanOfReaders
from dermssl.evaluation.predictions import Arrays
from dermssl.reporting import report, wording
from dermssl.reporting.results_csv import bounds
from dermssl.studies.single_run.reader_answers import Answers
from dermssl.studies.single_run.yes_no import BinaryTaskResult

BALANCED = "balanced accuracy"
FEW_LESIONS = 2  # of a class, or of an answer: a jackknife leaves one out and needs another


@dataclass(frozen=True, eq=False)
class Score:
    """One measure, of readers and of the model on the same photos.

    Attributes:
        name: "sensitivity", "specificity" or "balanced accuracy".
        readers, model: an `Interval` of each reader, and of the model on that reader's photos.
        differences: model less reader, over lesions, the reader as he is.
        mean_reader: over readers and lesions; None without two readers to compare.
        mean_difference: model less the mean reader, the same; at the level at which the
            comparisons of all questions hold together (Bonferroni).
    """

    name: str
    readers: tuple[Interval, ...] = field(repr=False)
    model: tuple[Interval, ...] = field(repr=False)
    differences: tuple[Interval, ...] = field(repr=False)
    mean_reader: MeanOfReaders | None
    mean_difference: MeanOfReaders | None


@dataclass(frozen=True, eq=False)
class Question:
    """What readers and model were both asked.

    Attributes:
        title: "malignant", or "all classes".
        names: of the readers.
        photos, lesions: int, answered by each.
        scores: the measures; the last is the one to compare by.
        left_out: readers whose photos can't tell, in no mean.
    """

    title: str
    names: tuple[str, ...]
    photos: tuple[int, ...]
    lesions: tuple[int, ...]
    scores: tuple[Score, ...]
    left_out: tuple[str, ...]


def compare(
    answers: Answers,
    arrays: Arrays,
    questions: Sequence[BinaryTaskResult],
    taxonomy: Taxonomy,
) -> tuple[Question, ...]:
    """Every question that the readers' answers can be scored on.

    Malignancy at the model's threshold; where readers named classes the one class as well, and the
    balanced accuracy over the classes.

    Args:
        answers: of `reader_answers.read`.
        arrays: `Arrays` of the same split.
        questions: of `yes_no.answer`.
        taxonomy: of the run.
    """
    asked = []
    for question in questions:
        target = question.given
        if target.is_class:
            if answers.classes is None:
                continue
            yes = answers.classes == taxonomy.fine.index(target.name)
            said = np.where(answers.classes < 0, -1, yes)
        elif answers.malignant is None:
            continue
        else:
            said = answers.malignant
        if not np.isnan(question.threshold):
            called = (target.score >= question.threshold).astype(int)
            asked.append(partial(_yes_no, target, said, called, answers.readers, arrays.groups))
    if answers.classes is not None:
        asked.append(partial(_classes, arrays, answers))
    level = joint_level(len(asked))
    found = [ask(level) for ask in asked]
    return tuple(question for question in found if question.names)


def _yes_no(target, said, called, names, groups, level=0.95):
    """Sensitivity, specificity and their mean."""

    def shares_of(answered, answers):
        """The two shares' values: 1 right, 0 wrong, NaN another's."""
        return [
            np.where(answered & (target.y == side), (answers == side).astype(float), np.nan)
            for side in (1, 0)
        ]

    def planned(answered, answers):
        return [PlannedMetric("mean", None, values) for values in shares_of(answered, answers)]

    def shown(answered, answers):
        both = [shares.clustered_share(values, groups) for values in shares_of(answered, answers)]
        return [*both, shares.mean_of_shares(both)]

    mix = np.array([[1, 0], [0, 1], [0.5, 0.5]])
    measures = ("sensitivity", "specificity", f"{BALANCED} (mean of both)")
    return _scored(
        target.title, target.y, said, called, names, groups, planned, shown, measures, mix, level
    )


def _classes(arrays, answers, level=0.95):
    """Balanced accuracy, over the classes of which the reader saw two lesions or more."""
    y, called = arrays.y, arrays.p_fine.argmax(axis=1)

    def kept(answered):
        return np.where(answered & np.isin(y, _enough(y, answered, arrays.groups)), y, -1)

    def planned(answered, answers):
        return [
            PlannedMetric("balanced_accuracy", kept(answered), np.where(answers < 0, 0, answers))
        ]

    def shown(answered, answers):
        return [shares.mean_of_shares(shares.recalls(kept(answered), answers, arrays.groups))]

    return _scored(
        "all classes", y, answers.classes, called, answers.readers, arrays.groups, planned, shown,
        (BALANCED,), np.eye(1), level,
    )  # fmt: skip


def _enough(y, answered, groups):
    codes = cluster_codes(groups, len(y))
    return [
        k for k in np.unique(y[answered & (y >= 0)])
        if len(np.unique(codes[answered & (y == k)])) >= FEW_LESIONS
    ]  # fmt: skip


def _scored(
    title: str,
    y: np.ndarray,
    said: np.ndarray,
    called: np.ndarray,
    names: Sequence[str],
    groups: np.ndarray,
    planned: Callable[[np.ndarray, np.ndarray], list[PlannedMetric]],
    shown: Callable[[np.ndarray, np.ndarray], list[Interval]],
    measures: tuple[str, ...],
    mix: np.ndarray,
    level: float,
) -> Question:
    """Readers and model on the same photos; `mix` makes the measures (m, parts) of the parts.

    `level` is that of the comparison with the mean reader, one of a family.
    """
    answered = (said >= 0) & (y >= 0)
    usable = [r for r in range(len(names)) if len(_enough(y, answered[r], groups)) > 1]
    left_out = tuple(name for r, name in enumerate(names) if r not in usable)
    codes = cluster_codes(groups, len(y))
    some = answered[usable].any(axis=0)  # the others would only make the jackknife slow
    if not usable:
        return Question(title, (), (), (), (), left_out)
    plan = {}
    for r in usable:
        for who, answers in (("reader", said[r]), ("model", called)):
            for k, one in enumerate(planned(answered[r], answers)):
                plan[f"{r} {who} {k}"] = PlannedMetric(
                    one.metric, None if one.y is None else one.y[some], one.seeds[0][some]
                )
    values, covariance = multi_reader.jackknife(plan, codes[some])
    size = len(usable)
    # (readers, 2, parts) -> (readers, measures) of readers, and of model less reader.
    of_readers = np.kron(np.eye(size), np.kron([[1, 0]], mix))
    of_gaps = np.kron(np.eye(size), np.kron([[-1, 1]], mix))
    intervals = [[shown(answered[r], said[r]), shown(answered[r], called)] for r in usable]
    scores = []
    for m, measure in enumerate(measures):
        rows = slice(m, None, len(measures))
        own, gaps = of_readers[rows], of_gaps[rows]
        gap, spread = gaps @ values, gaps @ covariance @ gaps.T
        alone = [
            multi_reader.mean_of_readers(
                gap[[r]], spread[r : r + 1, r : r + 1], 0.95 if size > 1 else level
            ).interval
            for r in range(size)
        ]
        mean = several = None
        if size > 1:
            mean = multi_reader.mean_of_readers(own @ values, own @ covariance @ own.T)
            several = multi_reader.mean_of_readers(gap, spread, level)
        scores.append(
            Score(
                measure,
                tuple(pair[0][m] for pair in intervals),
                tuple(pair[1][m] for pair in intervals),
                tuple(alone),
                mean,
                several,
            )
        )
    return Question(
        title,
        tuple(names[r] for r in usable),
        tuple(int(answered[r].sum()) for r in usable),
        tuple(len(np.unique(codes[answered[r]])) for r in usable),
        tuple(scores),
        left_out,
    )


def summary(questions: Sequence[Question]) -> list[dict]:
    """The entry in metrics.json."""

    def told(mean):
        return {**vars(mean), "interval": vars(mean.interval)} if mean else None

    return [
        {
            "question": question.title,
            "readers": list(question.names),
            "left_out": list(question.left_out),
            "scores": {
                score.name: {
                    "mean_reader": told(score.mean_reader),
                    "model_less_mean_reader": told(score.mean_difference),
                }
                for score in question.scores
            },
        }
        for question in questions
    ]


def rows(questions: Sequence[Question]) -> list[dict]:
    """Rows of readers.csv: a question, a reader (or the mean of all) and a measure."""
    found = []
    for question in questions:
        for score in question.scores:
            for r, name in enumerate(question.names):
                row = {
                    "question": question.title, "measure": score.name, "reader": name,
                    "n": question.photos[r], "n_groups": question.lesions[r],
                }  # fmt: skip
                row |= bounds("reader_value", score.readers[r]) | bounds("model", score.model[r])
                found.append(row | bounds("model_less_reader", score.differences[r]))
            if score.mean_reader and score.mean_difference:
                row = {"question": question.title, "measure": score.name, "reader": "(mean)"}
                row |= bounds("reader_value", score.mean_reader.interval)
                row |= bounds("model_less_reader", score.mean_difference.interval)
                between = score.mean_difference.between_readers
                found.append(row | {"df": score.mean_difference.df, "between_readers": between})
    return found


def spoken(questions: Sequence[Question]) -> list[str]:
    """A sentence a question: the model against the mean reader, or against the only one."""
    return [_sentence(question, len(questions)) for question in questions]


def _sentence(question: Question, n_questions: int) -> str:
    score = question.scores[-1]
    several = score.mean_difference
    gap = several.interval if several else score.differences[0]
    who = f"the mean of {len(question.names)} readers" if several else question.names[0]
    title = question.title[0].upper() + question.title[1:]
    shown = f"{title}: in {score.name} this model less {who} is {wording.estimate(gap)}"
    if n_questions > 1:
        shown += f", an interval of {gap.level:.1%} so that all {n_questions} hold together"
    if not gap.is_defined:
        return f"{shown}; these photos can't tell."
    if gap.excludes_zero:
        verdict = "above" if gap.low > 0 else "below"
        text = f"{shown}: this run scores {verdict} {'them' if several else 'this reader'}"
    else:
        bound = wording.number(max(gap.high, -gap.low))
        text = f"{shown}: not told apart (differences of up to {bound} are not ruled out)"
    if not several:
        text += "; nothing is said of other readers"
    return f"{text}."


def section(questions: Sequence[Question], answers: Answers, unit: str) -> report.Section:
    """The section of the report."""
    blocks: list[report.Block | None] = [
        report.Bullets(list(map(report.escaped, spoken(questions))))
    ]
    notes = []
    for question in questions:
        blocks.append(_table(question))
        if question.left_out:
            notes.append(
                f"{question.title}: {', '.join(question.left_out)} answered too little (fewer than "
                f"two {unit}s of two answers or classes) and is in no mean."
            )
    if not questions:
        notes.append("No question could be scored: too few answers, or no threshold was chosen.")
    if answers.elsewhere:
        notes.append(f"{answers.elsewhere:,} answers are on photos of other splits: left out.")
    text = (
        "Each reader stands beside the model on the photos that this reader answered, the model at "
        "its chosen threshold (for classes: the likeliest one). A reader and a model of another "
        f"threshold may differ in sensitivity and specificity and still tell the {unit}s apart "
        "equally well; compare by the last measure. The interval of a mean is for readers like "
        "these and photos like these (Obuchowski and Rockette 1995, Hillis 2007; jackknife over "
        f"{unit}s), the difference's at the level of the sentences above; a single reader's is "
        f"over {unit}s alone. The model is one training run: its own luck is in no interval. All: "
        "`readers.csv`."
    )
    return report.Section(
        "Readers beside the model", [*blocks, report.Warnings(notes), report.Text(text)]
    )


def _table(question: Question) -> report.Table:
    columns = [question.title, report.Column("photos", right=True)]
    for score in question.scores:
        columns += [score.name, "model, same photos"]
    columns.append("model less reader")
    last = question.scores[-1]
    rows: list[list] = []
    for r, name in enumerate(question.names):
        cells = [one for score in question.scores for one in (score.readers[r], score.model[r])]
        rows.append([name, question.photos[r], *cells, last.differences[r]])
    if last.mean_difference:
        means: list = []
        for score in question.scores:
            model = float(np.mean([one.estimate for one in score.model]))
            means += [score.mean_reader and score.mean_reader.interval, model]
        rows.append(["mean of the readers", "", *means, last.mean_difference.interval])
    return report.Table([report.escaped(columns[0]), *columns[1:]], rows)
