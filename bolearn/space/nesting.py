"""Lists of lists of points, as one list and a shape.

Taught in part_5/tutorial_03.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError


def flattened(points: Any) -> tuple[list[Any], tuple[int, ...]]:
    """Nested lists as one list and a shape.

    Raises:
        ShapeError: lists of different lengths.
    """
    if isinstance(points, str) or not isinstance(points, Sequence | np.ndarray):
        return [points], ()
    flat, shapes = list[Any](), set[tuple[int, ...]]()
    for entry in points:
        more, shape = flattened(entry)
        flat += more
        shapes.add(shape)
    if len(shapes) > 1:
        raise ShapeError(
            f"points: expected lists of equal lengths, got shapes {sorted(shapes)} side by side"
        )
    return flat, (len(points), *(shapes.pop() if shapes else ()))


def nested(flat: list[Any], shape: tuple[int, ...]) -> Any:
    """Undoes `flattened`."""
    if not shape:
        return flat[0]
    if len(shape) == 1:
        return flat
    size = math.prod(shape[1:])
    return [nested(flat[i * size : (i + 1) * size], shape[1:]) for i in range(shape[0])]
