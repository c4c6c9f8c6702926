"""The few roles everything else is written against.

Anything with these members takes part: a Gaussian process, an ensemble, samples from another
library. An acquisition is any function of X, a lambda included.

Taught in part_4/tutorial_01.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeGuard, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

Acquisition = Callable[[Tensor], Tensor]
"""Maps ``*batch q d`` to ``*batch``: one value for each set of q points."""


@runtime_checkable
class Posterior(Protocol):
    """Belief about f(X)."""

    @property
    def mean(self) -> Float[Tensor, "*batch q m"]:
        """Expected values."""

    @property
    def variance(self) -> Float[Tensor, "*batch q m"]:
        """Marginal variances."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of the standard normals that one joint draw consumes."""

    def rsample(self, z: Float[Tensor, "s *event"]) -> Float[Tensor, "s *batch q m"]:
        """Joint samples as a differentiable function of the standard normals z."""


@runtime_checkable
class Surrogate(Protocol):
    """A model of the unknown function."""

    @property
    def num_outputs(self) -> int:
        """m."""

    @property
    def batch_shape(self) -> torch.Size:
        """The replicate shape ``*r``."""

    def posterior(
        self, X: Float[Tensor, "*batch q d"], *, observation_noise: bool = False
    ) -> Posterior:
        """Joint belief about the q points of each batch entry."""


class HasTrainingData(Protocol):
    """A surrogate that knows where it was observed; start points and incumbents use it.

    Ask `has_training_data`, not ``isinstance``: from Python 3.12 on, that passes over
    ``__getattr__`` and so finds no buffer of a torch module.
    """

    X: Tensor
    Y: Tensor
    observed: Tensor


def has_training_data(model: object) -> TypeGuard[HasTrainingData]:
    """Whether a model says where it was observed."""
    return all(hasattr(model, name) for name in ("X", "Y", "observed"))


@runtime_checkable
class SupportsConditioning(Protocol):
    """A surrogate that learns from new data without a new fit."""

    def condition(self, X: Float[Tensor, "*b p d"], Y: Float[Tensor, "*c p m"]) -> Surrogate:
        """The belief after seeing Y at X; leading axes beyond ``*r`` become replicates."""


@runtime_checkable
class SupportsFantasies(Protocol):
    """A surrogate that can imagine data and learn from them."""

    def fantasize(self, X: Float[Tensor, "*batch q d"], z: Float[Tensor, "s ..."]) -> Surrogate:
        """One belief for each sample of standard normals, batch shape ``s *batch``."""


@runtime_checkable
class Paths(Protocol):
    """s functions drawn from a belief, for each replicate."""

    @property
    def num_paths(self) -> int:
        """s."""

    def __call__(self, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "s *out q m"]:
        """Every path at the same points."""

    def at_each(self, X: Float[Tensor, "s *batch q d"]) -> Float[Tensor, "s *out q m"]:
        """Each path at its own points."""


@runtime_checkable
class SupportsPaths(Protocol):
    """A surrogate that draws whole functions in its own way; `draw_paths` asks it."""

    def draw_paths(self, s: int, *, seed: int | Sequence[int], num_features: int) -> Paths:
        """s functions for each replicate."""


@runtime_checkable
class Rows(Protocol):
    """An acquisition of single points as a function of rows of the unit cube, on NumPy arrays."""

    twice: bool
    """Whether there are Hessians."""

    def values(self, U: Float[Tensor, "R raw d"]) -> Float[Tensor, "R raw"]:
        """Values at many points of every replicate."""

    def groups(self, replicate: Any) -> Any:
        """What `evaluate` wants to know of rows, from the replicate of each."""

    def evaluate(self, x: Any, groups: Any, order: int = 1) -> tuple[Any, Any, Any]:
        """Values ``k``, gradients ``k d`` and, for order 2, Hessians ``k d d`` of rows ``k d``."""


@runtime_checkable
class SupportsRows(Protocol):
    """An acquisition that has a way of its own with rows; searches use it for single points."""

    def on_rows(self, cube: Any) -> Rows | None:
        """The acquisition on rows of a `UnitCube`; None where torch has to answer."""


@runtime_checkable
class SupportsPending(Protocol):
    """An acquisition that can take points under evaluation into account."""

    def with_pending(self, X: Float[Tensor, "*r p d"]) -> Acquisition:
        """A new acquisition that counts X as already chosen."""
