r"""Noisy observations as competitors: the baseline that a candidate has to beat in every sample.

Under noise nobody knows which observed point is best. So each of s samples draws the function at
the baseline points b *and* at the candidates x, jointly, and x improves on the sample's own best.
With the Cholesky factor L_b of the baseline's covariance, computed once,

    f_b = mean_b + L_b z_b,                           drawn once,
    f_x = mean_x + C z_b + chol(S - C C^T) z_x,       C = cov(x, b) L_b^-T,

so a new x costs one product more than a draw at x alone. For a Gaussian process with a plain kernel
that product merges with the one it makes anyway (`Algebra.beside`).

Replicates may have baselines of different size: valid points come first, ``mask`` tells them from
the filling behind.

Taught in part_5/tutorial_02.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .. import seeds
from ..errors import ShapeError
from ..linalg import psd_cholesky
from ..models.algebra import Algebra, ClosedForm
from ..models.exact import algebra_of
from ..models.factor import VARIANCE_FLOOR
from ..posteriors import GaussianPosterior, IndependentPosterior
from ..protocols import Posterior, Surrogate, has_training_data
from ..sampling import Sampler
from ..shapes import check_points, check_tensor
from .objectives import (
    Constraint,
    Objective,
    evaluate,
    log_feasibility,
    of_replicate,
    scale_of,
)

# A point that was best in none of this many samples is no competitor: its chance is below 1e-3.
_PRUNING_SAMPLES = 1024
# Variances added to the competitors', as shares of their mean, until their covariance is sound.
_NUGGETS = (0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)
# Sound: conditions of the covariance by itself, and against the outputs' variance, of which it is
# known to 1e-15 or so.
_CONDITION, _SMALLEST = 1e10, 1e-13
# Output scales by which the level of samples without a feasible point lies below all draws.
_BELOW = 6.0


@dataclass(frozen=True, eq=False)
class Baseline:
    """Competitors of a noisy improvement, with what their samples share over all candidates.

    ``L`` and ``normals`` are None for beliefs that are not Gaussian, which draw competitors and
    candidates together each time.
    """

    model: Surrogate
    sampler: Sampler
    points: Float[Tensor, "*r b d"]
    mask: Bool[Tensor, "*r b"]
    L: Float[Tensor, "*r m b b"] | None = None
    normals: Float[Tensor, "s *r b m"] | None = None
    samples: Float[Tensor, "s *r b m"] | None = None
    algebra: Algebra | None = None

    @staticmethod
    def of(
        model: Surrogate,
        X: Float[Tensor, "*r n d"],
        sampler: Sampler,
        objective: Objective,
        constraints: Sequence[Constraint],
        prune: bool,
    ) -> "Baseline":
        """The baseline at X; pruned, it keeps the points that are best in some sample.

        Raises:
            DataError: X is not a finite float64 tensor.
            ShapeError: X does not fit the model.
        """
        X = check_tensor("X_baseline", X, finite=False)
        mask = torch.ones(X.shape[:-1], dtype=torch.bool, device=X.device)
        d = X.shape[-1] if X.ndim else 0
        if has_training_data(model):
            d = model.X.shape[-1]
            if X.shape == model.X.shape:
                mask = model.observed
                X = torch.where(mask.unsqueeze(-1), X, model.X)
        check_points(X, d, model.batch_shape, name="X_baseline")
        if X.ndim > 2 + len(model.batch_shape):
            raise ShapeError(
                f"X_baseline: expected shape *r n d with replicates *r = "
                f"{tuple(model.batch_shape)}, got {tuple(X.shape)}"
            )
        X = X.detach().expand(*model.batch_shape, *X.shape[-2:])
        with torch.no_grad():
            base = _draw(model, sampler, *_valid_first(X, mask.expand(X.shape[:-1])))
            if prune and base.points.shape[-2] > 1:
                best = base.ever_best(objective, constraints)
                base = _draw(model, sampler, *_valid_first(base.points, best))
            return base

    @property
    def gaussian(self) -> bool:
        """Whether competitors are drawn once, and candidates given them."""
        return self.samples is not None

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of competitors of each replicate."""
        return tuple(self.mask.sum(-1).reshape(-1).tolist())

    def only(self, keep: Bool[Tensor, "*r b"]) -> "Baseline":
        """The baseline at some of its points."""
        with torch.no_grad():
            return _draw(self.model, self.sampler, *_valid_first(self.points, keep))

    def joined(self, X: Float[Tensor, "*r p d"]) -> "Baseline":
        """The baseline with further points, such as pending ones."""
        points = X.detach().expand(*self.model.batch_shape, *X.shape[-2:])
        mask = torch.ones(points.shape[:-1], dtype=torch.bool, device=X.device)
        both = torch.cat([self.points, points], -2), torch.cat([self.mask, mask], -1)
        with torch.no_grad():
            return _draw(self.model, self.sampler, *_valid_first(*both))

    # -- which competitors count -----------------------------------------------------------------

    def drawn(self, count: int) -> Iterator[Float[Tensor, "s k m"]]:
        """So many fresh samples at the k competitors, one replicate after the other."""
        m, r = self.model.num_outputs, self.model.batch_shape
        streams = seeds.replicate_seeds(self.sampler.seed, r)
        belief = self.model.posterior(self.points)
        means = belief.mean.reshape(-1, *belief.mean.shape[-2:])
        drawn = None
        if self.L is None:
            many = Sampler(count, tuple(seeds.derive(k, "prune") for k in streams))
            b = self.points.shape[-2]
            z = _normals_of_rows(many, belief, self.counts, 0, b, tuple(r)).to(means.device)
            drawn = belief.rsample(z).reshape(len(z), *means.shape)
        for i, (stream, valid) in enumerate(zip(streams, self.counts, strict=True)):
            if drawn is not None:
                yield drawn[:, i, :valid]
                continue
            assert self.L is not None
            # The leading block of a Cholesky factor is the factor of the leading block.
            L = self.L.reshape(-1, m, *self.L.shape[-2:])[i, :, :valid, :valid]
            many = Sampler(count, seeds.derive(stream, "prune"))
            z = many.base_samples((valid, m), device=L.device)
            yield means[i, :valid] + torch.einsum("mij,sjm->sim", L, z)

    def ever_best(
        self, objective: Objective, constraints: Sequence[Constraint]
    ) -> Bool[Tensor, "*r b"]:
        """The points that are the best feasible one in at least one of many samples.

        Where no point is feasible in any sample, the one most likely to be.
        """
        m, r = self.model.num_outputs, self.model.batch_shape
        scales = [scale_of(c, self.model).reshape(-1) for c in constraints]
        keep = torch.zeros_like(self.mask).reshape(len(self.counts), -1)
        for i, y in enumerate(self.drawn(_PRUNING_SAMPLES)):
            goal, *limits = (of_replicate(f, i, r, m) for f in (objective, *constraints))
            value, feasible = evaluate(goal, y), is_feasible(y, limits)
            if not feasible.any():
                value = log_feasibility(y, limits, [v[i] for v in scales])
                value, feasible = value.logsumexp(0, keepdim=True), feasible[:1].logical_not()
            value = torch.where(feasible, value, -torch.inf)
            keep[i, value.argmax(-1)[feasible.any(-1)]] = True
        return keep.reshape(self.mask.shape)

    def best(
        self,
        y: Float[Tensor, "s *batch b m"],
        objective: Objective,
        constraints: Sequence[Constraint],
        level: Float[Tensor, "*r"],
    ) -> Float[Tensor, "s *batch"]:
        """Each sample's best feasible objective value at the baseline, or ``level`` without one."""
        allowed = self.mask & is_feasible(y, constraints)
        best = torch.where(allowed, evaluate(objective, y), -torch.inf).amax(-1)
        return torch.where(allowed.any(-1), best, level)

    def level(self, y: Float[Tensor, "s *r b m"], objective: Objective) -> Float[Tensor, "*r"]:
        """What a sample without a feasible baseline point is improved on: a value below them all.

        Anything feasible improves on it, so that where nothing is feasible yet, feasibility counts
        most and the objective a little.
        """
        lowest = torch.where(self.mask, evaluate(objective, y), torch.inf).amin(-1).amin(0)
        return lowest - _BELOW * scale_of(objective, self.model).to(lowest.device)

    def draw_alone(self) -> Float[Tensor, "s *r b m"]:
        """Samples at the baseline."""
        if self.samples is not None:
            return self.samples
        posterior = self.model.posterior(self.points)
        r = self.model.batch_shape
        z = self.sampler.base_samples(posterior.event_shape, r, device=self.points.device)
        return posterior.rsample(z)

    # -- candidates beside them ------------------------------------------------------------------

    def draw(
        self, X: Float[Tensor, "*#batch q d"]
    ) -> tuple[Float[Tensor, "s *batch q m"], Float[Tensor, "s *rows b m"]]:
        """Samples at X and, of the same functions, at the baseline.

        Raises:
            ShapeError: X does not fit the model.
        """
        check_points(X, self.points.shape[-1], self.model.batch_shape)
        if self.samples is None:
            return self._draw_together(X)
        mean, A = self.factors(X)
        z = self.all_normals(X.shape[-2])
        z = z.reshape(len(z), *(1,) * (mean.ndim + 1 - z.ndim), *z.shape[1:])
        return mean + torch.einsum("...mij,...jm->...im", A, z), self.samples

    def _draw_together(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Samples at X and the baseline, of a belief of any kind.

        The filling of short baselines comes last, behind X, with normals of zero: then a replicate
        is drawn as alone.
        """
        r, (b, q) = self.model.batch_shape, (self.points.shape[-2], X.shape[-2])
        X = X.expand(*X.shape[: X.ndim - 2 - len(r)], *r, *X.shape[-2:])
        batch, count = X.shape[:-2], self.mask.sum(-1, keepdim=True)
        together = torch.cat([self.points.expand(*batch, b, -1), X], dim=-2)
        # where in `together` row i comes from, and back
        i = torch.arange(b + q, device=X.device).expand(*r, b + q)
        order = torch.where(i < count, i, torch.where(i < count + q, i - count + b, i - q))
        back = order.argsort(-1)
        posterior = self.model.posterior(_take(together, order))
        z = _normals_of_rows(self.sampler, posterior, self.counts, q, b + q, tuple(r))
        y = _take(posterior.rsample(z.to(X.device)), back)
        return y[..., b:, :], y[..., :b, :]

    def all_normals(self, q: int) -> Float[Tensor, "s *r bq m"]:
        """Base samples of the baseline, then of q candidates."""
        assert self.normals is not None
        own = candidate_normals(
            self.sampler,
            self.counts,
            q,
            self.model.num_outputs,
            tuple(self.model.batch_shape),
        )
        return torch.cat([self.normals, own.to(self.normals.device)], dim=-2)

    def factors(
        self, X: Float[Tensor, "*#batch q d"]
    ) -> tuple[Float[Tensor, "*batch q m"], Float[Tensor, "*batch m q bq"]]:
        """Mean and A = [C, chol(S - C C^T)]: candidates are mean + A [z_b; z_x]."""
        mean, C, rest = conditional(self, X)
        if X.shape[-2] == 1:
            L = torch.maximum(rest, VARIANCE_FLOOR * self._unit(rest)[..., None, None]).sqrt()
        else:
            L = psd_cholesky(rest, floor=self._unit(rest)).L
        return mean, torch.cat([C, L], dim=-1)

    def _unit(self, like: Tensor) -> Float[Tensor, "*r m"]:
        """Variance that rounding is relative to: that of the outputs, else of the baseline."""
        assert self.L is not None
        known = getattr(self.model, "output_scale", None)
        if known is not None:
            return known.square().to(like)  # type: ignore[no-any-return]
        return self.L.square().sum(-1).mean(-1)


def is_feasible(y: Float[Tensor, "*s m"], constraints: Sequence[Constraint]) -> Bool[Tensor, "*s"]:
    """Whether all constraints hold, without smoothing."""
    holds = torch.ones(y.shape[:-1], dtype=torch.bool, device=y.device)
    for constraint in constraints:
        holds = holds & (evaluate(constraint, y, "outcome_constraints") <= 0)
    return holds


def _valid_first(
    X: Float[Tensor, "*r n d"], mask: Bool[Tensor, "*r n"]
) -> tuple[Float[Tensor, "*r b d"], Bool[Tensor, "*r b"]]:
    """Valid rows in front, in their order, and as many columns as the largest replicate needs."""
    most = max(1, int(mask.sum(-1).max()))
    order = torch.argsort(~mask, dim=-1, stable=True)[..., :most]
    kept = X.gather(-2, order.unsqueeze(-1).expand(*order.shape, X.shape[-1]))
    # Filling: points that do not count. (Valid ones again would make joint covariances singular.)
    return kept, mask.gather(-1, order)


def _draw(
    model: Surrogate, sampler: Sampler, X: Float[Tensor, "*r b d"], mask: Bool[Tensor, "*r b"]
) -> Baseline:
    """The baseline at the valid rows of X, with its samples if the belief is Gaussian."""
    base = Baseline(model, sampler, X, mask)
    posterior = model.posterior(X)
    if not isinstance(posterior, GaussianPosterior):
        return base
    mean, covariance = posterior.joint_moments
    # Filling becomes independent of everything: rows of the identity
    pair = (mask.unsqueeze(-1) & mask.unsqueeze(-2)).unsqueeze(-3)
    eye = torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
    largest = covariance.diagonal(dim1=-2, dim2=-1).amax(-1)
    scale = getattr(model, "output_scale", None)
    prior = largest if scale is None else scale.square().to(largest)
    L = _sound_factor(torch.where(pair, covariance, eye * largest[..., None, None]), prior)
    z = baseline_normals(sampler, base.counts, model.num_outputs, tuple(model.batch_shape))
    z = z.to(X.device)
    samples = mean + torch.einsum("...mij,...jm->...im", L, z)
    algebra = algebra_of(model)
    algebra = None if algebra is None else algebra.beside(X, mask, L)
    return Baseline(model, sampler, X, mask, L, z, samples, algebra)


def _sound_factor(
    S: Float[Tensor, "*r m b b"], prior: Float[Tensor, "*r m"]
) -> Float[Tensor, "*r m b b"]:
    """A Cholesky factor that candidates can be conditioned on, with as small a nugget as it takes.

    Competitors close to one another are nearly linearly dependent. A factor whose last pivots are
    nothing but rounding reproduces S, but its inverse does not: f at a candidate would be
    extrapolated from differences that nobody knows.

    Raises:
        NumericsError: S is not positive semi-definite.
    """
    eye = torch.eye(S.shape[-1], dtype=S.dtype, device=S.device)
    mean = S.diagonal(dim1=-2, dim2=-1).mean(-1)
    known = torch.maximum(mean, 1e-4 * prior)
    nugget = torch.zeros_like(mean)
    again = torch.ones_like(mean, dtype=torch.bool)
    for share in _NUGGETS:
        nugget = torch.where(again, share * known, nugget)
        L: Tensor
        L, info = torch.linalg.cholesky_ex(S + nugget[..., None, None] * eye)
        inverse = torch.linalg.solve_triangular(L, eye, upper=False)
        trace = inverse.square().sum((-2, -1))  # of (S + nugget I)^-1
        sound = (mean * trace <= _CONDITION) & (prior * _SMALLEST * trace <= 1)
        again = again & ~(sound & (info == 0))
        if not again.any():
            return L
    return psd_cholesky(S, floor=prior).L


@lru_cache(maxsize=16)
def baseline_normals(
    sampler: Sampler, counts: tuple[int, ...], m: int, r: tuple[int, ...]
) -> Float[Tensor, "s *r b m"]:
    """Base samples of baselines with ``counts`` points; zeros behind."""
    with torch.inference_mode(False):  # whoever asks first, others may want derivatives
        return _by_replicate(sampler, counts, 0, m, r)


@lru_cache(maxsize=16)
def candidate_normals(
    sampler: Sampler, counts: tuple[int, ...], q: int, m: int, r: tuple[int, ...]
) -> Float[Tensor, "s *r q m"]:
    """Base samples of q candidates beside ``counts`` points: the dimensions that follow theirs.

    So baseline and candidates use different dimensions of a Sobol sequence, and the baseline's
    samples do not depend on q.
    """
    with torch.inference_mode(False):
        return _by_replicate(sampler, counts, q, m, r)


def _by_replicate(
    sampler: Sampler, counts: tuple[int, ...], q: int, m: int, r: tuple[int, ...]
) -> Tensor:
    """The last q (all, for q = 0) of count + q points of base samples, for each replicate.

    One replicate at a time, since each has as many dimensions as alone: as its own baseline asks.
    """
    width = q or max(counts)
    z = torch.zeros(sampler.num_samples, len(counts), width, m, dtype=torch.float64)
    streams = seeds.replicate_seeds(sampler.seed, r)
    for i, (stream, count) in enumerate(zip(streams, counts, strict=True)):
        own = Sampler(sampler.num_samples, stream, sampler.kind).base_samples((count + q, m))
        z[:, i, : q or count] = own[:, count:] if q else own
    return z.reshape(len(z), *r, width, m)


def _take(
    v: Float[Tensor, "*batch k p"], order: Int[Tensor, "*r k"]
) -> Float[Tensor, "*batch k p"]:
    """Rows in another order, one for each replicate."""
    return v.gather(-2, order.unsqueeze(-1).expand(v.shape))


def _normals_of_rows(
    sampler: Sampler,
    posterior: Posterior,
    counts: tuple[int, ...],
    q: int,
    rows: int,
    r: tuple[int, ...],
) -> Float[Tensor, "s ..."]:
    """Base samples for a joint draw at ``rows`` points, of which the first count + q are used.

    Each replicate has as many dimensions as alone; the normals of the other points are zero.
    """
    event = tuple(posterior.event_shape)
    if all(count + q == rows for count in counts):
        return sampler.base_samples(event, r)
    size = torch.Size(event).numel()
    z = torch.zeros(sampler.num_samples, len(counts), size, dtype=torch.float64)
    streams = seeds.replicate_seeds(sampler.seed, r)
    for i, (stream, count) in enumerate(zip(streams, counts, strict=True)):
        own = _used_dimensions(posterior, count + q, rows)
        alone = Sampler(sampler.num_samples, stream, sampler.kind)
        z[:, i, own] = alone.base_samples((len(own),))
    return z.reshape(len(z), *r, *event)


def _used_dimensions(posterior: Posterior, used: int, rows: int) -> Int[Tensor, "k"]:
    """Which of the normals of a draw at ``rows`` points belong to the first ``used``."""
    if isinstance(posterior, IndependentPosterior):
        sizes = [torch.Size(part.event_shape).numel() for part in posterior.parts]
        own = [_used_dimensions(part, used, rows) for part in posterior.parts]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        return torch.cat([k + start for k, start in zip(own, starts, strict=True)])
    event = tuple(posterior.event_shape)
    size = torch.Size(event).numel()
    each = size // rows if event[0] == rows and len(event) == 2 else 0
    return torch.arange(used * each if each else size)  # (1,): one for all points


# -- conditional moments: reference first, then the closed form ----------------------------------


def conditional_reference(
    base: Baseline, X: Float[Tensor, "*#batch q d"]
) -> tuple[
    Float[Tensor, "*batch q m"], Float[Tensor, "*batch m q b"], Float[Tensor, "*batch m q q"]
]:
    """Mean, C and S - C C^T from one joint belief, for any Gaussian posterior."""
    assert base.L is not None
    b = base.points.shape[-2]
    r = base.points.shape[:-2]
    lead = X.shape[: X.ndim - 2 - len(r)]
    X = X.expand(*lead, *r, *X.shape[-2:])
    together = torch.cat([base.points.expand(*lead, *base.points.shape), X], dim=-2)
    posterior = base.model.posterior(together)
    assert isinstance(posterior, GaussianPosterior)
    mean, covariance = posterior.joint_moments
    cross = torch.where(base.mask[..., None, None, :], covariance[..., b:, :b], 0.0)
    # C = cov(x, b) L_b^-T
    C = torch.linalg.solve_triangular(base.L, cross.mT, upper=False).mT
    return mean[..., b:, :], C, covariance[..., b:, b:] - C @ C.mT


def conditional(
    base: Baseline, X: Float[Tensor, "*#batch q d"]
) -> tuple[
    Float[Tensor, "*batch q m"], Float[Tensor, "*batch m q b"], Float[Tensor, "*batch m q q"]
]:
    """Mean, C and S - C C^T: in closed form for a plain Gaussian process, else the reference."""
    if base.algebra is None:
        return conditional_reference(base, X)
    X = base.algebra.check(X)
    return ClosedForm.apply(X, base.algebra, partial(conditional_reference, base))  # type: ignore[no-any-return, no-untyped-call]
