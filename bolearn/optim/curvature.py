"""What past steps tell of the curvature: BFGS's inverse Hessian, kept for every row.

It is begun anew in every iteration from the identity times s.y / y.y of the newest pair: a scale
that is never renewed is that of the cliff a run may have started on, in all directions not explored
since. With many variables H g comes from the last pairs by the two-loop recursion. With few, H is
kept as two matrices, scale * A + B, at a fifth of the operations. While no bound is active and no
more pairs are remembered than the recursion takes, both are the same; at a bound the matrices are
conditioned on the variables held there, the pairs lose those entries.

Taught in part_2/tutorial_05.
"""

import numpy as np
import torch

from .arrays import Array, all_agree, dot, namespace

_FEW = 10  # variables up to which H is kept as a matrix; beyond, it is made of pairs ...
_MEMORY = 10  # ... and of so many


def nothing_known(x: Array) -> Array:
    """The memory of rows that have made no step."""
    xp, D = namespace(x), len(x)
    if D > _FEW:
        return xp.stack([xp.zeros_like(x)[None]] * 2)
    A = xp.zeros_like(x)[None] + (xp.eye(D) if xp is np else torch.eye(D).to(x))[..., None]
    return xp.stack([A, xp.zeros_like(A)])


def remember(memory: Array, scale: Array, s: Array, y: Array, curved: Array) -> tuple[Array, Array]:
    """The memory and the scale after one more pair, in the rows where it shows curvature."""
    xp = namespace(s)
    sy, yy = dot(s, y), dot(y, y)
    scale = xp.where(curved, sy / xp.where(curved, yy, 1.0), scale)
    if len(s) > _FEW:
        if memory.shape[1] < _MEMORY:
            memory = xp.concatenate([xp.zeros_like(memory[:, :1]), memory], 1)
        pushed = xp.concatenate([memory[:, 1:], xp.stack([s, y])[:, None]], 1)
        return pushed if all_agree(curved) else xp.where(curved, pushed, memory), scale
    # H <- V^T H V + rho s s^T, V = I - rho y s^T. V^T M V = M + s u^T + u s^T for M = A and M = B,
    # with u = rho (rho (y.My) / 2 s - My); B also gets rho s s^T, half in each term (the 0.5).
    rho = curved / xp.where(curved, sy, 1.0)
    Hy = dot(memory, y)
    half = 0.5 * rho * dot(Hy, y)
    half[1] += 0.5
    u = rho * (half[:, None] * s - Hy)
    outer = s[:, None] * u[:, None]
    return memory + outer + outer.swapaxes(1, 2), scale


def product(memory: Array, scale: Array, g: Array, free: Array | None = None) -> Array:
    """H g, or its free part from what is known of the free variables."""
    if len(g) > _FEW:
        S, Y = memory if free is None else memory * free
        return _two_loops(g, S, Y, scale)
    H = scale * memory[0] + memory[1]
    if free is not None:
        H = _held(H, ~free)
    return dot(H, g)


def _held(H: Array, held: Array) -> Array:
    """The inverse Hessian of the other variables while some are held: H_ff - H_fh H_hh^-1 H_hf.

    One variable after the other: what conditioning is to a covariance matrix.
    """
    for i in range(len(H)):
        if isinstance(held, np.ndarray) and not held[i].any():
            continue
        weight = held[i] / namespace(H).where(held[i], H[i, i], 1.0)
        H = H - (weight * H[i])[:, None] * H[i]
    return H


def _two_loops(g: Array, S: Array, Y: Array, scale: Array) -> Array:
    """H g by the limited-memory BFGS recursion; pairs without positive curvature count as absent.

    Source: Nocedal & Wright 2006, algorithm 7.4.
    """
    sy = dot(S, Y)
    usable = sy > 1e-9 * (dot(S, S) * dot(Y, Y)) ** 0.5
    rho = usable / namespace(g).where(usable, sy, 1.0)
    q, alphas = g, []
    pairs = list(zip(S, Y, rho, strict=True))
    for s, y, r_i in reversed(pairs):
        alphas.append(r_i * dot(s, q))
        q = q - alphas[-1] * y
    r = q * scale
    for (s, y, r_i), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + (alpha - r_i * dot(y, r)) * s
    return r
