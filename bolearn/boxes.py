r"""Boxes: what no point of a front dominates, cut into disjoint boxes.

The hypervolume that a new outcome adds is the volume below it, above the reference point and not
yet dominated. Over boxes (l, u) that part of outcome space is a sum of products,

    HVI(y) = sum_c prod_k max(0, min(y_k, u_ck) - l_ck),

which is differentiable in y and has a closed form for a Gaussian y: every hypervolume acquisition
starts from here. For two objectives the boxes are strips between neighbours of the front.

Taught in part_6/tutorial_02.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .pareto import _check_outcomes, check_ref_point, front_above


class Boxes(NamedTuple):
    """Disjoint boxes, ``*r c m`` each; sides without an end have the upper bound infinity.

    Replicates need different numbers of boxes: behind theirs stand boxes without volume.
    """

    lower: Float[Tensor, "*r c m"]
    upper: Float[Tensor, "*r c m"]


def box_decomposition(
    Y: Float[Tensor, "*r n m"],
    ref_point: Float[Tensor, "..."],
    observed: Bool[Tensor, "..."] | None = None,
) -> Boxes:
    """The region above ``ref_point`` that no outcome dominates, as disjoint boxes.

    n + 1 boxes for a front of n points and m = 2, 2 n + 1 for m = 3. Beyond, boxes are split by
    one point after another and joined where they share a face: about 90, 160 and 245 boxes for 15,
    12 and 10 points and m = 4, 5 and 6.

    Args:
        Y: outcomes, all maximised; dominated ones, duplicates and those that do not exceed the
            reference point change nothing.
        ref_point: one for all replicates, ``m``, or one for each, ``*r m``.
        observed: rows that count.

    Raises:
        DataError: not finite float64 tensors.
        ShapeError: shapes that do not belong together.

    Example:
        >>> Y = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> boxes = box_decomposition(Y, torch.zeros(2, dtype=torch.float64))
        >>> boxes.lower.tolist(), boxes.upper.tolist()
        ([[1.0, 0.0], [0.0, 2.0]], [[inf, inf], [1.0, inf]])

    Source: Daulton, Balandat & Bakshy, "Differentiable expected hypervolume improvement for
    parallel multi-objective Bayesian optimization", NeurIPS 2020, arXiv:2006.05078, section 3;
    Yang et al., "Efficient computation of expected hypervolume improvement using box decomposition
    algorithms", J. Global Optimization 75, 2019, arXiv:1904.12672 (the sweep for m = 3).
    """
    Y, observed = _check_outcomes(Y, observed)
    ref = check_ref_point(ref_point, Y.shape[-1], Y.shape[:-2]).to(Y.device)
    with torch.no_grad():
        return boxes_above(front_above(Y, ref, observed), ref)


def boxes_above(front: Float[Tensor, "*r n m"], ref: Float[Tensor, "*r m"]) -> Boxes:
    """The same from a front without duplicates whose filling is at ``ref``."""
    m = front.shape[-1]
    cut = {1: _ray, 2: _strips, 3: _sweep}.get(m, _split)
    lower, upper = cut(front.reshape(-1, *front.shape[-2:]), ref.reshape(-1, m))
    return Boxes(*(v.reshape(*front.shape[:-2], -1, m) for v in (lower, upper)))


def _ray(Z: Float[Tensor, "b n 1"], ref: Float[Tensor, "b 1"]) -> tuple[Tensor, Tensor]:
    lower = Z.amax(-2, keepdim=True)
    return lower, torch.full_like(lower, torch.inf)


def _descending(Z: Tensor, key: Float[Tensor, "b n"]) -> Tensor:
    order = key.argsort(dim=-1, descending=True, stable=True)
    return Z.gather(-2, order.unsqueeze(-1).expand(Z.shape))


def _strips(Z: Float[Tensor, "b n 2"], ref: Float[Tensor, "b 2"]) -> tuple[Tensor, Tensor]:
    """One strip to the right of the front, one between each two neighbours, one to the left."""
    Z = _descending(Z, Z[..., 0])
    x, y, low = Z[..., 0], Z[..., 1].cummax(-1).values, ref.unsqueeze(-1)
    endless = torch.full_like(low[:, 0], torch.inf)
    left, right = torch.cat([x, low[:, 0]], -1), torch.cat([endless, x], -1)
    bottom = torch.cat([low[:, 1], y], -1)
    top = torch.full_like(bottom, torch.inf)
    return torch.stack([left, bottom], -1), torch.stack([right, top], -1)


def _sweep(Z: Float[Tensor, "b n 3"], ref: Float[Tensor, "b 3"]) -> tuple[Tensor, Tensor]:
    """From the tallest point down: strips of the first two objectives, each open for some heights.

    At height z the region is a staircase of strips [left, right) above a bottom. A point closes
    those that it reaches into and opens at most two: one below it, and what is left of the last
    one it cut. Box 0 is the whole; point k opens the boxes 2 k + 1 and 2 k + 2.
    """
    Z = _descending(Z, Z[..., 2])
    b, n = Z.shape[:2]
    lower = ref.unsqueeze(1).repeat(1, 2 * n + 1, 1)
    upper = torch.full_like(lower, torch.inf)
    upper[:, 1:, 0] = lower[:, 1:, 0]  # not open yet: without width
    is_open = torch.zeros(b, 2 * n + 1, dtype=torch.bool, device=Z.device)
    is_open[:, 0] = True
    (left, bottom, floor), right = lower.unbind(-1), upper[..., 0]  # views
    for k in range(n):
        x, y, z = Z[:, k].unbind(-1)
        used = slice(0, 2 * k + 1)
        cut = is_open[:, used] & (left[:, used] < x[:, None]) & (bottom[:, used] < y[:, None])
        cut &= (z > ref[:, 2]).unsqueeze(-1)
        some = cut.any(-1)
        floor[:, used] = torch.where(cut, z.unsqueeze(-1), floor[:, used])
        is_open[:, used] &= ~cut
        first = torch.where(cut, left[:, used], torch.inf).amin(-1)
        last = torch.where(cut, right[:, used], -torch.inf).amax(-1)
        at_last = cut & (right[:, used] == last.unsqueeze(-1))
        rest = torch.where(at_last, bottom[:, used], -torch.inf).amax(-1)
        for i, opened, sides in (
            (2 * k + 1, some, (first, x, y)),
            (2 * k + 2, some & (last > x), (x, last, rest)),
        ):
            for side, value in zip((left, right, bottom), sides, strict=True):
                side[:, i] = torch.where(opened, value, side[:, i])
            upper[:, i, 2], is_open[:, i] = z, opened
    return lower, upper


# -- four objectives and more --------------------------------------------------------------------


def _split(Z: Float[Tensor, "b n m"], ref: Float[Tensor, "b m"]) -> tuple[Tensor, Tensor]:
    """Insert one point after another: what it dominates of a box is cut away, in up to m parts.

    Points with much volume first: they leave few boxes for the others to split.
    """
    m, low = Z.shape[-1], ref.unsqueeze(1)
    counts = (low < Z).all(-1)
    gain = torch.where(counts, (Z - low).clamp(min=0).log().sum(-1), -torch.inf)
    Z = _descending(Z, gain)
    lower, upper = low.clone(), torch.full_like(low, torch.inf)
    keep = torch.ones(lower.shape[:2], dtype=torch.bool, device=Z.device)
    for p in Z.split(1, dim=1):
        hit = keep & (lower < p).all(-1)
        if not hit.any():
            continue
        inner, outer, own = _compact(lower, upper, hit)
        parts = [(lower, upper, keep & ~hit)]
        for k in reversed(range(m)):  # above p in objective k, below it in those after k
            start = inner.clone()
            start[..., k] = p[..., k]
            parts.append((start, outer, own & (outer[..., k] > p[..., k])))
            outer = outer.clone()
            outer[..., k] = torch.minimum(outer[..., k], p[..., k])
        lower, upper, keep = (torch.cat(v, 1) for v in zip(*parts, strict=True))
        lower, upper, keep = _compact(lower, upper, keep)
    for k in (*range(m), *range(m)):
        lower, upper, keep = _join(lower, upper, keep, k)
    sound = keep.unsqueeze(-1)
    return torch.where(sound, lower, low), torch.where(sound, upper, low)


def _compact(lower: Tensor, upper: Tensor, keep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes to keep in front; as many as the fullest replicate needs."""
    order = torch.argsort(~keep, dim=-1, stable=True)[..., : max(1, int(keep.sum(-1).max()))]
    rows = order.unsqueeze(-1).expand(*order.shape, lower.shape[-1])
    return lower.gather(1, rows), upper.gather(1, rows), keep.gather(1, order)


def _join(lower: Tensor, upper: Tensor, keep: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Join boxes that share a whole face across objective k.

    Sorted by their other sides and then by their lower bound in k, such boxes are neighbours. Sort
    keys are sums of the sides with irrational weights; equality itself is checked.
    """
    others = [j for j in range(lower.shape[-1]) if j != k]
    sides = torch.cat([lower[..., others], upper[..., others]], -1)
    sound = torch.isfinite(sides) & keep.unsqueeze(-1)
    least = torch.where(sound, sides, torch.inf).amin(1, keepdim=True)
    width = torch.where(sound, sides, -torch.inf).amax(1, keepdim=True) - least
    least = torch.where(torch.isfinite(least), least, 0.0)
    width = torch.where(width > 0, width, 1.0)
    weights = torch.arange(2, 2 + sides.shape[-1], device=lower.device).to(lower).sqrt()
    key = (((sides - least) / width).clamp(max=2.0) * weights).sum(-1)
    by_bound = torch.where(keep, lower[..., k], torch.inf).argsort(dim=-1, stable=True)
    key = torch.where(keep, key, torch.inf).gather(1, by_bound)
    order = by_bound.gather(1, key.argsort(dim=-1, stable=True))
    rows = order.unsqueeze(-1).expand(lower.shape)
    lower, upper, keep = lower.gather(1, rows), upper.gather(1, rows), keep.gather(1, order)
    same = (lower[:, 1:, others] == lower[:, :-1, others]).all(-1)
    same &= (upper[:, 1:, others] == upper[:, :-1, others]).all(-1)
    same &= (lower[:, 1:, k] == upper[:, :-1, k]) & keep[:, 1:] & keep[:, :-1]
    follows = torch.nn.functional.pad(same, (1, 0))
    run = (~follows).long().cumsum(-1) - 1
    ends = torch.full_like(key, -torch.inf).scatter_reduce(1, run, upper[..., k], "amax")
    upper = upper.clone()
    upper[..., k] = ends.gather(1, run)
    return _compact(lower, upper, keep & ~follows)
