"""A space as text: canonical JSON with a version.

Numbers of constraints are stored as exact quotients, so that a space comes back equal.

Taught in part_5/tutorial_03.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

from ..errors import StorageError
from .parameters import Categorical, Integer, Parameter, Real
from .text import LinearConstraint

_FORMAT, _VERSION = "bolearn.space", 1
_KINDS: dict[str, type[Real] | type[Integer] | type[Categorical]] = {
    "real": Real,
    "integer": Integer,
    "categorical": Categorical,
}


def written(parameters: Sequence[Parameter], constraints: Sequence[LinearConstraint]) -> str:
    """One line of JSON; equal spaces give equal text."""
    entries = []
    for p in parameters:
        entry: dict[str, object] = {"kind": type(p).__name__.lower(), "name": p.name}
        if isinstance(p, Categorical):
            entry |= {"values": list(p.values), "ordered": p.ordered}
        else:
            entry |= {key: getattr(p, key) for key in ("low", "high", "unit", "log", "step")}
        entries.append(entry)
    rows = [
        {
            "sum": {name: str(c) for name, c in k.coefficients},
            "low": None if k.low is None else str(k.low),
            "high": None if k.high is None else str(k.high),
        }
        for k in constraints
    ]
    return json.dumps(
        {"format": _FORMAT, "version": _VERSION, "parameters": entries, "constraints": rows},
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )


@contextmanager
def reading(text: object) -> Iterator[tuple[tuple[Parameter, ...], tuple[LinearConstraint, ...]]]:
    """Parameters and constraints of stored text; what is made of them fails as stored text does.

    Raises:
        StorageError: no such text, or one of a newer version.
    """
    try:
        found = json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise StorageError(
            f"space: expected the text that Space.to_json wrote, got {error}"
        ) from error
    kind = found.get("format") if isinstance(found, dict) else type(found).__name__
    if kind != _FORMAT:
        raise StorageError(
            f"space: expected JSON with format {_FORMAT!r}, got {kind!r}; pass what Space.to_json "
            "wrote"
        )
    if found.get("version") != _VERSION:
        raise StorageError(
            f"space: expected version {_VERSION}, got {found.get('version')!r}; use the bolearn "
            "that wrote it, or a newer one"
        )
    try:
        yield (
            tuple(_parameter(dict(entry)) for entry in found["parameters"]),
            tuple(_constraint(entry) for entry in found["constraints"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError) as error:
        raise StorageError(
            f"space: expected what Space.to_json wrote, got something else: {error!r}"
        ) from error


def _parameter(entry: dict[str, Any]) -> Parameter:
    """A parameter from its stored form."""
    kind = _KINDS[entry.pop("kind")]
    if kind is Categorical:
        entry["values"] = tuple(entry["values"])
    return kind(**entry)


def _constraint(entry: dict[str, Any]) -> LinearConstraint:
    """A constraint from its stored form."""
    low, high = (None if entry[k] is None else Fraction(entry[k]) for k in ("low", "high"))
    terms = tuple((str(name), Fraction(c)) for name, c in entry["sum"].items())
    return LinearConstraint(terms, low, high)
