"""Positions as a model sees them: columns from 0 to 1, and back.

A number becomes one column, linear in its units or in their logarithm; an unordered category of k
labels becomes k columns of which one is 1; an ordered one becomes one column with evenly spaced
values. Grid points, labels and the ends of axes are exact both ways.

Taught in part_5/tutorial_03.
"""

import math
from collections.abc import Sequence

import numpy as np

from .lattice import Array
from .parameters import Categorical, Integer, Parameter, Real, Value, exact

NEAR = 1e-6
"""How far from a legal code, in units of its column, a number may be to mean it."""


def columns_of(parameters: Sequence[Parameter]) -> list[list[int]]:
    """The columns of each parameter."""
    found, at = [], 0
    for p in parameters:
        found.append(list(range(at, at + p.columns)))
        at += p.columns
    return found


def to_codes(parameters: Sequence[Parameter], z: Array) -> Array:
    """Positions ``k p`` as codes ``k d``; positions between grid points are allowed."""
    parts = []
    for i, p in enumerate(parameters):
        column = z[:, i]
        if not isinstance(p, Categorical):
            parts.append(unit_of(p, column)[:, None])
        elif p.ordered:
            parts.append(column[:, None] / max(p.levels - 1, 1))
        else:
            parts.append((column[:, None] == np.arange(p.levels)).astype(float))
    return np.concatenate(parts, axis=1)


def to_positions(parameters: Sequence[Parameter], codes: Array) -> Array:
    """Codes ``k d`` as positions ``k p``: the label with the largest column, else the inverse.

    Grid positions are not rounded, apart from those that are whole up to `NEAR`.
    """
    z = np.empty((len(codes), len(parameters)))
    for i, (p, columns) in enumerate(zip(parameters, columns_of(parameters), strict=True)):
        u = codes[:, columns]
        if not isinstance(p, Categorical):
            z[:, i] = _position_of(p, u[:, 0])
        elif p.ordered:
            z[:, i] = u[:, 0] * max(p.levels - 1, 0)
        else:
            z[:, i] = u.argmax(-1)
        if p.levels is not None:
            whole = np.rint(z[:, i])
            z[:, i] = np.where(np.abs(z[:, i] - whole) <= NEAR, whole, z[:, i])
    return z


def unit_of(p: Real | Integer, z: Array) -> Array:
    """Positions of a number as codes."""
    if p.step is None:
        if p.log:
            return np.asarray(np.log(z / p.low) / math.log(p.high / p.low))
        return np.asarray((z - p.low) / (p.high - p.low))
    if not p.log:
        return np.asarray(z / _steps(p))
    x = p.low + z * p.step
    return np.asarray(np.log(x / p.low) / math.log(p.high / p.low))


def _position_of(p: Real | Integer, u: Array) -> Array:
    """Codes of a number as positions; the ends are exact."""
    if p.log:
        x = p.low * np.exp(u * math.log(p.high / p.low))
        x = np.where(u == 1, p.high, x)
        return np.asarray(x if p.step is None else (x - p.low) / p.step)
    if p.step is not None:
        return np.asarray(u * _steps(p))
    x = p.low + u * (p.high - p.low)
    return np.asarray(np.where(u == 1, p.high, x))


def _steps(p: Real | Integer) -> float:
    """How many steps there are from low to high; no whole number if high is no grid point."""
    return float((exact(p.high) - exact(p.low)) / exact(p.step or 1))


def between(p: Parameter, u: Array) -> Array:
    """Positions of uniform numbers: levels equally likely, numbers uniform on their axis."""
    if isinstance(p, Real | Integer) and (p.step is None or p.log):
        return _position_of(p, u)
    assert p.levels is not None
    return np.minimum(np.floor(u * p.levels), p.levels - 1.0)


def value_at(p: Parameter, z: float) -> Value:
    """The value at a position, as the shortest decimal that has its code: 20.1, not 20.1000...01.

    Positions between grid points are values between them.
    """
    if isinstance(p, Categorical) or (p.step is not None and z == round(z)):
        return p.value(z)
    if p.step is not None:
        return float(f"{p.low + z * p.step:.12g}")
    inside, code = p.low <= z <= p.high, unit_of(p, np.array([z]))[0]
    for digits in (12, 15, 16):
        x = float(f"{z:.{digits}g}")
        legal = p.low <= x <= p.high or not inside
        if legal and (not p.log or x > 0) and unit_of(p, np.array([x]))[0] == code:
            return x
    return float(z)
