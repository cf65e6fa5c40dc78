"""Warm-up and cosine against the golden values, and as the two trainings use it."""

import keras
import numpy as np
import pytest

from dermssl.training.loop import warmup_cosine


@pytest.mark.parametrize(("step", "expected"), [(0, 0), (488, 1), (976, 2), (5371, 1), (9766, 0)])
def test_golden_values(step, expected):
    # Base 1, scaled to the batch: 512 / 256 = 2; 9,766 steps, of which 976 warm up.
    rate = warmup_cosine(2.0, 9766, 976)
    assert float(rate(step)) == pytest.approx(expected, abs=1e-3)


def test_shape():
    rate = np.array([float(warmup_cosine(1.0, 100, 10)(step)) for step in range(101)])
    np.testing.assert_allclose(rate[:11], np.arange(11) / 10, atol=1e-6)
    assert (np.diff(rate[10:]) < 0).all()
    expected = 0.5 * (1 + np.cos(np.pi * np.arange(91) / 90))
    np.testing.assert_allclose(rate[10:], expected, atol=1e-6)


def test_without_warm_up_it_starts_at_its_peak():
    rate = warmup_cosine(0.5, 10)
    assert [float(rate(step)) for step in (0, 5, 10)] == pytest.approx([0.5, 0.25, 0], abs=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_train_too(steps):
    rate = warmup_cosine(1.0, steps, steps - 1)
    assert max(float(rate(step)) for step in range(steps)) == pytest.approx(1)
    assert all(0 <= float(rate(step)) <= 1 for step in range(steps + 2))


def test_it_is_saved_with_its_model():
    rate = warmup_cosine(0.5, 10, 3)
    schedules = keras.optimizers.schedules
    again = schedules.deserialize(schedules.serialize(rate))
    assert [float(again(s)) for s in range(11)] == [float(rate(s)) for s in range(11)]
