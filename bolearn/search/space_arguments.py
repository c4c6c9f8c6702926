"""The arguments of a search over a space, checked once at the border.

Taught in part_5/tutorial_03.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import seeds
from ..errors import DataError, ShapeError, UnsupportedError
from ..protocols import has_training_data
from ..shapes import check_bounds, check_count, check_tensor
from ..space.lattice import Lattice
from ..space.parameters import Value
from ..space.space import Space
from .arguments import replicate_shape


@dataclass(frozen=True, eq=False)
class SpaceSearch:
    """The arguments of a search over a space, checked."""

    space: Space
    lattice: Lattice
    fixed: tuple[tuple[str, Value], ...]
    r: tuple[int, ...]
    exclude: Float[Tensor, "R n d"] | None
    num_restarts: int
    raw_samples: int
    streams: list[int]

    def with_(self, exclude: Tensor | None, streams: list[int]) -> "SpaceSearch":
        """The same with other points excluded and other random numbers."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return SpaceSearch(**{**fields, "exclude": exclude, "streams": streams})


def check_space_search(
    acq: Any,
    bounds: object,
    q: int,
    space: object,
    num_restarts: int,
    raw_samples: int,
    fixed: object,
    exclude: object,
    batch_shape: object,
    seed: object,
) -> SpaceSearch:
    """Check the arguments of a search over a space.

    Raises:
        DataError, InfeasibleError, ShapeError, UnsupportedError: as for `optimize_acqf`.
    """
    r = replicate_shape(acq, batch_shape)
    if not isinstance(space, Space):
        raise DataError(f"space: expected a bolearn.Space, got {type(space).__name__}")
    if bounds is not None:
        box = check_bounds(bounds, space.d)
        if not torch.equal(box.cpu(), space.bounds):
            raise DataError(
                "bounds: expected those of the codes, space.bounds (0 to 1), or none beside "
                "space=, got others; limits belong to the parameters of the space"
            )
    for name, count in (("q", q), ("num_restarts", num_restarts), ("raw_samples", raw_samples)):
        check_count(name, count)
    if raw_samples < num_restarts:
        raise DataError(
            f"raw_samples: expected at least num_restarts = {num_restarts}, got {raw_samples}"
        )
    if q > 1 and not callable(getattr(acq, "with_pending", None)):
        raise UnsupportedError(
            f"q = {q} in a space: expected an acquisition with with_pending(X), for points are "
            f"chosen one after the other, got {type(acq).__name__}; use qLogExpectedImprovement"
        )
    model: Any = getattr(acq, "model", None)
    if has_training_data(model) and model.X.shape[-1] != space.d:
        raise ShapeError(
            f"space: expected a model of codes with {space.d} inputs, got one with "
            f"{model.X.shape[-1]}; make it of space.encode(points) and space.bounds"
        )
    if fixed is not None and not isinstance(fixed, Mapping):
        raise DataError(
            f"fixed: expected a dictionary such as {{{space.names[0]!r}: ...}}, by name in a "
            f"space, got {fixed!r}"
        )
    lattice = space.limited(fixed)
    values = {
        name: space[name].value(lattice.lower[space.names.index(name)]) for name in fixed or ()
    }
    streams = seeds.replicate_seeds(seed, r)  # type: ignore[arg-type]
    return SpaceSearch(
        space,
        lattice,
        tuple(values.items()),
        r,
        _check_exclude(exclude, space.d, r),
        int(num_restarts),
        int(raw_samples),
        streams,
    )


def _check_exclude(exclude: object, d: int, r: tuple[int, ...]) -> Tensor | None:
    """Points that are not to be proposed, ``R n d``."""
    if exclude is None:
        return None
    X = check_tensor("exclude", exclude)
    if X.ndim < 2 or X.shape[-1] != d or tuple(X.shape[:-2]) not in ((), r):
        raise ShapeError(
            f"exclude: expected codes n {d}"
            + (f" or {(*r, 'n', d)}" if r else "")
            + f", got {tuple(X.shape)}; space.encode makes them from dictionaries"
        )
    return X.detach().expand(*r, *X.shape[-2:]).reshape(-1, *X.shape[-2:])
