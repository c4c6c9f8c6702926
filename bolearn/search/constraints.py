"""Constraints on the inputs themselves: mixtures that add up, budgets, forbidden corners.

What is declared here holds for each of the q points by itself. The feasible set (`region`) enters
the search three times: start points are moved into it and spread out over it (`feasible`), the
climb respects it (`lagrangian`), and what is returned is checked.

Taught in part_5/tutorial_03.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError
from ..shapes import is_number, is_whole


@dataclass(frozen=True)
class Linear:
    """``at_least <= sum_i c_i x_i <= at_most``, in user units; made by `linear_constraint`."""

    indices: tuple[int, ...]
    coefficients: tuple[float, ...]
    at_least: float
    at_most: float

    @property
    def equality(self) -> bool:
        """Whether both limits coincide."""
        return self.at_least == self.at_most

    def __call__(self, X: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """The sum ``sum_i c_i x_i``."""
        c = torch.tensor(self.coefficients, dtype=X.dtype, device=X.device)
        return X[..., list(self.indices)] @ c

    def __str__(self) -> str:
        terms = " + ".join(
            f"{c:g} x[{i}]" for i, c in zip(self.indices, self.coefficients, strict=True)
        )
        if self.equality:
            return f"{terms} = {self.at_most:g}"
        low = f"{self.at_least:g} <= " if self.at_least > -math.inf else ""
        return low + terms + (f" <= {self.at_most:g}" if self.at_most < math.inf else "")


@dataclass(frozen=True, eq=False)
class Nonlinear:
    """``fn(x) <= 0``; made by `nonlinear_constraint`."""

    fn: Callable[[Tensor], Tensor]

    def __str__(self) -> str:
        return f"{getattr(self.fn, '__name__', type(self.fn).__name__)}(x) <= 0"


InputConstraint = Linear | Nonlinear


def linear_constraint(
    indices: Sequence[int],
    coefficients: Sequence[float | int],
    *,
    at_most: float | int | None = None,
    at_least: float | int | None = None,
    equals: float | int | None = None,
) -> Linear:
    """A weighted sum of inputs is bounded, or has a given value.

    Args:
        indices: which inputs.
        coefficients: their weights, in the same order.
        at_most: upper limit of the sum, in user units.
        at_least: lower limit.
        equals: its value, instead of limits.

    Raises:
        DataError: no limit, contradicting limits, or indices and coefficients that do not match.

    Example:
        >>> print(linear_constraint([0, 2], [1.0, 1.0], at_most=0.8))
        1 x[0] + 1 x[2] <= 0.8
    """
    for name, part in (("indices", indices), ("coefficients", coefficients)):
        if not isinstance(part, Sequence):
            raise DataError(f"{name}: expected a list with an entry for each input, got {part!r}")
    idx, weights = tuple(indices), tuple(coefficients)
    if not idx or len(idx) != len(weights) or len(set(idx)) != len(idx):
        raise DataError(
            f"linear_constraint: expected distinct indices with a coefficient each, got {len(idx)} "
            f"indices {idx} and {len(weights)} coefficients"
        )
    for i in idx:
        if not is_whole(i) or i < 0:
            raise DataError(f"indices: expected ints >= 0, got {i!r}")
    if not all(is_number(w) for w in weights) or not any(weights):
        raise DataError(f"coefficients: expected finite numbers, not all zero, got {weights}")
    given = {"at_most": at_most, "at_least": at_least, "equals": equals}
    for name, value in given.items():
        if value is not None and not is_number(value):
            raise DataError(f"{name}: expected a finite number, got {value!r}")
    if equals is not None:
        if at_most is not None or at_least is not None:
            raise DataError("linear_constraint: expected equals, or at_least and at_most, not both")
        at_least = at_most = equals
    if at_least is None and at_most is None:
        raise DataError("linear_constraint: expected at_most=, at_least= or equals=, got none")
    low = -math.inf if at_least is None else float(at_least)
    high = math.inf if at_most is None else float(at_most)
    if low > high:
        raise DataError(f"linear_constraint: at_least = {low:g} exceeds at_most = {high:g}")
    return Linear(tuple(int(i) for i in idx), tuple(float(w) for w in weights), low, high)


def nonlinear_constraint(fn: Callable[[Tensor], Tensor]) -> Nonlinear:
    """Feasible is where ``fn(x) <= 0``: the convention of outcome constraints.

    Args:
        fn: a differentiable function of single points in user units, ``... d -> ...``; how far
            from feasible a point is, no truth value.

    Raises:
        DataError: not a function.

    Example:
        >>> disc = nonlinear_constraint(lambda x: x.square().sum(-1) - 1)  # inside the unit circle
    """
    if not callable(fn):
        raise DataError(f"fn: expected a function ... d -> ..., got {type(fn).__name__}")
    return Nonlinear(fn)


def check_input_constraints(constraints: object) -> tuple[InputConstraint, ...]:
    """A tuple of constraints.

    Raises:
        DataError: not a sequence, or something in it that is no constraint.
    """
    if isinstance(constraints, Linear | Nonlinear) or not isinstance(constraints, Sequence):
        raise DataError(
            "input_constraints: expected a sequence such as (linear_constraint(...),), "
            f"got {type(constraints).__name__}"
        )
    for c in constraints:
        if not isinstance(c, Linear | Nonlinear):
            raise DataError(
                "input_constraints: expected linear_constraint(...) or nonlinear_constraint(...), "
                f"got {c!r}"
            )
    return tuple(constraints)
