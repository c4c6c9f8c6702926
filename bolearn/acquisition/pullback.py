r"""Moments of a plain Gaussian process that know their own derivative: no graph, one pullback.

An acquisition needs its gradient at every step of a search. Autograd would record some sixty small
operations for it and walk back through them. Here mean and covariance come with a method `pull`,
which turns derivatives with respect to them into one with respect to the points:

    mean = c + k a,    covariance = k(x, x') - V V^T,    V = k W^T,

with k = k(x, Z) between scaled points. For the posterior of the data, W = L^-1. `Algebra.beside`
appends further points as if f were observed there exactly: the covariance is then that given f at
those points, and the last columns of V are C = cov(x, b) L_b^-T, how f(x) moves with them.

What it has to equal is `ExactGP.posterior`, which also serves every other kernel.

Taught in part_4/tutorial_02.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..linalg import correlation, psd_cholesky
from ..models.exact import ExactGP
from ..protocols import Surrogate
from ..shapes import check_points, check_same_device


@dataclass(frozen=True, eq=False)
class Algebra:
    """What the moments of a model need; rows i are replicates x outputs.

    ``n`` observations come first, then points appended by `beside`.
    """

    model: ExactGP
    cache: Any  # of the model: constant, kernel, box
    outputs: int
    n: int
    alpha: Float[Tensor, "i N"]
    W: Float[Tensor, "i N N"]
    WT: Float[Tensor, "i N N"]
    Z: Float[Tensor, "i N d"]
    z2: Float[Tensor, "i N"]

    @staticmethod
    def of(model: Surrogate) -> "Algebra | None":
        """The algebra of a Gaussian process with a plain kernel and a constant mean, else None."""
        if not isinstance(model, ExactGP) or type(model).posterior is not ExactGP.posterior:
            return None
        c = model.cache()
        if not c.closed_form:
            return None
        n = c.Z.shape[-2]
        return Algebra(model, c, model.num_outputs, n, c.alpha, c.Linv, c.LinvT, c.Z, c.z2)

    def only(self, output: int) -> "Algebra":
        """The algebra of one output."""
        m = self.outputs
        if m == 1:
            return self
        own = slice(output % m, None, m)
        rows = ("alpha", "W", "WT", "Z", "z2")
        fields = {name: getattr(self, name)[own] for name in rows}
        return Algebra(self.model, _rows_of_cache(self.cache, own), 1, self.n, **fields)

    def beside(
        self,
        X: Float[Tensor, "*r b d"],
        mask: Bool[Tensor, "*r b"],
        L: Float[Tensor, "*r m b b"],
    ) -> "Algebra":
        """The same with f observed exactly at X, where its covariance has the factor L.

        Points that ``mask`` leaves out have no influence.
        """
        c, m, (n, b) = self.cache, self.outputs, (self.n, X.shape[-2])
        rows = X.reshape(-1, b, X.shape[-1]).repeat_interleave(m, dim=0)
        Zb = (rows - c.centre) * c.inverse
        k = _kernel(c, Zb, c.Z, c.z2)[0]
        eye = torch.eye(b, dtype=X.dtype, device=X.device)
        Lb = torch.linalg.solve_triangular(L.reshape(-1, b, b), eye, upper=False)
        Lb = torch.where(mask.reshape(-1, b, 1).repeat_interleave(m, dim=0), Lb, 0.0)
        # new rows of L^-1: [-L_b^-1 V_b L^-1, s^2 L_b^-1]; s^2 k is a covariance in user units
        unit = c.prior.unsqueeze(-1)
        unit = unit if c.outputscale is None else unit / c.outputscale
        W = torch.zeros(len(Lb), n + b, n + b, dtype=X.dtype, device=X.device)
        W[:, :n, :n] = c.Linv
        W[:, n:, :n] = -Lb @ (k @ c.LinvT) @ c.Linv
        W[:, n:, n:] = unit * Lb
        alpha = torch.cat([c.alpha, torch.zeros_like(Zb[..., 0])], dim=-1)
        Z = torch.cat([c.Z, Zb], dim=-2)
        z2 = Z.square().sum(-1)
        return Algebra(self.model, c, m, n, alpha, W, W.mT.contiguous(), Z, z2)

    def check(self, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "*full q d"]:
        """Points checked as by `ExactGP.posterior`, with all replicate axes."""
        r = self.model.batch_shape
        X = check_points(X, self.Z.shape[-1], r)
        check_same_device(X=X, model=self.model.X)
        if len(r) and X.shape[-2 - len(r) : -2] != r:
            X = X.expand(*X.shape[: -2 - len(r)], *r, *X.shape[-2:])
        return X

    def moments(self, X: Float[Tensor, "*batch q d"]) -> "Moments":
        """Moments at checked points; nothing is recorded for autograd."""
        c, R, (q, d) = self.cache, self.model.batch_shape.numel(), X.shape[-2:]
        rows = X.reshape(-1, R, q, d).transpose(0, 1).reshape(R, -1, d) if R > 1 else X
        rows = rows.reshape(R, -1, d)
        if self.outputs > 1:
            rows = rows.repeat_interleave(self.outputs, dim=0)
        Zq = (rows - c.centre) * c.inverse
        k, h = _kernel(c, Zq, self.Z, self.z2)
        mean = torch.baddbmm(c.constant, k, self.alpha.unsqueeze(-1)).squeeze(-1)  # c + k a
        V = torch.bmm(k, self.WT)
        if q == 1:
            raw = (c.prior - V.square().sum(-1)).unsqueeze(-1)
            floor = c.floor.unsqueeze(-1)
            return Moments(self, X, mean.unsqueeze(-1), V, raw.clamp(min=floor), Zq, h, raw < floor)
        sets, blocks = Zq.reshape(-1, q, d), V.reshape(-1, q, V.shape[-1])
        norms = sets.square().sum(-1)
        r2 = torch.baddbmm(norms.unsqueeze(-1) + norms.unsqueeze(-2), sets, sets.mT, alpha=-2)
        r2.clamp_(min=0).diagonal(dim1=-2, dim2=-1).zero_()
        kq, hq = correlation(c.kind, r2)
        prior = c.prior.repeat_interleave(len(sets) // len(Zq), dim=0).unsqueeze(-1)
        second = torch.baddbmm(kq * prior, blocks, blocks.mT, alpha=-1)  # k(x, x') - V V^T
        shape = (len(Zq), -1, q)
        return Moments(self, X, mean.view(shape), V, second.view(*shape, q), Zq, h, hq.mul(prior))


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean ``i t q``, V ``i (t q) N`` and second moments of t sets of q points, for rows i.

    ``second`` is the variance ``i t 1`` for q = 1, else the covariance ``i t q q``.
    """

    algebra: Algebra
    X: Tensor
    mean: Float[Tensor, "i t q"]
    V: Float[Tensor, "i tq N"]
    second: Float[Tensor, "i t ..."]
    Zq: Float[Tensor, "i tq d"]
    h: Float[Tensor, "i tq N"]
    own: Tensor  # q = 1: where the variance is at its floor; else H among the q points

    @property
    def C(self) -> Float[Tensor, "i t q b"]:
        """How f at the points moves with f at those appended by `Algebra.beside`."""
        return self.V[..., self.algebra.n :].view(*self.mean.shape, -1)

    def factor(self, unit: Float[Tensor, "i"]) -> Float[Tensor, "i t q q"]:
        """Cholesky factor of the second moments; ``unit`` is the outputs' variance."""
        if self.mean.shape[-1] == 1:
            return self.second.sqrt().unsqueeze(-1)
        return psd_cholesky(self.second, floor=unit.unsqueeze(-1)).L

    def pull(
        self,
        g_mean: Float[Tensor, "i t q"],
        g_second: Float[Tensor, "i t ..."],
        g_C: Float[Tensor, "i t q b"] | None = None,
    ) -> Float[Tensor, "*batch q d"]:
        """Gradient in the points, from those in mean, second moments and C."""
        a, (q, d) = self.algebra, self.X.shape[-2:]
        if q == 1:
            g_V = self.V * g_second.masked_fill(self.own, 0.0).mul_(-2)
        else:
            both = (g_second + g_second.mT).reshape(-1, q, q)
            g_V = torch.bmm(both, self.V.view(-1, q, self.V.shape[-1])).neg_().view(self.V.shape)
        if g_C is not None:
            g_V[..., a.n :] += g_C.reshape(*g_V.shape[:2], -1)
        g_k = torch.bmm(g_V, a.W)
        g_k = g_k.addcmul_(g_mean.reshape(*g_k.shape[:2], 1), a.alpha.unsqueeze(-2)).mul_(self.h)
        g = _pull(a.Z, self.Zq, g_k)
        if q > 1:
            sets = self.Zq.reshape(-1, q, d)
            g = g + _pull(sets, sets, both.mul_(self.own)).view(g.shape)
        g = g.mul_(a.cache.inverse)
        R = a.model.batch_shape.numel()
        if a.outputs > 1:
            g = g.reshape(R, a.outputs, -1, d).sum(1)
        g = g.reshape(R, -1, q, d).transpose(0, 1) if R > 1 else g
        return g.reshape(self.X.shape)


def pull_cholesky(
    L: Float[Tensor, "*b q q"], g_L: Float[Tensor, "*b q q"]
) -> Float[Tensor, "*b q q"]:
    """Gradient in a symmetric matrix from that in its Cholesky factor.

    L^-T tril(L^T g_L) L^-1 with the diagonal halved; its symmetric part is the gradient.

    Source: Murray, "Differentiation of the Cholesky decomposition", 2016, arXiv:1602.07527,
    equation 10.
    """
    if L.shape[-1] == 1:
        return g_L / (2 * L)
    P = (L.mT @ g_L.tril()).tril_()
    P.diagonal(dim1=-2, dim2=-1).mul_(0.5)
    P = torch.linalg.solve_triangular(L.mT, P, upper=True)
    g: Tensor = torch.linalg.solve_triangular(L, P, upper=False, left=False)
    return g


class ValueWithGradient(torch.autograd.Function):
    """A value computed together with its gradient in X; the reference gives second derivatives."""

    @staticmethod
    def forward(
        ctx: Any,
        X: Tensor,
        fused: Callable[[Tensor, bool], tuple[Tensor, Tensor | None]],
        reference: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """``fused(X, wanted)`` gives values ``*batch`` and, if wanted, d value / d X."""
        value, gradient = fused(X, ctx.needs_input_grad[0])
        ctx.reference = reference
        ctx.save_for_backward(X, gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        X, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the reference
            value = ctx.reference(X)
            (slow,) = torch.autograd.grad(value, X, grads, create_graph=True)
            return slow, None, None
        return grads[0][..., None, None] * gradient, None, None


def _rows_of_cache(cache: Any, own: slice) -> Any:
    """The rows of one output of what the moments read from a model's cache."""
    names = ("constant", "prior", "floor", "centre", "inverse")
    values: dict[str, Any] = {name: getattr(cache, name)[own] for name in names}
    scale = cache.outputscale
    return _Rows(cache.kind, outputscale=None if scale is None else scale[own], **values)


@dataclass(frozen=True, eq=False)
class _Rows:
    kind: str
    constant: Tensor
    outputscale: Tensor | None
    prior: Tensor
    floor: Tensor
    centre: Tensor
    inverse: Tensor


def _kernel(c: Any, Zq: Tensor, Z: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    """k and H between scaled points ``i p d`` and ``i N d``."""
    squares = Zq.square().sum(-1, keepdim=True) + z2.unsqueeze(-2)
    r2 = torch.baddbmm(squares, Zq, Z.mT, alpha=-2).clamp_(min=0)
    k, h = correlation(c.kind, r2)
    return (k, h) if c.outputscale is None else (k * c.outputscale, h * c.outputscale)


def _pull(Z: Tensor, Zq: Tensor, M: Tensor) -> Tensor:
    """sum_j M_ij (z_j - z_i): gradient in points z_i of kernel values weighted by M / H."""
    return torch.baddbmm(M.sum(-1, keepdim=True) * -Zq, M, Z)
