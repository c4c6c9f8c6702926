"""Maximise an acquisition: many starts, all replicates, one batch.

1. Look at ``raw_samples`` quasi-random candidates, an eighth of them near the best observations.
2. Keep the best, and draw the other starts with probability growing with their value (Boltzmann).
3. Climb from all starts of all replicates at once (`lbfgs.minimize`) and return the best ends.

Taught in part_4/tutorial_02.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .. import seeds
from ..errors import DataError, OptimizationError, ShapeError, UnsupportedError
from ..protocols import Acquisition, HasTrainingData
from ..sampling import shifted_sobol
from ..shapes import check_bounds, check_count, check_same_device
from ..transforms import UnitCube
from . import lbfgs

# Elements of the largest temporary (candidates x observations) that raw candidates may need.
_CHUNK_ELEMENTS = 1 << 24
_TEMPERATURE = 2.0
_NEAR_SHARE = 8  # one in this many raw candidates is an incumbent, perturbed
_NEAR_WIDTH = 0.1


@dataclass(frozen=True, eq=False)
class SearchReport:
    """What each restart reached.

    Attributes:
        start_values: acquisition values where the restarts began, ``restarts *r``.
        values: where they ended, ``restarts *r``.
        converged: whether they met a convergence test, ``restarts *r``.
        iterations: accepted steps, ``restarts *r``.
        evaluations: batched evaluations of value and gradient.
        messages: the verdicts that occurred, with how often.
    """

    start_values: Float[Tensor, "restarts *r"]
    values: Float[Tensor, "restarts *r"]
    converged: Bool[Tensor, "restarts *r"]
    iterations: Int[Tensor, "restarts *r"]
    evaluations: int
    messages: dict[str, int]

    def __str__(self) -> str:
        lines = [f"{count} restarts {text}" for text, count in self.messages.items()]
        return f"{self.evaluations} batched evaluations; " + "; ".join(lines)


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


def optimize_acqf(
    acq: Acquisition,
    bounds: Float[Tensor, "*r 2 d"],
    q: int = 1,
    *,
    num_restarts: int = 16,
    raw_samples: int = 512,
    sequential: bool = False,
    fixed: dict[int, float | int] | None = None,
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
        batch_shape: the replicate shape ``*r`` of an acquisition that is a bare function; others
            carry theirs in ``acq.model.batch_shape``.
        seed: an int, or one for each replicate.

    Returns:
        Points, value and report.

    Raises:
        DataError: bad bounds, q, counts, seed or fixed inputs.
        ShapeError: an acquisition that does not return ``*batch``, bounds that do not fit ``*r``.
        UnsupportedError: sequential choice from an acquisition without ``with_pending``.
        OptimizationError: the acquisition is not finite at any raw candidate.

    Example:
        >>> box = torch.tensor([[0.0], [4.0]], dtype=torch.float64)
        >>> x, value = optimize_acqf(lambda X: -(X - 3).square().sum((-2, -1)), box, seed=0)
        >>> round(x.item(), 4)
        3.0

    Source: multi-start with Boltzmann-drawn starts as in Balandat et al. 2020, arXiv:1910.06403,
    appendix F; starts near the incumbent after Regis & Shoemaker, "Combining radial basis function
    surrogates and dynamic coordinate search", Engineering Optimization 45, 2013.
    """
    box = check_bounds(bounds)
    for name, count in (("q", q), ("num_restarts", num_restarts), ("raw_samples", raw_samples)):
        check_count(name, count)
    if raw_samples < num_restarts:
        raise DataError(
            f"raw_samples: expected at least num_restarts = {num_restarts}, got {raw_samples}"
        )
    model = getattr(acq, "model", None)
    if isinstance(model, HasTrainingData):
        check_same_device(bounds=box, model=model.X)
        if box.shape[-1] != model.X.shape[-1]:
            raise ShapeError(
                f"bounds: the model has {model.X.shape[-1]} inputs, "
                f"got bounds of shape {tuple(box.shape)}"
            )
    r = tuple(getattr(model, "batch_shape", ()) if batch_shape is None else batch_shape)
    if tuple(box.shape[:-2]) not in ((), r):
        raise ShapeError(f"bounds: expected 2 d or {(*r, 2, 'd')}, got {tuple(box.shape)}")
    streams = seeds.replicate_seeds(seed, r)
    if not sequential or q == 1:
        return _search(acq, box, q, r, num_restarts, raw_samples, fixed, streams)
    condition = getattr(acq, "with_pending", None)
    if condition is None:
        raise UnsupportedError(
            f"sequential=True: expected an acquisition with with_pending(X), got "
            f"{type(acq).__name__}; use qLogExpectedImprovement, or sequential=False"
        )
    chosen: list[Tensor] = []
    for i in range(q):
        given = condition(torch.cat(chosen, dim=-2)) if chosen else acq
        each = [seeds.derive(s, "greedy", i) for s in streams]
        found = _search(given, box, 1, r, num_restarts, raw_samples, fixed, each)
        chosen.append(found.x)
    return Candidates(torch.cat(chosen, dim=-2), found.value, found.report)


def _search(
    acq: Acquisition,
    box: Tensor,
    q: int,
    r: tuple[int, ...],
    num_restarts: int,
    raw_samples: int,
    fixed: dict[int, float | int] | None,
    streams: list[int],
) -> Candidates:
    d, R = box.shape[-1], math.prod(r)
    cube = UnitCube(box)
    low, high = _unit_box(cube, fixed, q)
    unit = _UnitAcquisition(acq, cube, q, r)
    raw = shifted_sobol(streams, raw_samples, q * d, box.device)
    raw = _move_some_near(raw, acq, cube, q, r, streams)
    raw = torch.clamp(raw, low, high)
    values = unit.values(raw)
    picked = _pick_starts(values, num_restarts, streams)  # R restarts
    starts = raw.gather(1, picked.unsqueeze(-1).expand(-1, -1, q * d))
    start_values = values.gather(1, picked).mT
    # rows are restart-major: row = restart * R + replicate
    x0 = starts.transpose(0, 1).reshape(num_restarts * R, q * d)
    low_rows, high_rows = (
        v.transpose(0, 1).expand(num_restarts, R, q * d).reshape(-1, q * d) for v in (low, high)
    )
    end = lbfgs.minimize(unit.objective(), x0, low_rows, high_rows)
    # A row whose gradient is not finite stays where it started.
    reached = -end.value.view(num_restarts, R)
    reached = torch.where(torch.isfinite(reached), reached, start_values)
    best = torch.where(reached.isnan(), -torch.inf, reached).argmax(0)
    x = end.x.view(num_restarts, R, q * d)[best, torch.arange(R, device=best.device)]
    x = _exactly(cube.decode(x.reshape(*r, q, d)), box, fixed)
    report = SearchReport(
        start_values=start_values.reshape(num_restarts, *r),
        values=reached.view(num_restarts, *r),
        converged=end.converged.view(num_restarts, *r),
        iterations=end.iterations.view(num_restarts, *r),
        evaluations=end.evaluations,
        messages={
            lbfgs.MESSAGES[code]: count
            for code, count in enumerate(torch.bincount(end.status, minlength=6).tolist())
            if count
        },
    )
    return Candidates(x, reached.gather(0, best.unsqueeze(0)).view(r), report)


def _unit_box(
    cube: UnitCube, fixed: dict[int, float | int] | None, q: int
) -> tuple[Tensor, Tensor]:
    """Limits ``R' 1 qd`` in the unit cube; a fixed input has equal limits."""
    d = cube.bounds.shape[-1]
    low = torch.zeros_like(cube.bounds[..., 0, :]).reshape(-1, d)
    high = torch.ones_like(low)
    for index, value in (fixed or {}).items():
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < d:
            raise DataError(f"fixed: expected indices of inputs 0 to {d - 1}, got {index!r}")
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f"fixed: expected a finite number for input {index}, got {value!r}")
        lower, upper = (cube.bounds[..., i, index].reshape(-1) for i in (0, 1))
        if ((value < lower) | (value > upper)).any():
            raise DataError(
                f"fixed: input {index} = {value:g} lies outside its bounds "
                f"[{lower.max().item():g}, {upper.min().item():g}]"
            )
        low[:, index] = high[:, index] = (value - lower) / (upper - lower)
    return low.repeat(1, q).unsqueeze(1), high.repeat(1, q).unsqueeze(1)


def _exactly(x: Tensor, box: Tensor, fixed: dict[int, float | int] | None) -> Tensor:
    """Undo the rounding of decoding: never outside the bounds, fixed inputs exact."""
    x = torch.minimum(torch.maximum(x, box[..., :1, :]), box[..., 1:, :])
    for index, value in (fixed or {}).items():
        x[..., index] = value
    return x


def _move_some_near(
    raw: Tensor, acq: Acquisition, cube: UnitCube, q: int, r: tuple[int, ...], streams: list[int]
) -> Tensor:
    """Replace the last candidates by perturbed copies of the best observations, if any are known.

    In d dimensions the chance that a uniform candidate falls close to an incumbent vanishes, and
    with it the chance of refining one. Each copy perturbs a random subset of its coordinates.
    """
    model: Any = getattr(acq, "model", None)
    if not isinstance(model, HasTrainingData):
        return raw
    R, n, d = len(streams), model.X.shape[-2], model.X.shape[-1]
    near = raw.shape[1] // _NEAR_SHARE
    if not near:
        return raw
    level = model.Y[..., 0].reshape(R, n)
    level = torch.where(model.observed.reshape(R, n), level, -torch.inf)
    top = level.topk(min(4, n), dim=-1).indices  # R top
    best = cube.encode(model.X).reshape(R, n, d).gather(1, top[..., None].expand(-1, -1, d))
    u = seeds.uniform([seeds.derive(s, "near") for s in streams], (near, q, d, 2), raw.device)
    # Replicates with fewer observations than that go round those they have.
    known = (level.gather(1, top) > -torch.inf).sum(1, keepdim=True)
    which = torch.arange(near * q, device=raw.device) % known  # R (near q)
    centre = best.gather(1, which[..., None].expand(-1, -1, d)).view(R, near, q, d)
    move = torch.special.ndtri(u[..., 0]) * _NEAR_WIDTH
    # all coordinates move up to d = 20, and 20 of them on average beyond
    move = torch.where(u[..., 1] < min(1.0, 20 / d), move, 0.0)
    copies = (centre + move).reshape(R, near, q * d)
    return torch.cat([raw[:, : raw.shape[1] - near], copies], dim=1)


def _pick_starts(
    values: Float[Tensor, "R raw"], count: int, streams: list[int]
) -> Int[Tensor, "R count"]:
    """The best candidate and count - 1 others, drawn without replacement by exp(eta z).

    z are the standardised values. Drawing by adding Gumbel noise and keeping the largest is exact
    (Efraimidis & Spirakis 2006) and is one operation for all replicates.

    Raises:
        OptimizationError: no candidate of some replicate has a finite value.
    """
    finite = torch.isfinite(values)
    if not finite.any(1).all():
        where = int((~finite.any(1)).nonzero()[0])
        raise OptimizationError(
            f"the acquisition is not finite at any of {values.shape[1]} candidates of replicate "
            f"{where}; look at the model's posterior there, or at best_f"
        )
    # -inf is a legal value (log 0); NaN is not, and ranks with it
    floor = torch.where(finite, values, torch.inf).amin(1, keepdim=True)
    level = torch.where(finite, values, floor)
    spread = level.std(1, keepdim=True, correction=0)
    z = (level - level.mean(1, keepdim=True)) / torch.where(spread > 0, spread, 1.0)
    u = seeds.uniform(
        [seeds.derive(s, "boltzmann") for s in streams], values.shape[1:], values.device
    )
    key = _TEMPERATURE * z - torch.log(-torch.log(u))
    key = torch.where(finite, key, key.amin(1, keepdim=True) - 1)
    best = torch.where(finite, values, -torch.inf).argmax(1, keepdim=True)
    key = key.scatter(1, best, torch.inf)
    return key.topk(count, dim=1).indices


class _UnitAcquisition:
    """An acquisition as functions of flat rows in the unit cube."""

    def __init__(self, acq: Acquisition, cube: UnitCube, q: int, r: tuple[int, ...]) -> None:
        self.acq, self.cube, self.q, self.r = acq, cube, q, r
        self.R, self.d = math.prod(r), cube.bounds.shape[-1]

    def decode(self, U: Float[Tensor, "b R qd"]) -> Float[Tensor, "b *r q d"]:
        """Rows of the unit cube as points in user units."""
        return self.cube.decode(U.reshape(len(U), *self.r, self.q, self.d))

    def at(self, X: Float[Tensor, "b *r q d"]) -> Float[Tensor, "b R"]:
        """The acquisition, with its result checked.

        Raises:
            ShapeError: it does not return one value for each set of points.
        """
        value = self.acq(X)
        if not isinstance(value, Tensor) or value.shape != X.shape[:-2]:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"acquisition: expected values of shape *batch = {tuple(X.shape[:-2])} for X of "
                f"shape {tuple(X.shape)}, got {got}; a function of a replicated model needs "
                "batch_shape="
            )
        return value.reshape(len(X), self.R)

    @torch.no_grad()
    def values(self, raw: Float[Tensor, "R raw qd"]) -> Float[Tensor, "R raw"]:
        """Values of all raw candidates, in chunks that bound the memory."""
        U = raw.transpose(0, 1)
        model = getattr(self.acq, "model", None)
        n = model.X.shape[-2] if isinstance(model, HasTrainingData) else 100
        per_candidate = self.R * self.q * max(n, 100)
        size = max(1, _CHUNK_ELEMENTS // per_candidate)
        values = [self.at(self.decode(chunk)) for chunk in U.split(size)]
        return torch.cat(values).transpose(0, 1).contiguous()

    def objective(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Minus the acquisition and its gradient, for any subset of rows restart * R + replicate.

        Rows of one replicate are packed next to each other: the acquisition always sees all
        replicates, and as many candidates of each as the busiest replicate still has.
        """
        width = self.cube.width
        last: list[Any] = [None, None, 0]  # rows, their slots (None: in order), restarts packed

        def fun(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            if last[0] is not rows:
                last[:] = [rows, *_pack(rows, self.R)]
            slots, b = last[1:]
            packed = x
            if slots is not None:
                packed = x.new_full((b * self.R, x.shape[-1]), 0.5)
                packed[slots] = x
            X = self.decode(packed.view(b, self.R, -1)).requires_grad_(True)
            with torch.enable_grad():
                value = self.at(X)
                (gradient,) = torch.autograd.grad(value.sum(), X)
            value, gradient = value.detach().reshape(-1), gradient * -width
            gradient = gradient.reshape(b * self.R, -1)
            if slots is not None:
                value, gradient = value[slots], gradient[slots]
            return -value, gradient

        return fun


def _pack(rows: Int[Tensor, "k"], R: int) -> tuple[Int[Tensor, "k"] | None, int]:
    """Slot ``place * R + replicate`` for each row, and the number of places.

    Places count the rows of each replicate from 0. None stands for slots 0, 1, 2, ...
    """
    replicate = rows % R
    order = torch.argsort(replicate, stable=True)
    counts = torch.bincount(replicate, minlength=R)
    first = torch.cumsum(counts, 0) - counts
    place = torch.empty_like(rows)
    place[order] = torch.arange(len(rows), device=rows.device) - first[replicate[order]]
    slots, b = place * R + replicate, int(counts.max())
    ordered = len(rows) == b * R and torch.equal(slots, torch.arange(b * R, device=rows.device))
    return None if ordered else slots, b
