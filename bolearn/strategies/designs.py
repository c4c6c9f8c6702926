"""Classical designs of experiments as tables of levels, and the polynomials fitted to them.

A factorial design looks at every input at two levels, -1 and 1. Half of it, a quarter, ... is
chosen by generators: the column of one input is the product of the columns of others. What is then
confounded with what is told by the *resolution*, the number of letters in the shortest product of
columns that is constant: at III main effects are confounded with interactions of two inputs, at IV
those interactions with each other, at V neither.

Taught in part_4/tutorial_04.
"""

import itertools
from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, UnsupportedError
from ..shapes import check_count

MOST_INPUTS = 12  # 4,096 runs at two levels
_SEARCHED = 8  # inputs up to which the best generators are looked for


def two_level_factorial(d: int, halvings: int = 0) -> Float[Tensor, "n d"]:
    """Levels -1 and 1 of d inputs in 2^(d - halvings) runs, by the generators of `generators`.

    Raises:
        DataError, UnsupportedError: as for `generators`.

    Example:
        >>> two_level_factorial(3, halvings=1)
        tensor([[-1., -1.,  1.],
                [-1.,  1., -1.],
                [ 1., -1., -1.],
                [ 1.,  1.,  1.]], dtype=torch.float64)
    """
    words = generators(d, halvings)
    base = d - halvings
    runs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=base)), dtype=torch.float64)
    made = [runs[:, list(word)].prod(-1, keepdim=True) for word in words]
    return torch.cat([runs, *made], dim=-1)


@lru_cache
def generators(d: int, halvings: int) -> tuple[tuple[int, ...], ...]:
    """Which products of the first inputs are the last ones: highest resolution, fewest short words.

    Returns:
        For each of the last `halvings` inputs the first ones whose product it is.

    Raises:
        DataError: no inputs, or so many halvings that two inputs would have one column.
        UnsupportedError: more than 12 inputs, or several halvings of more than 8.

    Example:
        >>> generators(4, 1), resolution(4, 1)
        (((0, 1, 2),), 4)

    Source:
        Box, Hunter & Hunter, Statistics for Experimenters, 2nd ed., Wiley 2005, chapter 6;
        Fries & Hunter, "Minimum aberration 2^(k-p) designs", Technometrics 22 (1980).
    """
    d, halvings = check_count("d", d), check_count("halvings", halvings, least=0)
    base = d - halvings
    products = [w for size in range(2, base + 1) for w in itertools.combinations(range(base), size)]
    if halvings > len(products):
        raise DataError(
            f"halvings: expected fewer, got {halvings} for {d} inputs: with {max(base, 0)} columns "
            f"of their own only {len(products)} products are left for the others"
        )
    if d > MOST_INPUTS or (halvings > 1 and d > _SEARCHED):
        most = _SEARCHED if halvings > 1 else MOST_INPUTS
        raise UnsupportedError(
            f"expected at most {most} inputs with halvings={halvings}, got {d}; hold some fixed, "
            "or use a space-filling design (sobol)"
        )
    if halvings < 2:
        return (tuple(range(base)),) * halvings
    best = min(itertools.combinations(reversed(products), halvings), key=_Aberration(base))
    return tuple(best)


def resolution(d: int, halvings: int) -> int | None:
    """Letters in the shortest product of columns that is constant; None for a full factorial.

    Raises:
        DataError, UnsupportedError: as for `generators`.

    Example:
        >>> [resolution(d, 1) for d in (3, 4, 5)], resolution(7, 4)
        ([3, 4, 5], 3)
    """
    if halvings == 0:
        return None
    return min(_word_lengths(generators(d, halvings), d - halvings))


def _word_lengths(words: tuple[tuple[int, ...], ...], base: int) -> list[int]:
    """Letters of every constant product: all products of the generating ones, squares left out."""
    masks = [sum(1 << i for i in word) | 1 << (base + j) for j, word in enumerate(words)]
    lengths = []
    for size in range(1, len(masks) + 1):
        for chosen in itertools.combinations(masks, size):
            product = 0
            for mask in chosen:
                product ^= mask
            lengths.append(product.bit_count())
    return lengths


class _Aberration:
    """A key to sort generators by: fewest words of 3 letters, then of 4, ... are best."""

    def __init__(self, base: int) -> None:
        self.base = base

    def __call__(self, words: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
        lengths = _word_lengths(words, self.base)
        return tuple(lengths.count(n) for n in range(3, self.base + len(words) + 1))


def least_fraction(d: int, wanted: int = 5) -> int:
    """How often a factorial of d inputs may be halved with its resolution at least `wanted`.

    Example:
        >>> [least_fraction(d) for d in (2, 4, 5, 8)]
        [0, 0, 1, 2]
    """
    halvings = 0
    while halvings < _halvable(d) and (resolution(d, halvings + 1) or 0) >= wanted:
        halvings += 1
    return halvings


def _halvable(d: int) -> int:
    """How often d columns can be halved at all, within what is searched."""
    most = 1 if d > _SEARCHED else d
    return max(h for h in range(most + 1) if h == 0 or 2 ** (d - h) - 1 - (d - h) >= h)


def face_centered(d: int) -> Float[Tensor, "n d"]:
    """The centre, and the middles of the 2 d faces: what a composite adds to a factorial design.

    Example:
        >>> face_centered(1).flatten()
        tensor([ 0.,  1., -1.], dtype=torch.float64)
    """
    axes = torch.eye(check_count("d", d), dtype=torch.float64)
    return torch.cat([torch.zeros(1, d, dtype=torch.float64), axes, -axes])


def lattice_of_fractions(k: int, degree: int = 2) -> Float[Tensor, "n k"]:
    """All blends of k components in steps of 1 / degree, and the equal blend of all.

    Raises:
        DataError: fewer than two components, or a degree below 1.

    Example:
        >>> lattice_of_fractions(3).shape, lattice_of_fractions(3).sum(-1).unique()
        (torch.Size([7, 3]), tensor([1.], dtype=torch.float64))

    Source:
        Scheffé, "Experiments with mixtures", J. Roy. Statist. Soc. B 20 (1958).
    """
    k, degree = check_count("k", k, least=2), check_count("degree", degree)
    steps = [s for s in itertools.product(range(degree + 1), repeat=k) if sum(s) == degree]
    blends = torch.tensor(steps, dtype=torch.float64) / degree
    equal = torch.full((1, k), 1.0 / k, dtype=torch.float64)
    return blends if (blends - equal).abs().amax(-1).min() < 1e-12 else torch.cat([blends, equal])


# ---------------------------------------------------------------- polynomials

Terms = Callable[[Tensor], Tensor]
"""Maps coordinates ``*batch d`` to the terms of a polynomial ``*batch p``."""


def linear(U: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch p"]:
    """1 and the coordinates: d + 1 terms."""
    return torch.cat([torch.ones_like(U[..., :1]), U], dim=-1)


def quadratic(U: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch p"]:
    """1, the coordinates, their products and squares: (d + 1)(d + 2) / 2 terms."""
    rows, columns = torch.triu_indices(U.shape[-1], U.shape[-1], device=U.device)
    return torch.cat([linear(U), U[..., rows] * U[..., columns]], dim=-1)


def scheffe(Z: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch p"]:
    """Fractions and their products, without a constant or squares: k (k + 1) / 2 terms.

    Source:
        Scheffé, "Experiments with mixtures", J. Roy. Statist. Soc. B 20 (1958), section 4.
    """
    pairs = list(itertools.combinations(range(Z.shape[-1]), 2))
    return torch.cat([Z, *[(Z[..., i] * Z[..., j]).unsqueeze(-1) for i, j in pairs]], dim=-1)
