"""Calibration against hand values, scikit-learn, and data simulated with a known temperature."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn import metrics as sk

from dermssl.core.errors import UserError
from dermssl.evaluation import calibration
from dermssl.evaluation.bootstrap import point

# Top probabilities .55 .55 .65 .95 .95, of which right: yes no yes yes no; the last is unknown.
P = np.array([[0.55, 0.45], [0.55, 0.45], [0.35, 0.65], [0.95, 0.05], [0.05, 0.95], [1, 0]])
Y = np.array([0, 1, 1, 0, 0, -1])


def simulated(temperature, n=4000, n_classes=5, seed=0):
    """Logits whose labels are drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, n_classes))
    p = softmax(logits / temperature, axis=1)
    y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=n_classes - 1)
    return logits, y


def test_reliability_and_ece_by_hand():
    table = calibration.reliability(P, Y, n_bins=10)
    assert len(table) == 10
    np.testing.assert_array_equal(table["n"], [0, 0, 0, 0, 0, 2, 1, 0, 0, 2])
    np.testing.assert_allclose(table["accuracy"][[5, 6, 9]], [0.5, 1, 0.5])
    np.testing.assert_allclose(table["confidence"][[5, 6, 9]], [0.55, 0.65, 0.95])
    assert table["accuracy"][table["n"] == 0].isna().all()
    np.testing.assert_allclose(table["low"], np.arange(10) / 10)
    expected = 2 / 5 * 0.05 + 1 / 5 * 0.35 + 2 / 5 * 0.45
    assert point("ece", Y, P, n_bins=10) == pytest.approx(expected)


def test_a_value_on_an_edge_falls_into_the_bin_below():
    p = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])
    table = calibration.reliability(p, [0, 1, 0], n_bins=4)
    np.testing.assert_array_equal(table["n"], [0, 1, 1, 1])


def test_a_calibrated_model_has_little_ece_and_a_shuffled_one_much():
    logits, y = simulated(1.0)
    p = softmax(logits, axis=1)
    shuffled = np.random.default_rng(0).permutation(y)
    assert point("ece", y, p) < 0.03
    assert point("ece", shuffled, p) > 0.4


def test_brier_equals_scikit_learn():
    logits, y = simulated(2.0, n=200)
    p = softmax(logits, axis=1)
    expected = sk.brier_score_loss(y, p, labels=range(5), scale_by_half=False)
    assert point("brier", y, p) == pytest.approx(expected)
    # By hand: 2 (1 - p_true)^2 for two classes; the unknown record is left out.
    assert point("brier", Y, P) == pytest.approx(
        2 * np.mean(np.square([0.45, 0.55, 0.35, 0.05, 0.95]))
    )


def test_nothing_labelled_is_nan_not_zero():
    for y, p in [([-1, -1], P[:2]), ([], np.zeros((0, 2)))]:
        assert np.isnan(point("ece", y, p))
        assert np.isnan(point("brier", y, p))
        found = calibration.fit_temperature(p, y)
        assert (found.temperature, found.n, found.at_bound) == (1, 0, False)
        assert np.isnan(found.nll_before)
        assert found.concern == "only 0 labelled records"
        curve = calibration.decision_curve(y, p[:, 0], [0.2])
        assert curve[["model", "all", "none"]].isna().all(axis=None)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_recovers_the_one_that_made_the_labels(temperature):
    logits, y = simulated(temperature)
    found = calibration.fit_temperature(logits, y)
    assert found.temperature == pytest.approx(temperature, rel=0.06)
    assert found.concern == ""
    assert (found.n, found.n_classes) == (4000, 5)
    before = -log_softmax(logits, axis=1)[np.arange(4000), y].mean()
    assert found.nll_before == pytest.approx(before)
    assert found.nll_after <= found.nll_before
    # No neighbour is better: it is the minimum, not merely an improvement.
    for nearby in (0.98, 1.02):
        p = softmax(logits / (found.temperature * nearby), axis=1)
        assert sk.log_loss(y, p, labels=range(5)) > found.nll_after


def test_logits_and_log_probabilities_give_the_same_temperature():
    logits, y = simulated(2.0, n=500)
    y[:50] = -1
    from_logits = calibration.fit_temperature(logits, y)
    from_log_p = calibration.fit_temperature(log_softmax(logits, axis=1), y)
    known = calibration.fit_temperature(logits[50:], y[50:])
    assert from_log_p.temperature == pytest.approx(from_logits.temperature, rel=1e-4)
    assert known == from_logits


SHARES = np.array([0.02, 0.08, 0.1, 0.2, 0.6])


def balanced(temperature, n=20000, seed=0):
    """Logits that a class-balanced training learns where classes have `SHARES`, and labels."""
    rng = np.random.default_rng(seed)
    y = rng.choice(5, size=n, p=SHARES)
    x = rng.normal(size=(n, 5)) + 1.5 * np.eye(5)[y]
    return 1.5 * x * temperature, y  # log P(x | k) is 1.5 x_k, up to a constant a row


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_prior_power_undoes_balanced_training(temperature):
    logits, y = balanced(temperature)
    power = calibration.fit_prior_power(logits, y, np.log(SHARES))
    found = calibration.fit_temperature(logits, y, offset=power * np.log(SHARES))
    assert power == pytest.approx(1, abs=0.05)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    p = softmax(logits, axis=1)
    before, after = (
        calibration.apply_temperature(p, *applied)
        for applied in [(temperature,), (found, power * np.log(SHARES))]
    )
    assert before.mean(axis=0)[0] > 2.5 * SHARES[0]  # the rare class, before
    np.testing.assert_allclose(after.mean(axis=0), np.bincount(y) / len(y), atol=0.01)
    expected = softmax(logits / temperature + np.log(SHARES), axis=1)
    np.testing.assert_allclose(after, expected, atol=0.03)


def test_the_prior_power_is_the_one_of_a_search_without_slopes():
    logits, y = balanced(1.7, n=500)

    def nll(point):
        log_p = log_softmax(logits / point[0] + point[1] * np.log(SHARES), axis=1)
        return -log_p[np.arange(len(y)), y].mean()

    best = minimize(nll, [1.0, 0.5], method="Nelder-Mead", options={"xatol": 1e-6})
    power = calibration.fit_prior_power(logits, y, np.log(SHARES))
    assert power == pytest.approx(best.x[1], abs=1e-3)
    found = calibration.fit_temperature(logits, y, offset=power * np.log(SHARES))
    assert found.nll_after == pytest.approx(best.fun, abs=1e-6)


def test_the_prior_power_is_nothing_where_nothing_is_to_be_undone():
    logits, y = balanced(1.0)
    natural = logits + np.log(SHARES)
    assert calibration.fit_prior_power(natural, y, np.log(SHARES)) == pytest.approx(0, abs=0.05)
    assert calibration.fit_prior_power(logits, y, np.log(np.full(5, 0.2))) == 0
    assert calibration.fit_prior_power(logits, np.full(len(y), -1), np.log(SHARES)) == 0
    too_rare = logits + 3 * np.log(SHARES)  # rarer than they are: never made likelier than raw
    assert calibration.fit_prior_power(too_rare, y, np.log(SHARES)) == 0


def test_temperature_mends_an_overconfident_model():
    logits, y = simulated(3.0)
    p = softmax(logits, axis=1)
    mended = calibration.apply_temperature(p, calibration.fit_temperature(logits, y))
    assert point("ece", y, p) > 0.15
    assert point("ece", y, mended) < 0.03


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1, 3, 20])
def test_apply_temperature_keeps_argmax_and_equals_tempered_logits(temperature):
    logits, _ = simulated(1.0, n=500)
    p = softmax(logits, axis=1)
    tempered = calibration.apply_temperature(p, temperature)
    np.testing.assert_array_equal(tempered.argmax(axis=1), p.argmax(axis=1))
    np.testing.assert_allclose(tempered, softmax(logits / temperature, axis=1), atol=1e-9)
    certain = calibration.apply_temperature([[0.0, 1.0], [0.5, 0.5]], temperature)
    np.testing.assert_allclose(certain, [[0, 1], [0.5, 0.5]])


def test_a_search_that_ends_at_its_bound_says_so():
    logits = np.eye(2)[[0, 1] * 50] * 4.0
    always_right = calibration.fit_temperature(logits, [0, 1] * 50)
    assert always_right.at_bound
    assert always_right.temperature == pytest.approx(0.05)
    assert "bounds" in always_right.concern
    assert calibration.fit_temperature(1e3 * logits, [0, 1] * 50).at_bound  # NLL 0 throughout
    always_wrong = calibration.fit_temperature(logits, [1, 0] * 50)
    assert always_wrong.at_bound
    assert always_wrong.temperature == pytest.approx(20)
    assert "one class" in calibration.fit_temperature(logits[::2], [0] * 50).concern
    assert "only 10" in calibration.fit_temperature(logits[:10], [0, 1] * 5).concern


def test_underflowed_log_probabilities_are_finite():
    with np.errstate(divide="ignore"):
        log_p = np.log(np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.4]]))
    found = calibration.fit_temperature(log_p, [1, 1, 0])
    assert found.nll_before == pytest.approx((-calibration.LOG_FLOOR - np.log(0.6)) / 3)
    assert found.temperature > 1


def test_decision_curve_by_hand():
    y = [1, 1, 0, 0, 0, -1]
    p = [0.9, 0.3, 0.6, 0.2, 0.1, 0.9]
    curve = calibration.decision_curve(y, p, [0.2, 0.5]).set_index("threshold")
    assert curve.loc[0.2, "model"] == pytest.approx(2 / 5 - 2 / 5 * 0.25)  # 0.2 itself acts
    assert curve.loc[0.5, "model"] == pytest.approx(1 / 5 - 1 / 5)
    assert curve.loc[0.2, "all"] == pytest.approx(2 / 5 - 3 / 5 * 0.25)
    assert curve.loc[0.5, "all"] == pytest.approx(2 / 5 - 3 / 5)
    assert (curve["none"] == 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration.reliability(P, Y[1:]), "y has 5, p has 6"),
        (lambda: calibration.reliability(P, Y, 0), "n_bins is 0"),
        (lambda: point("brier", Y, 2 * P), "sums to 2"),
        (lambda: calibration.apply_temperature(P, 0), "temperature is 0"),
        (lambda: calibration.fit_temperature(np.full((2, 2), np.nan), [0, 1]), "NaN"),
        (lambda: calibration.fit_temperature(P, Y, bounds=(2, 3)), "low < 1 < high"),
        (lambda: calibration.decision_curve([0, 1], [0.1, 1.5], [0.5]), r"0.1\.\.1.5"),
        (lambda: calibration.decision_curve([0, 1], [0.1, 0.5], [1.0]), "threshold is 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
