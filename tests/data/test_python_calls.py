"""A function of a data set that fails: its own words, and no wait without end."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from dermssl.core.errors import UserError
from dermssl.data import python_calls

# Several functions are at work when one fails; the data set is thrown away with its error.
FAILING = """
import time
import numpy as np, tensorflow as tf
from dermssl.core.errors import UserError
from dermssl.data import python_calls

def batch(number):
    for _ in range(20):
        time.sleep(0.005)
        sum(range(10000))  # needs Python's lock again and again
    if number % 7 == 3:
        raise UserError(f"photo {number}: damaged")
    return np.float32(number)

def read():
    data = tf.data.Dataset.range(40)
    data = data.map(lambda n: python_calls.call(batch, [n], tf.float32), num_parallel_calls=8)
    with python_calls.guarded():
        for _ in data.prefetch(2):
            pass

for _ in range(3):
    try:
        read()
    except UserError as error:
        print(error, flush=True)
"""


@pytest.mark.slow
def test_a_failure_comes_out_as_it_is_and_nothing_waits_for_ever():
    ended = tiny.python("-c", FAILING, cwd=tiny.ROOT)  # has a time limit
    assert ended.returncode == 0, ended.stderr[-2000:]
    lines = ended.stdout.splitlines()
    assert len(lines) == 3
    assert {*lines} <= {"photo 3: damaged", "photo 10: damaged"}  # both are at work at once


def test_other_errors_stay_what_they_are():
    with pytest.raises(KeyError), python_calls.guarded():
        raise KeyError("x")


def test_a_failure_of_before_is_not_told_again():
    def fails(number):
        raise UserError("an old one")

    data = tf.data.Dataset.range(1).map(lambda n: python_calls.call(fails, [n], tf.int64))
    for _ in range(2):
        with pytest.raises(UserError, match="an old one"), python_calls.guarded():
            list(data)
    with pytest.raises(KeyError), python_calls.guarded():
        raise KeyError("x")


def test_nothing_tunes_a_data_set(photos):
    """tf.data's tuning thread keeps a finished `fit` waiting, for up to a minute."""
    from dermssl.data import pipeline
    from dermssl.data.augmentation.policies import AUGMENTATIONS
    from dermssl.data.photos import Photos

    some = Photos(sorted(map(str, (photos / "images").iterdir()))[:4], 32)
    labels = {"fine": np.zeros(4, np.int64)}, {"fine": np.ones(4)}
    none = AUGMENTATIONS["none"]
    for data in (
        pipeline.two_view_data(some, none, 0, 2, 32, steps=2),
        pipeline.supervised_data(some, np.arange(4), *labels, none, 0, 2, 32, steps=2),
        pipeline.evaluation_data(some, 2, 32),
        pipeline.evaluation_data(some, 2, 32, *labels),
    ):
        assert data.map(lambda *parts: parts).options().autotune.enabled is False
        assert len(list(data)) == 2
