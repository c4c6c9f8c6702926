"""Paired statistics against NumPy, SciPy and their own promises (coverage, symmetry)."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import config
from torch import Tensor

from bolearn.errors import DataError, ShapeError
from bolearn.seeds import normal
from bolearn.stats import (
    Interval,
    compare_paired,
    paired_bootstrap,
    quantiles,
    sign_test,
    verdict,
    wilson_interval,
)

finite = st.floats(-1e6, 1e6)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As users run it: without the shape checks of the test suite, which would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def draws(seed: int, n: int) -> Tensor:
    return normal([seed], [n])[0]


@given(st.lists(finite, min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(x: list[float], level: float) -> None:
    ours = quantiles(torch.tensor(x, dtype=torch.float64), [level])[0].item()
    np.testing.assert_allclose(ours, np.quantile(x, level), rtol=1e-9, atol=1e-9)


def test_an_infinite_entry_spoils_only_the_quantiles_it_touches() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, math.inf]], dtype=torch.float64)
    low, middle, high = quantiles(x, [0.0, 0.5, 1.0])[:, 0].tolist()
    assert (low, middle, high) == (1.0, 2.5, math.inf)


def test_quantiles_of_rows_with_nan_are_nan_and_of_others_are_not() -> None:
    x = torch.tensor([[1.0, math.nan], [1.0, 3.0]], dtype=torch.float64)
    result = quantiles(x, [0.5])[0]
    assert result[0].isnan() and result[1] == 2.0


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_bootstrap_agrees_with_scipy(statistic: str) -> None:
    x = draws(1, 40) + 0.3
    ours = paired_bootstrap(x, statistic=statistic, resamples=20_000)
    scipys = scipy.stats.bootstrap(
        (x.numpy(),),
        getattr(np, statistic),
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    # both are Monte-Carlo; the standard error of a 2.5 % quantile of 20,000 is about 0.003 here
    assert abs(ours.low - scipys.low) < 0.02
    assert abs(ours.high - scipys.high) < 0.02


def test_bootstrap_interval_covers_the_median_about_as_often_as_it_says() -> None:
    runs, covered = 400, 0
    for k in range(runs):
        covered += 0.0 in paired_bootstrap(draws(k, 32), resamples=400, seed=k)
    # a binomial count: the true coverage is plausible within 4 standard errors of 0.95
    interval = wilson_interval(covered, runs, confidence=0.9999)
    assert interval.low < 0.95 < interval.high + 0.02


def test_bootstrap_does_not_depend_on_how_it_is_cut_into_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = draws(3, 50)
    once = paired_bootstrap(x, resamples=500)
    assert once == paired_bootstrap(x, resamples=500)
    monkeypatch.setattr("bolearn.stats._BLOCK", 1_000)
    pieces = paired_bootstrap(x, resamples=500)
    assert abs(pieces.low - once.low) < 0.15 and abs(pieces.high - once.high) < 0.15
    # With twenty resamples a piece: if all pieces drew the same, there would be twenty in all.
    means = [paired_bootstrap(x, statistic="mean", resamples=20_000)]
    monkeypatch.setattr("bolearn.stats._BLOCK", 1 << 20)
    means.append(paired_bootstrap(x, statistic="mean", resamples=20_000))
    # the standard error of a 2.5 % quantile of 20,000 means of 50 is about 0.0027
    assert abs(means[0].low - means[1].low) < 0.015 > abs(means[0].high - means[1].high)


@given(st.integers(0, 10_000))
def test_comparison_turned_round_is_the_mirror_image(seed: int) -> None:
    a, b = draws(seed, 12), draws(seed + 1, 12) + 0.5
    ab, ba = compare_paired(a, b, resamples=300), compare_paired(b, a, resamples=300)
    mirrored = {"better": "worse", "worse": "better", "undecided": "undecided"}
    assert ba.verdict == mirrored[ab.verdict]
    assert (ba.wins, ba.losses, ba.ties) == (ab.losses, ab.wins, ab.ties)
    np.testing.assert_allclose((ba.low, ba.high), (-ab.high, -ab.low), atol=1e-12)
    assert ab.wins + ab.losses + ab.ties == ab.pairs == 12
    flipped = compare_paired(-a, -b, better="higher", resamples=300)
    assert flipped.verdict == ab.verdict and flipped.wins == ab.wins


def test_a_clear_difference_is_a_verdict_and_no_difference_is_none() -> None:
    a = draws(0, 30)
    assert compare_paired(a, a + 1.0).verdict == "better"
    assert compare_paired(a, a - 1.0).verdict == "worse"
    same = compare_paired(a, a)
    assert same.verdict == "undecided" and same.ties == 30 and same.low == same.high == 0.0


def test_pairing_decides_what_unpaired_scores_do_not() -> None:
    a = 10 * draws(0, 30)
    paired = compare_paired(a, a + 0.1 + 0.01 * draws(1, 30))
    assert paired.verdict == "better"
    shuffled = compare_paired(a, (a + 0.1).flip(0))
    assert shuffled.verdict == "undecided"


def test_few_pairs_are_never_a_verdict() -> None:
    a = draws(0, 5)
    assert compare_paired(a, a + 1.0).verdict == "undecided"


def test_two_equal_methods_seldom_get_a_verdict() -> None:
    runs = 300
    decided = sum(
        compare_paired(draws(2 * k, 24), draws(2 * k + 1, 24), resamples=300).verdict != "undecided"
        for k in range(runs)
    )
    assert wilson_interval(decided, runs, confidence=0.9999).low < 0.05


def test_standard_error_and_mean_are_those_of_the_paired_t_test() -> None:
    a, b = draws(0, 20), draws(1, 20)
    result = compare_paired(a, b)
    reference = scipy.stats.ttest_rel(a.numpy(), b.numpy())
    statistic = result.mean_difference / result.standard_error
    np.testing.assert_allclose(statistic, reference.statistic, rtol=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
def test_sign_test_is_scipys_binomial_test(wins: int, losses: int) -> None:
    theirs = scipy.stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    np.testing.assert_allclose(sign_test(wins, losses), theirs, rtol=1e-9)


def test_ties_neither_help_nor_hinder_a_verdict() -> None:
    a = torch.zeros(30, dtype=torch.float64)
    b = a.clone()
    b[:12] = 1.0
    b[12] = -1.0
    result = compare_paired(a, b)
    assert (result.wins, result.losses, result.ties) == (12, 1, 17)
    assert result.median_difference == 0.0 and result.verdict == "better"


@given(st.integers(1, 200), st.data())
def test_wilson_interval_is_scipys(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    ours = wilson_interval(successes, trials, confidence=0.9)
    theirs = scipy.stats.binomtest(successes, trials).proportion_ci(0.9, method="wilson")
    np.testing.assert_allclose((ours.low, ours.high), (theirs.low, theirs.high), atol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_bad_input_says_what_is_wrong() -> None:
    x = draws(0, 4)
    with pytest.raises(ShapeError, match="same replicates"):
        compare_paired(x, draws(0, 5))
    with pytest.raises(DataError, match="at least one replicate"):
        compare_paired(x[:0], x[:0])
    with pytest.raises(DataError, match="finite"):
        compare_paired(x, x * math.nan)
    with pytest.raises(DataError, match="float64"):
        compare_paired(x.float(), x.float())
    with pytest.raises(DataError, match="confidence"):
        paired_bootstrap(x, confidence=1.0)
    with pytest.raises(DataError, match="resamples"):
        paired_bootstrap(x, resamples=0)
    with pytest.raises(DataError, match="at most trials"):
        wilson_interval(3, 2)
    with pytest.raises(DataError, match="levels"):
        quantiles(x, [1.5])


def test_an_interval_contains_its_ends() -> None:
    interval = Interval(0.0, 1.0, 0.9)
    assert 0.0 in interval and 1.0 in interval and 1.1 not in interval


def test_runs_that_found_nothing_lose_and_tie_with_their_like() -> None:
    inf = math.inf
    a = torch.tensor([1.0, 2.0, inf, inf, 3.0, 0.0, 1.0, 0.5, 2.5], dtype=torch.float64)
    b = torch.tensor([inf, 1.0, inf, 4.0, inf, inf, inf, inf, inf], dtype=torch.float64)
    paired = compare_paired(a, b)
    assert (paired.wins, paired.losses, paired.ties) == (6, 2, 1)
    assert paired.verdict == "undecided" and paired.p_value == sign_test(6, 2)
    assert paired.median_a == 2.0 and paired.median_b == inf
    assert paired.median_difference == -inf and paired.low == -inf
    nothing = compare_paired(b * inf, b * inf)
    assert nothing.ties == 9 and (nothing.low, nothing.high) == (0.0, 0.0)
    flipped = compare_paired(-a, -b, better="higher")
    assert (flipped.wins, flipped.losses, flipped.ties) == (6, 2, 1)
    assert "undecided" in str(paired) and math.isnan(paired.mean_difference)


@pytest.mark.usefixtures("unchecked")
def test_bad_options_of_comparisons_say_what_was_expected() -> None:
    x = draws(0, 4)
    for confidence in ("95%", 95, math.nan, None):
        with pytest.raises(DataError, match="confidence: expected a number between 0 and 1"):
            compare_paired(x, x, confidence=confidence)  # type: ignore[arg-type]
    for tie in (-1.0, math.nan, math.inf, "0", True):
        with pytest.raises(DataError, match="tie: expected a finite number >= 0"):
            compare_paired(x, x, tie=tie)  # type: ignore[arg-type]


@given(st.integers(0, 10_000), st.floats(-1, 1))
def test_verdict_is_about_the_t_statistic_of_the_gains(seed: int, shift: float) -> None:
    gain = draws(seed, 24) + shift
    found = verdict(gain)
    reference = scipy.stats.ttest_1samp(gain.numpy(), 0.0)
    np.testing.assert_allclose(found.errors, reference.statistic, rtol=1e-9, atol=1e-12)
    decided = "better" if found.errors > 4 else "worse" if found.errors < -4 else "undecided"
    assert found.decision == decided
    np.testing.assert_allclose(found.high - found.low, 8 * found.standard_error, rtol=1e-12)


@given(st.integers(0, 10_000), st.floats(-2, 2), st.sampled_from([1e-6, 1.0, 1e6]))
def test_verdict_turned_round_or_in_another_unit_says_the_same(
    seed: int, shift: float, unit: float
) -> None:
    gain = draws(seed, 20) + shift
    one, turned, other = (verdict(x, small=s) for x, s in
                          ((gain, 1.0), (-gain, 1.0), (unit * gain, unit)))  # fmt: skip
    mirrored = {"better": "worse", "worse": "better"}
    assert turned.decision == mirrored.get(one.decision, one.decision)
    assert other.decision == one.decision
    assert turned.needed == one.needed and abs((other.needed or 0) - (one.needed or 0)) <= 1


def test_equal_methods_get_a_verdict_in_about_one_of_a_thousand_experiments() -> None:
    runs, decided = 4_000, 0
    for k, gain in enumerate(draws(0, 16 * runs).reshape(runs, 16)):
        normal = gain if k % 2 else gain**3  # light and heavy tails
        decided += verdict(normal).decision != "undecided"
    assert wilson_interval(decided, runs, confidence=0.9999).low < 0.001
    assert decided < 0.005 * runs


@given(st.integers(0, 10_000), st.floats(-0.6, 0.6), st.sampled_from([None, 0.3]))
def test_as_many_pairs_as_needed_decide_and_far_fewer_do_not(
    seed: int, shift: float, small: float | None
) -> None:
    gain = draws(seed, 30) + shift
    found = verdict(gain, small=small)
    if found.decision == "undecided" and found.needed is not None and found.needed < 10_000:
        times = -(-found.needed // 30)
        assert verdict(gain.repeat(times + 1), small=small).decision != "undecided"
        fewer = int(0.9 * found.needed) // 30  # repeating lowers the spread by 1/60
        if fewer > 1:
            assert verdict(gain.repeat(fewer), small=small).decision == "undecided"


def test_no_difference_needs_an_interval_whose_ends_are_small() -> None:
    gain = draws(3, 400)
    gain = gain - gain.mean() + 0.01
    wide = 4 * gain.std().item() / 20
    assert verdict(gain).decision == "undecided"
    assert verdict(gain, small=0.9 * wide).decision == "undecided"
    assert verdict(gain, small=1.2 * wide).decision == "no difference"
    sure = 0.05 + 1e-3 * draws(4, 400)  # certainly more than 0, and certainly too little
    assert verdict(sure).decision == "better"
    assert verdict(sure, small=0.1).decision == "no difference"


def test_ties_and_few_pairs_are_no_evidence() -> None:
    ceiling = torch.zeros(100, dtype=torch.float64)
    assert verdict(ceiling, small=0.01).decision == "undecided"
    assert verdict(ceiling, small=0.01).needed is None
    ceiling[:5] = 1e-3  # 95 of 100 tie
    assert verdict(ceiling, small=0.01).decision == "undecided"
    assert verdict(ceiling, small=0.01).needed == 320
    assert verdict(torch.ones(15, dtype=torch.float64)).decision == "undecided"
    assert verdict(torch.ones(16, dtype=torch.float64)).decision == "better"
    alone = verdict(torch.ones(1, dtype=torch.float64))
    assert alone.decision == "undecided" and alone.needed is None
    assert "at least" in str(verdict(draws(0, 20))) and "nan" not in str(verdict(draws(0, 20)))


def test_solved_or_not_asks_for_about_sixteen_to_nothing() -> None:
    for pairs, wins in ((40, 15), (1_000, 15)):
        gain = torch.zeros(pairs, dtype=torch.float64)
        gain[:wins] = 1.0
        assert verdict(gain).decision == "undecided"
        gain[: wins + 2] = 1.0
        assert verdict(gain).decision == "better"
        assert sign_test(wins + 2, 0) < 1e-4


@pytest.mark.usefixtures("unchecked")
def test_a_verdict_on_bad_input_says_what_is_wrong() -> None:
    x = draws(0, 20)
    with pytest.raises(DataError, match="at least one replicate"):
        verdict(x[:0])
    for bad in (math.nan, math.inf):
        with pytest.raises(DataError, match="finite"):
            verdict(torch.where(x > 0, bad, x))
    for small in (0.0, -1.0, math.nan, math.inf, True, "0.1"):
        with pytest.raises(DataError, match="small: expected a positive number"):
            verdict(x, small=small)  # type: ignore[arg-type]
