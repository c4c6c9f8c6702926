r"""How much hypervolume q outcomes add, in log space: a sum over boxes, fused with its derivative.

Over disjoint boxes [l_c, u_c] of what a front does not dominate, a point y adds

    HVI(y) = sum_c prod_k min( max(0, y_k - l_ck), u_ck - l_ck ),

and q points add the volume of the *union* of what each adds: by inclusion and exclusion, the sum
over subsets A of (-1)^(|A| + 1) times the same with min_{j in A} y_jk for y_k. Everything is a
logarithm, with smooth maxima and minima whose tails are fat: a point far below the front still has
a slope.

Rows are replicates, the samples innermost: ``R k q t s`` holds k objectives of t sets of q points.
`log_improvement_reference` says the same in a few lines; the fused form takes the improvement once
for each point and box, not once for each subset, and works on blocks that stay in the cache.

Taught in part_6/tutorial_02.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..boxes import Boxes
from ..numerics import TAU_RELU, fatmax, log1mexp, log_fatplus, logmeanexp

TAU_MIN = 1e-3
"""Smoothing of minima over q and with the sides of boxes, on the log scale; BoTorch's."""
# Sides without end are this long, in output scales; an empty side has the length e^-700.
_LONGEST, _LOG_SHORTEST = 1e10, -700.0
# Elements of one temporary of a block; there are some ten of them.
_BLOCK = {"cpu": 1 << 16}
_LARGE_BLOCK = 1 << 24


@dataclass(frozen=True, eq=False)
class Cells:
    """Boxes as the improvement sees them: units of the objectives' scales, samples last."""

    lower: Float[Tensor, "R k c #s"]
    log_length: Float[Tensor, "R k c #s"]
    bounded: tuple[bool, ...]  # by objective: whether some box ends in it
    log_scale: Float[Tensor, "R 1"]  # of all objectives together

    @staticmethod
    def of(boxes: Boxes, scale: Float[Tensor, "R k"]) -> "Cells":
        """From boxes ``s R c k`` in units of ``scale``."""
        lower, upper = (v.permute(1, 3, 2, 0).contiguous() for v in boxes)
        length = (upper - lower).clamp(min=0, max=_LONGEST).log().clamp(min=_LOG_SHORTEST)
        bounded = torch.isfinite(upper).any(0).flatten(1).any(-1)
        log_scale = scale.log().sum(-1, keepdim=True)
        return Cells(lower, length, tuple(bounded.tolist()), log_scale)


def subsets(q: int) -> list[tuple[int, ...]]:
    """All but the empty one, the small ones first."""
    return [A for size in range(1, q + 1) for A in itertools.combinations(range(q), size)]


def log_improvement_reference(
    y: Float[Tensor, "R k q t s"], log_weight: Float[Tensor, "R q t s"] | None, cells: Cells
) -> Float[Tensor, "R t"]:
    """log of the mean over s of the hypervolume that q weighted points add, for autograd."""
    lower, length = (v[:, :, None, None] for v in (cells.lower, cells.log_length))
    gain = log_fatplus(y.unsqueeze(-2) - lower)  # R k q t c s
    odd: list[Tensor] = []
    even: list[Tensor] = []
    for A in subsets(y.shape[2]):
        side = -fatmax(-gain[:, :, list(A)], dim=2, tau=TAU_MIN)
        both = torch.stack(torch.broadcast_tensors(side, length.squeeze(2)))
        area = -fatmax(-both, dim=0, tau=TAU_MIN).sum(1)  # R t c s
        if log_weight is not None:
            area = area + log_weight[:, list(A)].sum(1).unsqueeze(-2)
        (odd if len(A) % 2 else even).append(area)
    cell = torch.logsumexp(torch.stack(odd), 0)
    if even:
        cell = cell + log1mexp(torch.logsumexp(torch.stack(even), 0) - cell)
    return logmeanexp(torch.logsumexp(cell, -2), -1) + cells.log_scale


class LogImprovement(torch.autograd.Function):
    """`log_improvement_reference` in blocks, with derivatives computed on the way."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, log_weight: Tensor | None, cells: Cells) -> Tensor:
        wanted = any(ctx.needs_input_grad)
        value, g_y, g_w = log_improvement(y, log_weight, cells, wanted)
        ctx.cells = cells
        ctx.save_for_backward(y, log_weight, g_y, g_w)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        y, log_weight, g_y, g_w = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the reference
            given = [v for v in (y, log_weight) if v is not None and v.requires_grad]
            value = log_improvement_reference(y, log_weight, ctx.cells)
            slow = iter(torch.autograd.grad(value, given, grads, create_graph=True))
            first, second = (
                next(slow) if v is not None and v.requires_grad else None for v in (y, log_weight)
            )
            return first, second, None
        g = grads[0]
        return (
            g[:, None, None, :, None] * g_y,
            g_w if g_w is None else g[:, None, :, None] * g_w,
            None,
        )


def log_improvement(
    y: Float[Tensor, "R k q t s"],
    log_weight: Float[Tensor, "R q t s"] | None,
    cells: Cells,
    wanted: bool,
) -> tuple[
    Float[Tensor, "R t"], Float[Tensor, "R k q t s"] | None, Float[Tensor, "R q t s"] | None
]:
    """The value and, if wanted, its derivatives in y and in the log weights.

    Source: Ament et al., "Unexpected improvements to expected improvement", NeurIPS 2023, appendix
    A.5, arXiv:2310.20708; Daulton et al. 2020, equation 3, arXiv:2006.05078.
    """
    R, _, q, t, s = y.shape
    size = _BLOCK.get(y.device.type, _LARGE_BLOCK)
    step = max(1, size // (q * cells.lower.shape[2] * s))
    each = y.new_empty(R, t, s)
    g_y = torch.empty_like(y) if wanted else None
    g_w = torch.empty_like(log_weight) if wanted and log_weight is not None else None
    # Improvements in units of tau
    y, low = y * (1 / TAU_RELU), cells.lower * (1 / TAU_RELU)
    length = cells.log_length - math.log(TAU_RELU)
    for r, i in itertools.product(range(R), range(0, t, step)):
        p = slice(i, i + step)
        w = None if log_weight is None else log_weight[r, :, p]
        each[r, p], of_y, of_w = _block(y[r, :, :, p], w, low[r], length[r], cells.bounded, wanted)
        if g_y is not None and of_y is not None:
            g_y[r, :, :, p] = of_y
        if g_w is not None and of_w is not None:
            g_w[r, :, p] = of_w
    top = each.amax(-1, keepdim=True)
    share = each.sub_(top).exp_()
    total = share.sum(-1, keepdim=True)
    value = (total.log() + top).squeeze(-1) + (
        len(cells.bounded) * math.log(TAU_RELU) - math.log(s)
    )
    share.div_(total)
    if g_y is not None:
        g_y.mul_(share[:, None, None]).mul_(1 / TAU_RELU)
    if g_w is not None:
        g_w.mul_(share[:, None])
    return value + cells.log_scale, g_y, g_w


def _block(
    y: Float[Tensor, "k q t s"],
    log_weight: Float[Tensor, "q t s"] | None,
    low: Float[Tensor, "k c #s"],
    length: Float[Tensor, "k c #s"],
    bounded: Sequence[bool],
    wanted: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """log of what each sample adds, ``t s``, and its derivatives in y and the log weights."""
    q = y.shape[1]
    gains, slopes = zip(
        *(_log_fatplus(y[k].unsqueeze(-2) - low[k], wanted) for k in range(len(y))), strict=True
    )
    terms = []
    for A in subsets(q):
        area: Tensor | None = None
        ways = []
        for k, gain in enumerate(gains):
            side, shares = _fatmin([gain[j] for j in A], wanted)
            capped = None
            if bounded[k]:
                side, capped = _capped(side, length[k], wanted)
            area = side.clone() if area is None else area.add_(side)
            ways.append((shares, capped))
        assert area is not None
        if log_weight is not None:
            area.add_(log_weight[list(A)].sum(0).unsqueeze(-2))
        terms.append((A, area, ways))
    cell, parts = _signed_sum(terms, q, wanted)
    top = cell.amax(-2, keepdim=True)
    weight = cell.sub_(top).exp_()
    total = weight.sum(-2, keepdim=True)
    value = (total.log() + top).squeeze(-2)
    if not wanted:
        return value, None, None
    weight.div_(total)
    g_w = None if log_weight is None else torch.zeros_like(log_weight)
    pulled = [torch.zeros_like(gain) for gain in gains]  # into each gain, k of q t c s
    for (A, _, ways), part in zip(terms, parts, strict=True):
        g_area = weight if part is None else part.mul_(weight)
        if g_w is not None:
            g_w[list(A)] += g_area.sum(-2)
        for k, (shares, capped) in enumerate(ways):
            g_side = g_area if capped is None else capped.mul_(g_area)
            if shares is None:
                pulled[k][A[0]] += g_side
                continue
            for j, share in zip(A, shares, strict=True):
                pulled[k][j].addcmul_(g_side, share)
    into_y = [g.mul_(slope).sum(-2) for g, slope in zip(pulled, slopes, strict=True)]
    return value, torch.stack(into_y), g_w


def _signed_sum(
    terms: list[tuple[tuple[int, ...], Tensor, Any]], q: int, wanted: bool
) -> tuple[Tensor, list[Tensor | None]]:
    """log of the union's area ``t c s``, and its derivative in each subset's log area."""
    if q == 1:
        return terms[0][1], [None]
    top = torch.stack([area for _, area, _ in terms[:q]]).amax(0)
    total = torch.zeros_like(top)
    parts = [area.sub_(top).exp_() for _, area, _ in terms]
    for (A, _, _), part in zip(terms, parts, strict=True):
        total.add_(part, alpha=1.0 if len(A) % 2 else -1.0)
    total.clamp_(min=1e-300)  # the union is no less than its largest member; rounding may say so
    if wanted:
        for (A, _, _), part in zip(terms, parts, strict=True):
            part.div_(total if len(A) % 2 else -total)
    return total.log().add_(top), list(parts)


def _log_fatplus(z: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """`numerics.log_fatplus` in units of tau, and its derivative; z is overwritten."""
    c = (z * z).add_(1).reciprocal_()
    # exp is slow where its result is denormal; exp(-600) is no less negligible
    f = z.abs().clamp_(max=600).neg_().exp_().log1p_().add_(z.clamp(min=0)).add_(c, alpha=0.1)
    slope = None
    if wanted:
        slope = torch.sigmoid(z).sub_(c.square_().mul_(z), alpha=0.2).div_(f)
    return f.log_(), slope


def _fatmin(parts: list[Tensor], wanted: bool) -> tuple[Tensor, list[Tensor] | None]:
    """-fatmax(-x), and the share that each part has in its derivative."""
    if len(parts) == 1:
        return parts[0], None
    if len(parts) == 2:
        value, share = _capped(parts[0], parts[1], wanted)
        return value, None if share is None else [share, 1 - share]
    least = parts[0]
    for part in parts[1:]:
        least = torch.minimum(least, part)
    gaps = [(part - least).mul_(1 / TAU_MIN).add_(1) for part in parts]
    heights = [2 / gap.square().add_(1) for gap in gaps]
    total = heights[0].clone()
    for height in heights[1:]:
        total.add_(height)
    value = least - total.log().mul_(TAU_MIN)
    if not wanted:
        return value, None
    # what the others lose by a smaller minimum goes to the least, equally if there are several
    shares = [h.square_().mul_(gap).div_(total) for h, gap in zip(heights, gaps, strict=True)]
    is_least = [(gap == 1).to(least.dtype) for gap in gaps]
    rest, count = torch.ones_like(least), torch.zeros_like(least)
    for share, own in zip(shares, is_least, strict=True):
        rest.sub_(share.mul_(1 - own))  # one less: that of the least is what the others leave
        count.add_(own)
    rest.div_(count)
    return value, [share.addcmul_(own, rest) for share, own in zip(shares, is_least, strict=True)]


def _capped(side: Tensor, length: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """The smooth minimum of two, and its derivative in the first; that in the other is the rest."""
    gap = (side - length).mul_(1 / TAU_MIN)
    x = gap.abs().add_(1)
    p = x.square().add_(1).mul_(0.5).reciprocal_()
    value = torch.minimum(side, length).sub_(torch.log1p(p), alpha=TAU_MIN)
    if not wanted:
        return value, None
    larger = p.square().mul_(x).div_(p.add_(1))  # the larger one's share
    return value, torch.where(gap <= 0, 1 - larger, larger)
