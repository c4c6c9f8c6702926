"""Maximise an acquisition: many starts, all replicates, one batch.

1. Look at ``raw_samples`` quasi-random candidates, an eighth of them near the best observations.
2. Keep the best, and draw the other starts with probability growing with their value (Boltzmann);
   for q points jointly, one start is chosen point by point.
3. Climb from all starts of all replicates at once and return the best ends: `lbfgs` in a box (or
   SciPy's version of it where that is faster, see `backends`), an augmented Lagrangian where the
   inputs are constrained (`constraints`).

Taught in part_4/tutorial_02.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .. import seeds
from ..errors import DataError, ShapeError, UnsupportedError
from ..optim import backends, lbfgs
from ..protocols import Acquisition, has_training_data
from ..shapes import check_bounds, check_count, check_same_device
from ..transforms import UnitCube
from .batches import UnitAcquisition, level_and_spread
from .constraints import InputConstraint, Region, check_constraints
from .starts import is_flat, pick_starts, raw_candidates

_REDRAWS = 3  # of raw candidates that all have one value
_GREEDY_SHARE = 4  # the start chosen point by point gets this fraction of restarts and candidates


@dataclass(frozen=True, eq=False)
class SearchReport:
    """What each restart reached.

    Attributes:
        start_values: acquisition values where the restarts began, ``restarts *r``.
        values: where they ended or were given up, ``restarts *r``.
        converged: whether they met a convergence test, ``restarts *r``; those given up in favour
            of a rival did not, see ``messages``.
        iterations: accepted steps, ``restarts *r``.
        violation: largest violated input constraint at the ends ``restarts *r``, as a distance in
            the unit cube; zeros without constraints.
        evaluations: batched evaluations of value and gradient.
        messages: the verdicts that occurred, with how often.
        halvings: how often memory ran out and the batch was cut in half.
        redrawn: how often raw candidates were redrawn because all had one value.
    """

    start_values: Float[Tensor, "restarts *r"]
    values: Float[Tensor, "restarts *r"]
    converged: Bool[Tensor, "restarts *r"]
    iterations: Int[Tensor, "restarts *r"]
    violation: Float[Tensor, "restarts *r"]
    evaluations: int
    messages: dict[str, int]
    halvings: int = 0
    redrawn: int = 0

    def __str__(self) -> str:
        best = self.values.nan_to_num(-torch.inf, torch.inf, -torch.inf).amax(0)
        close = (self.values >= best - 1e-4 * best.abs().clamp(min=1)).sum(0).double()
        lines = [
            f"{len(self.values)} restarts"
            + (f" in each of {best.numel()} replicates" if best.ndim else "")
            + f", {self.evaluations} batched evaluations",
            f"best value {_range(best)}, reached by {_range(close)} restarts",
            f"values of restarts {_range(self.values)}, from {_range(self.start_values)}",
        ]
        lines += [f"{count} x {text}" for text, count in self.messages.items()]
        if (self.violation > 0).any():
            lines.append(f"constraints met to {self.violation.max().item():.1e} of the box")
        if self.halvings:
            lines.append(f"memory ran out: the batch was halved {self.halvings} times")
        if self.redrawn:
            lines.append(f"raw candidates had one value: redrawn {self.redrawn} times")
        return "\n".join(lines)


def _range(values: Tensor) -> str:
    """One number, or the smallest and the largest of several."""
    low, high = values.min().item(), values.max().item()
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


@dataclass(frozen=True, eq=False)
class Candidates:
    """Where an acquisition is highest; unpacks as ``x, value``.

    Attributes:
        x: points ``*r q d`` in user units.
        value: acquisition value ``*r``; for sequential choice, of the last point given the others.
        report: what each restart reached (of the last point, if chosen sequentially).
    """

    x: Float[Tensor, "*r q d"]
    value: Float[Tensor, "*r"]
    report: SearchReport

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x, self.value))


@dataclass(frozen=True, eq=False)
class Search:
    """The arguments of one search, checked: what `optimize_acqf` and its siblings work on."""

    box: Float[Tensor, "*b 2 d"]
    r: tuple[int, ...]
    fixed: dict[int, float | int]
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
    bounds: Float[Tensor, "*r 2 d"],
    q: int = 1,
    *,
    num_restarts: int = 16,
    raw_samples: int = 512,
    sequential: bool = False,
    fixed: dict[int, float | int] | None = None,
    input_constraints: Sequence[InputConstraint] = (),
    batch_shape: Sequence[int] | None = None,
    seed: seeds.Seed,
) -> Candidates:
    """Maximise an acquisition over a box, for all replicates of its model at once.

    Args:
        acq: maps ``*batch q d`` to ``*batch``; differentiable.
        bounds: the search box, ``2 d`` or ``*r 2 d``.
        q: number of points chosen.
        num_restarts: climbs for each replicate.
        raw_samples: candidates looked at before climbing.
        sequential: choose the q points one after the other, each given those before (greedy);
            needs an acquisition with ``with_pending``. Otherwise all q are optimised jointly.
        fixed: inputs held at a value, by index: ``{2: 0.5}``.
        input_constraints: `linear_constraint` and `nonlinear_constraint`, which each of the q
            points has to meet.
        batch_shape: the replicate shape ``*r`` of an acquisition that is a bare function; others
            carry theirs in ``acq.model.batch_shape``.
        seed: an int, or one for each replicate.

    Returns:
        Points, value and report.

    Raises:
        DataError: bad bounds, q, counts, seed, fixed inputs or constraints.
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
    search = check_search(
        acq, bounds, q, num_restarts, raw_samples, fixed, input_constraints, batch_shape, seed
    )
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
    bounds: Tensor,
    q: int,
    num_restarts: int,
    raw_samples: int,
    fixed: dict[int, float | int] | None,
    input_constraints: object,
    batch_shape: Sequence[int] | None,
    seed: seeds.Seed,
) -> Search:
    """Check the arguments of a search.

    Raises:
        DataError, ShapeError: as described for `optimize_acqf`.
    """
    if not callable(acq):
        raise DataError(
            f"acq: expected a function *batch q d -> *batch, such as "
            f"LogExpectedImprovement(model, best_f), got {type(acq).__name__}"
        )
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
    r = _replicate_shape(getattr(model, "batch_shape", ()) if batch_shape is None else batch_shape)
    if fixed is not None and not isinstance(fixed, dict):
        raise DataError(
            f"fixed: expected a dictionary such as {{0: 0.5}}, input to value, got {fixed!r}"
        )
    if tuple(box.shape[:-2]) not in ((), r):
        hint = "" if r else "; an acquisition that is a bare function needs batch_shape="
        raise ShapeError(f"bounds: expected 2 d or {(*r, 2, 'd')}, got {tuple(box.shape)}{hint}")
    return Search(
        box,
        r,
        dict(fixed or {}),
        check_constraints(input_constraints),
        num_restarts,
        raw_samples,
        seeds.replicate_seeds(seed, r),
    )


def _replicate_shape(given: object) -> tuple[int, ...]:
    """The replicate shape ``*r`` as a tuple."""
    sizes = given if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    if given is not sizes or any(type(size) is not int or size < 1 for size in sizes):
        raise DataError(
            f"batch_shape: expected the replicate shape as a tuple of sizes >= 1, such as (8,) or "
            f"(), got {given!r}"
        )
    return tuple(sizes)


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
        DataError: a fixed input that does not exist, or a value outside its bounds.
    """
    bounds = search.box
    d = bounds.shape[-1]
    low = torch.zeros_like(bounds[..., 0, :]).reshape(-1, d)
    high = torch.ones_like(low)
    for index, value in search.fixed.items():
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < d:
            raise DataError(f"fixed: expected indices of inputs 0 to {d - 1}, got {index!r}")
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f"fixed: expected a finite number for input {index}, got {value!r}")
        lower, upper = bounds[..., 0, index], bounds[..., 1, index]
        outside = ((value < lower) | (value > upper)).nonzero()
        if len(outside):
            where = tuple(outside[0].tolist())
            raise DataError(
                f"fixed: input {index} = {value:g} lies outside its bounds "
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
        x[..., index] = value
    return x
