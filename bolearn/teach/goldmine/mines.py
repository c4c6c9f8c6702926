"""The mines of the page, its places and its random numbers, number by number.

Taught in part_3/tutorial_04.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bolearn.errors import DataError
from bolearn.problems.core import Problem
from bolearn.problems.one_input import GoldMine1d, Needle1d, Step1d, TwoScale1d
from bolearn.shapes import check_count

PLACES = 241  # where the page drills: the ends of the mine and 239 places between
_FIXED: dict[str, Callable[[], Problem]] = {
    "gold": GoldMine1d,
    "two_scale": TwoScale1d,
    "needle": Needle1d,
    "step": Step1d,
}
_RANDOM = ("draw", "riddle")
# With what the page starts: lengthscale, signal variance and mean of the model, and the standard
# deviation of a noisy measurement.
_START = {
    "gold": (1.0, 4.0, 4.0, 0.5),
    "two_scale": (0.5, 0.25, 0.0, 0.1),
    "needle": (0.1, 0.1, 0.0, 0.1),
    "step": (0.15, 0.5, 0.5, 0.15),
    "draw": (0.2, 1.0, 0.0, 0.2),
    "riddle": (0.2, 1.0, 0.0, 0.2),
}


def mine(name: str, seed: int = 0, *, scale: float = 1.0) -> Problem:
    """A mine of the page as a problem; its optimum is the richest of the page's 241 places.

    Args:
        name: gold, two_scale, needle, step, draw or riddle.
        seed: of a random mine (draw, riddle); the same seed gives the same mine in both.
        scale: 1 for ounces, 31.1034768 for grams (an ounce of gold is a troy ounce).

    Raises:
        DataError: an unknown name, or a seed that is not a whole number below 2^31.

    Example:
        >>> round(mine("gold").optimal_value, 3)
        8.176
    """
    if name not in (*_FIXED, *_RANDOM):
        raise DataError(f"expected a mine among {', '.join((*_FIXED, *_RANDOM))}; got {name!r}")
    _check_seed(seed)
    if name in _RANDOM:
        bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        truth = _waves(seed)
    else:
        problem = _FIXED[name]()
        bounds, truth = problem.bounds, problem.f

    def gold(X: Tensor) -> Tensor:
        values: Tensor = truth(X)
        return scale * values

    grid = places_in(bounds)
    best = gold(grid).argmax()
    return Problem(
        gold,
        bounds,
        optimal_value=gold(grid[best : best + 1]).item(),
        optimal_points=grid[best : best + 1],
        how="enumerated: the richest of the 241 places of the page",
        name=name,
        inputs=("place",),
        output="gold",
    )


def places(mine: Problem) -> Float[Tensor, "241 1"]:
    """The places where the page drills: the ends of a mine and 239 between, evenly spread.

    Example:
        >>> places(mine("gold"))[:3].flatten()
        tensor([0.0000, 0.0250, 0.0500], dtype=torch.float64)
    """
    return places_in(mine.bounds)


def random_drills(
    mine: Problem, n: int, *, seeds: Sequence[int] = range(200), noisy: bool = False
) -> tuple[Float[Tensor, "r n 1"], Float[Tensor, "r n 1"]]:
    """The drills at random of the page's race, and what they find: the page's own numbers.

    In the page's race each seed begins with 3 of them; the policy random goes on with the rest.

    Args:
        mine: what `mine` gives, in ounces.
        n: how many drills.
        seeds: of the race; there, 0 to 199.
        noisy: whether the finds have the noise of the page's noisy measurements.

    Raises:
        DataError: n or a seed is no whole number, or too small or large; an unknown mine.

    Example:
        >>> X, Y = random_drills(mine("gold"), 4)
        >>> X.shape, round(X[0, 0].item(), 3)
        (torch.Size([200, 4, 1]), 1.575)
    """
    check_count("n", n)
    _, _, _, noise_std = first_model(mine)
    at, errors = [], []
    for seed in map(_check_seed, seeds):
        uniform, normal = _stream(_RACE, seed, 1), _gaussian(_stream(_RACE, seed, 2))
        at.append([int(next(uniform) * PLACES) for _ in range(n)])
        errors.append([next(normal) for _ in range(n)])
    X = places(mine)[torch.tensor(at)]
    found = mine.noiseless(X)
    return X, found + noise_std * column(errors) if noisy else found


def race_dice(seed: int) -> Iterator[float]:
    """The dice that decide between equals in one run of the page's race, uniform in (0, 1)."""
    return _stream(_RACE, _check_seed(seed), 4)


def measurement_errors(mine: Problem, seed: int, n: int) -> Float[Tensor, " n"]:
    """What noise adds to the first n measurements of a session in a mine, in ounces.

    Args:
        mine: what `mine` gives.
        seed: of the mine (a mine that is not random has one as well).
        n: how many; a drill that was dragged was measured at every place on its way.

    Raises:
        DataError: an unknown mine, a bad seed, or n is not positive.

    Example:
        >>> measurement_errors(mine("gold"), 1, 2)
        tensor([-0.3367,  1.0373], dtype=torch.float64)
    """
    check_count("n", n)
    _check_seed(seed)
    _, _, _, noise_std = first_model(mine)
    errors = [next(_gaussian(_stream(_NOISE, seed, t))) for t in range(n)]
    return noise_std * torch.tensor(errors, dtype=torch.float64)


def places_in(bounds: Float[Tensor, "2 1"]) -> Float[Tensor, "241 1"]:
    """The places of a mine with these ends."""
    low, high = bounds
    steps = torch.arange(PLACES, dtype=torch.float64).unsqueeze(-1)
    grid: Tensor = low + (high - low) * steps / (PLACES - 1)
    return grid


def first_model(mine: Problem) -> tuple[float, float, float, float]:
    """Lengthscale, variance and mean of the first model, and the noise, of a mine."""
    if mine.name not in _START:
        raise DataError(f"expected one of the page's mines, got a problem called {mine.name!r}")
    return _START[mine.name]


def _check_seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise DataError(f"seed: expected a whole number from 0 to 2^31 - 1, got {seed!r}")
    return seed


def column(values: Sequence[Any]) -> Float[Tensor, "n ..."]:
    """Numbers one below the other."""
    return torch.tensor(values, dtype=torch.float64).unsqueeze(-1)


# -- random mines: the page's own generator, number by number ------------------------------------

_MINE, _NOISE, _RACE, _MASK = 1, 2, 5, 0xFFFFFFFF


def _stream(*keys: int) -> Iterator[float]:
    """Uniform numbers in (0, 1): the keys are hashed, then mulberry32 counts on."""
    a = 2166136261
    for key in keys:
        a = ((a ^ key) * 16777619) & _MASK
        a = ((a ^ (a >> 15)) * 2246822519) & _MASK
    while True:
        a = (a + 0x6D2B79F5) & _MASK
        t = ((a ^ (a >> 15)) * (a | 1)) & _MASK
        t ^= (t + (((t ^ (t >> 7)) * (t | 61)) & _MASK)) & _MASK
        yield ((t ^ (t >> 14)) + 0.5) / 2**32


def _gaussian(uniform: Iterator[float]) -> Iterator[float]:
    """Normal numbers by Box and Muller, in pairs."""
    while True:
        r, angle = math.sqrt(-2 * math.log(next(uniform))), 2 * math.pi * next(uniform)
        yield r * math.cos(angle)
        yield r * math.sin(angle)


def lengthscale_of(seed: int) -> float:
    """The lengthscale with which the page draws the random mine of this seed: 0.05 to 0.3."""
    return 0.05 * 6 ** next(_stream(_MINE, seed))


def _waves(seed: int) -> Callable[[Tensor], Tensor]:
    """About a draw from the RBF prior: sqrt(2 / 200) times the sum of 200 random waves."""
    uniform, normal = _stream(_MINE, seed, 1), _gaussian(_stream(_MINE, seed, 2))
    lengthscale = lengthscale_of(seed)
    waves = [(next(normal) / lengthscale, 2 * math.pi * next(uniform)) for _ in range(200)]
    w, b = torch.tensor(waves, dtype=torch.float64).T

    def draw(X: Tensor) -> Tensor:
        value: Tensor = torch.cos(X * w.to(X.device) + b.to(X.device)).sum(-1) / 10
        return value

    return draw
