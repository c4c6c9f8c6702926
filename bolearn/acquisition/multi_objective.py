r"""Several objectives: the expected hypervolume that q points add to a front, in log space.

No single outcome is best, so there is no incumbent to improve on; there is a front, and what a
point is worth is the hypervolume above a reference point that it adds:

    alpha(x_1, ..., x_q) = log E[ HV(front + f(x_1), ..., f(x_q)) - HV(front) ].

`qLogExpectedHypervolumeImprovement` takes the front as given. Under noise nobody knows it:
`qLogNoisyExpectedHypervolumeImprovement` draws the observed points too, and every sample has a
front of its own.

Objectives are the first outputs of the model, as many as the reference point has entries; limits
(`at_most(2, 0.0)`) usually are about the others. To minimise an output, use
``objectives=(bolearn.weighted_sum(-1.0, 0.0), ...)`` with the reference point to match.

Taught in part_6/tutorial_02.
"""

import copy
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..boxes import Boxes, boxes_above
from ..errors import ShapeError, UnsupportedError
from ..models.algebra import Algebra, Moments
from ..models.exact import algebra_of
from ..pareto import check_ref_point, front_above, non_dominated
from ..protocols import Surrogate, has_training_data
from ..sampling import Sampler
from ..shapes import check_same_device, check_tensor
from .baseline import Baseline, is_feasible
from .checks import check_model
from .hypervolume import Cells, LogImprovement, log_improvement
from .objectives import (
    Constraint,
    Objective,
    Output,
    check_objective,
    check_outcome_constraints,
    evaluate,
    log_feasibility,
    of_replicate,
    output,
    scale_of,
)
from .pullback import pull_cholesky
from .templates import (
    base_normals,
    check_pending,
    check_sampler,
    draw_jointly,
    join_pending,
)

# A point that was on the front in none of this many samples is no competitor.
_PRUNING_SAMPLES = 256
# Elements of the largest table of truth values while competitors are compared.
_ELEMENTS = 1 << 22
# Subsets of q points are 2^q - 1: beyond this many points, one after the other.
_MOST = 10


@dataclass(frozen=True, eq=False)
class qLogExpectedHypervolumeImprovement:
    """log E[ HV(front + f(X)) - HV(front) ]: the hypervolume that q points add to a known front.

    Minima over the q points and with the sides of boxes are smoothed by a factor of about 1e-3,
    the kink of max(0, .) on the scale of 1e-6 output standard deviations.

    Args:
        model: a surrogate.
        ref_point: reference point ``k`` or ``*r k`` in units of the objectives.
        front: objective values to improve on ``*r n k``, feasible ones if there are limits.
            Dominated ones, duplicates and those below the reference point do no harm (fill ragged
            fronts with the reference point), so all that was observed will do.
        sampler: where the base samples come from; independent for each replicate.
        objectives: outcome to scalar, one for each entry of ``ref_point``; default the first
            outputs of the model.
        outcome_constraints: functions of the outcomes, feasible where <= 0, such as `at_most`.
        X_pending: points under evaluation ``*r p d``, judged jointly with every candidate.

    Raises:
        DataError: a reference point or front that is not finite float64.
        ShapeError: shapes that fit neither each other nor the model.
        UnsupportedError: more than ten points, those pending included, are judged jointly.

    Source: Daulton, Balandat & Bakshy, "Differentiable expected hypervolume improvement for
    parallel multi-objective Bayesian optimization", NeurIPS 2020, arXiv:2006.05078; in log space
    Ament et al. 2023, appendix A.5, arXiv:2310.20708.
    """

    model: Surrogate
    ref_point: Tensor
    front: Tensor
    _: KW_ONLY
    sampler: Sampler = Sampler(128, seed=0)  # noqa: RUF009  frozen, hence safe to share
    objectives: Sequence[Objective] | None = None
    outcome_constraints: Sequence[Constraint] = ()
    X_pending: Tensor | None = None
    scale: Tensor = field(init=False, repr=False)  # *r k: of the objectives
    cells: Cells = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_fields(self)
        front = _front_values(self)
        object.__setattr__(self, "front", front)
        object.__setattr__(
            self, "cells", Cells.of(*_boxes(self.scale, self.ref_point, front.unsqueeze(0), None))
        )

    def draw(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "s *batch q m"]:
        """Joint samples of the outcomes at X."""
        return draw_jointly(self.model, self.sampler, X)

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The log of the expected hypervolume improvement of each set of q points."""
        points = join_pending(X, self.X_pending, self.model.batch_shape)
        _check_number(points, self)
        return _average(self, self.draw(points), self.cells)

    def value_and_gradient(self, X: Float[Tensor, "*batch q d"]) -> tuple[Tensor, Tensor] | None:
        """Both in one piece for points ``*batch`` of every replicate; None where it has no form."""
        if self._closed is None:
            return None
        points = join_pending(X, self.X_pending, self.model.batch_shape)
        _check_number(points, self)
        value, gradient = _in_one_piece(self, points)
        return value, gradient[..., : X.shape[-2], :]

    def normals(self, q: int) -> Float[Tensor, "s *r q m"]:
        """Base samples of q points."""
        return base_normals(self.sampler, (q, self.model.num_outputs), self.model)

    def with_pending(self, X: Float[Tensor, "*r p d"]) -> "qLogExpectedHypervolumeImprovement":
        """The same acquisition that counts X as already chosen, beside earlier pending points."""
        check_pending(X, self.model)
        twin = copy.copy(self)
        pending = join_pending(X.clone(), self.X_pending, self.model.batch_shape)
        object.__setattr__(twin, "X_pending", pending)
        return twin

    @cached_property
    def on_front(self) -> Bool[Tensor, "*r n"] | None:
        """The observations that no other one dominates, near which a search starts, too."""
        return _on_front(self)

    @cached_property
    def _limit_scales(self) -> list[Tensor]:
        return _limit_scales(self)

    @cached_property
    def _closed(self) -> Algebra | None:
        return _closed_form(self, algebra_of(self.model), qLogExpectedHypervolumeImprovement)

    @cached_property
    def _rows_of_normals(self) -> dict[int, Tensor]:
        return {}


@dataclass(frozen=True, eq=False)
class qLogNoisyExpectedHypervolumeImprovement:
    """log E[ HV(f(baseline), f(X)) - HV(f(baseline)) ]: every sample has a front of its own.

    Points of the baseline that a sample finds infeasible are not on its front. Pending points join
    the baseline: the value is what X adds to them. The baseline is drawn once, from the model as it
    is: after another fit, make a new acquisition.

    Args:
        model: a surrogate.
        ref_point: reference point ``k`` or ``*r k`` in units of the objectives.
        X_baseline: points to improve on ``*r n d``, usually those observed. If they have the shape
            of the model's own inputs, rows that the model masks out are passed over.
        prune: drop points of the baseline that are on the front of none of 256 samples.
        sampler, objectives, outcome_constraints: see `qLogExpectedHypervolumeImprovement`.
        X_pending: points under evaluation ``*r p d``.

    Raises:
        DataError, ShapeError: see `qLogExpectedHypervolumeImprovement`; so for the baseline.
        UnsupportedError: more than ten points are judged jointly.

    Source: Daulton, Balandat & Bakshy, "Parallel Bayesian optimization of multiple noisy
    objectives with expected hypervolume improvement", NeurIPS 2021, arXiv:2105.08195; in log space
    Ament et al. 2023, appendix A.5, arXiv:2310.20708.
    """

    model: Surrogate
    ref_point: Tensor
    X_baseline: Tensor
    _: KW_ONLY
    sampler: Sampler = Sampler(128, seed=0)  # noqa: RUF009
    objectives: Sequence[Objective] | None = None
    outcome_constraints: Sequence[Constraint] = ()
    X_pending: Tensor | None = None
    prune: bool = True
    scale: Tensor = field(init=False, repr=False)  # *r k: of the objectives
    baseline: Baseline = field(init=False, repr=False)  # pending points included
    cells: Cells | None = field(init=False, repr=False)  # None: they come with the candidates

    def __post_init__(self) -> None:
        _check_fields(self)
        base = _pruned_baseline(self)
        _improve_on(self, base if self.X_pending is None else base.joined(self.X_pending))

    def draw(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "s *batch q m"]:
        """Samples of the outcomes at X, given those at the baseline."""
        return self.baseline.draw(X)[0]

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The log of the noisy expected hypervolume improvement of each set of q points."""
        _check_number(X, self)
        if self.cells is not None:
            return _average(self, self.draw(X), self.cells)
        y, competitors = self.baseline.draw(X)  # no fixed part: a front for each set of points
        return _one_by_one(self, y, competitors.detach())

    def value_and_gradient(self, X: Float[Tensor, "*batch q d"]) -> tuple[Tensor, Tensor] | None:
        """Both in one piece for points ``*batch`` of every replicate; None where it has no form."""
        _check_number(X, self)
        return None if self._closed is None else _in_one_piece(self, X)

    def normals(self, q: int) -> Float[Tensor, "s *r bq m"]:
        """Base samples of the baseline, then of q points."""
        return self.baseline.all_normals(q)

    def with_pending(self, X: Float[Tensor, "*r p d"]) -> "qLogNoisyExpectedHypervolumeImprovement":
        """The same acquisition that counts X as already chosen, beside earlier pending points."""
        check_pending(X, self.model)
        twin = copy.copy(self)
        for name in ("_closed", "_rows_of_normals"):  # what belongs to the old baseline
            vars(twin).pop(name, None)
        pending = join_pending(X.clone(), self.X_pending, self.model.batch_shape)
        object.__setattr__(twin, "X_pending", pending)
        _improve_on(twin, self.baseline.joined(X))
        return twin

    @cached_property
    def on_front(self) -> Bool[Tensor, "*r n"] | None:
        """The observations that no other one dominates, near which a search starts, too."""
        return _on_front(self)

    @cached_property
    def _limit_scales(self) -> list[Tensor]:
        return _limit_scales(self)

    @cached_property
    def _closed(self) -> Algebra | None:
        kind = qLogNoisyExpectedHypervolumeImprovement
        return _closed_form(self, self.baseline.algebra, kind)

    @cached_property
    def _rows_of_normals(self) -> dict[int, Tensor]:
        return {}


# What has these fields: the two here, and those of `hypervolume_analytic`
_Fields = Any
_Either = qLogExpectedHypervolumeImprovement | qLogNoisyExpectedHypervolumeImprovement


# -- what both share -----------------------------------------------------------------------------


def _check_fields(acq: _Fields) -> None:
    """Check the model, the objectives with their reference point, limits and pending points."""
    check_model(acq.model, type(acq).__name__)
    check_sampler(getattr(acq, "sampler", Sampler(1)))
    model, r = acq.model, tuple(acq.model.batch_shape)
    ref = check_tensor("ref_point", acq.ref_point)
    if acq.objectives is None:
        if ref.ndim == 0 or not 1 <= ref.shape[-1] <= model.num_outputs:
            raise ShapeError(
                f"ref_point: expected one number for each objective, at most {model.num_outputs} "
                f"(the model's outputs), got shape {tuple(ref.shape)}"
            )
        objectives: tuple[Objective, ...] = tuple(output(i) for i in range(ref.shape[-1]))
    else:
        objectives = tuple(acq.objectives)
    for objective in objectives:
        check_objective(objective, model)
    ref = check_ref_point(ref, len(objectives), r).detach().clone()
    constraints = check_outcome_constraints(acq.outcome_constraints, model)
    scale = torch.stack([scale_of(f, model) for f in objectives], dim=-1).to(ref.device)
    object.__setattr__(acq, "ref_point", ref)
    object.__setattr__(acq, "objectives", objectives)
    object.__setattr__(acq, "outcome_constraints", constraints)
    object.__setattr__(acq, "scale", scale)
    pending = getattr(acq, "X_pending", None)
    if pending is not None:
        check_pending(pending, model)
        check_same_device(X_pending=pending, ref_point=ref)
        object.__setattr__(acq, "X_pending", pending.clone())


def _front_values(acq: _Fields) -> Float[Tensor, "*r n k"]:
    """The front to improve on, checked, with all replicate axes."""
    r, k = tuple(acq.model.batch_shape), acq.ref_point.shape[-1]
    front = check_tensor("front", acq.front).detach()
    if front.ndim < 2 or front.shape[-1] != k or tuple(front.shape[:-2]) not in ((), r):
        raise ShapeError(
            f"front: expected objective values of shape {(*r, 'n', k)}, one column for each "
            f"entry of ref_point, got {tuple(front.shape)}"
        )
    return front.expand(*r, *front.shape[-2:]).clone()


def _check_number(X: Tensor, acq: _Either) -> None:
    if X.ndim >= 2 and X.shape[-2] > _MOST:
        raise UnsupportedError(
            f"{type(acq).__name__}: judges at most {_MOST} points jointly (their subsets are 2^q), "
            f"got {X.shape[-2]}; use qLogNoisyExpectedHypervolumeImprovement, whose pending points "
            "cost nothing, with optimize_acqf(..., sequential=True)"
        )


def _limit_scales(acq: _Either) -> list[Tensor]:
    with torch.inference_mode(False):
        return [scale_of(c, acq.model).unsqueeze(-1) for c in acq.outcome_constraints]


def _values(acq: _Fields, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s k"]:
    """The objectives of sampled outcomes."""
    assert acq.objectives is not None
    return torch.stack([evaluate(f, y) for f in acq.objectives], dim=-1)


def _boxes(
    scale: Float[Tensor, "*r k"],
    ref_point: Float[Tensor, "*r k"],
    values: Float[Tensor, "s *r n k"],
    counts: Bool[Tensor, "s *r n"] | None,
) -> tuple[Boxes, Float[Tensor, "R k"]]:
    """The boxes that ``s`` sampled fronts leave in each replicate, in units of the scales."""
    s, k = len(values), values.shape[-1]
    with torch.inference_mode(False), torch.no_grad():
        scale = scale.reshape(-1, k)
        ref = ref_point.reshape(-1, k) / scale  # R k
        y = values.reshape(s, len(ref), -1, k) / scale.unsqueeze(-2)
        counts = None if counts is None else counts.reshape(y.shape[:-1])
        ref = ref.expand(s, -1, -1)
        return boxes_above(front_above(y, ref, counts), ref), scale


def _average(acq: _Either, y: Float[Tensor, "s *batch q m"], cells: Cells) -> Tensor:
    """From sampled outcomes to the value ``*batch``, where replicates have cells of their own."""
    r, (s, *batch, q, _) = acq.model.batch_shape, y.shape
    lead = batch[: len(batch) - len(r)]
    full = (s, *lead, *r, q)

    def rows(v: Tensor) -> Tensor:  # s *batch q -> R q t s
        return v.expand(full).reshape(s, -1, r.numel(), q).permute(2, 3, 1, 0)

    scale = acq.scale.unsqueeze(-2)
    columns = (_values(acq, y) / scale).unbind(-1)
    z = torch.stack([rows(v) for v in columns], dim=1)
    log_weight = None
    if acq.outcome_constraints:
        log_weight = rows(log_feasibility(y, acq.outcome_constraints, acq._limit_scales))
        log_weight = log_weight.contiguous()
    value = LogImprovement.apply(z, log_weight, cells)  # type: ignore[no-untyped-call]
    return value.mT.reshape((*lead, *r))  # type: ignore[no-any-return]


def _one_by_one(
    acq: "qLogNoisyExpectedHypervolumeImprovement",
    y: Float[Tensor, "s *batch q m"],
    competitors: Float[Tensor, "s *batch b m"],
) -> Tensor:
    """The same where every set of candidates comes with fronts of its own."""
    batch, (q, k) = y.shape[1:-2], (y.shape[-2], acq.scale.shape[-1])
    scale, ref = (v.expand(*batch, k) for v in (acq.scale, acq.ref_point))
    cells = Cells.of(*_boxes(scale, ref, *_feasible_values(acq, acq.baseline, competitors)))
    z = (_values(acq, y) / scale.unsqueeze(-2)).reshape(len(y), -1, q, k)
    z = z.permute(1, 3, 2, 0).unsqueeze(-2)  # rows k q 1 s
    log_weight = None
    if acq.outcome_constraints:
        log_weight = log_feasibility(y, acq.outcome_constraints, acq._limit_scales)
        log_weight = log_weight.reshape(len(y), -1, q).permute(1, 2, 0).unsqueeze(-2).contiguous()
    value = LogImprovement.apply(z.contiguous(), log_weight, cells)  # type: ignore[no-untyped-call]
    return value.reshape(batch)  # type: ignore[no-any-return]


def _on_front(acq: _Fields) -> Bool[Tensor, "*r n"] | None:
    """The model's observations on their front: the feasible ones, where there are any."""
    if not has_training_data(acq.model):
        return None
    Y, seen = acq.model.Y, acq.model.observed
    Y = torch.where(seen.unsqueeze(-1), Y, 0.0)
    with torch.no_grad():
        counts = seen & is_feasible(Y, acq.outcome_constraints)
        counts = torch.where(counts.any(-1, keepdim=True), counts, seen)
        return non_dominated(_values(acq, Y), counts, deduplicate=False)


# -- the noisy front -----------------------------------------------------------------------------


def _improve_on(acq: qLogNoisyExpectedHypervolumeImprovement, base: Baseline) -> None:
    """Let ``acq`` improve on a baseline: the cells of all its samples, where they are fixed."""
    cells = None
    if base.gaussian:
        values, feasible = _feasible_values(acq, base, base.draw_alone())
        cells = Cells.of(*_boxes(acq.scale, acq.ref_point, values, feasible))
    object.__setattr__(acq, "baseline", base)
    object.__setattr__(acq, "cells", cells)


def _pruned_baseline(acq: _Fields) -> Baseline:
    """The baseline of ``acq``, with ``prune`` the points that are ever on the front."""
    base = Baseline.of(acq.model, acq.X_baseline, acq.sampler, output(0), (), False)
    if acq.prune and base.points.shape[-2] > 1:
        return base.only(_ever_on_front(acq, base))
    return base


def _feasible_values(
    acq: _Fields, base: Baseline, y: Float[Tensor, "s *batch b m"]
) -> tuple[Float[Tensor, "s *batch b k"], Bool[Tensor, "s *batch b"]]:
    """Objectives of sampled outcomes at the baseline, and which of them count."""
    return _values(acq, y), base.mask & is_feasible(y, acq.outcome_constraints)


def _ever_on_front(acq: _Fields, base: Baseline) -> Bool[Tensor, "*r b"]:
    """The points that are feasible, above the reference and on the front in some sample.

    Where there are none, the first point: it does no harm.
    """
    assert acq.objectives is not None
    r, m = acq.model.batch_shape, acq.model.num_outputs
    keep = torch.zeros_like(base.mask).reshape(len(base.counts), -1)
    refs = acq.ref_point.reshape(len(base.counts), -1)
    for i, y in enumerate(base.drawn(_PRUNING_SAMPLES)):
        goals = [of_replicate(f, i, r, m) for f in acq.objectives]
        limits = [of_replicate(f, i, r, m) for f in acq.outcome_constraints]
        values = torch.stack([evaluate(f, y) for f in goals], dim=-1)
        counts = is_feasible(y, limits) & (refs[i] < values).all(-1)
        for part in torch.arange(len(y)).split(max(1, _ELEMENTS // y.shape[1] ** 2)):
            on_front = non_dominated(values[part], counts[part], deduplicate=False)
            keep[i, : y.shape[1]] |= on_front.any(0)
        if not keep[i].any():
            keep[i, 0] = True
    return keep.reshape(base.mask.shape)


# -- in one piece, for searches ------------------------------------------------------------------


def _closed_form(acq: _Either, algebra: Algebra | None, kind: type) -> Algebra | None:
    """The closed form where it says what `_average` says: outputs as objectives, no limits."""
    plain = type(acq) is kind and not acq.outcome_constraints and acq.objectives is not None
    if algebra is None or not plain or not all(isinstance(f, Output) for f in acq.objectives or ()):
        return None
    return algebra


def _in_one_piece(acq: _Either, X: Float[Tensor, "*batch q d"]) -> tuple[Tensor, Tensor]:
    """Value and gradient without a graph: moments, draws, cells, and the pullback of each."""
    algebra = acq._closed
    cells = acq.cells
    assert algebra is not None and cells is not None
    objectives: Any = acq.objectives
    m, R, q = algebra.outputs, acq.model.batch_shape.numel(), X.shape[-2]
    known = acq._rows_of_normals
    if q not in known:  # R m (b + q) s
        z = acq.normals(q)
        known[q] = z.reshape(len(z), R, -1, m).permute(1, 3, 2, 0).contiguous().to(X.device)
    z, own = known[q], [f.index % m for f in objectives]
    moments = algebra.moments(X)
    output_scale: Any = getattr(acq.model, "output_scale")  # noqa: B009  an ExactGP
    L = moments.factor(output_scale.reshape(-1).square())
    b = z.shape[-2] - q
    A = torch.cat([moments.C, L], dim=-1) if b else L  # i t q (b + q)
    t = A.shape[1]
    # draws in units of the scales, ``R k q t s``
    scale = acq.scale.reshape(R, -1, 1, 1, 1)
    F = A.view(R, m, t, q, b + q)[:, own].transpose(2, 3) / scale
    mean = moments.mean.view(R, m, t, q)[:, own].transpose(2, 3).unsqueeze(-1) / scale
    y = (F.flatten(2, 3) @ z[:, own]).view(*F.shape[:-1], -1).add_(mean)
    value, g_y, _ = log_improvement(y, None, cells, True)
    assert g_y is not None
    g_y.div_(scale)
    into_mean, into_A = torch.zeros(R, m, q, t).to(X), torch.zeros(R, m, q, t, b + q).to(X)
    g_F = (g_y.flatten(2, 3) @ z[:, own].mT).view(F.shape)
    for i, j in enumerate(own):  # two objectives may be one output
        into_mean[:, j] += g_y[:, i].sum(-1)
        into_A[:, j] += g_F[:, i]
    gradient = _pull(moments, L, into_mean.mT.reshape(-1, t, q), into_A, b)
    return value.mT.reshape(X.shape[:-2]), gradient


def _pull(moments: Moments, L: Tensor, g_mean: Tensor, into_A: Tensor, b: int) -> Tensor:
    """Gradient in the points from those in the mean and in A = [C, L], ``R m q t (b + q)``."""
    g_A = into_A.transpose(2, 3).flatten(0, 1)  # i t q (b + q)
    g_second = pull_cholesky(L, g_A[..., b:])
    g_second = g_second.squeeze(-1) if g_A.shape[2] == 1 else g_second
    return moments.pull(g_mean, g_second, g_A[..., :b] if b else None)
