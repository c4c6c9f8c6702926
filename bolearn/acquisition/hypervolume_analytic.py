r"""Hypervolume improvement of one Gaussian outcome: in closed form, for a front or sampled ones.

Where f(x) has independent Gaussian outputs, the expected hypervolume that one point adds to a front
is a sum over boxes of products of one-dimensional integrals,

    sum_c prod_k sigma_k [ h((mu_k - l_ck)/sigma_k) - h((mu_k - u_ck)/sigma_k) ],

with h(z) = phi(z) + z Phi(z), each of which is an expected improvement. Under noise the front is a
sample, and f(x) is Gaussian *given* the outcomes of that sample at the baseline: the same sum for
each sample, averaged. Only the front is sampled, so that 16 samples are as good as 128 of front and
outcome together.

Boxes share their edges: h is computed once for each of the n + 1 or so edges of an objective, and
gathered. A limit multiplies by a probability, in closed form, too.

Taught in part_6/tutorial_02.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..boxes import Boxes
from ..errors import UnsupportedError
from ..models.algebra import Algebra
from ..numerics import log_h_and_slope
from ..posteriors import GaussianPosterior
from ..protocols import Surrogate
from ..sampling import Sampler
from .baseline import Baseline
from .checks import check_single_point
from .multi_objective import (
    _boxes,
    _check_fields,
    _feasible_values,
    _front_values,
    _on_front,
    _pruned_baseline,
)
from .objectives import Constraint, LowerLimit, Objective, Output, UpperLimit
from .templates import check_pending, join_pending

_BLOCK = {"cpu": 1 << 15}  # elements of one temporary; there are some ten of them
_LARGE_BLOCK = 1 << 24
_SQRT_HALF_PI, _SQRT_HALF = math.sqrt(math.pi / 2), math.sqrt(0.5)


@dataclass(frozen=True, eq=False)
class Edges:
    """Boxes by the distinct values of their sides, in units of the objectives' scales.

    ``lower`` and ``upper`` say which edge a side is; ``upper = e`` (one past the last) has no end.
    """

    values: Float[Tensor, "R k e s"]
    lower: Int[Tensor, "R k c s"]
    upper: Int[Tensor, "R k c s"]
    empty: Bool[Tensor, "R c s"]
    bounded: tuple[bool, ...]
    log_scale: Float[Tensor, "R 1"]

    @staticmethod
    def of(boxes: Boxes, scale: Float[Tensor, "R k"]) -> "Edges":
        """From boxes ``s R c k`` in units of ``scale``."""
        lower, upper = (v.permute(1, 3, 0, 2).contiguous() for v in boxes)  # R k s c
        finite = torch.isfinite(upper)
        ordered = torch.cat([lower, torch.where(finite, upper, lower)], -1).sort(dim=-1).values
        fresh = torch.nn.functional.pad(ordered[..., 1:] > ordered[..., :-1], (1, 0), value=True)
        most = int(fresh.sum(-1).max())
        order = torch.argsort(~fresh, dim=-1, stable=True)[..., :most]
        known = fresh.gather(-1, order)
        values = torch.where(known, ordered.gather(-1, order), ordered[..., -1:])
        at_lower, at_upper = (torch.searchsorted(values, v.contiguous()) for v in (lower, upper))
        at_upper = torch.where(finite, at_upper, most)
        bounded = finite.transpose(0, 1).flatten(1).any(-1)
        values, at_lower, at_upper = (v.mT.contiguous() for v in (values, at_lower, at_upper))
        empty = (upper <= lower).any(1).mT.contiguous()
        log_scale = scale.log().sum(-1, keepdim=True)
        return Edges(values, at_lower, at_upper, empty, tuple(bounded.tolist()), log_scale)


@dataclass(frozen=True, eq=False)
class Limit:
    """``sign (y - bound) <= 0`` for one output, in user units."""

    index: int
    bound: float
    sign: float


def log_expected_improvement(
    mean: Float[Tensor, "R k t s"], std: Float[Tensor, "R k t"], edges: Edges, wanted: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """log of the expected volume for each front, ``R t s``, and its derivatives in mean and std.

    The derivative in std is that of each sample, too: ``R k t s``.
    """
    R, _, t, s = mean.shape
    size = _BLOCK.get(mean.device.type, _LARGE_BLOCK)
    step = max(1, size // (edges.lower.shape[2] * s))
    value = mean.new_empty(R, t, s)
    g_mean, g_std = (torch.empty_like(mean) if wanted else None for _ in range(2))
    for r in range(R):
        for i in range(0, t, step):
            p = slice(i, i + step)
            value[r, p], a, b = _block(mean[r, :, p], std[r, :, p], edges, r, wanted)
            if g_mean is not None and g_std is not None and a is not None and b is not None:
                g_mean[r, :, p], g_std[r, :, p] = a, b
    return value, g_mean, g_std


def _block(
    mean: Float[Tensor, "k t s"], std: Float[Tensor, "k t"], edges: Edges, r: int, wanted: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The same for some points of one replicate."""
    k, t, s = mean.shape
    c, e = edges.lower.shape[2], edges.values.shape[2]
    total: Tensor | None = None
    ways = []
    for i in range(k):
        inverse = (1 / std[i])[:, None, None]
        u = (mean[i].unsqueeze(1) - edges.values[r, i]).mul_(inverse)  # t e s
        H, slope = log_h_and_slope(u)
        low = edges.lower[r, i].expand(t, c, s)
        side = H.gather(1, low)
        high = ratio = None
        if edges.bounded[i]:
            H = torch.cat([H, torch.full_like(H[:, :1], -torch.inf)], 1)
            high = edges.upper[r, i].expand(t, c, s)
            # log(h_l - h_u) = log h_l + log(1 - h_u / h_l)
            ratio = H.gather(1, high).sub_(side).exp_().clamp_(max=1 - 1e-15)
            side.add_(torch.log1p(-ratio))
        ways.append((u, slope, low, high, ratio))
        total = side if total is None else total.add_(side)
    assert total is not None
    total.masked_fill_(edges.empty[r], -torch.inf)
    top = total.amax(1, keepdim=True)
    weight = total.sub_(top).exp_()
    norm = weight.sum(1, keepdim=True)
    value = (norm.log() + top).squeeze(1) + std.log().sum(0).unsqueeze(-1)
    if not wanted:
        return value, None, None
    weight.div_(norm)
    g_mean, g_std = [], []
    for i, (u, slope, low, high, ratio) in enumerate(ways):
        # the weight that h carries at each edge; then slope and phi/h = 1 - u Phi/h
        carried = torch.zeros(t, e + 1, s, dtype=mean.dtype, device=mean.device)
        if high is None or ratio is None:
            carried.scatter_add_(1, low, weight)
        else:
            v = weight / (1 - ratio)
            carried.scatter_add_(1, low, v)
            carried.scatter_add_(1, high, v.mul_(ratio).neg_())
        carried = carried[:, :e]
        along = carried * slope
        inverse = (1 / std[i]).unsqueeze(-1)
        g_mean.append(along.sum(1) * inverse)
        g_std.append((carried - along * u).sum(1) * inverse)
    return value, torch.stack(g_mean), torch.stack(g_std)


def _log_met(
    mean: Tensor, std: Tensor, limit: Limit
) -> tuple[Float[Tensor, "R t s"], Float[Tensor, "R t s"], Float[Tensor, "R t s"]]:
    """log P(limit met) and its derivatives in mean ``R t s`` and std ``R t``."""
    inverse = -limit.sign / std.unsqueeze(-1)
    u = (mean - limit.bound) * inverse
    slope = 1 / (_SQRT_HALF_PI * torch.special.erfcx(-_SQRT_HALF * u))
    return torch.special.log_ndtr(u), slope * inverse, -slope * u / std.unsqueeze(-1)


class _Expected(torch.autograd.Function):
    """The acquisition as a function of the conditional means and standard deviations."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, std: Tensor, acq: "_Either") -> Tensor:
        value, g_mean, g_std = expected(acq, mean, std, any(ctx.needs_input_grad))
        ctx.save_for_backward(g_mean, g_std)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        g_mean, g_std = ctx.saved_tensors
        g = grads[0].unsqueeze(1)
        return g.unsqueeze(-1) * g_mean, g * g_std, None


def expected(
    acq: "_Either", mean: Float[Tensor, "R m t s"], std: Float[Tensor, "R m t"], wanted: bool
) -> tuple[Float[Tensor, "R t"], Tensor | None, Tensor | None]:
    """log of the mean over s, with its derivatives, for all outputs in user units."""
    own, edges = acq._own, acq.edges
    scale = acq.scale.reshape(len(mean), -1, 1)
    each, a, b = log_expected_improvement(
        mean[:, own] / scale.unsqueeze(-1), std[:, own] / scale, edges, wanted
    )
    met = [
        (limit, *_log_met(mean[:, limit.index], std[:, limit.index], limit))
        for limit in acq._limits
    ]
    for _, log_p, _, _ in met:
        each = each + log_p
    value = torch.logsumexp(each, -1) - math.log(each.shape[-1]) + edges.log_scale
    if not wanted or a is None or b is None:
        return value, None, None
    share = torch.softmax(each, -1)
    g_mean, g_std = torch.zeros_like(mean), torch.zeros_like(std)
    for i, j in enumerate(own):  # two objectives may be one output
        g_mean[:, j] += a[:, i] * share / scale[:, i, :, None]
        g_std[:, j] += (b[:, i] * share).sum(-1) / scale[:, i]
    for limit, _, in_mean, in_std in met:
        g_mean[:, limit.index] += in_mean * share
        g_std[:, limit.index] += (in_std * share).sum(-1)
    return value, g_mean, g_std


# -- acquisitions --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LogExpectedHypervolumeImprovement:
    """log E[ HV(front + f(x)) - HV(front) ] for one Gaussian point: exact, nothing is sampled.

    Args:
        model: a surrogate with Gaussian posteriors of independent outputs.
        ref_point, front: as in `qLogExpectedHypervolumeImprovement`.
        objectives: outputs of the model (`bolearn.output`); default the first ones.
        outcome_constraints: `at_most` and `at_least`.

    Raises:
        DataError, ShapeError: as `qLogExpectedHypervolumeImprovement`.
        UnsupportedError: other objectives or limits; a belief that is not Gaussian; q > 1.

    Example:
        >>> import bolearn as bl
        >>> X = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
        >>> Y = torch.cat([X, 1 - X**2], dim=-1)
        >>> model = bl.ExactGP(X, Y, torch.tensor([[0.0], [1.0]], dtype=torch.float64))
        >>> ref_point = torch.zeros(2, dtype=torch.float64)
        >>> acq = LogExpectedHypervolumeImprovement(model, ref_point, front=Y)
        >>> acq(torch.tensor([[0.7]], dtype=torch.float64)).shape
        torch.Size([])

    Source: Emmerich, Deutz & Klinkenberg, "Hypervolume-based expected improvement: monotonicity
    properties and exact computation", CEC 2011; over boxes Yang et al. 2019, arXiv:1904.12672.
    """

    model: Surrogate
    ref_point: Tensor
    front: Tensor
    _: KW_ONLY
    objectives: Sequence[Objective] | None = None
    outcome_constraints: Sequence[Constraint] = ()
    scale: Tensor = field(init=False, repr=False)
    edges: Edges = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_fields(self)
        _check_plain(self)
        front = _front_values(self)
        object.__setattr__(self, "front", front)
        boxes, scale = _boxes(self.scale, self.ref_point, front.unsqueeze(0), None)
        object.__setattr__(self, "edges", Edges.of(boxes, scale))

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The value at single points, in log units of the product of the objectives."""
        check_single_point(X, type(self).__name__)
        posterior = self.model.posterior(X)
        if not isinstance(posterior, GaussianPosterior):
            raise _not_gaussian(self, posterior)
        mean, std = posterior.mean.squeeze(-2), posterior.variance.squeeze(-2).sqrt()
        batch = mean.shape[:-1]
        return _value(self, mean.unsqueeze(-1), std, batch)

    @cached_property
    def on_front(self) -> Bool[Tensor, "*r n"] | None:
        """The observations that no other one dominates, near which a search starts, too."""
        return _on_front(self)

    @cached_property
    def _own(self) -> list[int]:
        return _indices(self)

    @cached_property
    def _limits(self) -> list[Limit]:
        return _plain_limits(self)


@dataclass(frozen=True, eq=False)
class LogNoisyExpectedHypervolumeImprovement:
    """The same for a front that is not known: exact for each of s sampled fronts (q = 1).

    What to take for one point at a time, and for q points one after the other: pending points join
    the baseline. The value has the expectation of `qLogNoisyExpectedHypervolumeImprovement` and a
    fraction of its error.

    Args:
        model: a surrogate with Gaussian posteriors of independent outputs.
        ref_point, X_baseline, prune, X_pending: as in `qLogNoisyExpectedHypervolumeImprovement`.
        sampler: of the fronts.
        objectives, outcome_constraints: as in `LogExpectedHypervolumeImprovement`.

    Raises:
        DataError, ShapeError: as `qLogNoisyExpectedHypervolumeImprovement`.
        UnsupportedError: other objectives or limits; a belief that is not Gaussian; q > 1.

    Source: as for `qLogNoisyExpectedHypervolumeImprovement`; the closed form for given fronts as
    for `LogExpectedHypervolumeImprovement`.
    """

    model: Surrogate
    ref_point: Tensor
    X_baseline: Tensor
    _: KW_ONLY
    sampler: Sampler = Sampler(16, seed=0)  # noqa: RUF009  frozen, hence safe to share
    objectives: Sequence[Objective] | None = None
    outcome_constraints: Sequence[Constraint] = ()
    X_pending: Tensor | None = None
    prune: bool = True
    scale: Tensor = field(init=False, repr=False)
    baseline: Baseline = field(init=False, repr=False)
    edges: Edges = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_fields(self)
        _check_plain(self)
        base = _pruned_baseline(self)
        if not base.gaussian:
            raise _not_gaussian(self, self.model.posterior(base.points))
        _improve_on(self, base if self.X_pending is None else base.joined(self.X_pending))

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The value at single points, in log units of the product of the objectives."""
        check_single_point(X, type(self).__name__)
        mean, A = self.baseline.factors(X)  # *batch 1 m, *batch m 1 (b + 1)
        batch, (m, b) = mean.shape[:-2], (mean.shape[-1], A.shape[-1] - 1)
        z = self._z  # R m b s
        C = A[..., 0, :b].reshape(-1, len(z), m, b).movedim(0, 2)  # R m t b
        means = mean.squeeze(-2).reshape(-1, len(z), m).movedim(0, 2).unsqueeze(-1) + C @ z
        std = A[..., 0, b].reshape(-1, len(z), m).movedim(0, 2)
        value = _Expected.apply(means, std, self)  # type: ignore[no-untyped-call]
        return value.mT.reshape(batch)  # type: ignore[no-any-return]

    def value_and_gradient(self, X: Float[Tensor, "*batch q d"]) -> tuple[Tensor, Tensor] | None:
        """Both in one piece for points ``*batch`` of every replicate; None where it has no form."""
        algebra: Algebra | None = self.baseline.algebra
        if algebra is None or X.shape[-2] != 1:
            return None
        at, m, z = algebra.moments(X), algebra.outputs, self._z
        R, t = len(z), at.mean.shape[1]
        C = at.C.reshape(R, m, t, -1)
        means = torch.baddbmm(at.mean, C.flatten(0, 1), z.flatten(0, 1)).view(R, m, t, -1)
        std = at.second.sqrt().reshape(R, m, t)
        value, g_mean, g_std = expected(self, means, std, True)
        assert g_mean is not None and g_std is not None
        g_C = (g_mean @ z.mT).reshape(R * m, t, 1, -1)
        g_variance = (g_std / (2 * std)).reshape(R * m, t, 1)
        gradient = at.pull(g_mean.sum(-1).reshape(R * m, t, 1), g_variance, g_C)
        return value.mT.reshape(X.shape[:-2]), gradient

    def with_pending(self, X: Float[Tensor, "*r p d"]) -> "LogNoisyExpectedHypervolumeImprovement":
        """The same acquisition that counts X as already chosen, beside earlier pending points."""
        check_pending(X, self.model)
        twin = copy.copy(self)
        vars(twin).pop("_z", None)
        pending = join_pending(X.clone(), self.X_pending, self.model.batch_shape)
        object.__setattr__(twin, "X_pending", pending)
        _improve_on(twin, self.baseline.joined(X))
        return twin

    @cached_property
    def on_front(self) -> Bool[Tensor, "*r n"] | None:
        """The observations that no other one dominates, near which a search starts, too."""
        return _on_front(self)

    @cached_property
    def _z(self) -> Float[Tensor, "R m b s"]:
        assert self.baseline.normals is not None
        z = self.baseline.normals
        return z.reshape(len(z), -1, *z.shape[-2:]).permute(1, 3, 2, 0).contiguous()

    @cached_property
    def _own(self) -> list[int]:
        return _indices(self)

    @cached_property
    def _limits(self) -> list[Limit]:
        return _plain_limits(self)


_Either = LogExpectedHypervolumeImprovement | LogNoisyExpectedHypervolumeImprovement


def _value(acq: _Either, mean: Tensor, std: Tensor, batch: torch.Size) -> Tensor:
    """From moments ``*batch m s`` and ``*batch m`` to the value."""
    R, m, s = acq.model.batch_shape.numel(), mean.shape[-2], mean.shape[-1]
    rows = mean.reshape(-1, R, m, s).permute(1, 2, 0, 3), std.reshape(-1, R, m).permute(1, 2, 0)
    value = _Expected.apply(*rows, acq)  # type: ignore[no-untyped-call]
    return value.mT.reshape(batch)  # type: ignore[no-any-return]


def _improve_on(acq: LogNoisyExpectedHypervolumeImprovement, base: Baseline) -> None:
    values, feasible = _feasible_values(acq, base, base.draw_alone())
    boxes, scale = _boxes(acq.scale, acq.ref_point, values, feasible)
    object.__setattr__(acq, "baseline", base)
    object.__setattr__(acq, "edges", Edges.of(boxes, scale))


def _indices(acq: _Either) -> list[int]:
    m = acq.model.num_outputs
    return [f.index % m for f in acq.objectives or () if isinstance(f, Output)]


def _plain_limits(acq: _Either) -> list[Limit]:
    m = acq.model.num_outputs
    signs = {UpperLimit: 1.0, LowerLimit: -1.0}
    known = [f for f in acq.outcome_constraints if isinstance(f, UpperLimit | LowerLimit)]
    return [Limit(f.index % m, f.bound, signs[type(f)]) for f in known]


def _check_plain(acq: _Either) -> None:
    plain = all(isinstance(f, Output) for f in acq.objectives or ())
    limited = all(type(f) in (UpperLimit, LowerLimit) for f in acq.outcome_constraints)
    if not (plain and limited):
        raise UnsupportedError(
            f"{type(acq).__name__}: expected bolearn.output(i) as objectives and at_most or "
            f"at_least as limits, for which it has a closed form; use q{type(acq).__name__}, which "
            "takes any function"
        )


def _not_gaussian(acq: _Either, posterior: object) -> UnsupportedError:
    return UnsupportedError(
        f"{type(acq).__name__}: expected a model with Gaussian posteriors, got a "
        f"{type(posterior).__name__} from {type(acq.model).__name__}; use q{type(acq).__name__}"
    )
