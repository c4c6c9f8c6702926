"""Problems over a space: your function of a dictionary, a table of measured experiments.

Taught in part_5/tutorial_03.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, UnsupportedError
from ..shapes import is_number
from ..space.parameters import Categorical
from ..space.space import Point, Space
from .core import Problem

_LISTED = 8192  # legal points of a table's space whose gaps are listed
_SAME = 1e-6  # how close two codes are that are one entry of a table


class SpaceProblem(Problem):
    """A function of a point of a space, to maximise: ``f({"cycles": 4, "solvent": "THF"})``.

    Models, strategies and studies see the codes of the space, ``n d`` in the unit cube.

    Args:
        f: takes a dictionary, returns a number, or a list of ``num_outputs``. NaN or an exception
            is a failed evaluation, which a study records.
        space: what may be run.
        optimal_value, noise_std, how, name, output, num_outputs, num_constraints: as in `Problem`.

    Raises:
        DataError: as for `Problem`; a space that is none.

    Example:
        >>> import bolearn as bl
        >>> space = bl.Space([bl.Integer("cycles", 1, 8), bl.Categorical("dye", ["red", "blue"])])
        >>> def brightness(p):
        ...     return -abs(p["cycles"] - 3) + (p["dye"] == "blue")
        >>> problem = SpaceProblem(brightness, space)
        >>> problem(space.encode([{"cycles": 4, "dye": "blue"}]))
        tensor([[0.]], dtype=torch.float64)
    """

    space: Space

    def __init__(
        self,
        f: Callable[[Point], Any],
        space: Space,
        *,
        optimal_value: float | None = None,
        noise_std: float = 0.0,
        how: str = "not stated",
        name: str = "problem",
        output: str = "value",
        num_outputs: int = 1,
        num_constraints: int = 0,
    ) -> None:
        if not isinstance(space, Space):
            raise DataError(
                f"space: expected a bolearn.Space, got {type(space).__name__}; a box is "
                "bolearn.Problem(f, bounds)"
            )
        if not callable(f):
            raise DataError(
                f"f: expected a function of a dictionary such as {{{space.names[0]!r}: ...}}, got "
                f"{type(f).__name__}"
            )
        object.__setattr__(self, "space", space)
        super().__init__(
            _OfPoints(f, space),
            space.bounds,
            optimal_value=optimal_value,
            noise_std=noise_std,
            how=how,
            name=name,
            inputs=column_names(space),
            output=output,
            num_outputs=num_outputs,
            num_constraints=num_constraints,
            vectorized=False,
        )


class _OfPoints:
    """A function of a dictionary as a function of a code."""

    def __init__(self, f: Callable[[Point], Any], space: Space) -> None:
        self.f, self.space = f, space

    def __call__(self, x: Tensor) -> Any:
        return self.f(self.space.decode(x))


def column_names(space: Space) -> tuple[str, ...]:
    """A label for each column of a code: the parameter with its unit, or "solvent = THF"."""
    labels: list[str] = []
    for p in space.parameters:
        if isinstance(p, Categorical):
            labels += [p.name] if p.ordered else [f"{p.name} = {v}" for v in p.values]
        else:
            labels.append(f"{p.name} in {p.unit}" if p.unit else p.name)
    return tuple(labels)


class TableProblem(Problem):
    """Measured experiments, replayed: a strategy proposes, the table answers.

    The best entry is known, because all are. Proposals are restricted to the table, which favours
    every method: random search is the fair baseline. Where a point was measured several times, the
    answer is the mean.

    Args:
        table: a pandas table or a list of dictionaries, with a value for each parameter of the
            space and for `output`.
        space: of which the entries are legal points; with steps or labels everywhere.
        output: what is maximised: a column of the table.
        name: for tables and figures.

    Attributes:
        points: the codes of the entries, ``n d``.
        values: what was measured there, ``n``.
        unavailable: the codes of the legal points that the table does not hold, ``k d``; none are
            listed where there are more than 8,192 legal points, or infinitely many.
        entries: in that case `points`, the only codes that can be evaluated; else None.

    Raises:
        DataError: entries that are not legal, values that are no numbers, or none at all.

    Example:
        >>> import bolearn as bl
        >>> space = bl.Space([bl.Categorical("base", ["K2CO3", "NEt3"])])
        >>> table = [{"base": "K2CO3", "yield": 41.0}, {"base": "NEt3", "yield": 63.0}]
        >>> TableProblem(table, space, "yield").optimal_value
        63.0
    """

    space: Space
    points: Float[Tensor, "n d"]
    values: Float[Tensor, " n"]
    unavailable: Float[Tensor, "k d"]
    entries: Float[Tensor, "n d"] | None

    def __init__(self, table: Any, space: Space, output: str, *, name: str = "table") -> None:
        if not isinstance(space, Space):
            raise DataError(f"space: expected a bolearn.Space, got {type(space).__name__}")
        points, values = _entries(table, space, output)
        gaps, entries = points[:0], None
        if _few(space):
            everything = space.designs()
            known = torch.cdist(everything, points, p=torch.inf).amin(1) <= _SAME
            gaps = everything[~known]
        else:
            entries = points
        best = values == values.max()
        for key, value in (
            ("space", space),
            ("points", points),
            ("values", values),
            ("unavailable", gaps),
            ("entries", entries),
        ):
            object.__setattr__(self, key, value)
        super().__init__(
            _LookUp(points, values, space),
            space.bounds,
            optimal_value=float(values.max()),
            optimal_points=points[best],
            how=f"the best of the {len(points)} entries of the table",
            name=name,
            inputs=column_names(space),
            output=output,
        )


def _few(space: Space) -> bool:
    """Whether all legal points are to be listed."""
    if not space.lattice.discrete.all():
        return False
    try:
        return space.num_designs <= _LISTED
    except UnsupportedError:
        return False  # too many to count


class _LookUp:
    """The value of the entry at a code; NaN where the table has a gap."""

    def __init__(self, points: Tensor, values: Tensor, space: Space) -> None:
        self.points, self.values, self.space = points, values, space

    def __call__(self, X: Tensor) -> Tensor:
        away, which = torch.cdist(X, self.points.to(X), p=torch.inf).min(1)
        known = away <= _SAME
        if not known.all():
            self.space.decode(X[~known])  # an error that says what is not legal, or a gap
        return torch.where(known, self.values.to(X)[which], torch.nan)


def _entries(table: Any, space: Space, output: str) -> tuple[Tensor, Tensor]:
    """Codes and values of a table, repeats averaged, rows without a value left out.

    Raises:
        DataError: as for `TableProblem`.
    """
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        table = table.to_dict("records")
    if not isinstance(table, Sequence) or not all(isinstance(row, Mapping) for row in table):
        raise DataError(
            f"table: expected a pandas table or a list of dictionaries, got {type(table).__name__}"
        )
    found: dict[tuple[float, ...], list[float]] = {}
    for i, row in enumerate(table):
        if output not in row:
            raise DataError(
                f"table: expected a column {output!r}, got {', '.join(map(repr, row))} in row {i}"
            )
        value = row[output]
        if value is None or value != value:
            continue
        if not is_number(value):
            raise DataError(f"table: expected a number as {output!r}, got {value!r} in row {i}")
        wrong = space.complaints({name: row[name] for name in space.names if name in row})
        if wrong:
            raise DataError(f"table: row {i}: {'; '.join(wrong)}")
        code = space.encode({name: row[name] for name in space.names})
        found.setdefault(tuple(code.tolist()), []).append(float(value))
    if not found:
        raise DataError(f"table: expected at least one row with {output!r}, got none")
    points = torch.tensor(list(found), dtype=torch.float64)
    means = [math.fsum(values) / len(values) for values in found.values()]
    return points, torch.tensor(means, dtype=torch.float64)
