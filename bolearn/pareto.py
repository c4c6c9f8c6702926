r"""Fronts: which outcomes nothing else beats in every objective, and how much they dominate.

One outcome *dominates* another if it is at least as good in every objective and better in one. What
no other outcome dominates is the front. Its worth is the hypervolume, the part of outcome space
that lies below it and above a reference point,

    HV(Y) = volume of { z : ref <= z <= y for some y in Y }.

All objectives are maximised. Sets of outcomes have replicate axes ``*r n m``; rows that do not
count are masked out, for fronts differ in size.

Taught in part_6/tutorial_02.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .errors import DataError, ShapeError
from .shapes import check_mask, check_number, check_rank, check_same_device, check_tensor

# Elements of the largest table that is held at once: n x n numbers for each of some sets.
_ELEMENTS = 1 << 22


def is_non_dominated(
    Y: Float[Tensor, "*r n m"],
    observed: Bool[Tensor, "..."] | None = None,
    *,
    deduplicate: bool = False,
) -> Bool[Tensor, "*r n"]:
    """Which rows no other row dominates.

    Equal rows do not dominate each other: of a duplicated outcome all copies are on the front, or
    none is.

    Args:
        Y: outcomes, all maximised.
        observed: rows that count (feasible ones, say); the others are False and dominate nothing.
        deduplicate: keep only the first of equal rows.

    Raises:
        DataError: Y is not a finite float64 tensor where it counts.
        ShapeError: fewer than two axes, or a mask of another shape.

    Example:
        >>> Y = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
        >>> is_non_dominated(Y).tolist()
        [True, True, False, True]
        >>> is_non_dominated(Y, deduplicate=True).tolist()
        [True, True, False, False]
    """
    Y, observed = _check_outcomes(Y, observed)
    if observed is not None:
        Y = torch.where(observed.unsqueeze(-1), Y, 0.0)
    return non_dominated(Y.detach(), observed, deduplicate)


def non_dominated(
    Y: Float[Tensor, "*r n m"], observed: Bool[Tensor, "*r n"] | None, deduplicate: bool
) -> Bool[Tensor, "*r n"]:
    """`is_non_dominated` of sound outcomes: n x n truth values, never n x n x m."""
    n, m = Y.shape[-2:]
    no_worse = torch.ones(*Y.shape[:-2], n, n, dtype=torch.bool, device=Y.device)
    better = torch.zeros_like(no_worse)
    for k in range(m):  # [i, j]: j against i
        own, other = Y[..., :, None, k], Y[..., None, :, k]
        no_worse &= other >= own
        better |= other > own
    beaten = no_worse & better
    if deduplicate:
        earlier = torch.ones(n, n, dtype=torch.bool, device=Y.device).tril(-1)
        beaten |= no_worse & ~better & earlier
    if observed is None:
        return ~beaten.any(-1)
    beaten &= observed.unsqueeze(-2)
    return observed & ~beaten.any(-1)


def pack(
    Y: Float[Tensor, "*r n m"], keep: Bool[Tensor, "*r n"], filling: Float[Tensor, "..."] | float
) -> tuple[Float[Tensor, "*r k m"], Bool[Tensor, "*r k"]]:
    """The rows to keep in front, in their order; as many rows as the fullest set needs.

    ``filling`` broadcasts against ``*r k m`` and stands behind.
    """
    most = int(keep.sum(-1).max()) if keep.numel() else 0
    order = torch.argsort(~keep, dim=-1, stable=True)[..., : max(1, most)]
    kept = keep.gather(-1, order)
    rows = Y.gather(-2, order.unsqueeze(-1).expand(*order.shape, Y.shape[-1]))
    return torch.where(kept.unsqueeze(-1), rows, filling), kept


def front_above(
    Y: Float[Tensor, "*r n m"],
    ref_point: Float[Tensor, "*r m"],
    observed: Bool[Tensor, "*r n"] | None,
) -> Float[Tensor, "*r k m"]:
    """The outcomes that have hypervolume of their own, each once; the filling is at ``ref_point``.

    Rows that do not strictly exceed the reference point in every objective have none.
    """
    low = ref_point.unsqueeze(-2)
    if Y.shape[-2] == 0:
        return low
    above = (low < Y).all(-1)
    above = above if observed is None else above & observed
    raised = torch.where(above.unsqueeze(-1), Y, low)
    keep = non_dominated(raised.detach(), above, deduplicate=True)
    return pack(raised, keep, low)[0]


def infer_reference_point(
    Y: Float[Tensor, "*r n m"],
    observed: Bool[Tensor, "..."] | None = None,
    *,
    scale: float = 0.1,
) -> Float[Tensor, "*r m"]:
    """A reference point a little below the front: nadir - scale (ideal - nadir).

    The nadir is the worst value of each objective on the front, the ideal the best. Where the front
    does not vary in an objective (it may be a single point), the range of all data takes the place
    of its range; where the data do not vary either, the size of their value, or 1 if that is 0.

    Hypervolumes above different reference points do not compare: infer it once, from the initial
    data, or better take what a decision maker would not accept.

    Args:
        Y: outcomes, all maximised.
        observed: rows that count.
        scale: how far below, in widths of the front.

    Raises:
        DataError: Y is not finite, or no row counts in some replicate.
        ShapeError: fewer than two axes, or a mask of another shape.

    Example:
        >>> infer_reference_point(torch.tensor([[0.0, 2.0], [1.0, 0.0]]).double()).tolist()
        [-0.1, -0.2]

    Source: Ishibuchi et al., "Reference point specification in hypervolume calculation for fair
    comparison and efficient search", GECCO 2017; the rule for a single point is our own.
    """
    share = check_number("scale", scale, least=0.0)
    Y, observed = _check_outcomes(Y, observed)
    every = torch.ones(Y.shape[:-1], dtype=torch.bool, device=Y.device)
    every = every if observed is None else observed
    if not every.any(-1).all():
        raise DataError(
            "infer_reference_point: expected at least one row that counts in every replicate, got "
            "none; evaluate a point (a feasible one, if observed says so), or state the reference "
            "point yourself"
        )
    Y = torch.where(every.unsqueeze(-1), Y, 0.0)
    nadir, ideal = _ends(Y, non_dominated(Y.detach(), every, deduplicate=False))
    worst, best = _ends(Y, every)
    width = torch.where(ideal > nadir, ideal - nadir, best - worst)
    size = torch.where(nadir != 0, nadir.abs(), 1.0)
    return nadir - share * torch.where(width > 0, width, size)


def _ends(Y: Tensor, keep: Tensor) -> tuple[Float[Tensor, "*r m"], Float[Tensor, "*r m"]]:
    """The least and the largest value of each objective in the rows to keep."""
    rows = keep.unsqueeze(-1)
    low, high = (torch.where(rows, Y, fill) for fill in (torch.inf, -torch.inf))
    return low.amin(-2), high.amax(-2)


# -- hypervolume ---------------------------------------------------------------------------------


def hypervolume(
    Y: Float[Tensor, "*r n m"],
    ref_point: Float[Tensor, "..."],
    observed: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "*r"]:
    """The volume that outcomes dominate above a reference point; exact, for any number m.

    Dominated outcomes, duplicates and outcomes that do not exceed the reference point add nothing.
    Differentiable in Y and ref_point; where outcomes tie, a one-sided derivative.

    A sweep for m = 2; n sweeps in one operation for m = 3; beyond, exclusive volumes in slices
    (n^2 m for m = 4, much more for m = 6: some hundred points of the front are many there).

    Args:
        Y: outcomes, all maximised.
        ref_point: one for all replicates, ``m``, or one for each, ``*r m``.
        observed: rows that count.

    Raises:
        DataError: not finite float64 tensors.
        ShapeError: shapes that do not belong together.

    Example:
        >>> Y = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
        >>> hypervolume(Y, torch.zeros(2, dtype=torch.float64)).item()
        3.0

    Source: While, Bradstreet & Barone, "A fast way of calculating exact hypervolumes", IEEE Trans.
    Evolutionary Computation 16, 2012 (exclusive volumes).
    """
    Y, observed = _check_outcomes(Y, observed)
    ref = check_ref_point(ref_point, Y.shape[-1], Y.shape[:-2]).to(Y.device).unsqueeze(-2)
    if observed is not None:  # before the difference: whatever stands there has no derivative
        Y = torch.where(observed.unsqueeze(-1), Y, ref.detach())
    if Y.shape[-2] == 0:
        return Y.new_zeros(Y.shape[:-2])
    if Y.shape[-1] == 2:
        return _Area.apply(Y, ref)  # type: ignore[no-any-return, no-untyped-call]
    gain = (Y - ref).clamp(min=0)
    volume = _volume(gain.reshape(-1, *gain.shape[-2:]))
    return volume.reshape(gain.shape[:-2])


def _volume(Z: Float[Tensor, "b n m"]) -> Float[Tensor, "b"]:
    """Volume between 0 and the rows, none of them negative."""
    n, m = Z.shape[-2:]
    if m == 1:
        return Z[..., 0].amax(-1)
    if m == 2:
        return _Area.apply(Z, Z.new_zeros(1, 2))  # type: ignore[no-any-return, no-untyped-call]
    by = _by_sweeps if m == 3 else _by_slices
    return _in_parts(by, Z, max(1, _ELEMENTS // n**2))


def _in_parts(f: Callable[[Tensor], Tensor], Z: Tensor, size: int) -> Tensor:
    """f of so many sets at a time."""
    return f(Z) if len(Z) <= size else torch.cat([f(part) for part in Z.split(size)])


def _descending(Z: Float[Tensor, "*b n m"], k: int) -> Float[Tensor, "*b n m"]:
    order = Z[..., k].argsort(dim=-1, descending=True, stable=True)
    return Z.gather(-2, order.unsqueeze(-1).expand(Z.shape))


def _drops(v: Float[Tensor, "*s n"]) -> Float[Tensor, "*s n"]:
    """v_i - v_{i+1}, the last minus 0."""
    return v - torch.nn.functional.pad(v[..., 1:], (0, 1))


def area_reference(Z: Float[Tensor, "*b n 2"]) -> Float[Tensor, "*b"]:
    """Sum of (x_i - x_{i+1}) max(y_1, ..., y_i) over rows by descending x."""
    Z = _descending(Z, 0)
    return (_drops(Z[..., 0]) * Z[..., 1].cummax(-1).values).sum(-1)


class _Area(torch.autograd.Function):
    """`area_reference` above ref, with derivatives: a step's height for x, its width for y."""

    @staticmethod
    def forward(ctx: Any, Y: Tensor, ref: Tensor) -> Tensor:
        gain = (Y - ref).clamp_(min=0)
        x, order = gain[..., 0].sort(dim=-1, descending=True)
        top, at = gain[..., 1].gather(-1, order).cummax(-1)
        width = x.clone()
        width[..., :-1] -= x[..., 1:]
        if any(ctx.needs_input_grad):
            # x_i moves the edge between the steps i - 1 and i; y_i is the height of some steps
            g = torch.zeros_like(gain)
            rise = top.clone()
            rise[..., 1:] -= top[..., :-1]
            g[..., 0].scatter_(-1, order, rise)
            g[..., 1].scatter_add_(-1, order.gather(-1, at), width)
            ctx.save_for_backward(Y, ref, g.masked_fill_(gain == 0, 0.0))
        total: Tensor = (width * top).sum(-1)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        Y, ref, g = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the reference
            wanted = [v for v in (Y, ref) if v.requires_grad]
            value = area_reference((Y - ref).clamp(min=0))
            slow = iter(torch.autograd.grad(value, wanted, grads, create_graph=True))
            return tuple(next(slow) if v.requires_grad else None for v in (Y, ref))  # type: ignore[return-value]
        g = grads[0][..., None, None] * g
        return g, -g.sum(-2, keepdim=True)


def _by_sweeps(Z: Float[Tensor, "b n 3"]) -> Float[Tensor, "b"]:
    """Slabs between neighbouring heights, each times the area of all rows that reach above it."""
    Z = _descending(Z, 0)
    heights, order = Z[..., 2].sort(dim=-1, descending=True, stable=True)
    rank = order.argsort(-1)
    reaches = rank.unsqueeze(-2) <= torch.arange(Z.shape[-2], device=Z.device).unsqueeze(-1)
    # Row i is the sweep of `area_reference` over the i + 1 tallest, the others lying flat
    top = torch.where(reaches, Z[..., None, :, 1], 0.0).cummax(-1).values
    area = (top @ _drops(Z[..., 0]).unsqueeze(-1)).squeeze(-1)
    return (_drops(heights) * area).sum(-1)


def _by_slices(Z: Float[Tensor, "b n m"]) -> Float[Tensor, "b"]:
    """sum_i z_im (prod_{k<m} z_ik - HV_{m-1}({min(z_j, z_i): j before i})), by descending z_m.

    What row i adds to the taller ones lies below it in the last objective: a slice of its height,
    whose base is its own minus what they cover of it.
    """
    Z = pack(Z, non_dominated(Z.detach(), (Z > 0).all(-1), deduplicate=True), 0.0)[0]
    Z = _descending(Z, -1)
    n, m = Z.shape[-2:]
    base = Z[..., : m - 1]
    limits = torch.minimum(base.unsqueeze(-3), base.unsqueeze(-2))  # [i, j]
    before = torch.ones(n, n, dtype=torch.bool, device=Z.device).tril(-1)
    limits = torch.where(before.unsqueeze(-1), limits, 0.0).flatten(0, 1)  # b n sets of n
    covered = _ragged(limits).view(-1, n)
    return (Z[..., -1] * (base.prod(-1) - covered)).sum(-1)


def _ragged(sets: Float[Tensor, "b n m"]) -> Float[Tensor, "b"]:
    """Volumes of many sets of very different sizes, those of about one size together."""
    flat, n = sets.detach(), sets.shape[-2]

    def is_needed(Z: Tensor) -> Tensor:
        return non_dominated(Z, (Z > 0).all(-1), deduplicate=True)

    keep = _in_parts(is_needed, flat, max(1, _ELEMENTS // n**2))
    count, order = keep.sum(-1).sort()
    volumes = [sets.new_zeros(int((count == 0).sum()))]
    done = len(volumes[0])
    while done < len(order):
        size = int(count[done])
        end = int((count <= size + max(1, size // 2)).sum())
        rows = order[done:end]
        volumes.append(_volume(pack(sets[rows], keep[rows], 0.0)[0]))
        done = end
    return torch.cat(volumes)[order.argsort()]


# -- checks --------------------------------------------------------------------------------------


def _check_outcomes(Y: object, observed: object) -> tuple[Tensor, Tensor | None]:
    """Outcomes ``*r n m`` and the rows that count.

    Raises:
        DataError: not a finite float64 tensor where it counts.
        ShapeError: fewer than two axes, no objective, or a mask of another shape.
    """
    outcomes = check_tensor("Y", Y, finite=observed is None)
    check_rank("Y", outcomes, 2, "*r n m")
    if outcomes.shape[-1] == 0:
        raise ShapeError(f"Y: expected at least one objective, got shape {tuple(outcomes.shape)}")
    if observed is None:
        return outcomes, None
    mask = check_mask(observed)
    check_same_device(Y=outcomes, observed=mask)
    if mask.shape != outcomes.shape[:-1]:
        raise ShapeError(
            f"observed: expected shape *r n = {tuple(outcomes.shape[:-1])}, got {tuple(mask.shape)}"
        )
    if not torch.isfinite(outcomes.detach()[mask]).all():
        raise DataError(
            "Y: expected finite numbers in the rows that count, got others; set observed to False "
            "there"
        )
    return outcomes, mask


def check_ref_point(
    ref_point: object, m: int, replicates: torch.Size | tuple[int, ...]
) -> Float[Tensor, "*r m"]:
    """Check a reference point, ``m`` or ``*r m``; returned with all replicate axes.

    Raises:
        DataError: not a finite float64 tensor.
        ShapeError: not one number for each objective, or does not fit the replicates.
    """
    ref = check_tensor("ref_point", ref_point)
    r = tuple(replicates)
    if ref.ndim == 0 or ref.shape[-1] != m or tuple(ref.shape[:-1]) not in ((), r):
        raise ShapeError(
            f"ref_point: expected one number for each of {m} objectives, shape {(m,)}"
            + (f" or {(*r, m)}" if r else "")
            + f", got {tuple(ref.shape)}"
        )
    return ref.expand(*r, m)
