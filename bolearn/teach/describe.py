"""Values in few words: how a case's input and a learner's result are printed.

Numbers keep six significant digits, so that the text does not depend on the machine; the exact
inputs of a failing case are in `CheckResult.inputs`.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

MANY = 24  # values; longer tensors are shown by their shape, first values and range


def describe(value: object) -> str:
    """A short text for a value: tensors with type and shape, values if there are few.

    Example:
        >>> print(describe(torch.tensor([[1.0, 0.1], [2.0, float("nan")]], dtype=torch.float64)))
        float64 tensor of shape (2, 2): [[1, 0.1], [2, nan]]
        >>> describe((1, 2.5, "a"))
        "(1, 2.5, 'a')"
        >>> describe(torch.zeros(4, 100, dtype=torch.float64))
        'float64 tensor of shape (4, 100): 0, 0, 0, 0, ... (from 0 to 0)'
    """
    if isinstance(value, Tensor):
        return _array(value.detach().cpu(), str(value.dtype).removeprefix("torch."), "tensor")
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return _array(torch.as_tensor(value), value.dtype.name, "array")
    if isinstance(value, np.generic):
        return describe(value.item())
    if isinstance(value, float):
        return _number(value)
    if type(value) is tuple:
        inner = ", ".join(describe(entry) for entry in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if type(value) is list:
        return "[" + ", ".join(describe(entry) for entry in value) + "]"
    if type(value) is dict:
        return "{" + ", ".join(f"{k!r}: {describe(v)}" for k, v in value.items()) + "}"
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = without_addresses(repr(value))
    return text if len(text) <= 300 else text[:297] + "..."


def without_addresses(text: str) -> str:
    """Drop memory addresses, which differ between runs.

    Example:
        >>> without_addresses("<object at 0x7f00c0ffee>")
        '<object>'
    """
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def size_of(value: object) -> float:
    """How big an input looks to a reader: its number of entries.

    Example:
        >>> size_of(torch.zeros(2, 3)), size_of((1, 2)), size_of(7)
        (6.0, 3.0, 1.0)
    """
    if isinstance(value, Tensor):
        return float(value.numel())
    if isinstance(value, np.ndarray):
        return float(value.size)
    if isinstance(value, (list, tuple)):
        return 1.0 + sum(size_of(entry) for entry in value)
    if isinstance(value, dict):
        return 1.0 + sum(size_of(entry) for entry in value.values())
    return float(len(value)) if isinstance(value, str) else 1.0


def _array(values: Tensor, dtype: str, word: str) -> str:
    shape = describe(tuple(values.shape))
    head = f"{dtype} {word} of shape {shape}"
    if values.numel() == 0:
        return f"{head}: empty"
    if values.numel() <= MANY:
        return f"{head}: {_nested(values.tolist())}"
    first = ", ".join(_number(entry) for entry in values.flatten()[:4].tolist())
    if values.dtype.is_complex:
        return f"{head}: {first}, ..."
    low, high = _number(values.min().item()), _number(values.max().item())
    return f"{head}: {first}, ... (from {low} to {high})"


def _nested(values: Any) -> str:
    if isinstance(values, list):
        return "[" + ", ".join(_nested(entry) for entry in values) + "]"
    return _number(values)


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
