"""A function of a data set that fails: its own words, and no wait without end."""

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
