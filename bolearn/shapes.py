"""Checks at the border: every public entry asks here before it does any work.

Letters used throughout the package (design and docstrings):

    s        Monte-Carlo samples, always the first axis of samples
    *batch   independent problems; its trailing part is the model's replicate shape *r
    q        points judged jointly
    d, m, n  inputs, outputs, observations

Each check raises `ShapeError` or `DataError` with a message that says what was expected, what came
and how to mend it; most return what they were given.
"""

import math
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor

from .errors import DataError, ShapeError

# Wherever the package says int or float, NumPy's numbers will do: everyone has some.


def is_whole(value: object) -> TypeGuard[int]:
    """Whether something is a whole number, Python's or NumPy's; truth values are not."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether something is a finite real number, Python's or NumPy's; truth values are not."""
    real = is_whole(value) or isinstance(value, float | np.floating)
    return real and math.isfinite(value)  # type: ignore[arg-type]


def check_tensor(name: str, x: object, *, finite: bool = True) -> Tensor:
    """Check that ``x`` is a float64 tensor, by default without NaN or infinities.

    Args:
        name: what the caller calls it; appears in the message.
        x: anything.
        finite: whether NaN and infinite entries are an error.

    Returns:
        ``x`` itself, typed as a tensor.

    Raises:
        DataError: not a tensor, not float64, sparse, or not finite.

    Example:
        >>> check_tensor("X", torch.zeros(2, 3))
        Traceback (most recent call last):
        ...
        bolearn.errors.DataError: X: expected a float64 tensor, got torch.float32; use X.double()
    """
    if not isinstance(x, Tensor):
        raise DataError(
            f"{name}: expected a float64 tensor, got {type(x).__name__}; "
            f"use torch.as_tensor({name}, dtype=torch.float64)"
        )
    if x.dtype != torch.float64:
        raise DataError(f"{name}: expected a float64 tensor, got {x.dtype}; use {name}.double()")
    if x.layout != torch.strided:
        raise DataError(f"{name}: expected a dense tensor, got {x.layout}; use {name}.to_dense()")
    # A sum that is finite has finite terms: one pass, where isfinite takes five
    finite = not finite or math.isfinite(x.detach().sum().item())
    if not finite and not torch.isfinite(x).all():
        bad = (~torch.isfinite(x)).nonzero()
        where = tuple(int(i) for i in bad[0])
        raise DataError(
            f"{name}: expected finite numbers, got {x[where].item()} at index {where} "
            f"({len(bad)} of {x.numel()} entries are not finite); drop those rows, or "
            "keep them and mask them out with observed="
        )
    return x


def check_rank(name: str, x: Tensor, least: int, layout: str) -> None:
    """Check that ``x`` has at least ``least`` axes, which ``layout`` describes.

    Raises:
        ShapeError: too few axes; the message proposes the missing one.
    """
    if x.ndim < least:
        hint = f"{name}.unsqueeze(-1)" if x.ndim == least - 1 else f"{name}.reshape(...)"
        raise ShapeError(
            f"{name}: expected shape {layout} (at least {least} axes), got {tuple(x.shape)}; "
            f"add the missing axis, for example {hint}"
        )


def check_same_device(**tensors: Tensor | None) -> torch.device:
    """Check that all given tensors live on one device and return it.

    Raises:
        DataError: they do not; the message lists each tensor with its device.
    """
    found = {name: x.device for name, x in tensors.items() if x is not None}
    if len(set(found.values())) > 1:
        listing = ", ".join(f"{name} on {device}" for name, device in found.items())
        first = next(iter(found.values()))
        raise DataError(f"expected one device, got {listing}; move all with .to('{first}')")
    return next(iter(found.values()))


def check_bounds(bounds: object, d: int | None = None) -> Tensor:
    """Check box bounds of shape ``2 d`` or ``*r 2 d``: lower row first, lower < upper.

    Args:
        bounds: anything.
        d: number of inputs it has to match, if known.

    Returns:
        The bounds.

    Raises:
        DataError: not float64, not finite, empty or inverted.
        ShapeError: not ``2 d``.
    """
    box = check_tensor("bounds", bounds)
    if box.ndim < 2 or box.shape[-2] != 2 or box.shape[-1] == 0:
        hint = "; use bounds.T" if box.ndim == 2 and box.shape[-1] == 2 else ""
        raise ShapeError(
            "bounds: expected shape 2 d (lower bounds in row 0, upper bounds in row 1), "
            f"got {tuple(box.shape)}{hint}"
        )
    if d is not None and box.shape[-1] != d:
        raise ShapeError(
            f"bounds: expected {d} columns, one for each input, got {box.shape[-1]} "
            f"(shape {tuple(box.shape)})"
        )
    bad = (box[..., 0, :] >= box[..., 1, :]).nonzero()
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        low, high = (box[(*where[:-1], row, where[-1])].item() for row in (0, 1))
        raise DataError(
            f"bounds: expected lower < upper, got [{low:g}, {high:g}] for input {where[-1]}; "
            + ("swap the two rows" if low > high else "drop the input or widen its bounds")
        )
    return box


def check_data(X: object, Y: object, observed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Check training data ``X: *r n d`` and ``Y: *r n m``; masked rows may hold anything.

    Returns:
        ``X`` and ``Y``.

    Raises:
        DataError: wrong dtype or device, not finite where observed, or no observation at all.
        ShapeError: wrong rank, or shapes that do not belong together.
    """
    inputs = check_tensor("X", X, finite=observed is None)
    outputs = check_tensor("Y", Y, finite=observed is None)
    check_rank("X", inputs, 2, "*r n d")
    if observed is not None:
        check_mask(observed)
    if outputs.ndim == inputs.ndim - 1 and outputs.shape == inputs.shape[:-1]:
        raise ShapeError(
            f"Y: expected shape *r n m, got {tuple(outputs.shape)}: the output axis is missing; "
            "use Y.unsqueeze(-1)"
        )
    check_rank("Y", outputs, 2, "*r n m")
    check_same_device(X=inputs, Y=outputs, observed=observed)
    if inputs.shape[:-1] != outputs.shape[:-1]:
        raise ShapeError(
            "X and Y: expected the same replicate axes and the same number of rows, "
            f"got X {tuple(inputs.shape)} and Y {tuple(outputs.shape)}"
        )
    if inputs.shape[-1] == 0 or outputs.shape[-1] == 0:
        raise ShapeError(
            "X and Y: expected at least one input and one output, "
            f"got X {tuple(inputs.shape)} and Y {tuple(outputs.shape)}"
        )
    if inputs.shape[-2] == 0:
        raise DataError(
            f"X: expected at least one observation, got shape {tuple(inputs.shape)}; start from a "
            "design, for example bolearn.sobol_points(bounds, n=2 * d + 2, seed=0)"
        )
    if observed is not None:
        _check_observed(inputs, outputs, observed)
    return inputs, outputs


def check_mask(observed: object) -> Tensor:
    """Check that ``observed`` is a bool tensor and return it.

    Raises:
        DataError: it is not.
    """
    if not isinstance(observed, Tensor):
        raise DataError(
            f"observed: expected a bool tensor (True = use this row), got "
            f"{type(observed).__name__}; use torch.as_tensor(observed)"
        )
    if observed.dtype != torch.bool:
        raise DataError(
            f"observed: expected a bool tensor (True = use this row), got {observed.dtype}; "
            "use observed.bool()"
        )
    return observed


def _check_observed(X: Tensor, Y: Tensor, observed: Tensor) -> None:
    if observed.shape != X.shape[:-1]:
        raise ShapeError(
            f"observed: expected shape *r n = {tuple(X.shape[:-1])}, got {tuple(observed.shape)}"
        )
    if not observed.any(-1).all():
        where = tuple(int(i) for i in (~observed.any(-1)).nonzero()[0])
        raise DataError(
            f"observed: expected at least one observation in every replicate, got none in "
            f"replicate {where}; evaluate a point there or drop the replicate"
        )
    for name, x in (("X", X), ("Y", Y)):
        bad = ~torch.isfinite(x).all(-1) & observed
        if bad.any():
            where = tuple(int(i) for i in bad.nonzero()[0])
            raise DataError(
                f"{name}: expected finite numbers in observed rows, got {x[where].tolist()} at row "
                f"{where}; set observed to False there"
            )


def check_points(X: object, d: int, replicates: Sequence[int] = (), name: str = "X") -> Tensor:
    """Check candidate points ``*batch q d`` whose trailing batch axes are the replicates ``*r``.

    Each replicate axis must have the model's size or 1 (``b 1 q d`` asks the same points of every
    replicate); a missing axis is an error, never silently paired.

    Args:
        X: anything.
        d: number of inputs expected.
        replicates: the model's replicate shape ``*r``.
        name: what the caller calls it.

    Returns:
        The points.

    Raises:
        DataError: not a finite float64 tensor.
        ShapeError: wrong rank, wrong number of inputs, q = 0 or replicate axes that do not fit.

    Example:
        >>> check_points(torch.zeros(5, 2, dtype=torch.float64), d=3)
        Traceback (most recent call last):
        ...
        bolearn.errors.ShapeError: X: expected 3 inputs in the last axis, got 2 (shape (5, 2))
    """
    points = check_tensor(name, X)
    r = tuple(replicates)
    layout = "*batch q d" if not r else f"*batch {' '.join(map(str, r))} q d"
    if points.ndim < 2 or points.shape[-1] != d:
        if points.ndim >= 1 and points.shape[-1] == d:
            raise ShapeError(
                f"{name}: expected shape {layout}, got {tuple(points.shape)}: one axis is missing; "
                f"use {name}.unsqueeze(-2) for a single point"
            )
        raise ShapeError(
            f"{name}: expected {d} inputs in the last axis, "
            f"got {points.shape[-1] if points.ndim else 'a scalar'} (shape {tuple(points.shape)})"
        )
    if points.shape[-2] == 0:
        raise ShapeError(f"{name}: expected q >= 1 points, got q = 0 (shape {tuple(points.shape)})")
    have = tuple(points.shape[:-2])[-len(r) :] if r else ()
    if len(have) < len(r) or any(a not in (1, b) for a, b in zip(have, r, strict=True)):
        raise ShapeError(
            f"{name}: the model has replicates {r}, so expected shape {layout} with each replicate "
            f"axis equal to the model's or 1, got {tuple(points.shape)}; "
            "to ask the same points of every replicate, add axes of size 1 before q"
        )
    return points


def check_number(
    name: str, value: object, *, least: float = -math.inf, above: float = -math.inf
) -> float:
    """Check that ``value`` is a finite number of at least ``least``, and above ``above``.

    Returns:
        The number as a float, whichever kind it came as.

    Raises:
        DataError: it is not.
    """
    if not is_number(value) or value < least or value <= above:
        limited = f"number >= {least:g}" if least > -math.inf else "finite number"
        limited = f"number > {above:g}" if above > -math.inf else limited
        raise DataError(f"{name}: expected a {limited}, got {value!r}")
    return float(value)


def check_count(name: str, value: object, least: int = 1) -> int:
    """Check that ``value`` is an integer of at least ``least``.

    Returns:
        The integer as an int, whichever kind it came as.

    Raises:
        DataError: it is not.
    """
    if not is_whole(value) or value < least:
        raise DataError(f"{name}: expected an integer >= {least}, got {value!r}")
    return int(value)
