r"""Where the maximum of the mean may be: the set that a knowledge gradient looks at.

KG over a finite set is a lower bound of KG over the box, and a good set makes it a tight one:

1. `knowledge_gradient_points`: the observed points, local maxima of the posterior mean, and the
   maxima of sampled paths, which is where the belief thinks a maximum may be.
2. A search of KG over these (`optimize_acqf`) ends in a few candidates x.
3. `fantasy_maxima`: for each of them, the mean after outcomes of x, mu + z cov(., x) / s, at a few
   quantiles z, climbed to its top. Added to the set, KG is nearly exact near these x; climb again.

`optimize_knowledge_gradient` does all three. The climbs go on from where the last ended, so a round
costs little; it is block-coordinate ascent of the one-shot objective of Balandat et al., in which x
and the maximum after every outcome are variables.

Taught in part_4/tutorial_05.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import seeds
from ..acquisition.checks import check_single_output
from ..acquisition.lookahead import observed_points, qLogKnowledgeGradient
from ..linalg import correlation
from ..models.cross import observation_noise
from ..models.exact import algebra_of
from ..optim import backends
from ..optim.minimum import MESSAGES
from ..protocols import Surrogate
from ..shapes import check_bounds, check_count, check_points
from .arguments import Search, check_search, unit_limits
from .batches import UnitAcquisition
from .recommend import climbed, mean_maxima
from .report import Candidates, SearchReport
from .starts import candidates, pick
from .thompson import thompson

_RAW = 256  # Sobol points among which the climbs of the mean begin
_APART = 1e-2  # of the box: ends closer than that are one


def knowledge_gradient_points(
    model: Surrogate,
    bounds: Float[Tensor, "*b 2 d"],
    *,
    num_maxima: int = 16,
    num_paths: int = 64,
    seed: seeds.Seed,
) -> Float[Tensor, "*r M d"]:
    """Points where the maximum of the posterior mean may be after one more observation.

    Args:
        model: a surrogate with one output.
        bounds: the search box, ``2 d`` or ``*r 2 d``.
        num_maxima: climbs of the posterior mean, half of them from the best observed points.
        num_paths: sampled functions, whose maxima are taken; 0 for a model that has no paths.
        seed: an int, or one for each replicate.

    Returns:
        The observed points, then these.

    Raises:
        DataError, ShapeError: bad bounds, counts or seed.
        UnsupportedError: several outputs; a kernel that has no paths.
    """
    check_single_output(model, "knowledge_gradient_points")
    num_maxima, num_paths = (
        check_count(name, count, least=0)
        for name, count in (("num_maxima", num_maxima), ("num_paths", num_paths))
    )
    box, known = check_bounds(bounds), observed_points(model)
    parts = [] if known is None else [known]
    if num_maxima:
        parts.append(mean_maxima(model, box, num_maxima, seeds.derive_each(seed, "mean")))
    if num_paths:
        found = thompson(
            model, box, num_paths, num_restarts=4, raw_samples=_RAW, num_features=512,
            seed=seeds.derive_each(seed, "paths"),
        )  # fmt: skip
        parts.append(found.x)
    return torch.cat(parts, dim=-2)


def fantasy_maxima(
    acq: qLogKnowledgeGradient,
    X: Float[Tensor, "t *r 1 d"],
    bounds: Float[Tensor, "*b 2 d"],
    *,
    num_fantasies: int = 16,
) -> Float[Tensor, "*r tz d"]:
    """Where the posterior mean is highest after outcomes of observations at t candidates.

    Outcomes are those at equally likely quantiles. The climbs start from the best point of the
    acquisition's own set, and of the candidate itself.

    Args:
        acq: a knowledge gradient without pending points.
        X: candidates.
        bounds: the box.
        num_fantasies: outcomes of each candidate.

    Returns:
        ``t num_fantasies`` points for each replicate.
    """
    model, r = acq.model, tuple(acq.model.batch_shape)
    check_points(X, acq.set.shape[-1], r)
    t, d, R = X.shape[0], X.shape[-1], model.batch_shape.numel()
    box = check_bounds(bounds, d)
    with torch.no_grad():
        z = torch.special.ndtri((torch.arange(num_fantasies).to(X) + 0.5) / num_fantasies)
        heights, slopes = acq.lines(X)  # t *r M + 1
        own = torch.cat([acq.set.expand(t, *acq.set.shape), X], dim=-2)
        best = (heights.unsqueeze(-2) + slopes.unsqueeze(-2) * z.unsqueeze(-1)).argmax(-1)
        start = own.gather(-2, best.unsqueeze(-1).expand(*best.shape, d))  # t *r z d
    lower, width = box[..., 0, :], box[..., 1, :] - box[..., 0, :]
    low, high = (v.expand(*r, d).reshape(R, d) for v in (lower, lower + width))
    # rows (t, R, z)
    replicate = torch.arange(R, device=X.device).repeat(t).repeat_interleave(num_fantasies)
    group = torch.arange(t * R, device=X.device).repeat_interleave(num_fantasies)
    surprise = z.repeat(t * R)
    value = _fantasised(model, X.reshape(t * R, d), replicate, group, surprise)
    span = (high - low)[replicate]

    def fun(u: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        f, g = value(low[replicate[rows]] + u * span[rows], rows)
        return -f, -g * span[rows]

    u0 = ((start.reshape(-1, d) - low[replicate]) / span).clamp(0, 1)
    end = backends.minimize(
        fun, u0, torch.zeros_like(u0), torch.ones_like(u0), gtol=1e-4, max_iter=50
    )
    x = low[replicate] + torch.where(end.x.isfinite(), end.x, u0) * span
    return x.reshape(t, *r, num_fantasies, d).movedim(0, -3).reshape(*r, -1, d)


def optimize_knowledge_gradient(
    model: Surrogate,
    bounds: Float[Tensor, "*b 2 d"],
    *,
    points: Float[Tensor, "*r M d"] | None = None,
    num_restarts: int = 16,
    raw_samples: int = 512,
    num_paths: int = 64,
    rounds: Sequence[int] = (8, 4, 2, 2),
    num_fantasies: int = 16,
    seed: seeds.Seed,
) -> Candidates:
    """The next observation by knowledge gradient: a set, a search over it, rounds of refinement.

    Args:
        model: a surrogate with one output and a covariance.
        bounds: the search box, ``2 d`` or ``*r 2 d``.
        points: the set to begin with; default `knowledge_gradient_points`.
        num_restarts, raw_samples: as in `optimize_acqf`.
        num_paths: as in `knowledge_gradient_points`.
        rounds: how many of the best distinct ends each round of refinement keeps.
        num_fantasies: as in `fantasy_maxima`.
        seed: an int, or one for each replicate.

    Returns:
        ``x`` ``*r 1 d``, the logarithm of KG there over the last set ``*r``, and the report of the
        first search.

    Raises:
        DataError, ShapeError, UnsupportedError: as for `optimize_acqf` and `qKnowledgeGradient`.

    Example:
        >>> from bolearn import ExactGP
        >>> X = torch.tensor([[0.0], [0.4], [1.0]], dtype=torch.float64)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> x, value = optimize_knowledge_gradient(ExactGP(X, X * (1 - X), box), box, seed=0)
        >>> x.shape
        torch.Size([1, 1])

    Source: Frazier, Powell & Dayanik 2009 for the value; the objective that is climbed in blocks is
    that of Balandat et al., "BoTorch", NeurIPS 2020, arXiv:1910.06403, section 4.2.
    """
    if points is None:
        own = seeds.derive_each(seed, "set")
        points = knowledge_gradient_points(model, bounds, num_paths=num_paths, seed=own)
    first = qLogKnowledgeGradient(model, points)
    search = check_search(first, bounds, 1, num_restarts, raw_samples, None, (), None, seed)
    X, value, report = _all_ends(first, search)
    acq = first
    for count in rounds:
        count = min(check_count("rounds", count), len(X))
        kept = _distinct(X, value, count, search)
        X = X.gather(0, kept[..., None, None].expand(*kept.shape, 1, X.shape[-1]))
        new = fantasy_maxima(acq, X, search.box, num_fantasies=num_fantasies)
        acq = replace(first, points=torch.cat([first.set, new], dim=-2))  # the last round's go
        on_cube = UnitAcquisition(acq, search.cube, 1, search.r)
        X, value, _ = climbed(on_cube, search, X, on_cube.among(X))
    best = value.argmax(0, keepdim=True)
    x = X.gather(0, best[..., None, None].expand(*best.shape, 1, X.shape[-1])).squeeze(0)
    return Candidates(x, value.gather(0, best).squeeze(0), report)


# -- climbs --------------------------------------------------------------------------------------


def _all_ends(acq: Any, search: Search) -> tuple[Tensor, Tensor, SearchReport]:
    """A multi-start search that returns the end of every restart: ``b *r 1 d`` and ``b *r``."""
    on_cube = UnitAcquisition(acq, search.cube, 1, search.r)
    low, high = unit_limits(search)
    raw, values, redrawn = candidates(on_cube, None, search, low, high)
    starts, start_values = pick(on_cube, search, raw, values, None)  # R b d, b R
    X, reached, end = climbed(on_cube, search, on_cube.decode(starts.transpose(0, 1)), values.T)
    report = SearchReport(
        start_values=start_values.reshape(-1, *search.r),
        values=reached,
        converged=end.converged.view(reached.shape),
        iterations=end.iterations.view(reached.shape),
        violation=torch.zeros_like(reached),
        evaluations=end.evaluations,
        messages={
            MESSAGES[code]: count
            for code, count in enumerate(torch.bincount(end.status).tolist())
            if count
        },
        halvings=on_cube.halvings,
        redrawn=redrawn,
    )
    return X, reached, report


def _distinct(
    X: Float[Tensor, "b *r 1 d"], value: Float[Tensor, "b *r"], count: int, search: Search
) -> Int[Tensor, "k *r"]:
    """The best ends that lie apart from better ones; repeated if there are fewer."""
    u = search.cube.encode(X).squeeze(-2)
    left, kept = value.clone(), []
    for _ in range(count):
        best = left.argmax(0, keepdim=True)
        kept.append(best)
        here = u.gather(0, best.unsqueeze(-1).expand(*best.shape, u.shape[-1]))
        near = (u - here).abs().amax(-1) < _APART
        left = torch.where(near, -torch.inf, left)
    return torch.cat(kept)


# -- the mean after an outcome -------------------------------------------------------------------


def _fantasised(
    model: Any, X: Float[Tensor, "g d"], replicate: Tensor, group: Tensor, z: Tensor
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Rows x -> mean(x) + z cov(x, X_g) / s(X_g) and gradient, in output scales.

    Groups are (candidate, replicate), ``g``; each row belongs to a group and has a surprise z.
    """
    algebra = algebra_of(model)
    if algebra is None:
        return _fantasised_reference(model, X, replicate, group, z)
    R, (g, d) = model.batch_shape.numel(), X.shape
    with torch.no_grad():
        at = algebra.moments(X.reshape(-1, *model.batch_shape, 1, d))  # rows R, points t
        noise = model.new_noise().detach().reshape(R, 1)
        s = (at.second.squeeze(-1) + noise).sqrt().T.reshape(g)  # g is (t, R)
        pulled = (at.V @ algebra.W).transpose(0, 1).reshape(g, -1)
        ZX = at.Zq.transpose(0, 1).reshape(g, 1, d)
        own = replicate[:: len(z) // g]
        outputscale = algebra.outputscale
        amplitude = torch.ones_like(s) if outputscale is None else outputscale.reshape(R)[own]
        unit = algebra.prior.reshape(R)[own]
        scale = model.output_scale.reshape(R)[replicate]
        # a kernel expansion around the data and X_g: k a + z (k(x, X_g) - k W^T V^T) / s
        shift = (z / s[group]).unsqueeze(-1)
        weights = algebra.weights[replicate] - shift * pulled[group]
        weights = weights * amplitude[group].unsqueeze(-1)
        weights = torch.cat([weights, shift * unit[group].unsqueeze(-1)], dim=-1)
        weights = weights / scale.unsqueeze(-1)
        centres = torch.cat([algebra.Z[own], ZX], dim=1)
        norms = centres.square().sum(-1)
        centre, inverse = (v.squeeze(-2)[replicate] for v in (algebra.centre, algebra.inverse))

    def value(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        Zx = ((x - centre[rows]) * inverse[rows]).unsqueeze(1)
        near = centres[group[rows]]  # k n+1 d
        r2 = norms[group[rows]].unsqueeze(1) + Zx.square().sum(-1, keepdim=True)
        r2 = torch.baddbmm(r2, Zx, near.mT, alpha=-2).clamp_(min=0)
        k, h = correlation(algebra.kind, r2)
        w = weights[rows].unsqueeze(1)
        pull = h * w
        slope = torch.bmm(pull, near) - pull.sum(-1, keepdim=True) * Zx
        return (k * w).sum((-2, -1)), slope.squeeze(1) * inverse[rows]

    return value


def _fantasised_reference(
    model: Any, X: Float[Tensor, "g d"], replicate: Tensor, group: Tensor, z: Tensor
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """`_fantasised` through autograd, for any model with a covariance."""
    R, r, d = model.batch_shape.numel(), tuple(model.batch_shape), X.shape[-1]
    with torch.no_grad():
        at = X.reshape(-1, *r, 1, d)
        noise = observation_noise(model, at).expand(at.shape[:-1])
        s = (model.posterior(at).variance.squeeze(-1) + noise).sqrt().reshape(-1)

    def value(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        # every replicate is asked about every row, and answers for its own
        own = replicate[rows]
        with torch.enable_grad():
            leaf = x.detach().requires_grad_(True)
            pairs = torch.stack([leaf, X[group[rows]]], dim=-2)  # k 2 d
            pairs = pairs.reshape(-1, *(1,) * len(r), 2, d).expand(-1, *r, 2, d)
            mean, covariance = model.posterior(pairs).joint_moments
            f = (
                mean[..., 0, 0]
                + (z / s[group])[rows].reshape(-1, *(1,) * len(r)) * (covariance[..., 0, 0, 1])
            )
            f = f.reshape(-1, R).gather(1, own.unsqueeze(-1)).squeeze(-1)
            (slope,) = torch.autograd.grad(f.sum(), leaf)
        scale = getattr(model, "output_scale", None)
        unit = torch.ones_like(f) if scale is None else scale.reshape(R)[own]
        return f.detach() / unit, slope / unit.unsqueeze(-1)

    return value
