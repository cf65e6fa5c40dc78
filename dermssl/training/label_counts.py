"""How many labels an amount keeps, before anything is trained."""

from dermssl.data import index, splits
from dermssl.errors import UserError


def count(dataset, amounts):
    """Labels of the training split under each amount; the same for every seed.

    Args:
        dataset: `Dataset` with splits.
        amounts: list of `experiment.Amount`.

    Returns:
        dict of `Amount` -> int, fewest first.

    Raises:
        UserError: there are no labels, fewer than asked for, or two amounts keep equally many.
    """
    if dataset.taxonomy is None:
        raise UserError(f"{dataset.root}: no photo has a label; a curve over labels needs some")
    found = {}
    for amount in amounts:
        try:
            few = splits.few_labels(dataset, amount.per_class, amount.fraction)
        except UserError as error:
            raise UserError(str(error).replace("--labels-per-class", "--labels")) from error
        train = few.subset(index.TRAIN)
        n = int(index.is_labelled(train.index).sum())
        for other, same in found.items():
            if n == same:
                raise UserError(
                    f"--labels {other.key} and {amount.key} both keep {n} labels; leave one out"
                )
        found[amount] = n
    return dict(sorted(found.items(), key=lambda item: item[1]))
