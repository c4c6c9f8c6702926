r"""Attainment: which outcomes a method reaches, and in how many of its runs.

A run ends with a front. It *attains* an outcome z if some point of the front is at least as good in
every objective. Over R runs, the share that attains z is the empirical attainment function; where
it passes 1/2 lies the median attainment surface, the front of a typical run, and between the
surfaces of 1/4 and 3/4 half of all runs. One hypervolume per run says how much is dominated; the
surfaces say where.

Taught in part_6/tutorial_02.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .errors import ShapeError
from .pareto import _check_outcomes
from .shapes import check_number, check_tensor


def attainment(
    Y: Float[Tensor, "r n m"],
    Z: Float[Tensor, "g m1"],
    observed: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "g"]:
    """The share of r runs with an outcome at least as good as Z in every objective.

    Args:
        Y: outcomes of r runs, all maximised.
        Z: outcomes to ask about.
        observed: rows that count, ``r n``.

    Raises:
        DataError: not finite float64 tensors.
        ShapeError: shapes that do not belong together.

    Example:
        >>> Y = torch.tensor([[[1.0, 2.0]], [[2.0, 1.0]]], dtype=torch.float64)
        >>> attainment(Y, torch.tensor([[1.0, 1.0], [1.0, 2.0]], dtype=torch.float64)).tolist()
        [1.0, 0.5]

    Source: Grunert da Fonseca, Fonseca & Hall, "Inferential performance assessment of stochastic
    optimisers and the attainment function", EMO 2001.
    """
    Y, observed = _check_runs(Y, observed)
    check_tensor("Z", Z)
    if Z.shape[-1] != Y.shape[-1]:
        raise ShapeError(f"Z: expected shape g m with m = {Y.shape[-1]}, got {tuple(Z.shape)}")
    reached = torch.ones(len(Y), len(Z), Y.shape[1], dtype=torch.bool, device=Y.device)
    for k in range(Y.shape[-1]):
        reached &= Y[:, None, :, k] >= Z[None, :, None, k]
    if observed is not None:
        reached &= observed.unsqueeze(1)
    return reached.any(-1).to(Y.dtype).mean(0)


def attainment_surface(
    Y: Float[Tensor, "r n m"],
    x: Float[Tensor, "g"],
    share: float = 0.5,
    observed: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "g"]:
    """For values x of the first objective, the best second one that a share of the runs attains.

    The largest y such that at least ``share`` of the runs have an outcome >= (x, y); minus infinity
    where fewer get as far as x at all. A step function that falls in x.

    Args:
        Y: outcomes of r runs in two objectives, both maximised.
        x: values of the first objective.
        share: of the runs, above 0 and at most 1; 0.25, 0.5 and 0.75 make a band with its middle.
        observed: rows that count, ``r n``.

    Raises:
        DataError: not finite float64 tensors, or a share that is none.
        ShapeError: other than two objectives, or shapes that do not belong together.

    Example:
        >>> Y = torch.tensor([[[1.0, 2.0]], [[2.0, 1.0]]], dtype=torch.float64)
        >>> x = torch.tensor([0.0, 1.5, 3.0], dtype=torch.float64)
        >>> attainment_surface(Y, x, share=0.5).tolist()
        [2.0, 1.0, -inf]

    Source: as for `attainment`.
    """
    Y, observed = _check_runs(Y, observed)
    if Y.shape[-1] != 2:
        raise ShapeError(f"attainment_surface: expected two objectives, got {Y.shape[-1]}")
    check_tensor("x", x)
    part = check_number("share", share, above=0.0)
    if part > 1:
        raise ShapeError(f"share: expected a number of at most 1, got {share!r}")
    far = Y[:, None, :, 0] >= x[None, :, None]  # r g n
    far = far if observed is None else far & observed.unsqueeze(1)
    best = torch.where(far, Y[:, None, :, 1], -torch.inf).amax(-1)
    needed = max(1, -int(-(part * len(Y) - 1e-9) // 1))  # runs, rounded up
    return best.sort(dim=0, descending=True).values[needed - 1]


def _check_runs(Y: object, observed: object) -> tuple[Tensor, Tensor | None]:
    outcomes, mask = _check_outcomes(Y, observed)
    if outcomes.ndim != 3 or outcomes.shape[1] == 0:
        raise ShapeError(
            f"Y: expected outcomes of several runs, shape r n m with n >= 1, got "
            f"{tuple(outcomes.shape)}; one run is Y.unsqueeze(0)"
        )
    return outcomes, mask
