"""What counts in a study of several objectives: the hypervolume in hand, evaluation by evaluation.

Taught in part_6/tutorial_02.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..pareto import hypervolume


def hypervolumes(outcomes: Float[Tensor, "R N k"], ref_point: Sequence[float]) -> Tensor:
    """The hypervolume above the reference point after each evaluation, ``R N``.

    Rows that do not count (failed, infeasible) are NaN.
    """
    R, N, _ = outcomes.shape
    ref = torch.tensor(ref_point, dtype=outcomes.dtype, device=outcomes.device)
    counts = ~outcomes.isnan().any(-1) & (outcomes > ref).all(-1)
    curve = outcomes.new_zeros(R, N)
    for n in range(1, N + 1):
        # Only where the last one counts can anything have changed
        changed = counts[:, n - 1]
        curve[:, n - 1] = curve[:, n - 2] if n > 1 else 0.0
        if changed.any():
            now = hypervolume(outcomes[changed, :n], ref, counts[changed, :n])
            curve[changed, n - 1] = now
    return curve
