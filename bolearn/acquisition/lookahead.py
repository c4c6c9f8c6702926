r"""Knowledge gradient: what is an observation worth if it changes what one believes elsewhere?

After y at x, the posterior mean at a point a_j is a line in z, the standardised surprise:

    mu_j + b_j z,    z ~ N(0, 1),    b_j = cov(x, a_j) / sqrt(var(x) + noise).

One would then choose the best point. On average that gains

    KG(x) = E max_j (mu_j + b_j z) - max_j mu_j,

the area between the upper envelope of the lines and the best one of today, under the density of z.
It is a plain function of x: no inner optimisation is carried along. The maximum is over a finite
set of points and x itself, so KG is exact for that set, a lower bound for the box, and as close to
it as the set is good: the observed points do for a first look, `search.lookahead` finds better ones
and refines them where a search ends.

The logarithm is a logsumexp of positive terms, one for each corner c of the envelope where the
slope grows by db: log db + log h(-|c|). It has digits and a slope where KG itself is exp(-5e5).

Taught in part_4/tutorial_05.
"""

from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError, UnsupportedError
from ..linalg import psd_cholesky
from ..models.cross import FixedPoints, joint_moments
from ..models.exact import algebra_of
from ..numerics import log_h, log_h_and_slope, logmeanexp
from ..optim.arrays import Array, array, namespace, tensor
from ..protocols import SupportsFantasies, Surrogate, has_training_data
from ..sampling import Sampler
from ..shapes import check_points, check_tensor
from .checks import check_single_output
from .pullback import ValueWithGradient
from .templates import base_normals, join_pending

_PARALLEL = 1e-12  # of the range of slopes: smaller differences are rounding
_NEGLIGIBLE = 65.0  # in the logarithm, from the first corner on: 1e-16 of it, 1e12 times as steep
_ROUNDING = 1e-14  # of the largest slope: no smaller gain is known from a sampled average
_BLOCK = 1 << 15  # numbers in one block of lines that are walked along: they stay in the cache
_PLACES = 1 << 22  # numbers in one block of sampled lines, or of joint covariances


# -- lines ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Envelope:
    """The corners of max_j (a_j + b_j z): where, between which lines, and the kind of each.

    Rows may have fewer corners than places; a place without has ``left == right``.
    """

    corner: Float[Tensor, "N k"]  # |z| there
    left: Int[Tensor, "N k"]  # the line nearer to z = 0
    right: Int[Tensor, "N k"]  # the line farther out
    sign: Float[Tensor, "k"]  # +1 for corners at z >= 0, -1 for those at z <= 0

    def gains(self, b: Float[Tensor, "N M"]) -> Float[Tensor, "N k"]:
        """By how much the slope grows at each corner, going from left to right; 0: no corner."""
        return (b.gather(-1, self.right) - b.gather(-1, self.left)) * self.sign


def upper_envelope(a: Float[Tensor, "N M"], b: Float[Tensor, "N M"]) -> Envelope:
    """The upper envelope of lines a + b z, walked outwards from z = 0 on both sides at once.

    From a line on the envelope, the next is the steeper one that it meets first. Lines that tie for
    the best at 0 form a corner there.

    Source: Frazier, Powell & Dayanik, "The knowledge-gradient policy for correlated normal
    beliefs", INFORMS J. Computing 21, 2009, algorithm 1 (which sorts by slope instead).
    """
    ties = a >= a.amax(-1, keepdim=True)
    last = b.masked_fill(~ties, -torch.inf).argmax(-1)
    first = b.masked_fill(~ties, torch.inf).argmin(-1)
    parallel = _PARALLEL * (b.amax(-1) - b.amin(-1))
    # the left half is the right half of the mirrored lines
    whole = (torch.cat([a, a]), torch.cat([b, -b]), torch.cat([last, first]), parallel.repeat(2))
    few = max(1, _BLOCK // a.shape[-1]) if a.device.type == "cpu" else 2 * len(a)
    parts = [_walk(*map(array, part)) for part in zip(*(v.split(few) for v in whole), strict=True)]
    steps = max(len(lines) for _, lines in parts) - 1
    corners, lines = (
        torch.cat([_padded(part[i], steps + 1) for part in parts], -1) for i in (0, 1)
    )  # steps + 1, 2N
    (plus, minus), (right, left) = corners[1:].chunk(2, -1), lines.chunk(2, -1)
    sign = a.new_tensor([1.0] * (steps + 1) + [-1.0] * steps)
    return Envelope(
        torch.cat([torch.zeros_like(a[:, 0]).unsqueeze(0), plus, minus]).T,
        torch.cat([first.unsqueeze(0), right[:-1], left[:-1]]).T,
        torch.cat([last.unsqueeze(0), right[1:], left[1:]]).T,
        sign,
    )


def _walk(heights: Array, slopes: Array, at: Array, parallel: Array) -> tuple[Array, Array]:
    """Where lines change at z > 0, step by step, and to which; the first entries are 0 and ``at``.

    Rows that are through, or so far out that what comes adds nothing, repeat their last line.
    """
    xp, n = namespace(heights), len(heights)
    every = np.arange(n) if xp is np else torch.arange(n, device=at.device)
    rows, far = every, None
    corners, lines = [heights[:, 0] * 0.0], [at]
    while len(rows):
        own, here = at[rows], every[: len(rows)]
        steeper = slopes - slopes[here, own][:, None]
        above = steeper > parallel[:, None]
        drop = heights[here, own][:, None] - heights
        where = xp.where(above, drop / xp.where(above, steeper, 1.0), xp.inf)
        to = where.argmin(-1)
        corner = where[here, to].clip(0)
        far = (corner * corner + 2 * _NEGLIGIBLE) ** 0.5 if far is None else far
        on = (corner <= far) & (corner < xp.inf)
        if not on.any():
            break
        at, full = at + 0, xp.zeros_like(corners[0])
        at[rows] = xp.where(on, to, own)
        full[rows] = xp.where(on, corner, 0.0)
        corners.append(full)
        lines.append(at)
        if 2 * int(on.sum()) < len(rows):
            rows, heights, slopes, parallel, far = (
                v[on] for v in (rows, heights, slopes, parallel, far)
            )
    return xp.stack(corners), xp.stack(lines)


def _padded(values: Array, count: int) -> Tensor:
    """``count n``, the last row repeated."""
    found = tensor(values)
    return torch.cat([found, found[-1:].expand(count - len(found), -1)])


def log_knowledge_gradient_reference(
    a: Float[Tensor, "*b M"], b: Float[Tensor, "*b M"]
) -> Float[Tensor, "*b"]:
    """`log_knowledge_gradient` through autograd, corner by corner; differentiable twice."""
    shape, a, b = a.shape[:-1], a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    with torch.no_grad():
        found = upper_envelope(a, b)
        live = found.gains(b) > 0
    gain = torch.where(live, found.gains(b), 1.0)
    drop = a.gather(-1, found.left) - a.gather(-1, found.right)
    terms = torch.where(live, gain.log() + log_h(-torch.where(live, drop / gain, 0.0)), -torch.inf)
    return terms.logsumexp(-1).reshape(shape)


def knowledge_gradient_slopes(
    a: Float[Tensor, "N M"], b: Float[Tensor, "N M"]
) -> tuple[Float[Tensor, "N"], Float[Tensor, "N M"], Float[Tensor, "N M"]]:
    """log KG and its derivatives with respect to heights and slopes, in one pass.

    Beyond a corner, with probability Phi(-|c|), the farther line takes the nearer one's place; the
    derivative in the slopes is the first moment of z there, phi(c).
    """
    found = upper_envelope(a, b)
    gain = found.gains(b)
    live = gain > 0
    u = -torch.where(live, found.corner, 0.0)
    log_improvement, ratio = log_h_and_slope(u.clone())
    term = torch.where(live, gain.clamp(min=1e-300).log() + log_improvement, -torch.inf)
    value = term.logsumexp(-1)
    # relative to KG, hence through the share that a corner has in it:  Phi = h (Phi / h), and
    # phi = h - u Phi
    share = torch.where(live, (term - value.unsqueeze(-1)).exp() / gain, 0.0)
    height = share * ratio
    slope = (share - u * height) * found.sign
    g_a, g_b = torch.zeros_like(a), torch.zeros_like(b)
    g_a.scatter_add_(-1, found.right, height).scatter_add_(-1, found.left, -height)
    g_b.scatter_add_(-1, found.right, slope).scatter_add_(-1, found.left, -slope)
    return value, g_a, g_b


class _LogKG(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        M = a.shape[-1]
        value, *slopes = knowledge_gradient_slopes(a.reshape(-1, M), b.reshape(-1, M))
        ctx.save_for_backward(a, b, *(v.reshape(a.shape) for v in slopes))
        return value.reshape(a.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, b, g_a, g_b = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            value = log_knowledge_gradient_reference(a, b)
            slow = torch.autograd.grad(value, (a, b), grads, create_graph=True)
            return slow[0], slow[1]
        g = grads[0].unsqueeze(-1)
        return g * g_a, g * g_b


def log_knowledge_gradient(
    a: Float[Tensor, "*b M"], b: Float[Tensor, "*b M"]
) -> Float[Tensor, "*b"]:
    """log( E max_j (a_j + b_j z) - max_j a_j ) for z ~ N(0, 1), exactly.

    Args:
        a: heights of the lines at z = 0: today's means.
        b: their slopes: how a surprise of one standard deviation moves them.

    Returns:
        The logarithm; -inf if all slopes are equal. Differentiable twice.

    Example:
        >>> a, b = torch.zeros(2, dtype=torch.float64), torch.tensor([0.0, 1.0]).double()
        >>> round(log_knowledge_gradient(a, b).exp().item(), 4)  # 1 / sqrt(2 pi)
        0.3989

    Source: Frazier, Powell & Dayanik 2009, equation 14.
    """
    a, b = torch.broadcast_tensors(a, b)
    return _LogKG.apply(a, b)  # type: ignore[no-any-return, no-untyped-call]


# -- acquisitions --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _KnowledgeGradient:
    """What the two have in common: the set, and the logarithm."""

    model: Surrogate
    points: Tensor | None = None
    _: KW_ONLY
    sampler: Sampler = Sampler(128, seed=0)  # noqa: RUF009  frozen, hence safe to share
    fantasies: Sampler = Sampler(16, seed=0)  # noqa: RUF009
    X_pending: Tensor | None = None

    def __post_init__(self) -> None:
        who, model = type(self).__name__, self.model
        check_single_output(model, who)
        for name in ("sampler", "fantasies"):
            if not isinstance(getattr(self, name), Sampler):
                raise DataError(f"{name}: expected bolearn.Sampler(16, seed=0)")
        object.__setattr__(self, "points", _checked_set(self.points, model, who))
        if self.X_pending is not None:
            if not isinstance(model, SupportsFantasies):
                raise UnsupportedError(
                    f"{who}: expected a model with fantasize(X, z) to take pending points into "
                    f"account, got {type(model).__name__}; use an ExactGP, or q = 1"
                )
            check_points(self.X_pending, self.set.shape[-1], model.batch_shape, "X_pending")
            object.__setattr__(self, "X_pending", self.X_pending.detach().clone())

    @property
    def set(self) -> Float[Tensor, "*r M d"]:
        """The points over which the maximum is taken, x itself apart."""
        assert self.points is not None
        return self.points

    def with_pending(self: "_Any", X: Float[Tensor, "*r p d"]) -> "_Any":
        """The same acquisition that counts X as already chosen, beside earlier pending points."""
        check_points(X, self.set.shape[-1], self.model.batch_shape, "X_pending")
        return replace(self, X_pending=join_pending(X, self.X_pending, self.model.batch_shape))

    def log_value(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The logarithm of the knowledge gradient of q observations."""
        check_tensor("X", X, finite=False)
        if self.X_pending is not None:
            return self._given_pending(X)
        if X.ndim >= 2 and X.shape[-2] > 1:
            return self._jointly(X)
        fixed = self._fixed
        if fixed is None:
            return self.reference(X)
        X = fixed[0].algebra.check(X)
        return ValueWithGradient.apply(X, self._fused, self.reference)  # type: ignore[no-any-return, no-untyped-call]

    def reference(self, X: Float[Tensor, "*#batch 1 d"]) -> Float[Tensor, "*batch"]:
        """log KG of single points through autograd, for any model with a covariance."""
        check_points(X, self.set.shape[-1], self.model.batch_shape)
        if torch.is_grad_enabled() or X.ndim <= 2 + len(self.model.batch_shape):
            return log_knowledge_gradient(*self.lines(X))
        # a covariance of the whole set for every candidate: in pieces
        most = max(1, _PLACES // (self.set.shape[-2] ** 2 * self.model.batch_shape.numel()))
        return torch.cat([log_knowledge_gradient(*self.lines(part)) for part in X.split(most)])

    def lines(
        self, X: Float[Tensor, "*#batch 1 d"]
    ) -> tuple[Float[Tensor, "*batch M1"], Float[Tensor, "*batch M1"]]:
        """Today's means at the points of the set and at x, and how a surprise at x moves them."""
        r = tuple(self.model.batch_shape)
        X = X.expand(*X.shape[: X.ndim - 2 - len(r)], *r, *X.shape[-2:])
        at = joint_moments(self.model, X, self.set, type(self).__name__)
        variance = at.covariance[..., 0].clamp(min=0)
        heights = torch.cat([at.others, at.mean], dim=-1)
        slopes = torch.cat([at.cross.squeeze(-2), variance], dim=-1)
        return heights, slopes / (variance + at.noise).sqrt()

    @cached_property
    def _fixed(self) -> tuple[FixedPoints, Tensor] | None:
        """The set as the closed form sees it, and the variance of the noise, ``R 1``."""
        algebra = algebra_of(self.model)
        if algebra is None:
            return None
        with torch.inference_mode(False), torch.no_grad():
            # lines are compared with each other: a mean of 1e9 would only cost digits
            algebra = replace(algebra, constant=torch.zeros_like(algebra.constant))
            noise = self.model.new_noise().detach().reshape(-1, 1)  # type: ignore[attr-defined]
            return FixedPoints.of(algebra, self.set), noise

    def _fused(self, X: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        """Value and gradient in closed form; rows R, points t, lines M + 1."""
        assert self._fixed is not None
        fixed, noise = self._fixed
        at = fixed.algebra.moments(X)
        variance = at.second  # R t 1
        cross, h = fixed.covariance(at)
        s2 = variance + noise.unsqueeze(-1)
        s = s2.sqrt()
        shape = (*cross.shape[:-1], cross.shape[-1] + 1)
        a = torch.cat([fixed.mean.unsqueeze(1).expand_as(cross), at.mean], dim=-1)
        b = torch.cat([cross, variance], dim=-1).div_(s)
        value, g_a, g_b = knowledge_gradient_slopes(a.flatten(0, 1), b.flatten(0, 1))
        value = value.view(shape[:2]).mT.reshape(X.shape[:-2])
        if not wanted:
            return value, None
        g_a, g_b = g_a.view(shape), g_b.view(shape)
        # b = cov / s:  ds^2 = d variance
        g_variance = g_b[..., -1] / s.squeeze(-1) - 0.5 * ((g_b * b).sum(-1) / s2.squeeze(-1))
        return value, fixed.pull(at, h, g_a[..., -1], g_variance, g_b[..., :-1] / s)

    def _jointly(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """log KG of q observations made together: the average over s surprises z in q dimensions.

        z and -z are both asked: the average of the lines is then today's mean, and KG >= 0.
        """
        model, q = self.model, X.shape[-2]
        check_points(X, self.set.shape[-1], model.batch_shape)
        at = joint_moments(model, X, self.set, type(self).__name__)
        K = at.covariance + torch.diag_embed(at.noise)
        a = torch.cat([at.others, at.mean], dim=-1).unsqueeze(-2)
        a = a - a.detach().amax(-1, keepdim=True)  # a mean of 1e9 would only cost digits
        both = torch.cat([at.cross, at.covariance], dim=-1)
        b = torch.linalg.solve_triangular(psd_cholesky(K).L, both, upper=False)  # *batch q M'
        z = base_normals(self.sampler, (q, 1), model).to(X.device).squeeze(-1)  # s *r q
        z = torch.cat([z, -z]).movedim(0, -2)  # *r s q
        most = max(1, _PLACES // a.numel())
        best = [(a + part @ b).amax(-1).sum(-1) for part in z.split(most, dim=-2)]
        gain = torch.stack(best).sum(0) / z.shape[-2] - a.squeeze(-2).amax(-1)
        floor = _ROUNDING * b.detach().abs().amax((-2, -1))
        return torch.maximum(gain, floor.clamp(min=torch.finfo(X.dtype).tiny)).log()

    @cached_property
    def _imagined(self: "_Any") -> "_Any":
        """The acquisition after outcomes at the pending points: one replicate more for each."""
        model: Any = self.model
        r, pending = tuple(model.batch_shape), self.X_pending
        assert pending is not None
        with torch.inference_mode(False), torch.no_grad():
            pending = pending.expand(*r, *pending.shape[-2:])
            z = base_normals(self.fantasies, model.posterior(pending).event_shape, model)
            twin = model.fantasize(pending, z.to(pending.device))
            points = torch.cat([self.set.expand(*r, *self.set.shape[-2:]), pending], dim=-2)
            sampler = Sampler(self.sampler.num_samples, _first_seed(self.sampler))
            points = points.expand(len(z), *points.shape)
            return replace(self, model=twin, points=points, sampler=sampler, X_pending=None)

    def _given_pending(self, X: Tensor) -> Tensor:
        """log of the average over outcomes at the pending points of what X adds to them."""
        r = self.model.batch_shape
        check_points(X, self.set.shape[-1], r)
        inner = self._imagined
        return logmeanexp(inner.log_value(X.unsqueeze(-3 - len(r))), -1 - len(r))


_Any = TypeVar("_Any", bound=_KnowledgeGradient)


class qKnowledgeGradient(_KnowledgeGradient):
    """Knowledge gradient: by how much q observations raise the best posterior mean, on average.

    For q = 1 it is exact over ``points`` and x itself; for q > 1 the average over sampled outcomes.
    In user units, >= 0. It judges where one would go in the end, not what is observed on the way:
    a point may be worth observing for what it tells about another.

    Its value underflows where little is to be gained: optimise `qLogKnowledgeGradient`. For q
    points one after the other (recommended: exact steps), ``optimize_acqf(..., sequential=True)``.

    Args:
        model: a surrogate with one output and Gaussian posteriors that have a covariance.
        points: where the maximum of the mean may be, ``*r M d``; default the observed points, which
            makes it the KG for continuous parameters of Scott et al. Better ones:
            `knowledge_gradient_points`.
        sampler: surprises for q > 1, each with its mirror image.
        fantasies: outcomes imagined at pending points.
        X_pending: points under evaluation ``*r p d``: the value is what X adds to them.

    Raises:
        DataError, ShapeError: points that are not finite or do not fit the model.
        UnsupportedError: several outputs; a posterior without a covariance.

    Example:
        >>> from bolearn import ExactGP, optimize_acqf
        >>> X = torch.tensor([[0.0], [0.4], [1.0]], dtype=torch.float64)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> acq = qKnowledgeGradient(ExactGP(X, X * (1 - X), box))
        >>> x, value = optimize_acqf(acq, box, seed=0)
        >>> x.shape, bool(value > 0)
        (torch.Size([1, 1]), True)

    Source: Frazier, Powell & Dayanik 2009; Scott, Frazier & Powell, "The correlated knowledge
    gradient for simulation optimization of continuous parameters using Gaussian process
    regression", SIAM J. Optimization 21, 2011; batches: Wu & Frazier, "The parallel knowledge
    gradient method for batch Bayesian optimization", NeurIPS 2016, arXiv:1606.04414.
    """

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The knowledge gradient of each set of q points, in user units."""
        return self.log_value(X).exp()


class qLogKnowledgeGradient(_KnowledgeGradient):
    """Logarithm of the knowledge gradient: the same maximiser, a gradient that never vanishes.

    Args:
        model, points, sampler, fantasies, X_pending: as in `qKnowledgeGradient`.

    Raises:
        DataError, ShapeError, UnsupportedError: as there.

    Source: as there.
    """

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The logarithm of the knowledge gradient of each set of q points, in log user units."""
        return self.log_value(X)


def _first_seed(sampler: Sampler) -> int:
    """One seed of a sampler that has one for each replicate."""
    return sampler.seed if isinstance(sampler.seed, int) else int(sampler.seed[0])


def observed_points(model: Surrogate) -> Float[Tensor, "*r n d"] | None:
    """Where a model was observed; in the place of masked rows stands the first observed one."""
    if not has_training_data(model):
        return None
    first = model.observed.byte().argmax(-1, keepdim=True).unsqueeze(-1)
    one = model.X.gather(-2, first.expand(*first.shape[:-1], model.X.shape[-1]))
    return torch.where(model.observed.unsqueeze(-1), model.X, one)


def _checked_set(points: Tensor | None, model: Surrogate, who: str) -> Tensor:
    """The set of an acquisition, checked and copied.

    Raises:
        DataError: none, and none known.
        ShapeError: points that do not fit the model.
    """
    found = observed_points(model) if points is None else check_tensor("points", points)
    if found is None:
        raise DataError(
            f"{who}: expected points, *r M d, where the maximum of the mean may be: "
            f"{type(model).__name__} does not say where it was observed"
        )
    d = model.X.shape[-1] if has_training_data(model) else found.shape[-1]
    check_points(found, d, model.batch_shape, name="points")
    r = tuple(model.batch_shape)
    return found.detach().expand(*r, *found.shape[-2:]).clone()
