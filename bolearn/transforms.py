"""User units outside, unit cube and standardised outputs inside.

A transform is a frozen pair of exact inverses, `encode` and `decode`. Models own theirs: nothing
outside a model ever sees encoded numbers.

Taught in part_4/tutorial_01.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class UnitCube:
    """Maps the box ``bounds`` (``*r 2 d``) affinely onto the unit cube; points outside map outside.

    Example:
        >>> cube = UnitCube(torch.tensor([[0.0], [4.0]], dtype=torch.float64))
        >>> cube.encode(torch.tensor([[3.0]], dtype=torch.float64)).item()
        0.75
    """

    bounds: Float[Tensor, "*r 2 d"]

    @cached_property
    def lower(self) -> Float[Tensor, "*r 1 d"]:
        """Lower bounds."""
        return self.bounds[..., :1, :]

    @cached_property
    def width(self) -> Float[Tensor, "*r 1 d"]:
        """Upper minus lower bounds."""
        return self.bounds[..., 1:, :] - self.bounds[..., :1, :]

    def encode(self, X: Float[Tensor, "*b q d"]) -> Float[Tensor, "*b q d"]:
        """User units to the unit cube."""
        return (X - self.lower) / self.width

    def decode(self, U: Float[Tensor, "*b q d"]) -> Float[Tensor, "*b q d"]:
        """The unit cube to user units."""
        return self.lower + U * self.width


@dataclass(frozen=True, eq=False)
class Standardize:
    """Shifts and scales outputs: z = (y - shift) / scale, for each replicate and output."""

    shift: Float[Tensor, "*r 1 m"]
    scale: Float[Tensor, "*r 1 m"]

    @staticmethod
    def fit(Y: Float[Tensor, "*r n m"], observed: Bool[Tensor, "*r n"]) -> "Standardize":
        """Mean 0 and variance 1 (n - 1 in the denominator) over the observed rows.

        A single observation, or a constant output, gets scale 1. "Constant" is judged relative to
        the size of the values, so that outputs of any scale are treated alike.
        """
        mask = observed.unsqueeze(-1)
        y = torch.where(mask, Y, 0.0)
        count = mask.sum(-2, keepdim=True)
        # Dividing by the largest value first keeps the squares of 1e200 finite.
        size = y.abs().amax(-2, keepdim=True)
        unit = torch.where(size > 0, size, 1.0)
        v = y / unit
        shift = v.sum(-2, keepdim=True) / count
        spread = torch.where(mask, v - shift, 0.0).square().sum(-2, keepdim=True)
        scale = (spread / (count - 1).clamp(min=1)).sqrt()
        constant = scale <= 16 * torch.finfo(Y.dtype).eps
        return Standardize(shift * unit, torch.where(constant, 1.0, scale * unit))

    @staticmethod
    def identity(Y: Float[Tensor, "*r n m"]) -> "Standardize":
        """Leaves outputs as they are."""
        one = torch.ones_like(Y[..., :1, :])
        return Standardize(torch.zeros_like(one), one)

    def encode(self, Y: Float[Tensor, "*b q m"]) -> Float[Tensor, "*b q m"]:
        """User units to standardised units."""
        return (Y - self.shift) / self.scale

    def decode(self, Z: Float[Tensor, "*b q m"]) -> Float[Tensor, "*b q m"]:
        """Standardised units to user units."""
        return self.shift + self.scale * Z
