r"""The average log improvement of Gaussian draws, fused: where sampled acquisitions spend time.

With draws y = mean + A z over s base samples,

    value = log( 1/s sum_i exp fatmax_j log fatplus(y_ij - best_i) ),

a chain of some twenty elementwise operations. Run one after the other, each makes a pass through
memory and leaves a node for the backward pass. `average_log_improvement` runs them in place on
blocks that stay in the processor's cache, samples innermost, and computes the derivatives on the
way. Its reference is `LogMonteCarloAcquisition.average`, which says the same in three lines.

Rows are replicates: ``R t q`` holds t sets of q points for each of R replicates, and base samples
``R k s`` are shared by the t sets of a replicate.

Taught in part_5/tutorial_02.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.algebra import Algebra
from ..numerics import TAU_MAX, TAU_RELU
from .pullback import pull_cholesky

# Elements of one block, of which there are five temporaries: 1.3 MB, about the cache of one core.
# (An accelerator has no use for small blocks; there, memory is the limit.)
_BLOCK = {"cpu": 1 << 15}
_LARGE_BLOCK = 1 << 24


@dataclass(frozen=True, eq=False)
class Threshold:
    """What draws improve on, in the units in which the kink at zero is smoothed."""

    per_tau: Float[Tensor, "R 1 1"]  # 1 / (tau scale)
    low: Float[Tensor, "R 1 #s"]  # best / (tau scale)
    log_scale: Float[Tensor, "R 1"]  # log(tau scale)
    variance: Float[Tensor, "R"]  # scale^2

    @staticmethod
    def of(best: Float[Tensor, "R #s"], scale: Float[Tensor, "R"]) -> "Threshold":
        """For values to improve on, one for all samples or one for each, and the output scale."""
        per_tau = (1 / (TAU_RELU * scale))[:, None, None]
        log_scale = (math.log(TAU_RELU) + scale.log()).unsqueeze(-1)
        return Threshold(per_tau, best.unsqueeze(1) * per_tau, log_scale, scale.square())


def improvement_with_gradient(
    algebra: Algebra,
    X: Float[Tensor, "*batch q d"],
    z: Float[Tensor, "R k s"],
    threshold: Threshold,
    wanted: bool,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch q d"] | None]:
    """log E max_j max(0, f(x_j) - best) for one output, and if wanted its gradient in X.

    Args:
        algebra: of one output; points appended to it (`Algebra.beside`) have the first of the k
            base samples.
        X: candidates that the algebra has checked.
        z: standard normals.
        threshold: value to improve on.
        wanted: whether the gradient is needed.
    """
    if not X.numel():
        return X.new_zeros(X.shape[:-2]), torch.zeros_like(X)
    moments = algebra.moments(X)
    L = moments.factor(threshold.variance)
    b = z.shape[-2] - L.shape[-1]
    A = torch.cat([moments.C, L], dim=-1) if b else L
    value, g_mean, g_A = average_log_improvement(moments.mean, A, z, threshold, wanted)
    value = value.mT.reshape(X.shape[:-2])
    if g_mean is None or g_A is None:
        return value, None
    g_second = pull_cholesky(L, g_A[..., b:])
    g_second = g_second.squeeze(-1) if X.shape[-2] == 1 else g_second
    return value, moments.pull(g_mean, g_second, g_A[..., :b] if b else None)


def average_log_improvement(
    mean: Float[Tensor, "R t q"],
    A: Float[Tensor, "R t q k"],
    z: Float[Tensor, "R k s"],
    threshold: Threshold,
    wanted: bool,
) -> tuple[Float[Tensor, "R t"], Float[Tensor, "R t q"] | None, Float[Tensor, "R t q k"] | None]:
    """log of the average improvement of the best of q points, with derivatives in mean and A.

    Source: Ament et al. 2023, section 4.2 and appendix A.4, arXiv:2310.20708.
    """
    (R, t, q, k), s = A.shape, z.shape[-1]
    # y / tau = A z / tau + (mean - best) / tau, assembled block by block
    per_tau, low = threshold.per_tau, threshold.low
    factor, shift, z = A.reshape(R, t * q, k), mean.reshape(R, t * q, 1) * per_tau, z * per_tau
    size = _BLOCK.get(mean.device.type, _LARGE_BLOCK)
    sets = min(t, max(1, size // (q * s)))
    rows = min(R, max(1, size // (sets * q * s)))
    work = mean.new_empty(5, rows * sets * q * s)
    parts = []
    for i in range(0, R, rows):
        r = slice(i, i + rows)
        for j in range(0, t, sets):
            p = slice(j * q, (j + sets) * q)
            F = factor[r, p]
            tiles = work[:, : F.shape[0] * F.shape[1] * s].view(5, len(F), -1, q, s).unbind()
            y = tiles[0].view(len(F), -1, s)
            torch.baddbmm(shift[r, p], F, z[r], out=y).sub_(low[r])
            found = [_reduce(tiles[0], tiles[1:], wanted)]
            if wanted:
                found += [y.sum(-1, keepdim=True) * per_tau[r], torch.bmm(y, z[r].mT)]
            parts.append(found)
    columns = -(-t // sets)
    if len(parts) > 1:
        lines = [parts[i : i + columns] for i in range(0, len(parts), columns)]
        joined = [[torch.cat(piece, dim=1) for piece in zip(*line, strict=True)] for line in lines]
        parts = [[torch.cat(piece) for piece in zip(*joined, strict=True)]]
    value = parts[0][0] + (threshold.log_scale - math.log(s))
    if not wanted:
        return value, None, None
    return value, parts[0][1].view(R, t, q), parts[0][2].view(R, t, q, k)


def _reduce(y: Tensor, free: Sequence[Tensor], wanted: bool) -> Tensor:
    """log sum_s exp fatmax_q log fatplus, in units of tau; y becomes the derivative in y.

    Args:
        y: improvements / tau, ``R t q s``; overwritten.
        free: four tensors of the same shape to work in.
        wanted: whether the derivative is needed.
    """
    c, e, f, u = free
    # f = softplus(y) + 0.1 / (1 + y^2), softplus(y) = max(y, 0) + log(1 + exp(-|y|))
    torch.mul(y, y, out=c).add_(1).reciprocal_()
    # exp is slow where its result is denormal; exp(-600) is no less negligible
    torch.abs(y, out=e).clamp_(max=600).neg_().exp_()
    torch.log1p(e, out=f)
    torch.clamp(y, min=0, out=u)
    f.add_(u).add_(c, alpha=0.1)
    if wanted:
        # df/dy = sigmoid(y) - 0.2 y c^2
        torch.sigmoid(y, out=e).sub_(c.square_().mul_(y), alpha=0.2)
    if y.shape[-2] == 1:  # no maximum to take: f need not become a logarithm and come back
        total = f.sum(-1, keepdim=True)
        if wanted:
            torch.div(e, total, out=y)
        return total.log()[..., 0, 0]
    if wanted:
        e.div_(f)  # du/dy for u = log f
    torch.log(f, out=u)
    # fatmax: M + tau log sum_j p_j, p = 2 / (1 + (1 + (M - u_j) / tau)^2)
    M = u.amax(-2, keepdim=True)
    gap = torch.sub(M, u, out=c).mul_(1 / TAU_MAX)
    p = torch.add(gap, 1, out=f).square_().add_(1).mul_(0.5).reciprocal_()
    total = p.sum(-2)
    value, weight = _log_sum_exp(total.log().mul_(TAU_MAX).add_(M.squeeze(-2)))
    if wanted:
        # -dp/dgap = p^2 (1 + gap): what the others lose by a larger maximum goes to the largest
        best = torch.eq(gap, 0, out=u)
        g = p.square_().mul_(gap.add_(1)).mul_((weight / total).unsqueeze(-2))
        rest = weight.sub_(g.sum(-2)).div_(best.sum(-2))
        torch.mul(g.addcmul_(best, rest.unsqueeze(-2)), e, out=y)
    return value


def _log_sum_exp(x: Tensor) -> tuple[Tensor, Tensor]:
    """log sum exp over the last axis, and its derivative, which replaces x."""
    top = x.amax(-1, keepdim=True)
    weight = x.sub_(top).exp_()
    total = weight.sum(-1, keepdim=True)
    return (total.log() + top).squeeze(-1), weight.div_(total)
