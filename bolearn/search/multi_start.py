"""Maximise an acquisition: many starts, all replicates, one batch.

1. Look at ``raw_samples`` quasi-random candidates, an eighth of them near the best observations.
2. Keep the best, and draw the other starts with probability growing with their value (Boltzmann);
   for q points jointly, one start is chosen point by point.
3. Climb from all starts of all replicates at once and return the best ends: `lbfgs` in a box (or
   SciPy's version of it where that is faster, see `backends`; or `newton` for many rows of an
   acquisition that knows its Hessian), an augmented Lagrangian where the
   inputs are constrained (`lagrangian`).

In a space with categories, steps and whole numbers the search is another one: `mixed`.

Taught in part_4/tutorial_02.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .. import seeds
from ..errors import UnsupportedError
from ..optim import backends, newton
from ..optim.minimum import MESSAGES
from ..protocols import Acquisition
from ..shapes import check_count
from ..space.parameters import Value
from ..space.space import Space
from . import lagrangian
from .arguments import Search, check_search, exactly, replicate_shape, unit_limits
from .batches import UnitAcquisition, level_and_spread
from .choices import best_choices, check_choices, check_either
from .constraints import InputConstraint
from .mixed import best_in_space
from .region import Region
from .report import Candidates, SearchReport
from .space_arguments import check_space_search
from .starts import candidates, pick

_FEW = 10  # variables up to which a Hessian pays
_GREEDY_SHARE = 4  # the start chosen point by point gets this fraction of restarts and candidates


def optimize_acqf(
    acq: Acquisition,
    bounds: Float[Tensor, "*b 2 d"] | None = None,
    q: int = 1,
    *,
    choices: Float[Tensor, "*c n d"] | None = None,
    num_restarts: int = 16,
    raw_samples: int = 512,
    sequential: bool = False,
    fixed: Mapping[int, float | Float[Tensor, "..."]] | Mapping[str, Value] | None = None,
    input_constraints: Sequence[InputConstraint] = (),
    space: Space | None = None,
    exclude: Float[Tensor, "*e n d"] | None = None,
    batch_shape: Sequence[int] | None = None,
    seed: seeds.Seed | None = None,
) -> Candidates:
    """Maximise an acquisition over a box, a finite set or a space, for all replicates at once.

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
            tensor ``*r``), such as a context. In a space, parameters by name:
            ``{"solvent": "THF"}``.
        input_constraints: `linear_constraint` and `nonlinear_constraint`, which each of the q
            points has to meet. Those of a space belong to the space.
        space: what may be run. The acquisition is a function of its codes ``*batch q d``, which is
            asked at legal codes only, apart from real numbers without steps, and what comes back is
            legal. Of q > 1 points each is chosen given those before. No bounds are needed.
        exclude: codes ``n d`` or ``*r n d`` that are not to be proposed in a space, such as what
            was run already where nothing is random.
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
        InfeasibleError: no point of the box meets the constraints, or none was found; no point of
            the space is left.

    Example:
        >>> box = torch.tensor([[0.0], [4.0]], dtype=torch.float64)
        >>> x, value = optimize_acqf(lambda X: -(X - 3).square().sum((-2, -1)), box, seed=0)
        >>> round(x.item(), 4)
        3.0

    Source: multi-start with Boltzmann-drawn starts as in Balandat et al. 2020, arXiv:1910.06403,
    appendix F; starts near the incumbent after Regis & Shoemaker, "Combining radial basis function
    surrogates and dynamic coordinate search", Engineering Optimization 45, 2013.
    """
    check_either(bounds, choices, fixed, input_constraints, space, exclude)
    if space is not None:
        options = (num_restarts, raw_samples, fixed, exclude, batch_shape, seed)
        found = check_space_search(acq, bounds, q, space, *options)
        return best_in_space(acq, found, int(q))
    if choices is not None:
        r = replicate_shape(acq, batch_shape)
        q = check_count("q", q)
        return best_choices(acq, check_choices(choices, r, q), q, r)
    search = check_search(
        acq, bounds, q, num_restarts, raw_samples, fixed, input_constraints, batch_shape, seed
    )
    q, head_start = int(q), None
    if q > 1 and sequential:
        return _greedy(acq, search, q)
    if q > 1 and callable(getattr(acq, "with_pending", None)):
        # In a joint climb a point that is not the best of its set has a tiny gradient and may
        # never leave a poor place. One start therefore has every point chosen on its own.
        head_start = _greedy(acq, search.child("head start", share=_GREEDY_SHARE), q).x
    return _climb(acq, search, q, head_start)


def _greedy(acq: Any, search: Search, q: int) -> Candidates:
    """The q points one after the other, each given those before.

    Raises:
        UnsupportedError: an acquisition that cannot take pending points into account.
    """
    if not callable(getattr(acq, "with_pending", None)):
        raise UnsupportedError(
            f"sequential=True: expected an acquisition with with_pending(X), got "
            f"{type(acq).__name__}; use qLogExpectedImprovement, or sequential=False"
        )
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
    on_cube = UnitAcquisition(acq, search.cube, q, r)
    R, D = on_cube.R, q * on_cube.d
    region = Region(search.constraints, on_cube.cube, low, high) if search.constraints else None
    raw, values, redrawn = candidates(on_cube, region, search, low, high)
    starts, start_values = pick(on_cube, search, raw, values, head_start)
    # rows are restart-major: row = restart * R + replicate
    x0 = starts.transpose(0, 1).reshape(restarts * R, D)
    low_rows, high_rows = (v.repeat(1, q).expand(R, D).repeat(restarts, 1) for v in (low, high))
    replicate = torch.arange(R, device=x0.device).repeat(restarts)
    level, spread = level_and_spread(values)
    size = spread.clamp(max=1)  # what the objective is divided by
    objective = on_cube.objective(level, size)
    if region is None:
        curved = on_cube.rows is not None and on_cube.rows.twice and D <= _FEW
        if curved and not backends.compiled_suits(x0):
            fun = on_cube.curved(level, size)
            end = newton.minimize(fun, x0, low_rows, high_rows, rivals=replicate)
        else:
            end = backends.minimize(objective, x0, low_rows, high_rows, rivals=replicate)
        violation = torch.zeros_like(end.value)
    else:
        rest = (spread / size).repeat(restarts)
        climb = (objective, x0, low_rows, high_rows, replicate, rest)
        end, violation = lagrangian.minimize(region, *climb)
    # A row whose gradient is not finite stays where it started.
    reached = level - end.value.view(restarts, R) * size
    reached = torch.where(torch.isfinite(reached), reached, start_values)
    best = torch.where(reached.isnan(), -torch.inf, reached).argmax(0)
    x = end.x.view(restarts, R, D)[best, torch.arange(R, device=best.device)]
    x = exactly(on_cube.cube.decode(x.reshape(*r, q, on_cube.d)), search)
    report = SearchReport(
        start_values=start_values.reshape(restarts, *r),
        values=reached.view(restarts, *r),
        converged=end.converged.view(restarts, *r),
        iterations=end.iterations.view(restarts, *r),
        violation=violation.view(restarts, *r),
        evaluations=end.evaluations,
        messages={
            MESSAGES[code]: count
            for code, count in enumerate(torch.bincount(end.status).tolist())
            if count
        },
        halvings=on_cube.halvings,
        redrawn=redrawn,
    )
    return Candidates(x, reached.gather(0, best.unsqueeze(0)).view(r), report)
