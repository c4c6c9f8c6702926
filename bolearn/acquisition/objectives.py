"""From outcomes to one number: which output, or which combination, is to be maximised."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, ShapeError

Objective = Callable[[Tensor], Tensor]
"""Maps outcomes ``... m`` to values ``...``."""


@dataclass(frozen=True)
class Output:
    """One of the model's outputs."""

    index: int

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        """Pick the output.

        Raises:
            ShapeError: the model has no such output.
        """
        if not -y.shape[-1] <= self.index < y.shape[-1]:
            raise ShapeError(f"output({self.index}): the model has {y.shape[-1]} outputs")
        return y[..., self.index]

    def scale(self, output_scale: Float[Tensor, "*r m"]) -> Float[Tensor, "*r"]:
        """Typical size of the objective's variation, in user units."""
        return self(output_scale)


@dataclass(frozen=True)
class WeightedSum:
    """A fixed linear combination of the outputs."""

    weights: tuple[float, ...]

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        """The combination.

        Raises:
            ShapeError: not one weight for each output.
        """
        if y.shape[-1] != len(self.weights):
            raise ShapeError(
                f"weighted_sum: expected one weight for each of {y.shape[-1]} outputs, "
                f"got {len(self.weights)}"
            )
        return y @ torch.tensor(self.weights, dtype=y.dtype, device=y.device)

    def scale(self, output_scale: Float[Tensor, "*r m"]) -> Float[Tensor, "*r"]:
        """Root sum of squares of the weighted scales."""
        w = torch.tensor(self.weights, dtype=output_scale.dtype, device=output_scale.device)
        return (output_scale * w).square().sum(-1).sqrt()


def output(index: int) -> Output:
    """The objective "output number ``index``".

    Example:
        >>> output(1)(torch.tensor([3.0, 5.0], dtype=torch.float64)).item()
        5.0
    """
    if isinstance(index, bool) or not isinstance(index, int):
        raise DataError(f"index: expected an int, got {index!r}")
    return Output(index)


def weighted_sum(*weights: float | int) -> WeightedSum:
    """The objective "sum of weight times output".

    Example:
        >>> weighted_sum(1.0, -2.0)(torch.tensor([3.0, 5.0], dtype=torch.float64)).item()
        -7.0
    """
    if not weights or not all(isinstance(w, int | float) and abs(w) < torch.inf for w in weights):
        raise DataError(f"weights: expected finite numbers, got {weights}")
    if not any(weights):
        raise DataError("weights: expected at least one that is not zero")
    return WeightedSum(tuple(float(w) for w in weights))
