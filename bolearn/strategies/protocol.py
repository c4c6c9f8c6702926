"""What a strategy sees, and what it has to be: a function of data, bounds, batch size and seed.

Taught in part_4/tutorial_03.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..seeds import Seed
from ..space.space import Space

_SAME = 1e-6  # of a column: how close two codes are that are one run


@dataclass(frozen=True, eq=False)
class StudyData:
    """What a strategy may look at in one round.

    `Y` is NaN where `observed` is False: that evaluation failed. `X_pending` holds points that are
    being evaluated elsewhere; in a study nothing is pending and it is None. `round` counts from 0,
    the first `n_init` points are the shared initial design. `noise_free`: whether the problem says
    that its values are exact, so that a model may interpolate them.

    Over a `bolearn.Space`, X holds its codes, and what is proposed has to be legal (``space.round``
    makes it so). `unavailable` are codes ``k d`` that cannot be evaluated, such as gaps of a table;
    where a table holds few of the legal points, `entries` are the only ones that can, ``k d``.
    `deterministic` says that a repeat gives the same value, so that nothing is learned from it.

    With several objectives, `ref_point` holds the worst values that still count, one for each of
    the first outputs; the last `num_constraints` outputs are constraints, feasible where <= 0.
    """

    X: Float[Tensor, "*r n d"]
    Y: Float[Tensor, "*r n m"]
    observed: Bool[Tensor, "*r n"]
    bounds: Float[Tensor, "2 d"]
    X_pending: Float[Tensor, "*r p d"] | None
    round: int
    n_init: int
    state: object = None
    noise_free: bool = False
    space: Space | None = None
    unavailable: Float[Tensor, "k d"] | None = None
    deterministic: bool = False
    entries: Float[Tensor, "k d"] | None = None
    ref_point: Float[Tensor, "k"] | None = None
    num_constraints: int = 0

    @property
    def excluded(self) -> Float[Tensor, "*r k d"] | None:
        """Codes not to be proposed: what is unavailable, and repeats."""
        gone = self.unavailable
        if not self.deterministic:
            return gone
        if gone is None:
            return self.X
        return torch.cat([self.X, gone.expand(*self.X.shape[:-2], *gone.shape)], dim=-2)

    @property
    def left(self) -> Float[Tensor, "*r k d"] | None:
        """The entries that are worth a run: without repeats, where a repeat teaches nothing.

        A replicate with fewer than another has its first one several times.
        """
        if self.entries is None:
            return None
        choices = self.entries.expand(*self.X.shape[:-2], *self.entries.shape)
        if not self.deterministic:
            return choices
        run = torch.cdist(choices, self.X, p=torch.inf).amin(-1) <= _SAME
        free = (~run).sum(-1, keepdim=True)
        order = run.byte().argsort(dim=-1, stable=True)[..., : int(free.max())]
        place = torch.arange(order.shape[-1], device=order.device)
        order = torch.where(place < free, order, order[..., :1])
        return choices.gather(-2, order.unsqueeze(-1).expand(*order.shape, self.X.shape[-1]))


@runtime_checkable
class Strategy(Protocol):
    """Proposes q points for each replicate, with or without a new state."""

    def __call__(
        self, data: StudyData, bounds: Tensor, q: int, seed: Seed, /
    ) -> Tensor | tuple[Tensor, object]:
        """Return ``R q d`` points inside the bounds, or those and a state."""
