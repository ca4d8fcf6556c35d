"""Statistics over seeds, against values computed by hand and against SciPy."""

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap, mannwhitneyu, trim_mean

from ternevo.runs import intervals as stats


def test_steps_to_a_return_are_interpolated():
    """Seeds 0, 10, 20 and 10, 10, 40 have the mean 5, 10, 30 at the steps 100, 200, 300."""
    curves = [[(100, 0.0), (200, 10.0), (300, 20.0)], [(100, 10.0), (200, 10.0), (300, 40.0)]]
    assert stats.steps_to(curves, 20) == stats.Reached(250.0)
    assert stats.steps_to(curves, 6) == stats.Reached(120.0)
    assert stats.steps_to(curves, 30) == stats.Reached(300.0)
    assert stats.steps_to(curves, 30.1) == stats.Reached(np.inf)
    assert stats.steps_to(curves, 5) == stats.Reached(100.0, is_bound=True)


def test_seeds_of_unequal_steps_share_one_axis():
    """It begins where both have a return; the one that ends first keeps its last."""
    curves = [[(100, 0.0), (300, 20.0)], [(200, 0.0), (400, 8.0)]]
    axis, returns = stats.on_one_axis(curves)
    np.testing.assert_array_equal(axis, [200, 300, 400])
    np.testing.assert_array_equal(returns, [[10, 20, 20], [0, 4, 8]])
    band = stats.curve_band(curves)
    np.testing.assert_array_equal(band[1], [5, 12, 14])
    assert (band[2] <= band[1]).all() and (band[1] <= band[3]).all()


def test_a_ratio_of_steps_knows_who_never_got_there():
    never, soon, late = stats.Reached(np.inf), stats.Reached(50.0), stats.Reached(100.0)
    assert stats.ratio(soon, late) == 0.5
    assert stats.ratio(never, late) == np.inf
    assert np.isnan(stats.ratio(soon, never))
    assert np.isnan(stats.ratio(stats.Reached(np.nan), late))


@pytest.mark.parametrize("count", [1, 3, 4, 7, 10, 40])
def test_the_interquartile_mean_is_that_of_scipy(count):
    values = np.random.default_rng(count).normal(size=(3, count))
    np.testing.assert_allclose(stats.iqm(values), trim_mean(values, 0.25, axis=-1))


def test_the_stratified_bootstrap_resamples_within_tasks():
    """Seeds of a task that are all alike leave nothing to draw, however far tasks are apart."""
    interval = stats.iqm_interval([[0.0] * 4, [1.0] * 4, [2.0] * 4])
    assert interval == stats.Interval(1.0, 1.0, 1.0)
    wide = stats.iqm_interval([[0.0, 1.0] * 4, [1.0, 2.0] * 4])
    assert wide.low < wide.value < wide.high


def test_a_bootstrap_interval_covers_as_often_as_it_says():
    """95 % for many seeds; the mean of 100 draws is close enough to normal."""
    numbers = np.random.default_rng(1)
    found = [stats.mean_interval(numbers.normal(3, 1, 100)) for _ in range(100)]
    assert 88 <= sum(one.low <= 3 <= one.high for one in found) <= 100
    normal = 2 * 1.96 / np.sqrt(100)
    np.testing.assert_allclose(np.mean([x.high - x.low for x in found]), normal, rtol=0.05)


def test_equal_seeds_have_an_interval_without_width():
    assert stats.mean_interval([500.0] * 10) == stats.Interval(500, 500, 500)
    assert stats.difference_interval([0.1] * 10, [0.1] * 3) == stats.Interval(0, 0, 0)


def test_a_verdict_needs_the_whole_interval_on_one_side():
    difference = stats.difference_interval([10.0, 11.0, 12.0], [1.0, 2.0, 3.0])
    assert difference.value == 9
    assert stats.verdict(difference) == "wins"
    assert stats.verdict(stats.difference_interval([1.0, 2.0], [10.0, 11.0])) == "loses"
    assert stats.verdict(stats.Interval(1, -0.1, 2)) == "ties"
    assert stats.verdict(stats.Interval(0, 0, 0), ("helps", "same", "hurts")) == "same"


def test_normalised_returns_are_0_at_the_start_and_1_at_the_reference():
    np.testing.assert_array_equal(stats.normalise([-10, 0, 10, 20], -10, 10), [0, 0.5, 1, 1.5])
    assert np.isnan(stats.normalise([1.0], 5, 5)).all()
    assert np.isnan(stats.normalise([1.0], 5, 4)).all()


def test_an_interval_is_that_of_scipys_bootstrap():
    """The same percentiles, of other resamples: they agree to a few hundredths of the width."""
    values = np.random.default_rng(2).normal(size=12)
    ours = stats.mean_interval(values)
    theirs = bootstrap((values,), np.mean, method="percentile", rng=1).confidence_interval
    width = theirs.high - theirs.low
    np.testing.assert_allclose([ours.low, ours.high], theirs, atol=0.05 * width)


def test_the_probability_of_improvement_by_hand():
    """1, 3 and 5 beside 2 and 3: they win 0, 1.5 and 2 of the 2 pairs, 3.5 of 6."""
    assert stats.probability_of_improvement([[1, 3, 5]], [[2, 3]]).value == pytest.approx(3.5 / 6)
    both = stats.probability_of_improvement([[1, 3, 5], [0, 0]], [[2, 3], [1]])
    assert both.value == pytest.approx(3.5 / 12)


def test_the_probability_of_improvement_is_the_statistic_of_mann_and_whitney():
    left, right = np.random.default_rng(0).normal(size=(2, 7))
    found = stats.probability_of_improvement([left], [right[:5]])
    assert found.value == pytest.approx(mannwhitneyu(left, right[:5]).statistic / 35)
    back = stats.probability_of_improvement([right[:5]], [left])
    assert back.value == pytest.approx(1 - found.value)
    assert found.low < found.value < found.high


def test_the_probability_of_improvement_resamples_the_seeds_of_each_arm():
    """One of two seeds wins: resamples have it never, once or twice, so all of 0, 1/2, 1 occur."""
    found = stats.probability_of_improvement([[0.0, 2.0]], [[1.0]])
    assert found == stats.Interval(0.5, 0.0, 1.0)
    sure = stats.probability_of_improvement([[2.0, 3.0]], [[0.0, 1.0]])
    assert sure == stats.Interval(1.0, 1.0, 1.0)


def test_the_probability_of_improvement_wants_the_same_tasks():
    with pytest.raises(ValueError, match="zip"):
        stats.probability_of_improvement([[1.0], [2.0]], [[1.0]])


def test_ratios_of_steps_are_resampled_with_the_target_of_each_resample():
    """Curves from 0 to a height in 100 steps: each resample has 90 % of its own seeds' mean."""
    low, high, never = ([(0, 0.0), (100, height)] for height in (10.0, 20.0, 0.0))
    equal = stats.resampled_ratios([low] * 3, [low] * 4, [10.0] * 4, 0.0, 0.9)
    assert np.array_equal(equal, np.ones(stats.RATIO_RESAMPLES))
    # One seed on the left; on the right none, one or both of two seeds go twice as high.
    ratios = stats.resampled_ratios([high], [low, high], [10.0, 20.0], 0.0, 0.9)
    assert np.allclose(np.unique(ratios.round(9)), [0.5, 0.75, 1.0])
    # On the left nobody gets there: infinite. On the right nobody: there is no number.
    assert np.isinf(stats.resampled_ratios([never], [low], [10.0], 0.0, 0.9)).all()
    assert np.isnan(stats.resampled_ratios([low], [low], [20.0], 0.0, 0.9)).all()
    assert np.isnan(stats.resampled_ratios([low], [never], [0.0], 0.0, 0.9)).all()


def test_an_interval_leaves_out_what_is_no_number():
    resamples = np.array([1.0, 2.0, np.nan, np.inf])
    assert stats.interval_with_infinity(2.0, resamples) == stats.Interval(2.0, 1.0, np.inf)
    nothing = stats.interval_with_infinity(2.0, np.array([np.nan]))
    assert nothing.value == 2.0 and np.isnan(nothing.low) and np.isnan(nothing.high)


def test_steps_to_a_return_have_an_interval():
    """Alone, one seed gets to 10 after 100 steps, the other after 200; both alike have no width."""
    soon, late = [(0, 0.0), (100, 10.0), (200, 10.0)], [(0, 0.0), (100, 0.0), (200, 10.0)]
    found = stats.steps_interval([soon, late], 10)
    assert found == stats.Interval(200.0, 100.0, 200.0)
    assert stats.steps_interval([soon, soon], 5) == stats.Interval(50.0, 50.0, 50.0)


def test_steps_that_some_resamples_never_take_are_infinite():
    there, never = [(0, 0.0), (100, 10.0)], [(0, 0.0), (100, 0.0)]
    assert stats.steps_interval([there, never], 5) == stats.Interval(100.0, 50.0, np.inf)
    assert stats.steps_interval([never, never], 5) == stats.Interval(np.inf, np.inf, np.inf)


def test_the_area_of_a_curve_is_its_mean_height():
    """Heights 0 to 10 over 100 steps and 10 over 200: (500 + 2000) / 300."""
    assert stats.area([(100, 0.0), (200, 10.0), (400, 10.0)]) == pytest.approx(25 / 3)
    assert stats.area([(100, 7.0)]) == 7


def test_a_share_has_wilsons_interval():
    """Of 5 in 5 it is 5 / (5 + z^2) to 1, where z = 1.96; the bootstrap would say 1 to 1."""
    found = stats.proportion_interval(5, 5)
    assert found.value == found.high == 1
    assert found.low == pytest.approx(5 / (5 + 1.959964**2))
    assert stats.proportion_interval(2, 8).value == 0.25
    low, high = binomtest(2, 8).proportion_ci(method="wilson")
    assert stats.proportion_interval(2, 8)[1:] == (low, high)


def test_the_pareto_front_by_hand():
    """B has a's return for more bytes, d loses to c in both; a, c and the equal e are left."""
    costs = [100, 200, 300, 400, 300]
    values = [5.0, 5.0, 9.0, 8.0, 9.0]
    assert stats.pareto_front(costs, values) == [0, 2, 4]
    assert stats.pareto_front([2, 1], [2.0, 1.0]) == [1, 0]
    assert stats.pareto_front([], []) == []
