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

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from gpytorch.means import ConstantMean
from jaxtyping import Bool, Float
from torch import Tensor

from ..linalg import correlation, psd_cholesky
from ..shapes import check_points, check_same_device
from .factor import GP, Factor


@dataclass(frozen=True, eq=False)
class Algebra:
    """The posterior of a plain kernel with a constant mean, as numbers; rows i are replicates x m.

    ``n`` observations come first, then points appended by `beside`. The scale of the outputs is
    folded into weights, W and prior, the box into centre and inverse: moments are in user units.
    """

    batch_shape: torch.Size  # of the model
    outputs: int
    n: int
    kind: str
    outputscale: Float[Tensor, "i 1 1"] | None
    constant: Float[Tensor, "i 1 1"]  # the mean's
    prior: Float[Tensor, "i 1"]  # prior variance, squared user units
    floor: Float[Tensor, "i 1"]  # no variance is smaller
    centre: Float[Tensor, "i 1 d"]  # the middle of the observed inputs, user units
    inverse: Float[Tensor, "i 1 d"]  # 1 / (width of the box x lengthscale)
    weights: Float[Tensor, "i N"]
    W: Float[Tensor, "i N N"]
    WT: Float[Tensor, "i N N"]
    Z: Float[Tensor, "i N d"]  # scaled inputs, (X - centre) inverse
    z2: Float[Tensor, "i N"]  # squared norms of Z

    @staticmethod
    def of(model: GP, factor: Factor) -> "Algebra | None":
        """The closed form of a model, or None for other kernels and means."""
        plain = model.stationary()
        if plain is None or type(model.mean) is not ConstantMean:
            return None
        lead, (n, d) = (*model.batch_shape, model.num_outputs), model.X.shape[-2:]
        b = math.prod(lead)
        scale, shift = (v.reshape(b, 1) for v in (model.outcome.scale, model.outcome.shift))
        centre, width = scaled_box(model)
        lengthscale = plain.lengthscale.reshape(b, 1, d)
        inverse = 1 / (width * lengthscale)
        Z = (model.X.unsqueeze(-3).expand(*lead, n, d).reshape(b, n, d) - centre) * inverse
        outputscale = plain.outputscale
        outputscale = None if outputscale is None else outputscale.reshape(b, 1, 1)
        return Algebra(
            batch_shape=model.batch_shape,
            outputs=model.num_outputs,
            n=n,
            kind=plain.kind,
            outputscale=outputscale,
            constant=(model.mean.constant.reshape(b, 1) * scale + shift).unsqueeze(-1),
            prior=scale.square() * (1.0 if outputscale is None else outputscale.squeeze(-1)),
            floor=factor.floor,
            centre=centre,
            inverse=inverse,
            weights=factor.weights,
            W=factor.inverse,
            WT=factor.inverse_t,
            Z=Z,
            z2=Z.square().sum(-1),
        )

    def only(self, output: int) -> "Algebra":
        """The closed form of one output."""
        m = self.outputs
        if m == 1:
            return self
        own = slice(output % m, None, m)
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        rows: Any = {name: v[own] for name, v in parts.items() if isinstance(v, Tensor)}
        return replace(self, outputs=1, **rows)

    def beside(
        self,
        X: Float[Tensor, "*r b d"],
        mask: Bool[Tensor, "*r b"],
        L: Float[Tensor, "*r m b b"],
    ) -> "Algebra":
        """The same with f observed exactly at X, where its covariance has the factor L.

        Points that ``mask`` leaves out have no influence.
        """
        m, (n, b) = self.outputs, (self.n, X.shape[-2])
        rows = X.reshape(-1, b, X.shape[-1]).repeat_interleave(m, dim=0)
        Zb = (rows - self.centre) * self.inverse
        k = _kernel(self, Zb)[0]
        eye = torch.eye(b, dtype=X.dtype, device=X.device)
        Lb = torch.linalg.solve_triangular(L.reshape(-1, b, b), eye, upper=False)
        Lb = torch.where(mask.reshape(-1, b, 1).repeat_interleave(m, dim=0), Lb, 0.0)
        # new rows of L^-1: [-L_b^-1 V_b L^-1, s^2 L_b^-1]; s^2 k is a covariance in user units
        scale2 = self.prior.unsqueeze(-1)
        scale2 = scale2 if self.outputscale is None else scale2 / self.outputscale
        W = torch.zeros(len(Lb), n + b, n + b, dtype=X.dtype, device=X.device)
        W[:, :n, :n] = self.W
        W[:, n:, :n] = -Lb @ (k @ self.WT) @ self.W
        W[:, n:, n:] = scale2 * Lb
        weights = torch.cat([self.weights, torch.zeros_like(Zb[..., 0])], dim=-1)
        Z = torch.cat([self.Z, Zb], dim=-2)
        z2 = Z.square().sum(-1)
        return replace(self, weights=weights, W=W, WT=W.mT.contiguous(), Z=Z, z2=z2)

    def check(self, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "*full q d"]:
        """Points checked as by `ExactGP.posterior`, with all replicate axes."""
        r = self.batch_shape
        X = check_points(X, self.Z.shape[-1], r)
        check_same_device(X=X, model=self.Z)
        if len(r) and X.shape[-2 - len(r) : -2] != r:
            X = X.expand(*X.shape[: -2 - len(r)], *r, *X.shape[-2:])
        return X

    def moments(self, X: Float[Tensor, "*batch q d"]) -> "Moments":
        """Moments at checked points; nothing is recorded for autograd."""
        R, (q, d) = self.batch_shape.numel(), X.shape[-2:]
        rows = X.reshape(-1, R, q, d).transpose(0, 1).reshape(R, -1, d) if R > 1 else X
        rows = rows.reshape(R, -1, d)
        if self.outputs > 1:
            rows = rows.repeat_interleave(self.outputs, dim=0)
        Zq = (rows - self.centre) * self.inverse
        k, h = _kernel(self, Zq)
        mean = torch.baddbmm(self.constant, k, self.weights.unsqueeze(-1)).squeeze(-1)  # c + k a
        V = torch.bmm(k, self.WT)
        if q == 1:
            raw = (self.prior - V.square().sum(-1)).unsqueeze(-1)
            floor = self.floor.unsqueeze(-1)
            return Moments(self, X, mean.unsqueeze(-1), V, raw.clamp(min=floor), Zq, h, raw < floor)
        sets, blocks = Zq.reshape(-1, q, d), V.reshape(-1, q, V.shape[-1])
        norms = sets.square().sum(-1)
        r2 = torch.baddbmm(norms.unsqueeze(-1) + norms.unsqueeze(-2), sets, sets.mT, alpha=-2)
        r2.clamp_(min=0).diagonal(dim1=-2, dim2=-1).zero_()
        kq, hq = correlation(self.kind, r2)
        prior = self.prior.repeat_interleave(len(sets) // len(Zq), dim=0).unsqueeze(-1)
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
        C = self.V[..., self.algebra.n :]
        return C.view(*self.mean.shape, C.shape[-1])

    def factor(self, variance: Float[Tensor, "i"]) -> Float[Tensor, "i t q q"]:
        """Cholesky factor of the second moments; ``variance`` is that of the outputs."""
        if self.mean.shape[-1] == 1:
            return self.second.sqrt().unsqueeze(-1)
        return psd_cholesky(self.second, floor=variance.unsqueeze(-1)).L

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
        g_k = g_k.addcmul_(g_mean.reshape(*g_k.shape[:2], 1), a.weights.unsqueeze(-2)).mul_(self.h)
        g = _pull(a.Z, self.Zq, g_k)
        if q > 1:
            sets = self.Zq.reshape(-1, q, d)
            g = g + _pull(sets, sets, both.mul_(self.own)).view(g.shape)
        g = g.mul_(a.inverse)
        R = a.batch_shape.numel()
        if a.outputs > 1:
            g = g.reshape(R, a.outputs, -1, d).sum(1)
        g = g.reshape(R, -1, q, d).transpose(0, 1) if R > 1 else g
        return g.reshape(self.X.shape)


class ClosedForm(torch.autograd.Function):
    """Mean ``*batch q m``, C ``*batch m q b`` and covariances ``*batch m q q``: one pullback."""

    @staticmethod
    def forward(
        ctx: Any, X: Tensor, algebra: Algebra, reference: Callable[[Tensor], tuple[Tensor, ...]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Moments at checked points; ``reference`` gives the same three through autograd."""
        at, m, q = algebra.moments(X), algebra.outputs, X.shape[-2]
        R = algebra.batch_shape.numel()
        ctx.at, ctx.reference = at, reference
        ctx.save_for_backward(X)
        second = at.second.unsqueeze(-1) if q == 1 else at.second
        parts = (v.reshape(R, m, *v.shape[1:]).movedim(2, 0) for v in (at.mean, at.C, second))
        mean, C, second = (v.reshape(*X.shape[:-2], m, *v.shape[3:]) for v in parts)
        return mean.mT, C, second

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """The analytic pullback, or autograd through the reference for second derivatives."""
        (X,) = ctx.saved_tensors
        if not X.numel():
            return torch.zeros_like(X), None, None
        if torch.is_grad_enabled():
            (slow,) = torch.autograd.grad(ctx.reference(X), X, grads, create_graph=True)
            return slow, None, None
        a, R, q = ctx.at.algebra, ctx.at.algebra.batch_shape.numel(), X.shape[-2]

        def into_rows(g: Tensor, own: tuple[int, ...]) -> Tensor:  # *batch m ... -> i t ...
            g = g.reshape(-1, R, a.outputs, *own).movedim(0, 2)
            return g.reshape(R * a.outputs, -1, *own)

        g_mean, g_second = into_rows(grads[0].mT, (q,)), into_rows(grads[2], (q, q))
        b = grads[1].shape[-1]
        g_C = into_rows(grads[1], (q, b)) if b else None
        return ctx.at.pull(g_mean, g_second.squeeze(-1) if q == 1 else g_second, g_C), None, None


def scaled_box(model: GP) -> tuple[Float[Tensor, "b 1 d"], Float[Tensor, "b 1 d"]]:
    """The middle of the observed inputs and the width of the box, user units.

    Kernels do not move with their inputs: centred ones keep squares small.
    """
    lead, d = (*model.batch_shape, model.num_outputs), model.X.shape[-1]
    seen = model.observed.unsqueeze(-1)
    u = torch.where(seen, model.cube.encode(model.X), 0.0)
    middle = model.cube.decode(u.sum(-2, keepdim=True) / seen.sum(-2, keepdim=True))
    centre, width = (
        v.unsqueeze(-3).expand(*lead, 1, d).reshape(-1, 1, d) for v in (middle, model.cube.width)
    )
    return centre, width


def _kernel(a: Algebra, Zq: Tensor) -> tuple[Tensor, Tensor]:
    """k and H between scaled points ``i p d`` and those of the data."""
    squares = Zq.square().sum(-1, keepdim=True) + a.z2.unsqueeze(-2)
    r2 = torch.baddbmm(squares, Zq, a.Z.mT, alpha=-2).clamp_(min=0)
    k, h = correlation(a.kind, r2)
    return (k, h) if a.outputscale is None else (k * a.outputscale, h * a.outputscale)


def _pull(Z: Tensor, Zq: Tensor, M: Tensor) -> Tensor:
    """sum_j M_ij (z_j - z_i): gradient in points z_i of kernel values weighted by M / H."""
    return torch.baddbmm(M.sum(-1, keepdim=True) * Zq, M, Z, beta=-1)
