"""The arguments of a search, checked once at the border.

Taught in part_4/tutorial_02.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import seeds
from ..errors import DataError, ShapeError
from ..protocols import Acquisition, has_training_data
from ..shapes import (
    check_bounds,
    check_count,
    check_same_device,
    check_tensor,
    is_number,
    is_whole,
)
from ..transforms import UnitCube
from .constraints import InputConstraint, check_input_constraints


@dataclass(frozen=True, eq=False)
class Search:
    """The arguments of one search, checked: what `optimize_acqf` and its siblings work on."""

    box: Float[Tensor, "*b 2 d"]
    r: tuple[int, ...]
    fixed: dict[int, float | Tensor]
    constraints: tuple[InputConstraint, ...]
    num_restarts: int
    raw_samples: int
    streams: list[int]

    @property
    def cube(self) -> UnitCube:
        """The box as a change of variables."""
        return UnitCube(self.box)

    def child(self, *names: int | str, share: int = 1) -> "Search":
        """The same search with other random numbers, and a share of the effort."""
        return replace(
            self,
            streams=[seeds.derive(s, *names) for s in self.streams],
            num_restarts=max(min(2, self.num_restarts), self.num_restarts // share),
            raw_samples=max(min(64, self.raw_samples), self.raw_samples // share),
        )


def check_search(
    acq: Acquisition,
    bounds: object,
    q: int,
    num_restarts: int,
    raw_samples: int,
    fixed: object,
    input_constraints: object,
    batch_shape: object,
    seed: object,
) -> Search:
    """Check the arguments of a search.

    Raises:
        DataError, ShapeError: as described for `optimize_acqf`.
    """
    r = replicate_shape(acq, batch_shape)
    box = check_bounds(bounds)
    for name, count in (("q", q), ("num_restarts", num_restarts), ("raw_samples", raw_samples)):
        check_count(name, count)
    if raw_samples < num_restarts:
        raise DataError(
            f"raw_samples: expected at least num_restarts = {num_restarts}, got {raw_samples}"
        )
    model: Any = getattr(acq, "model", None)
    if has_training_data(model):
        check_same_device(bounds=box, model=model.X)
        if box.shape[-1] != model.X.shape[-1]:
            raise ShapeError(
                f"bounds: the model has {model.X.shape[-1]} inputs, "
                f"got bounds of shape {tuple(box.shape)}"
            )
    if tuple(box.shape[:-2]) not in ((), r):
        hint = "" if r else "; an acquisition that is a bare function needs batch_shape="
        raise ShapeError(f"bounds: expected 2 d or {(*r, 2, 'd')}, got {tuple(box.shape)}{hint}")
    return Search(
        box,
        r,
        _check_fixed(fixed, box.shape[-1], r),
        check_input_constraints(input_constraints),
        int(num_restarts),
        int(raw_samples),
        seeds.replicate_seeds(seed, r),  # type: ignore[arg-type]
    )


def replicate_shape(acq: object, given: object) -> tuple[int, ...]:
    """The replicate shape ``*r`` of a search: that of the acquisition's model, or what is given.

    What is given may have further axes in front of the model's: searches that share its data.

    Raises:
        DataError: ``acq`` is no function, or ``given`` no tuple of sizes.
        ShapeError: ``given`` does not end in the replicates of the acquisition's model.
    """
    if not callable(acq):
        raise DataError(
            f"acq: expected a function *batch q d -> *batch, such as "
            f"LogExpectedImprovement(model, best_f), got {type(acq).__name__}"
        )
    own = tuple(getattr(getattr(acq, "model", None), "batch_shape", ()))
    if given is None:
        return own
    sizes = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    if given is not sizes or any(not is_whole(size) or size < 1 for size in sizes):
        raise DataError(
            f"batch_shape: expected the replicate shape as a tuple of sizes >= 1, such as (8,) or "
            f"(), got {given!r}"
        )
    r = tuple(int(size) for size in sizes if is_whole(size))
    if r[len(r) - len(own) :] != own:
        raise ShapeError(
            f"batch_shape: expected a shape that ends in the replicates {own} of the "
            f"acquisition's model, got {r}; leave batch_shape= out"
        )
    return r


def _check_fixed(fixed: object, d: int, r: tuple[int, ...]) -> dict[int, float | Tensor]:
    """Fixed inputs: indices of inputs, and a finite number for each or one for every replicate.

    Raises:
        DataError, ShapeError: something else.
    """
    if fixed is not None and not isinstance(fixed, dict):
        raise DataError(
            f"fixed: expected a dictionary such as {{0: 0.5}}, input to value, got {fixed!r}"
        )
    good: dict[int, float | Tensor] = {}
    for index, value in (fixed or {}).items():
        if not is_whole(index) or not 0 <= index < d:
            raise DataError(f"fixed: expected indices of inputs 0 to {d - 1}, got {index!r}")
        if is_number(value):
            good[int(index)] = float(value)
            continue
        if not isinstance(value, Tensor):
            raise DataError(
                f"fixed: expected a finite number for input {index}, or a tensor with one for "
                f"every replicate, got {value!r}"
            )
        check_tensor(f"fixed[{index}]", value)
        if tuple(value.shape) not in ((), r):
            raise ShapeError(
                f"fixed: expected a number for input {index}, or one for every replicate {r}, got "
                f"a tensor of shape {tuple(value.shape)}"
            )
        good[int(index)] = value.detach()
    return good


def unit_limits(search: Search) -> tuple[Float[Tensor, "Rb d"], Float[Tensor, "Rb d"]]:
    """Limits in the unit cube; a fixed input has equal limits.

    Raises:
        DataError: a fixed value outside its bounds.
    """
    bounds, fixed = search.box, search.fixed
    d = bounds.shape[-1]
    if any(isinstance(value, Tensor) and value.ndim for value in fixed.values()):
        bounds = bounds.expand(*search.r, 2, d)
    low = torch.zeros_like(bounds[..., 0, :]).reshape(-1, d)
    high = torch.ones_like(low)
    for index, number in fixed.items():
        lower, upper = bounds[..., 0, index], bounds[..., 1, index]
        value = torch.as_tensor(number, dtype=lower.dtype, device=lower.device).expand_as(lower)
        outside = ((value < lower) | (value > upper)).nonzero()
        if len(outside):
            where = tuple(outside[0].tolist())
            raise DataError(
                f"fixed: input {index} = {value[where].item():g} lies outside its bounds "
                f"[{lower[where].item():g}, {upper[where].item():g}]"
                + (f" in replicate {where}" if where else "")
            )
        low[:, index] = high[:, index] = ((value - lower) / (upper - lower)).reshape(-1)
    return low, high


def exactly(x: Float[Tensor, "*r q d"], search: Search) -> Float[Tensor, "*r q d"]:
    """Undo the rounding of decoding: never outside the bounds, fixed inputs exact."""
    box = search.box
    x = torch.minimum(torch.maximum(x, box[..., :1, :]), box[..., 1:, :])
    for index, value in search.fixed.items():
        x[..., index] = value.unsqueeze(-1) if isinstance(value, Tensor) else value
    return x
