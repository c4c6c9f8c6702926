r"""Moments at points, and how f there moves with f at fixed points; in closed form, one pullback.

What an acquisition asks that looks at other points than its own: where would the mean move
(knowledge gradient), what would knowing f there leave (joint entropy search)? For a plain kernel

    cov(x, a_j) = k(x, a_j) - V(x) V_A^T,

where V_A is computed once. `joint_moments` gives the same for any Gaussian belief, by autograd.

Taught in part_4/tutorial_05.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UnsupportedError
from ..linalg import correlation
from ..protocols import Surrogate
from .algebra import Algebra, Moments, _pull
from .exact import ExactGP


@dataclass(frozen=True, eq=False)
class FixedPoints:
    """M fixed points of every replicate as a plain kernel's closed form sees them; rows i."""

    algebra: Algebra
    Z: Float[Tensor, "i M d"]  # scaled
    mean: Float[Tensor, "i M"]
    variance: Float[Tensor, "i M"]
    V: Float[Tensor, "i M n"]

    @staticmethod
    def of(algebra: Algebra, points: Float[Tensor, "*r M d"]) -> "FixedPoints":
        """The points of a model with one output, all replicates present."""
        with torch.inference_mode(False), torch.no_grad():
            M, d = points.shape[-2:]
            at = algebra.moments(points.movedim(-2, 0).unsqueeze(-2))  # M sets of one point
            Z = (points.reshape(-1, M, d) - algebra.centre) * algebra.inverse
            return FixedPoints(algebra, Z, at.mean.squeeze(-1), at.second.squeeze(-1), at.V)

    def covariance(self, at: Moments) -> tuple[Float[Tensor, "i t M"], Float[Tensor, "i t M"]]:
        """Covariance of f at single points with f here, and the kernel's H between them."""
        squares = at.Zq.square().sum(-1, keepdim=True) + self.Z.square().sum(-1).unsqueeze(-2)
        r2 = torch.baddbmm(squares, at.Zq, self.Z.mT, alpha=-2).clamp_(min=0)
        k, h = correlation(self.algebra.kind, r2)
        prior = self.algebra.prior.unsqueeze(-1)
        return torch.baddbmm(k * prior, at.V, self.V.mT, alpha=-1), h * prior

    def pull(
        self,
        at: Moments,
        h: Float[Tensor, "i t M"],
        g_mean: Float[Tensor, "i t"],
        g_variance: Float[Tensor, "i t"],
        g_covariance: Float[Tensor, "i t M"],
    ) -> Float[Tensor, "*batch q d"]:
        """Gradient in the points from those in mean, variance and covariance; h of `covariance`."""
        a, R = self.algebra, self.algebra.batch_shape.numel()
        g_V = at.V * g_variance.unsqueeze(-1).masked_fill(at.own, 0.0).mul_(-2)
        g_V = torch.baddbmm(g_V, g_covariance, self.V, alpha=-1)
        g_k = torch.bmm(g_V, a.W)
        g_k = g_k.addcmul_(g_mean.unsqueeze(-1), a.weights.unsqueeze(-2)).mul_(at.h)
        g = _pull(a.Z, at.Zq, g_k) + _pull(self.Z, at.Zq, g_covariance * h)
        g = g.mul_(a.inverse)
        g = g.unsqueeze(-2).transpose(0, 1) if R > 1 else g
        return g.reshape(at.X.shape)


@dataclass(frozen=True, eq=False)
class JointMoments:
    """What a Gaussian belief says about q candidates and M other points, through autograd."""

    mean: Float[Tensor, "*batch q"]
    covariance: Float[Tensor, "*batch q q"]
    noise: Float[Tensor, "*batch q"]  # of an observation at each candidate
    others: Float[Tensor, "*batch M"]  # the mean there
    spread: Float[Tensor, "*batch M"]  # the variance there
    cross: Float[Tensor, "*batch q M"]


def joint_moments(
    model: Surrogate, X: Float[Tensor, "*batch q d"], points: Float[Tensor, "*r M d"], who: str
) -> JointMoments:
    """Moments at X and at the points together, for one output.

    Raises:
        UnsupportedError: a belief that is not Gaussian.
    """
    q, batch = X.shape[-2], torch.broadcast_shapes(X.shape[:-2], points.shape[:-2])
    both = torch.cat([v.expand(*batch, *v.shape[-2:]) for v in (X, points)], dim=-2)
    posterior: Any = model.posterior(both)
    if not hasattr(posterior, "joint_moments"):
        raise UnsupportedError(
            f"{who}: expected a model with Gaussian posteriors, whose covariance says how far an "
            f"observation moves the mean elsewhere, got a {type(posterior).__name__} from "
            f"{type(model).__name__}; use an ExactGP, or a Monte-Carlo acquisition such as "
            "qLogNoisyExpectedImprovement"
        )
    mean, covariance = posterior.joint_moments
    mean, covariance = mean.squeeze(-1), covariance.squeeze(-3)
    spread = covariance.diagonal(dim1=-2, dim2=-1)[..., q:]
    noise = observation_noise(model, X).expand(*batch, q)
    cross = covariance[..., :q, q:]
    return JointMoments(mean[..., :q], covariance[..., :q, :q], noise, mean[..., q:], spread, cross)


def observation_noise(model: Surrogate, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "..."]:
    """Variance of the noise of an observation at X, for one output, in squared user units.

    Broadcasts to ``*batch q``.
    """
    if isinstance(model, ExactGP):
        return model.new_noise().detach().squeeze(-1)  # exact, however small beside that of f
    noisy, plain = model.posterior(X, observation_noise=True), model.posterior(X)
    return (noisy.variance - plain.variance).squeeze(-1).clamp(min=0)
