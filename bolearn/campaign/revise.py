"""The space or the goals change while a campaign runs: a new revision, and nothing is lost.

Trials keep the revision under which they were made. Models read them in the present space: under
new names, with the value that a new parameter had before it was one. Outcomes that are new are
missing in old trials, which stay completed.

Taught in part_5/tutorial_04.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import DataError
from ..space.parameters import Categorical, close_to
from ..space.space import Space
from .goals import Goals
from .writer import Revision


def revised(
    old: Revision,
    space: object,
    goals: object,
    fill: object,
    rename: object,
    settings: dict[str, Any],
) -> Revision:
    """The revision after ``old``.

    Args:
        old: the one in force.
        space: the new one, or None.
        goals: the new ones, or None.
        fill: what earlier trials had where the space has a new parameter.
        rename: old names to new ones; to None for a parameter that is given up.
        settings: such as the budget.

    Raises:
        DataError: a parameter that comes from nowhere, or goes without a word.
    """
    new = old.space if space is None else space
    if not isinstance(new, Space):
        raise DataError(f"space: expected a bolearn.Space, got {type(new).__name__}")
    fills, names = _mapping("fill", fill), _mapping("rename", rename)
    read = old.goals if goals is None else Goals.read(goals)
    for outcome in read.outcomes:
        if outcome in new.names:
            raise DataError(f"outcome {outcome!r}: expected a name that no parameter has")
    for name, to in names.items():
        if name not in old.space.names:
            raise DataError(
                f"rename: expected a parameter of the old space, got {name!r}"
                + close_to(name, old.space.names)
            )
        if to is not None and to not in new.names:
            raise DataError(
                f"rename: expected a parameter of the new space, or None to give {name!r} up, got "
                f"{to!r}" + close_to(to, new.names)
            )
    kept = {names.get(name, name) for name in old.space.names} - {None}
    for name in old.space.names:
        if name not in names and name not in new.names:
            raise DataError(
                f"change: parameter {name!r} is not in the new space; say what it is called now by "
                f"rename={{{name!r}: ...}}, or rename={{{name!r}: None}} to give it up"
            )
    for name in new.names:
        if name not in kept and name not in fills:
            raise DataError(
                f"change: parameter {name!r} is new; say what earlier trials had by "
                f"fill={{{name!r}: ...}}, or which it was by rename={{...: {name!r}}}"
            )
    for name, value in fills.items():
        wrong = new[name].complaint(value, True)
        if wrong:
            raise DataError(f"fill: {wrong}")
        if name in kept:
            raise DataError(f"fill: {name!r} is known of earlier trials; leave it out")
    filled = {name: new[name].value(new[name].position(v)) for name, v in fills.items()}
    _check_kinds(old.space, new, names)
    more = tuple(n for n in (*old.outcomes, *old.goals.outcomes) if n not in read.outcomes)
    more = tuple(dict.fromkeys(more))
    return Revision(old.number + 1, new, read, more, settings, filled, names)


def _mapping(what: str, given: object) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise DataError(f"{what}: expected a dictionary, got {given!r}")
    return dict(given)


def _check_kinds(old: Space, new: Space, names: Mapping[str, Any]) -> None:
    """A number stays a number, a label a label."""
    for p in old:
        to = names.get(p.name, p.name)
        if to is None:
            continue
        if isinstance(p, Categorical) != isinstance(new[to], Categorical):
            raise DataError(
                f"change: {p.name!r} was {type(p).__name__} and would be "
                f"{type(new[to]).__name__}; give the new parameter another name, with fill"
            )
