"""A learner's file: one function for each exercise, found by its name."""

import torch
from torch import Tensor


def best_so_far(y: Tensor) -> Tensor:
    """Slow, and right: another correct style passes."""
    result = y.clone()
    for t in range(1, y.shape[-1]):
        result[..., t] = torch.maximum(result[..., t - 1], y[..., t])
    return result
