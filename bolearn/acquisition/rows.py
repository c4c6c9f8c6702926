r"""log EI for many rows at once, without a graph and for the replicates that still climb.

A climb asks for values and slopes of rows in the unit cube, some hundred times. Through torch each
question builds a graph, and goes to all replicates as often as to the busiest. Here the same
formulas run on NumPy arrays: replicates with about as many rows are computed as one batch, those
without any not at all. With v = log EI as a function of mean and variance, dv = v_m dm + v_s ds,

    mean = c + k a,     variance = prior - |W k|^2,
    grad v = sum_j w_j h_j (z_j - x),   w = v_m a - 2 v_s W^T W k,   h = -2 dk / d(r^2),

and the Hessian of v, which Newton's method wants, from the same products once more.

It has to equal `LogExpectedImprovement`, which also serves every other kernel and device.

Taught in part_4/tutorial_02.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..models.algebra import Algebra
from ..numerics import curvature_of_log_h, log_h_and_slope
from ..optim.arrays import Array, array, namespace
from ..transforms import UnitCube

_ALIKE = 0.6  # replicates with at least this share of the busiest one's rows are computed with it
_ROWS = 512  # rows of one batch, whose products stay in the cache
_FEW = 4  # replicates that are not worth a batch of their own


@dataclass(frozen=True, eq=False)
class _Replicates:
    """What the values of some replicates need, one row for each; points are those of the cube."""

    move: Array  # g d: scaled points are u move + start
    start: Array  # g d
    Z: Array  # g n d: scaled observed points
    Zt: Array  # g d n: -2 Z^T
    z2: Array  # g n: their squared norms
    weights: Array  # g n
    W: Array  # g n n
    Wt: Array  # g n n: its transpose
    constant: Array  # g
    prior: Array  # g
    floor: Array  # g
    amplitude: Array  # g: the kernel's own scale
    level: Array  # g: what is to be improved on

    def take(self, which: Array) -> "_Replicates":
        """Some of the replicates; no copy if it is all of them in their order."""
        if len(which) == len(self.level) and (which == np.arange(len(which))).all():
            return self
        return _Replicates(*(getattr(self, field.name)[which] for field in fields(self)))


class ImprovementRows:
    """log EI of single points in the unit cube, row by row.

    Attributes:
        twice: whether second derivatives are to be had.
    """

    def __init__(self, algebra: Algebra, level: Float[Tensor, "*r"], cube: UnitCube) -> None:
        R, d = algebra.Z.shape[0], algebra.Z.shape[-1]
        self.kind, self.twice = algebra.kind, algebra.kind in ("rbf", "matern52")
        low, width = (v.reshape(-1, d) for v in (cube.lower, cube.width))
        inverse, centre = algebra.inverse.squeeze(1), algebra.centre.squeeze(1)
        one = torch.ones_like(algebra.prior)
        scale = one if algebra.outputscale is None else algebra.outputscale.squeeze(-1)
        parts = {
            "move": (width * inverse).expand(R, d),
            "start": ((low - centre) * inverse).expand(R, d),
            "Z": algebra.Z,
            "Zt": -2 * algebra.Z.mT,
            "z2": algebra.z2,
            "weights": algebra.weights,
            "W": algebra.W,
            "Wt": algebra.WT,
            "constant": algebra.constant.reshape(R),
            "prior": algebra.prior.reshape(R),
            "floor": algebra.floor.reshape(R),
            "amplitude": scale.reshape(R),
            "level": level.reshape(-1).expand(R),
        }
        self.all = _Replicates(**{k: array(v.detach().contiguous()) for k, v in parts.items()})

    @staticmethod
    def of(algebra: Algebra, level: Tensor, cube: UnitCube) -> "ImprovementRows | None":
        """For tensors that NumPy can see; elsewhere torch answers."""
        return ImprovementRows(algebra, level, cube) if namespace(array(level)) is np else None

    # -- values alone, one replicate at a time: its products stay in the cache --------------------

    def values(self, U: Float[Tensor, "R raw d"]) -> Float[Tensor, "R raw"]:
        """Values at many points of every replicate."""
        c, x = self.all, array(U)
        mean, variance = np.empty(x.shape[:2]), np.empty(x.shape[:2])
        for i in range(len(x)):
            points = x[i] * c.move[i] + c.start[i]
            k = self._kernel(_squares(points, c.Zt[i], c.z2[i]), 0)[0]
            k *= c.amplitude[i]
            mean[i] = k @ c.weights[i]
            V = k @ c.Wt[i]
            variance[i] = np.einsum("pn,pn->p", V, V)
        mean += c.constant[:, None]
        variance = np.maximum(c.prior[:, None] - variance, c.floor[:, None])
        return torch.from_numpy(_log_improvement(mean, variance, c.level[:, None])[0])

    def _kernel(self, r2: Array, order: int) -> tuple[Array, Array, Array]:
        """k, h and h' of squared distances, which are overwritten: dk = -h, dh = -h' along x - z.

        What is beyond ``order`` is anything.
        """
        if self.kind == "rbf":
            r2 *= -0.5
            np.exp(r2, out=r2)
            return r2, r2, r2
        r2 *= 5 if self.kind == "matern52" else 3
        s = np.sqrt(r2)
        e = np.exp(-s)
        s += 1
        s *= e  # (1 + s) e^-s
        if self.kind == "matern32":
            return s, 3 * e, e
        r2 *= e
        r2 *= 1 / 3
        r2 += s
        if order:
            s *= 5 / 3
        if order > 1:
            e *= 25 / 3
        return r2, s, e

    # -- values and derivatives of rows -----------------------------------------------------------

    def groups(self, replicate: Array) -> "list[_Group]":
        """Rows by replicate, replicates with about as many of them together.

        Replicates with fewer rows than others of their group repeat their last one.
        """
        counts = np.bincount(replicate, minlength=len(self.all.Z))
        order = np.argsort(replicate, kind="stable")
        first = np.cumsum(counts) - counts
        live = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]  # busiest first
        own, found, i = counts[live], [], 0
        while i < len(live):
            most = own[i]
            j = int(np.searchsorted(-own, -max(1, int(most * _ALIKE)), side="right"))
            j = len(live) if len(live) - j < _FEW else j
            j = min(j, i + max(1, _ROWS // int(most)))
            place = np.arange(most)[None]
            slots = np.minimum(place, own[i:j, None] - 1) + first[live[i:j], None]
            rows, real = order[slots], place < own[i:j, None]
            found.append(_Group(self.all.take(live[i:j]), rows, real, rows[real]))
            i = j
        return found

    def evaluate(
        self, x: Array, groups: "list[_Group]", order: int = 1
    ) -> tuple[Array, Array, Array | None]:
        """Values ``k``, gradients ``k d`` and, for order 2, Hessians ``k d d`` at ``x: k d``."""
        k, d = x.shape
        f, g = np.empty(k), np.empty((k, d))
        H = np.empty((k, d, d)) if order > 1 else None
        for group in groups:
            value, slope, curvature = self._of_group(group.at, x[group.rows], order)
            f[group.own], g[group.own] = value[group.real], slope[group.real]
            if H is not None:
                H[group.own] = curvature[group.real]  # type: ignore[index]
        return f, g, H

    def _of_group(self, c: _Replicates, u: Array, order: int) -> tuple[Array, Array, Array | None]:
        """Values ``g p``, gradients ``g p d`` and Hessians at p points of g replicates."""
        move = c.move[:, None]
        x = u * move + c.start[:, None]
        k, h, h2 = self._kernel(_squares(x, c.Zt, c.z2[:, None]), order)
        scale = c.amplitude[:, None, None]
        same = h is k
        k = k * scale
        h = k if same else h * scale
        V = k @ c.Wt
        mean = (k @ c.weights[..., None])[..., 0] + c.constant[:, None]
        raw = c.prior[:, None] - np.einsum("gpn,gpn->gp", V, V)
        variance = np.maximum(raw, c.floor[:, None])
        value, u_, r = _log_improvement(mean, variance, c.level[:, None])
        v_m = r / np.sqrt(variance)
        v_s = np.where(raw < c.floor[:, None], 0.0, (1 - u_ * r) / (2 * variance))
        w = (V * (-2 * v_s)[..., None]) @ c.W
        w += v_m[..., None] * c.weights[:, None]
        wh = w * h
        slope = _towards(wh, c.Z, x)
        if order == 1:
            return value, slope * move, None
        h2 = k if same else h2 * scale
        J = h[:, :, None] * (-0.5 * c.Zt[:, None] - x[..., None])  # dk_j / dx, g p d n
        P = (J.reshape(len(J), -1, J.shape[-1]) @ c.Wt).reshape(J.shape)  # dV / dx
        g_m = (J @ c.weights[:, None, :, None])[..., 0]
        g_s = np.where((raw < c.floor[:, None])[..., None], 0.0, -2 * (P @ V[..., None])[..., 0])
        H = _second(w * h2, wh, c, x) - (2 * v_s)[..., None, None] * (P @ P.swapaxes(-1, -2))
        H += _outer(mean, variance, c.level[:, None], (value, u_, r), g_m, g_s)
        return value, slope * move, H * move[..., None] * move[:, :, None]


@dataclass(frozen=True, eq=False)
class _Group:
    """Some replicates, the rows that each asks for, and which of those are no repetition."""

    at: _Replicates
    rows: Array  # g p
    real: Array  # g p
    own: Array  # those of ``rows`` that are real


def _squares(x: Array, Zt: Array, z2: Array) -> Array:
    """Squared distances between scaled points ``... p d`` and observed ones ``... d n``."""
    r2 = x @ Zt
    r2 += np.einsum("...d,...d->...", x, x)[..., None]
    r2 += z2
    return np.maximum(r2, 0, out=r2)


def _log_improvement(mean: Array, variance: Array, level: Array) -> tuple[Array, Array, Array]:
    """log EI, u = (mean - level) / std, and the slope of log h there."""
    std = np.sqrt(variance)
    u = (mean - level) / std
    value, r = (v.numpy() for v in log_h_and_slope(torch.from_numpy(u)))
    return value + np.log(std), u, r


def _towards(w: Array, Z: Array, x: Array) -> Array:
    """sum_j w_j (z_j - x)."""
    g: Array = w @ Z
    g -= w.sum(-1)[..., None] * x
    return g


def _second(w2: Array, wh: Array, c: _Replicates, x: Array) -> Array:
    """sum_j w_j d2 k_j / dx dx = sum_j w2_j (z_j - x) (z_j - x)^T - sum_j wh_j I."""
    g, n, d = c.Z.shape
    ZZ = (c.Z[..., :, None] * c.Z[..., None, :]).reshape(g, n, d * d)
    H = (w2 @ ZZ).reshape(*w2.shape[:2], d, d)
    half = w2 @ c.Z - (0.5 * w2.sum(-1))[..., None] * x
    cross = x[..., :, None] * half[..., None, :]
    H -= cross
    H -= cross.swapaxes(-1, -2)
    i = np.arange(d)
    H[..., i, i] -= wh.sum(-1)[..., None]
    return H


def _outer(
    mean: Array,
    variance: Array,
    level: Array,
    at: tuple[Array, Array, Array],
    g_m: Array,
    g_s: Array,
) -> Any:
    """What the second derivatives of log EI in mean and variance contribute to its Hessian."""
    value, u, r = at
    std = np.sqrt(variance)
    log_h = (torch.from_numpy(v) for v in (u, value - np.log(std), r))
    bend = curvature_of_log_h(*log_h).numpy()
    again = u * bend + r
    v_mm, v_ms = bend / variance, -again / (2 * variance * std)
    v_ss = u * again / (4 * variance**2) - (1 - u * r) / (2 * variance**2)
    a = v_mm[..., None] * g_m + v_ms[..., None] * g_s
    b = v_ms[..., None] * g_m + v_ss[..., None] * g_s
    return a[..., :, None] * g_m[..., None, :] + b[..., :, None] * g_s[..., None, :]
