"""Maximise an acquisition: many starts, all replicates, one batch.

1. Look at ``raw_samples`` quasi-random candidates, an eighth of them near the best observations.
2. Keep the best, and draw the other starts with probability growing with their value (Boltzmann);
   for q points jointly, one start is chosen point by point.
3. Climb from all starts of all replicates at once and return the best ends: `lbfgs` in a box (or
   SciPy's version of it where that is faster, see `backends`), an augmented Lagrangian where the
   inputs are constrained (`constraints`).

Taught in part_4/tutorial_02.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import seeds
from ..errors import DataError, ShapeError, UnsupportedError
from ..optim import backends, lbfgs
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
from .batches import UnitAcquisition, level_and_spread
from .choices import best_choices, check_choices, check_either
from .constraints import InputConstraint, Region, check_input_constraints
from .report import Candidates, SearchReport
from .starts import is_flat, pick_starts, raw_candidates

_REDRAWS = 3  # of raw candidates that all have one value
_GREEDY_SHARE = 4  # the start chosen point by point gets this fraction of restarts and candidates


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


def optimize_acqf(
    acq: Acquisition,
    bounds: Float[Tensor, "*b 2 d"] | None = None,
    q: int = 1,
    *,
    choices: Float[Tensor, "*c n d"] | None = None,
    num_restarts: int = 16,
    raw_samples: int = 512,
    sequential: bool = False,
    fixed: dict[int, float | Float[Tensor, "..."]] | None = None,
    input_constraints: Sequence[InputConstraint] = (),
    batch_shape: Sequence[int] | None = None,
    seed: seeds.Seed | None = None,
) -> Candidates:
    """Maximise an acquisition over a box or a finite set, for all replicates of its model at once.

    Args:
        acq: maps ``*batch q d`` to ``*batch``; for a box, differentiable.
        bounds: the search box, ``2 d`` or ``*r 2 d``.
        q: number of points chosen.
        choices: the points to choose from, ``n d`` or ``*r n d``, instead of bounds: all are
            looked at, and nothing needs a derivative. Of q > 1 each is chosen given those before;
            no choice is taken twice, nor one that is pending already.
        num_restarts: climbs for each replicate.
        raw_samples: candidates looked at before climbing.
        sequential: choose the q points one after the other, each given those before (greedy);
            needs an acquisition with ``with_pending``. Otherwise all q are optimised jointly.
        fixed: inputs held at a value, by index: ``{2: 0.5}``, or at one for each replicate (a
            tensor ``*r``), such as a context.
        input_constraints: `linear_constraint` and `nonlinear_constraint`, which each of the q
            points has to meet.
        batch_shape: the replicate shape ``*r`` of an acquisition that is a bare function; others
            carry theirs in ``acq.model.batch_shape``.
        seed: an int, or one for each replicate; needed for a box.

    Returns:
        Points, value and report.

    Raises:
        DataError: bounds and choices, or neither; bad bounds, choices, q, counts, seed, fixed
            inputs or constraints.
        ShapeError: an acquisition that does not return ``*batch``, bounds that do not fit ``*r``.
        UnsupportedError: sequential choice from an acquisition without ``with_pending``.
        OptimizationError: the acquisition is not finite at any raw candidate.
        InfeasibleError: no point of the box meets the constraints, or none was found.

    Example:
        >>> box = torch.tensor([[0.0], [4.0]], dtype=torch.float64)
        >>> x, value = optimize_acqf(lambda X: -(X - 3).square().sum((-2, -1)), box, seed=0)
        >>> round(x.item(), 4)
        3.0

    Source: multi-start with Boltzmann-drawn starts as in Balandat et al. 2020, arXiv:1910.06403,
    appendix F; starts near the incumbent after Regis & Shoemaker, "Combining radial basis function
    surrogates and dynamic coordinate search", Engineering Optimization 45, 2013.
    """
    check_either(bounds, choices, fixed, input_constraints)
    if choices is not None:
        r = replicate_shape(acq, batch_shape)
        q = check_count("q", q)
        return best_choices(acq, check_choices(choices, r, q), q, r)
    search = check_search(
        acq, bounds, q, num_restarts, raw_samples, fixed, input_constraints, batch_shape, seed
    )
    q = int(q)
    if q == 1:
        return _climb(acq, search, q)
    conditions = callable(getattr(acq, "with_pending", None))
    if sequential:
        if not conditions:
            raise UnsupportedError(
                f"sequential=True: expected an acquisition with with_pending(X), got "
                f"{type(acq).__name__}; use qLogExpectedImprovement, or sequential=False"
            )
        return _greedy(acq, search, q)
    head_start = None
    if conditions:
        # In a joint climb a point that is not the best of its set has a tiny gradient and may
        # never leave a poor place. One start therefore has every point chosen on its own.
        head_start = _greedy(acq, search.child("head start", share=_GREEDY_SHARE), q).x
    return _climb(acq, search, q, head_start)


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
    r = tuple(int(size) for size in sizes)
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


def _greedy(acq: Any, search: Search, q: int) -> Candidates:
    """The q points one after the other, each given those before."""
    chosen: list[Tensor] = []
    for i in range(q):
        given = acq.with_pending(torch.cat(chosen, dim=-2)) if chosen else acq
        found = _climb(given, search.child("greedy", i), 1)
        chosen.append(found.x)
    return Candidates(torch.cat(chosen, dim=-2), found.value, found.report)


def _climb(
    acq: Acquisition, search: Search, q: int, head_start: Tensor | None = None
) -> Candidates:
    """Starts, climbs from all of them, and the best end of each replicate."""
    r, restarts = search.r, search.num_restarts
    low, high = unit_limits(search)
    unit = UnitAcquisition(acq, search.cube, q, r)
    R, D = unit.R, q * unit.d
    region = Region(search.constraints, unit.cube, low, high) if search.constraints else None
    raw, values, redrawn = _candidates(unit, region, search, low, high)
    starts, start_values = _picked(unit, search, raw, values, head_start)
    # rows are restart-major: row = restart * R + replicate
    x0 = starts.transpose(0, 1).reshape(restarts * R, D)
    low_rows, high_rows = (v.repeat(1, q).expand(R, D).repeat(restarts, 1) for v in (low, high))
    replicate = torch.arange(R, device=x0.device).repeat(restarts)
    level, spread = level_and_spread(values)
    size = spread.clamp(max=1)  # what the objective is divided by
    objective = unit.objective(level, size)
    if region is None:
        end = backends.minimize(objective, x0, low_rows, high_rows, rivals=replicate)
        violation = torch.zeros_like(end.value)
    else:
        rest = (spread / size).repeat(restarts)
        end, violation = region.minimize(objective, x0, low_rows, high_rows, replicate, rest)
    # A row whose gradient is not finite stays where it started.
    reached = level - end.value.view(restarts, R) * size
    reached = torch.where(torch.isfinite(reached), reached, start_values)
    best = torch.where(reached.isnan(), -torch.inf, reached).argmax(0)
    x = end.x.view(restarts, R, D)[best, torch.arange(R, device=best.device)]
    x = exactly(unit.cube.decode(x.reshape(*r, q, unit.d)), search)
    report = SearchReport(
        start_values=start_values.reshape(restarts, *r),
        values=reached.view(restarts, *r),
        converged=end.converged.view(restarts, *r),
        iterations=end.iterations.view(restarts, *r),
        violation=violation.view(restarts, *r),
        evaluations=end.evaluations,
        messages={
            lbfgs.MESSAGES[code]: count
            for code, count in enumerate(torch.bincount(end.status).tolist())
            if count
        },
        halvings=unit.halvings,
        redrawn=redrawn,
    )
    return Candidates(x, reached.gather(0, best.unsqueeze(0)).view(r), report)


def _candidates(
    unit: UnitAcquisition, region: Region | None, search: Search, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor, int]:
    """Feasible raw candidates ``R raw qd``, their values, and how often they were redrawn."""

    def draw(streams: list[int]) -> Tensor:
        raw, sobol = raw_candidates(
            unit.acq, unit.cube, unit.q, unit.r, search.raw_samples, streams
        )
        points = raw.view(unit.R, search.raw_samples, unit.q, unit.d)
        points = torch.minimum(torch.maximum(points, low[:, None, None]), high[:, None, None])
        if region is not None:
            points = region.starts(points, sobol, streams)
        return points.reshape(raw.shape)

    raw, redrawn = draw(search.streams), 0
    values = unit.values(raw)
    while is_flat(values).any() and redrawn < _REDRAWS:
        redrawn += 1
        again = draw([seeds.derive(s, "redraw", redrawn) for s in search.streams])
        raw = torch.where(is_flat(values)[:, None, None], again, raw)  # the others keep theirs
        values = unit.values(raw)
    return raw, values, redrawn


def _picked(
    unit: UnitAcquisition, search: Search, raw: Tensor, values: Tensor, head_start: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Starts ``R restarts qd``, the head start as the last if there is one; and their values.

    The values are ``restarts R``, like all that is known of the climbs.
    """
    picked = pick_starts(values, search.num_restarts, search.streams)
    starts = raw.gather(1, picked.unsqueeze(-1).expand(-1, -1, raw.shape[-1]))
    start_values = values.gather(1, picked)
    if head_start is not None:
        own = unit.cube.encode(head_start).reshape(unit.R, 1, -1)
        starts = torch.cat([starts[:, :-1], own], dim=1)
        start_values = torch.cat([start_values[:, :-1], unit.values(own)], dim=1)
    return starts, start_values.mT


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
