"""A space: what may be run, in the units of the experiment, and the same as tensors from 0 to 1.

The experiment speaks in dictionaries (``{"temperature": 60.0, "solvent": "THF"}``), models and
searches in tensors of codes ``*batch q d``. Whatever a space proposes or rounds is legal: on its
steps, within its limits, with sums that are exact in decimals.

Taught in part_5/tutorial_03.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import DataError, ShapeError, UnsupportedError
from ..seeds import Seed, replicate_seeds
from ..shapes import check_count, check_tensor
from . import designs, stored
from .codes import NEAR, columns_of, to_codes, to_positions, value_at
from .conflicts import check_feasible
from .lattice import Array, Lattice
from .nesting import flattened, nested
from .parameters import Categorical, Parameter, Value, close_to, exact, plain, short
from .text import LinearConstraint, parse

Point = dict[str, Value]
"""One setting of all parameters, by name, in their own units."""


@dataclass(frozen=True, repr=False, init=False)
class Space:
    """Parameters and linear constraints on them: everything that may be run.

    A model sees ``d`` columns from 0 to 1: one for a number, linear or logarithmic, one for an
    ordered category, k for an unordered one of k labels (`columns` says which are whose). Wherever
    points are tensors ``*batch q d``, they are these codes; wherever they are dictionaries, they
    are in the units of the parameters.

    Args:
        parameters: `Real`, `Integer` and `Categorical`, with different names.
        constraints: texts such as ``"A + B <= 1"``, ``"0.2 <= a + 2 b <= 0.8"`` or
            ``"a + b + c == 1"``, linear in numbers and in their units, on logarithmic axes too.

    Raises:
        DataError: parameters or texts that cannot be used; the message shows where.
        InfeasibleError: no legal point meets the constraints; the message names the conflict.

    Example:
        >>> import bolearn as bl
        >>> fractions = [bl.Real(name, 0, 1, step=0.1) for name in "AB"]
        >>> solvent = bl.Categorical("solvent", ["MeOH", "THF", "MeCN"])
        >>> space = bl.Space([*fractions, solvent], constraints=["A + B <= 1"])
        >>> space
        Space of 3 parameters, 198 designs, 5 columns for the model
          A        0 to 1, step 0.1
          B        0 to 1, step 0.1
          solvent  MeOH | THF | MeCN
          subject to A + B <= 1
        >>> space.encode({"A": 0.3, "B": 0.5, "solvent": "THF"})
        tensor([0.3000, 0.5000, 0.0000, 1.0000, 0.0000], dtype=torch.float64)
        >>> space.decode(space.round(torch.full((5,), 0.66, dtype=torch.float64)))
        {'A': 0.5, 'B': 0.5, 'solvent': 'MeOH'}
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[LinearConstraint, ...]

    def __init__(
        self,
        parameters: Sequence[Parameter],
        *,
        constraints: Sequence[str | LinearConstraint] = (),
    ) -> None:
        """Check at the border, the constraints together with everything else."""
        object.__setattr__(self, "parameters", _check_parameters(parameters))
        given: object = constraints
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise DataError(
                f"constraints: expected a list of texts such as ['A + B <= 1'], got {given!r}"
                + (f"; write [{given!r}]" if isinstance(given, str) else "")
            )
        read = tuple(self._read(c) for c in given)
        object.__setattr__(self, "constraints", tuple(dict.fromkeys(read)))
        check_feasible(self.parameters, self.constraints, self.lattice)

    def _read(self, constraint: object) -> LinearConstraint:
        if not isinstance(constraint, LinearConstraint):
            return parse(constraint, self.parameters)
        numbers = {p.name for p in self.parameters if not isinstance(p, Categorical)}
        coefficients = dict(constraint.coefficients)
        wrong = [name for name in coefficients if name not in numbers]
        if wrong or not coefficients:
            raise DataError(
                f"constraint: expected names of numbers of this space, got {wrong or 'none'}"
            )
        ordered = tuple((n, coefficients[n]) for n in self.names if n in coefficients)
        return LinearConstraint(ordered, constraint.low, constraint.high)

    # ---------------------------------------------------------------- what it is

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, in order."""
        return tuple(p.name for p in self.parameters)

    @property
    def d(self) -> int:
        """Columns of a code."""
        return sum(p.columns for p in self.parameters)

    @property
    def columns(self) -> dict[str, list[int]]:
        """The columns of each parameter in a code."""
        return dict(zip(self.names, columns_of(self.parameters), strict=True))

    @property
    def bounds(self) -> Float[Tensor, "2 d"]:
        """The box that holds all codes: the unit cube, what models and searches take as bounds."""
        return torch.stack([torch.zeros(self.d), torch.ones(self.d)]).double()

    @cached_property
    def lattice(self) -> Lattice:
        """The space as arrays of positions; see `bolearn.space.lattice`."""
        return Lattice.of(self.parameters, self.constraints)

    @cached_property
    def num_designs(self) -> int | float:
        """How many legal points there are; infinite where a real number has no step.

        Raises:
            UnsupportedError: constraints with too many different sums to count.
        """
        return designs.count(self.lattice) if self.lattice.discrete.all() else math.inf

    def __getitem__(self, name: str) -> Parameter:
        """A parameter by name."""
        for p in self.parameters:
            if p.name == name:
                return p
        raise DataError(
            f"expected the name of a parameter ({', '.join(map(repr, self.names))}), got {name!r}"
            + close_to(name, self.names)
        )

    def __len__(self) -> int:
        return len(self.parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self.parameters)

    def __contains__(self, point: object) -> bool:
        """Whether a dictionary is a legal point."""
        return not self.complaints(point)

    def __repr__(self) -> str:
        """A table that the person at the bench can read."""
        count = "infinitely many designs"
        if self.lattice.discrete.all():
            free = math.prod(p.levels or 1 for p in self.parameters)
            few = not self.constraints or free <= designs.LISTED
            count = f"{self.num_designs:,} designs" if few else f"at most {free:,} designs"
        plural = "s" if len(self.parameters) > 1 else ""
        lines = [
            f"Space of {len(self.parameters)} parameter{plural}, {count}, {self.d} "
            f"column{'s' if self.d > 1 else ''} for the model"
        ]
        width = max(map(len, self.names))
        lines += [f"  {p.name:<{width}}  {p.describe()}" for p in self.parameters]
        lines += [f"  subject to {c}" for c in self.constraints]
        return "\n".join(lines)

    # ---------------------------------------------------------------- dictionaries

    def complaints(self, point: object, *, allow_outside: bool = False) -> list[str]:
        """Everything that is wrong with a point, in words; empty if it is legal.

        Args:
            point: a dictionary, name to value.
            allow_outside: whether numbers may lie beyond limits, between steps and against
                constraints, as old data and what was run instead of a proposal may.
        """
        found = self._wrong_values(point, allow_outside)
        if not found and not allow_outside and self.constraints:
            assert isinstance(point, Mapping)
            found = self._broken(self._positions(point))
        return found

    def _wrong_values(self, point: object, allow_outside: bool) -> list[str]:
        """What is wrong with names and values, constraints apart."""
        if not isinstance(point, Mapping):
            return [
                f"expected a dictionary such as {{{self.names[0]!r}: ...}}, got "
                f"{type(point).__name__}"
            ]
        found = []
        missing = [name for name in self.names if name not in point]
        for name in point:
            if name not in self.names:
                found.append(
                    f"unknown parameter {name!r}" + (close_to(name, missing or self.names))
                )
        found += [f"{name}: expected a value, got none" for name in missing]
        for p in self.parameters:
            if p.name in point:
                found.append(p.complaint(point[p.name], allow_outside))
        return [text for text in found if text]

    def _positions(self, point: Mapping[str, Any]) -> Array:
        """The positions of a point whose values are right, ``p``."""
        return np.array([p.position(point[p.name]) for p in self.parameters])

    def _broken(self, z: Array) -> list[str]:
        """The constraints that positions ``p`` do not meet."""
        off = self.lattice.residual(z[None])[0]
        found = []
        for i in np.flatnonzero(np.abs(off) > self.lattice.tolerance).tolist():
            c = self.constraints[i]
            values = {n: self[n].value(z[self.names.index(n)]) for n in c.names}
            total = sum((k * exact(float(values[n])) for n, k in c.coefficients), Fraction(0))
            shown = ", ".join(f"{n} = {short(float(v))}" for n, v in values.items())
            found.append(f"expected {c}, got {short(float(total))} with {shown}")
        return found

    def check(self, point: object, *, allow_outside: bool = False) -> Point:
        """A legal point in its canonical form: all parameters in order, Python's own values.

        Args:
            point: a dictionary, name to value; NumPy's numbers are numbers.
            allow_outside: as in `complaints`.

        Raises:
            DataError: what is wrong with it, all of it.

        Example:
            >>> import bolearn as bl
            >>> bl.Space([bl.Integer("cycles", 1, 8)]).check({"cycles": 9})
            Traceback (most recent call last):
            ...
            bolearn.errors.DataError: cycles: expected 1 to 8, got 9
        """
        found = self.complaints(point, allow_outside=allow_outside)
        if found:
            raise DataError("; ".join(found))
        assert isinstance(point, Mapping)
        checked: Point = {}
        for p in self.parameters:
            position = p.position(point[p.name])
            whole = p.levels is not None and position == round(position)
            given = plain(point[p.name])
            assert isinstance(given, str | int | float)
            number = not isinstance(p, Categorical)
            checked[p.name] = p.value(position) if whole else (float(given) if number else given)
        return checked

    def encode(self, points: Any, *, allow_outside: bool = False) -> Float[Tensor, "*batch d"]:
        """Points as codes: a dictionary gives ``d``, a list of q ``q d``, lists of lists more axes.

        Args:
            points: dictionaries, nested lists of them, or a pandas table with a column for each
                parameter.
            allow_outside: as in `complaints`; codes then leave [0, 1].

        Raises:
            DataError: a point that is not legal; the message says which and why.
            ShapeError: lists of different lengths.
        """
        if hasattr(points, "to_dict") and hasattr(points, "columns"):
            points = points.to_dict("records")
        flat, shape = flattened(points)
        z = np.empty((len(flat), len(self.parameters)))
        for i, point in enumerate(flat):
            found = self._wrong_values(point, allow_outside)
            if found:
                raise DataError((f"point {i}: " if shape else "") + "; ".join(found))
            z[i] = self._positions(point)
        bad = np.zeros(len(z), dtype=bool) if allow_outside else ~self.lattice.feasible(z)
        if bad.any():
            i = int(bad.argmax())
            raise DataError((f"point {i}: " if shape else "") + "; ".join(self._broken(z[i])))
        return torch.from_numpy(to_codes(self.parameters, z)).reshape(*shape, self.d)

    def decode(self, X: Float[Tensor, "*batch d"], *, allow_outside: bool = False) -> Any:
        """Codes as points: undoes `encode`, exactly for steps, whole numbers and labels.

        Args:
            X: codes ``*batch d``.
            allow_outside: as in `complaints`.

        Returns:
            A dictionary for ``d``, a list of q for ``q d``, lists of lists for more axes.

        Raises:
            DataError: codes that are not legal; `round` makes them so.
        """
        codes, shape = self._flat(X)
        z = to_positions(self.parameters, codes)
        self._check_codes(codes, z, allow_outside)
        if not allow_outside:
            z = self.lattice.snapped(z)
        points = [
            {p.name: value_at(p, x) for p, x in zip(self.parameters, row, strict=True)}
            for row in z.tolist()
        ]
        return nested(points, shape)

    def table(self, points: Any) -> Any:
        """Points as a pandas table, a column for each parameter with its unit.

        Args:
            points: dictionaries, or codes ``*batch d``.

        Raises:
            DataError: as for `encode` and `decode`.
        """
        import pandas as pd  # slow to load

        if not isinstance(points, Tensor):
            points = self.encode(points, allow_outside=True)
        flat, _ = flattened(self.decode(points, allow_outside=True))
        units = [getattr(p, "unit", None) for p in self.parameters]
        heads = [f"{n} ({u})" if u else n for n, u in zip(self.names, units, strict=True)]
        rows = [[point[name] for name in self.names] for point in flat]
        return pd.DataFrame(rows, columns=heads)

    # ---------------------------------------------------------------- codes

    def sobol(
        self,
        n: int,
        seed: Seed,
        replicates: int | None = None,
        *,
        fixed: Mapping[str, object] | None = None,
        exclude: Float[Tensor, "*e k d"] | None = None,
    ) -> Float[Tensor, "*r n d"]:
        """A design: n legal points that spread evenly over the space, as codes.

        No point comes twice as long as there are others. Each label and each level of a grid on a
        linear axis is equally likely, numbers are uniform on their axes, where constraints allow.

        Args:
            n: number of points.
            seed: an int, or one for each replicate.
            replicates: R for independent designs ``R n d``; replicate i is what its seed alone
                gives.
            fixed: parameters held at a value, by name.
            exclude: codes ``k d`` or ``R k d`` that are left out, such as what was run already.

        Raises:
            DataError: a bad count, seed or fixed value.
            InfeasibleError: the fixed values contradict the constraints, or fewer than n points
                are left.

        Example:
            >>> import bolearn as bl
            >>> bl.Space([bl.Integer("cycles", 1, 4)]).sobol(4, seed=0).sort(0).values.T
            tensor([[0.0000, 0.3333, 0.6667, 1.0000]], dtype=torch.float64)
        """
        n = check_count("n", n)
        r = () if replicates is None else (check_count("replicates", replicates),)
        streams = replicate_seeds(seed, r)
        lattice, taken = self.limited(fixed), self._taken(exclude, len(streams))
        more = 0 if taken is None else taken.shape[1]
        z = designs.spread(self.parameters, lattice, n + more, streams)
        codes = to_codes(self.parameters, z.reshape(-1, len(self.parameters)))
        X = torch.from_numpy(codes).reshape(len(streams), n + more, self.d)
        if taken is not None:
            X = designs.left_over(X, taken, n, bool(lattice.discrete.all()))
        return X.reshape(*r, n, self.d)

    def _taken(self, exclude: object, replicates: int) -> Tensor | None:
        """Points to leave out, ``R k d``; None if there are none."""
        if exclude is None:
            return None
        X = check_tensor("exclude", exclude).detach().cpu()
        if X.ndim not in (2, 3) or X.shape[-1] != self.d or X.shape[:-2] not in ((), (replicates,)):
            raise ShapeError(
                f"exclude: expected codes k {self.d} or {replicates} k {self.d}, got shape "
                f"{tuple(X.shape)}; space.encode makes them from dictionaries"
            )
        return X.expand(replicates, *X.shape[-2:]) if X.shape[-2] else None

    def designs(self) -> Float[Tensor, "n d"]:
        """All legal points as codes, where they are at most 100,000.

        Raises:
            UnsupportedError: more than that, or infinitely many.

        Example:
            >>> import bolearn as bl
            >>> bl.Space([bl.Integer("cycles", 1, 3)]).designs().T
            tensor([[0.0000, 0.5000, 1.0000]], dtype=torch.float64)
        """
        real = [p.name for p in self.parameters if p.levels is None]
        if real:
            raise UnsupportedError(
                f"designs: expected steps everywhere, got none for {', '.join(map(repr, real))}; "
                "draw some with space.sobol(n, seed=0), or give a step"
            )
        return torch.from_numpy(to_codes(self.parameters, designs.listed(self.lattice)))

    def round(
        self, X: Float[Tensor, "*batch d"], *, fixed: Mapping[str, object] | None = None
    ) -> Float[Tensor, "*batch d"]:
        """Legal codes near any codes; legal ones stay as they are.

        Categories take the label with the largest column, grids their nearest point, and where
        constraints are then missed, numbers move until they hold.

        Args:
            X: anything finite, ``*batch d``.
            fixed: parameters held at a value, by name.

        Raises:
            DataError: not finite float64, or a bad fixed value.
            InfeasibleError: the fixed values contradict the constraints.
        """
        codes, _ = self._flat(X)
        z = self.limited(fixed).legal(to_positions(self.parameters, codes))
        return torch.from_numpy(to_codes(self.parameters, z)).to(X.device).reshape(X.shape)

    def is_legal(self, X: Float[Tensor, "*batch d"]) -> Bool[Tensor, "*batch"]:
        """Which codes are legal: one column of a category 1, on the grid, constraints met."""
        codes, shape = self._flat(X)
        z = to_positions(self.parameters, codes)
        snapped = self.lattice.snapped(z)
        same = (np.abs(to_codes(self.parameters, snapped) - codes) <= NEAR).all(-1)
        good = torch.from_numpy(same & self.lattice.feasible(snapped))
        return good.to(X.device).reshape(shape)

    def limited(self, fixed: Mapping[str, object] | None) -> Lattice:
        """The lattice with parameters held at a value.

        Raises:
            DataError: unknown names, or values that are not legal.
            InfeasibleError: the rest cannot meet the constraints.
        """
        if not fixed:
            return self.lattice
        if not isinstance(fixed, Mapping):
            raise DataError(
                f"fixed: expected a dictionary such as {{{self.names[0]!r}: ...}}, got {fixed!r}"
            )
        lower, upper = self.lattice.lower.copy(), self.lattice.upper.copy()
        for name, value in fixed.items():
            p = self[name]
            wrong = p.complaint(value)
            if wrong:
                raise DataError(f"fixed: {wrong}")
            k = self.names.index(name)
            lower[k] = upper[k] = p.position(value)
        lattice = self.lattice.limited(lower, upper)
        check_feasible(self.parameters, self.constraints, lattice, tuple(fixed))
        return lattice

    def _flat(self, X: object) -> tuple[Array, tuple[int, ...]]:
        """Codes as an array ``k d``, and the axes before the last."""
        codes = check_tensor("X", X)
        if codes.ndim == 0 or codes.shape[-1] != self.d:
            got = tuple(codes.shape)
            raise ShapeError(
                f"X: expected codes *batch {self.d}, {self.d} columns for {len(self)} parameters, "
                f"got shape {got}; space.encode makes them from dictionaries"
            )
        return codes.detach().cpu().reshape(-1, self.d).numpy(), tuple(codes.shape[:-1])

    def _check_codes(self, codes: Array, z: Array, allow_outside: bool) -> None:
        """Refuse codes that are no legal point."""
        legal = to_codes(self.parameters, z if allow_outside else self.lattice.snapped(z))
        off = np.abs(legal - codes) > NEAR
        if off.any():
            i = int(off.any(-1).argmax())
            name = next(n for n, c in self.columns.items() if off[i, c].any())
            got = [round(v, 6) for v in codes[i, self.columns[name]].tolist()]
            raise DataError(
                f"X: expected legal codes, got {got} for {name!r} in point {i}; use space.round(X)"
            )
        if allow_outside:
            return
        bad = ~self.lattice.feasible(self.lattice.snapped(z))
        if bad.any():
            i = int(bad.argmax())
            broken = "; ".join(self._broken(self.lattice.snapped(z[i])))
            raise DataError(f"X: {broken} in point {i}; use space.round(X)")

    # ---------------------------------------------------------------- text

    def to_json(self) -> str:
        """The space as one line of JSON; equal spaces give equal text."""
        return stored.written(self.parameters, self.constraints)

    @classmethod
    def from_json(cls, text: str) -> "Space":
        """The space that `to_json` wrote.

        Raises:
            StorageError: no such text, or one of a newer version.
        """
        with stored.reading(text) as (parameters, constraints):
            return cls(parameters, constraints=constraints)


def _check_parameters(given: object) -> tuple[Parameter, ...]:
    """Parameters with different names.

    Raises:
        DataError: anything else.
    """
    if isinstance(given, Parameter):
        raise DataError(f"parameters: expected a list, got {given!r}; write [{given!r}]")
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise DataError(
            "parameters: expected a list such as [bolearn.Real('A', 0, 1)], got "
            f"{type(given).__name__}"
        )
    if not given:
        raise DataError("parameters: expected at least one, got an empty list")
    for i, p in enumerate(given):
        if not isinstance(p, Parameter):
            raise DataError(
                f"parameters: expected bolearn.Real, Integer or Categorical, got {p!r} as number "
                f"{i}"
            )
        if p.name in [before.name for before in given[:i]]:
            raise DataError(
                f"parameters: expected different names, got {p.name!r} twice; rename one"
            )
    return tuple(given)
