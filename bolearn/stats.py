"""Paired comparisons: how much two methods differ, and whether the data decide it.

Two methods that start from the same designs and meet the same noise are compared pair by pair: the
difference within a replicate varies much less than the methods themselves. `verdict` is the rule by
which the whole course decides: one statistic, one interval, and the number of pairs that are
missing where it stays undecided. Everything here is deterministic for a given seed.

Taught in part_3/tutorial_04 (the rule) and part_4/tutorial_03 (the bootstrap).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import DataError, ShapeError
from .seeds import derive, uniform
from .shapes import check_count, check_tensor

Statistic = Literal["median", "mean"]
Verdict = Literal["better", "worse", "undecided"]
Decision = Literal["better", "worse", "no difference", "undecided"]

DECISIVE_ERRORS = 4.0  # standard errors between the mean difference and what is excluded
FEWEST_DIFFERENT = 16  # pairs that differ; below, a standard error is no measure of the doubt

_BLOCK = 1 << 20  # entries drawn at a time, so that memory does not grow with the resamples


@dataclass(frozen=True)
class Interval:
    """An interval ``[low, high]`` meant to hold an unknown number with probability `confidence`."""

    low: float
    high: float
    confidence: float

    def __contains__(self, x: float) -> bool:
        return self.low <= x <= self.high


@dataclass(frozen=True)
class PairedComparison:
    """What the paired differences a - b of two methods say.

    `median_difference` and its interval [`low`, `high`] are in the unit of the scores; they say how
    much. `wins` counts the pairs in which a is better; `p_value` and `verdict` are those of the
    sign test and say whether. `mean_difference` and `standard_error` give the classical t test.
    """

    pairs: int
    median_a: float
    median_b: float
    median_difference: float
    low: float
    high: float
    confidence: float
    mean_difference: float
    standard_error: float
    wins: int
    losses: int
    ties: int
    p_value: float
    verdict: Verdict

    def __str__(self) -> str:
        return (
            f"{self.verdict}: median difference {self.median_difference:.3g}, "
            f"{self.confidence:.0%} interval [{self.low:.3g}, {self.high:.3g}], "
            f"{self.wins} wins, {self.losses} losses, {self.ties} ties in {self.pairs} pairs"
        )


@dataclass(frozen=True)
class PairedVerdict:
    """What `verdict` decided, and on what evidence.

    Attributes:
        decision: "better", "worse", "no difference" or "undecided".
        pairs: how many pairs there are.
        different: in how many of them the two methods differ.
        mean: of the gains, in their unit.
        standard_error: of that mean; NaN for a single pair.
        low, high: the interval, `mean` plus and minus four standard errors.
        needed: at least so many pairs for a decision, if mean and spread stay as they are; None
            where these do not tell (no pair differs), and `pairs` where it is decided.
    """

    decision: Decision
    pairs: int
    different: int
    mean: float
    standard_error: float
    low: float
    high: float
    needed: int | None

    @property
    def errors(self) -> float:
        """How many standard errors the mean is from 0, with its sign; NaN for 0/0."""
        if self.standard_error > 0.0:
            return self.mean / self.standard_error
        return math.copysign(math.inf, self.mean) if self.mean != 0.0 else math.nan

    def __str__(self) -> str:
        interval = f"mean {self.mean:.3g}, interval {self.low:.3g} to {self.high:.3g}"
        text = f"{self.decision}: {interval} ({self.pairs} pairs)"
        if self.decision != "undecided" or self.needed is None:
            return text
        return text + f"; at least {self.needed:,} pairs would be needed"


def verdict(gain: Float[Tensor, " n"], *, small: float | None = None) -> PairedVerdict:
    """Decide between two methods from their paired gains, by the one rule of the course.

    The statistic is the mean of the gains, the interval that mean plus and minus four standard
    errors (of paired differences: their standard deviation over the root of n).

    - *better*, *worse*: the interval lies above, or below, 0, and at least 16 pairs differ.
    - *no difference*: the interval lies between -`small` and `small`, and at least 16 pairs
      differ. Whatever the gain is, it does not matter. Never without `small`: a test that failed
      to reject is no evidence of zero, nor are pairs that nearly all tie.
    - *undecided*: all else, with the number of pairs that would be needed.

    *Why the mean*: it has the unit of the decision. Choose the gain before looking: ounces of
    regret, its logarithm, solved or not (1, 0, -1), the sign (who wins most pairs). These are
    different questions, and their answers differ. *Why four standard errors*: a course, or a
    paper, makes a hundred comparisons. At two standard errors some five of a hundred equal
    pairs of methods get a verdict; at four, with as few as 16 runs each, about one in a thousand.
    *Why 16*: of fewer runs, a few that all fall on one side have a tiny standard error.

    A loss that is rare and large (in a share of runs below about 3/n) may be in none of n pairs,
    and then no statistic of these pairs sees it: look at the tail as well.

    Args:
        gain: for each pair by how much the first method is ahead, positive if it is better.
        small: the largest mean gain that would not matter, in the unit of the gains.

    Raises:
        DataError: no pairs, a gain that is not finite (count a run that found nothing as 0 or 1
            instead, or take the sign), `small` not a positive number.

    Example:
        >>> gain = torch.linspace(-1.0, 2.0, 40, dtype=torch.float64)
        >>> verdict(gain).decision, verdict(gain - 0.4).decision, verdict(gain - 0.4).needed
        ('undecided', 'undecided', 1294)
        >>> verdict(gain.repeat(4)).decision, verdict(gain - 0.5, small=1.0).decision
        ('better', 'no difference')

    Source:
        Schuirmann, "A comparison of the two one-sided tests procedure and the power approach",
        J. Pharmacokinetics and Biopharmaceutics 15 (1987), https://doi.org/10.1007/BF01068419,
        for "no difference" by an interval.
    """
    _check_samples("gain", gain)
    if small is not None and (
        isinstance(small, bool) or not isinstance(small, int | float) or not 0 < small < math.inf
    ):
        raise DataError(f"small: expected a positive number in the unit of gain, got {small!r}")
    n, mean = gain.shape[0], gain.mean().item()
    spread = gain.std().item() if n > 1 else math.nan
    error, different = spread / math.sqrt(n), int((gain != 0).sum())
    low, high = mean - DECISIVE_ERRORS * error, mean + DECISIVE_ERRORS * error
    decision: Decision = "undecided"
    if different >= FEWEST_DIFFERENT:
        if small is not None and -small < low and high < small:
            decision = "no difference"
        elif low > 0.0 or high < 0.0:
            decision = "better" if low > 0.0 else "worse"
    needed = n if decision != "undecided" else _needed(n, different, mean, spread, small)
    return PairedVerdict(decision, n, different, mean, error, low, high, needed)


def _needed(n: int, different: int, mean: float, spread: float, small: float | None) -> int | None:
    """Pairs for a decision with this mean and spread, more than there are; None if unknown."""
    if different == 0 or n == 1:
        return None
    farthest = abs(mean) if small is None else max(abs(mean), small - abs(mean))
    if farthest == 0.0:
        return None
    by_spread = (DECISIVE_ERRORS * spread / farthest) ** 2
    by_count = FEWEST_DIFFERENT * n / different
    return max(n + 1, math.ceil(max(by_spread, by_count)))


def quantiles(x: Float[Tensor, "*batch n"], levels: Sequence[float]) -> Float[Tensor, " k *batch"]:
    """Sample quantiles along the last axis, by linear interpolation of the order statistics.

    Unlike `torch.quantile`, an infinite entry spoils only the quantiles that touch it. A row with
    a NaN has no quantiles: they are NaN.

    Args:
        x: the samples.
        levels: numbers in [0, 1].

    Raises:
        DataError: no samples, or a level outside [0, 1].

    Example:
        >>> x = torch.tensor([3.0, 1.0, 2.0, torch.inf], dtype=torch.float64)
        >>> quantiles(x, [0.0, 0.5]).tolist()
        [1.0, 2.5]

    Source:
        Hyndman & Fan, "Sample quantiles in statistical packages", The American Statistician 50
        (1996), definition 7, https://doi.org/10.2307/2684934.
    """
    check_tensor("x", x, finite=False)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise DataError(f"x: expected at least one sample in the last axis, got {tuple(x.shape)}")
    for level in levels:
        if not 0.0 <= level <= 1.0:
            raise DataError(f"levels: expected numbers in [0, 1], got {level!r}")
    ordered, n = x.sort(dim=-1).values, x.shape[-1]
    rows = []
    for level in levels:
        position = level * (n - 1)
        k = min(int(position), n - 1)
        weight = position - k
        row = ordered[..., k]
        if weight > 0.0:
            row = (1.0 - weight) * row + weight * ordered[..., k + 1]
        rows.append(row)
    undefined = x.isnan().any(-1)
    return torch.stack([torch.where(undefined, torch.nan, row) for row in rows])


def paired_bootstrap(
    differences: Float[Tensor, " n"],
    *,
    statistic: Statistic = "median",
    confidence: float = 0.95,
    resamples: int = 9_999,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval for the median (or mean) of paired differences.

    The n differences are drawn with replacement `resamples` times; the interval runs between the
    (1 - confidence)/2 quantiles of the statistic on both sides.

    Args:
        differences: one number for each replicate, a - b.
        statistic: what is estimated.
        confidence: wanted coverage. The percentile interval is somewhat short for fewer than about
            20 pairs.
        resamples: how many times to resample.
        seed: of the resampling.

    Raises:
        DataError: no differences, NaN or infinite ones, a confidence outside (0, 1).

    Example:
        >>> d = torch.arange(1.0, 42.0, dtype=torch.float64)
        >>> interval = paired_bootstrap(d)
        >>> 21.0 in interval, 5.0 in interval
        (True, False)

    Source:
        Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    _check_samples("differences", differences)
    return _bootstrap(differences, statistic, confidence, resamples, seed)


def _bootstrap(
    differences: Tensor, statistic: Statistic, confidence: float, resamples: int, seed: int
) -> Interval:
    _check_confidence(confidence)
    check_count("resamples", resamples)
    n, drawn = differences.shape[0], []
    rows = max(1, _BLOCK // n)
    for block, start in enumerate(range(0, resamples, rows)):
        count = min(rows, resamples - start)
        u = uniform([derive(seed, "bootstrap", block)], (count, n), differences.device)[0]
        sample = differences[(u * n).long()]
        drawn.append(_center(sample, statistic))
    tail = (1.0 - confidence) / 2.0
    low, high = quantiles(torch.cat(drawn), [tail, 1.0 - tail]).tolist()
    return Interval(low, high, confidence)


def compare_paired(
    a: Float[Tensor, " n"],
    b: Float[Tensor, " n"],
    *,
    better: Literal["lower", "higher"] = "lower",
    tie: float = 0.0,
    confidence: float = 0.95,
    resamples: int = 9_999,
    seed: int = 0,
) -> PairedComparison:
    """Compare the scores of two methods over the same replicates.

    The verdict is about a: "better" or "worse" if the sign test rejects "a wins as often as b" at
    the given confidence, "undecided" otherwise. The test is exact for any distribution, ties
    included, so that fewer than six pairs never give a verdict. Of two equal methods one comparison
    in twenty gets a verdict at 95 % confidence: many comparisons need a higher confidence. The
    bootstrap interval of the median difference says how large the difference is.

    An infinite score stands for a run that found nothing: two equal infinities tie, and whatever
    the differences leave undefined (a mean of them, a median between both infinities) is NaN.

    Args:
        a, b: scores, entry i of both from replicate i.
        better: whether a low score (regret) or a high one (value found) is good.
        tie: differences of at most this size count as ties.
        confidence: of the interval and of the verdict.
        resamples, seed: of the bootstrap.

    Raises:
        ShapeError: a and b of different lengths.
        DataError: NaN among the scores, bad options.

    Example:
        >>> a = torch.linspace(0.0, 1.0, 20, dtype=torch.float64)
        >>> compare_paired(a, a + 0.1).verdict
        'better'
        >>> compare_paired(a, a.flip(0)).verdict
        'undecided'
    """
    for name, scores in (("a", a), ("b", b)):
        _check_samples(name, scores, finite=False)
        if scores.isnan().any():
            raise DataError(
                f"{name}: expected finite numbers (infinite where nothing was found), got NaN for "
                f"replicate {int(scores.isnan().nonzero()[0])}; drop that pair"
            )
    if a.shape != b.shape:
        raise ShapeError(
            f"a and b: expected one score for each replicate in both, got {a.shape[0]} and "
            f"{b.shape[0]}; pairs need the same replicates in the same order"
        )
    if better not in ("lower", "higher"):
        raise DataError(f"better: expected 'lower' or 'higher', got {better!r}")
    if isinstance(tie, bool) or not isinstance(tie, int | float) or not 0.0 <= tie < math.inf:
        raise DataError(f"tie: expected a finite number >= 0, got {tie!r}")
    difference, n = torch.where(a == b, 0.0, a - b), a.shape[0]
    interval = _bootstrap(difference, "median", confidence, resamples, seed)
    gain = -difference if better == "lower" else difference
    wins, losses = int((gain > tie).sum()), int((gain < -tie).sum())
    p_value = sign_test(wins, losses)
    verdict: Verdict = "undecided"
    if p_value < 1.0 - confidence:
        verdict = "better" if wins > losses else "worse"
    spread = difference.std().item() if n > 1 else math.nan
    return PairedComparison(
        pairs=n,
        median_a=quantiles(a, [0.5]).item(),
        median_b=quantiles(b, [0.5]).item(),
        median_difference=quantiles(difference, [0.5]).item(),
        low=interval.low,
        high=interval.high,
        confidence=confidence,
        mean_difference=difference.mean().item(),
        standard_error=spread / math.sqrt(n),
        wins=wins,
        losses=losses,
        ties=n - wins - losses,
        p_value=p_value,
        verdict=verdict,
    )


def sign_test(wins: int, losses: int) -> float:
    """Probability of a count at least as lopsided if wins and losses were equally likely.

    Ties are left out. Two-sided and exact: twice the binomial tail, at most 1.

    Raises:
        DataError: counts that are no counts.

    Example:
        >>> sign_test(6, 0), sign_test(5, 0)
        (0.03125, 0.0625)

    Source:
        Dixon & Mood, "The statistical sign test", JASA 41 (1946),
        https://doi.org/10.1080/01621459.1946.10501898.
    """
    check_count("wins", wins, least=0)
    check_count("losses", losses, least=0)
    n, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << n))


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Interval for a probability after `successes` in `trials`; sensible at 0 and at `trials` too.

    With p = successes / trials and z the normal quantile, the interval holds every probability
    that a score test does not reject: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).

    Raises:
        DataError: counts that are no counts, or more successes than trials.

    Example:
        >>> interval = wilson_interval(8, 10)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.49, 0.943)

    Source:
        Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
        (1927), https://doi.org/10.1080/01621459.1927.10502953.
    """
    check_count("successes", successes, least=0)
    check_count("trials", trials)
    _check_confidence(confidence)
    if successes > trials:
        raise DataError(f"successes: expected at most trials = {trials}, got {successes}")
    tail = torch.tensor(0.5 + confidence / 2.0, dtype=torch.float64)
    z, p = torch.special.ndtri(tail).item(), successes / trials
    centre = p + z * z / (2 * trials)
    half = z * math.sqrt(p * (1.0 - p) / trials + z * z / (4 * trials * trials))
    scale = 1.0 + z * z / trials
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == trials else (centre + half) / scale
    return Interval(low, high, confidence)


def _center(x: Tensor, statistic: Statistic) -> Tensor:
    if statistic == "median":
        return quantiles(x, [0.5])[0]
    if statistic == "mean":
        return x.mean(-1)
    raise DataError(f"statistic: expected 'median' or 'mean', got {statistic!r}")


def _check_samples(name: str, x: Tensor, *, finite: bool = True) -> None:
    check_tensor(name, x, finite=finite)
    if x.ndim != 1:
        raise ShapeError(f"{name}: expected one axis of replicates, got shape {tuple(x.shape)}")
    if x.shape[0] == 0:
        raise DataError(f"{name}: expected at least one replicate, got none")


def _check_confidence(confidence: float) -> None:
    if not isinstance(confidence, int | float) or not 0.0 < confidence < 1.0:
        raise DataError(f"confidence: expected a number between 0 and 1, got {confidence!r}")
