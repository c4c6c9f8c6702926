"""One text for two libraries: the batched method on torch tensors or on NumPy arrays.

Tensors on the CPU are computed with as NumPy views: the operations are the same, and on a few rows
NumPy's cost a third of torch's. Nothing here waits for a device. Rows stand in the *last* axis:
sums over variables then add up contiguous rows, which is twice as fast as the other way.

Taught in part_2/tutorial_05.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = Any
"""A torch tensor or a NumPy array."""


def array(a: Tensor) -> Array:
    """What is computed with: a NumPy view of a tensor on the CPU, elsewhere the tensor."""
    return a.numpy() if a.device.type == "cpu" else a


def tensor(a: Array) -> Tensor:
    """Undoes `array`."""
    return torch.from_numpy(a) if isinstance(a, np.ndarray) else a


def namespace(a: Array) -> Any:
    """numpy or torch, whichever the array belongs to."""
    return np if isinstance(a, np.ndarray) else torch


_TINY = float(np.finfo(float).tiny)


def all_agree(mask: Array) -> bool:
    """Whether all rows are known to agree: a look that is free in NumPy, not made on a device."""
    return isinstance(mask, np.ndarray) and bool(mask.all())


def clip(x: Array, lower: Array, upper: Array) -> Array:
    """The nearest point of a box."""
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, lower), upper)


def dot(a: Array, b: Array) -> Array:
    """Inner product over the variables."""
    if not isinstance(a, np.ndarray):
        return (a * b).sum(-2)
    if a.shape[-1] == 1:  # NumPy would sum a lone row in another order than a row among others
        return np.add.accumulate(a * b, -2)[..., -1, :]
    return np.add.reduce(a * b, -2)


def largest(a: Array) -> Array:
    """Largest absolute entry of each row."""
    return np.maximum.reduce(abs(a)) if isinstance(a, np.ndarray) else a.abs().amax(0)


def longest(p: Array) -> Array:
    """Largest absolute entry of each row, never zero."""
    return largest(p).clip(_TINY)
