"""A campaign written down in a file: TOML that a chemist can edit, read with clear complaints.

Taught in part_5/tutorial_04.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, StorageError
from ..space.parameters import Categorical, Integer, Parameter, Real, close_to
from ..space.space import Space

EXAMPLE = """\
# A campaign. Lines that begin with # are remarks. Change what follows, then run
#     bolearn new THIS_FILE

name = "reaction"
seed = 7                                # all chance comes from it
goals = ["maximize yield", "cost <= 5"] # also "minimize time", "purity >= 1.05 * baseline"
budget = 40                             # trials; or { trials = 40, cost = 500.0, hours = 72 }

# review = true                         # proposals wait until somebody approves them
# deterministic = true                  # measuring again gives the same value
# outcomes = ["purity"]                 # measured beside those of the goals
# note = "Ligand screen, plate 3"

constraints = ["A + B <= 1"]            # linear; also "A + B + C == 1"

[parameters.A]                          # a number: low and high; step, unit, log if you like
low = 0
high = 1
step = 0.01

[parameters.B]
low = 0
high = 1
step = 0.01

[parameters.temperature]
low = 20
high = 90
step = 0.5
unit = "°C"

[parameters.time]
low = 1
high = 600
unit = "s"
log = true                              # 1, 10 and 100 are equally far apart

[parameters.cycles]
kind = "integer"                        # whole numbers
low = 1
high = 8

[parameters.solvent]                    # labels
values = ["MeOH", "THF", "MeCN"]
# ordered = true                        # neighbours in the list are alike
"""

_OPTIONS = ("name", "seed", "goals", "budget", "review", "deterministic", "outcomes", "note",
            "strategy")  # fmt: skip
_KEYS: dict[str, tuple[str, ...]] = {
    "real": ("low", "high", "unit", "log", "step"),
    "integer": ("low", "high", "unit", "log", "step"),
    "categorical": ("values", "ordered"),
}


def read(path: Path) -> tuple[Space, dict[str, Any]]:
    """A space, and the other arguments of `Campaign.create`.

    Raises:
        StorageError: no such file.
        DataError: no TOML, or something in it that cannot be used.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be read: {error.strerror}; `bolearn new {path} --example` writes one "
            "to begin with"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: no TOML: {error}") from error
    known = (*_OPTIONS, "constraints", "parameters")
    _check_keys(str(path), found, known)
    for needed in ("goals", "parameters", "seed"):
        if needed not in found:
            raise DataError(f"{path}: expected {needed!r}, got none")
    parameters = found.pop("parameters")
    if not isinstance(parameters, Mapping) or not parameters:
        raise DataError(f"{path}: expected a table [parameters.NAME] for each parameter")
    space = Space(
        [_parameter(str(path), name, p) for name, p in parameters.items()],
        constraints=found.pop("constraints", ()),
    )
    return space, found


def _parameter(file: str, name: str, found: Any) -> Parameter:
    """One parameter.

    Raises:
        DataError: it cannot be used.
    """
    where = f"{file}, parameters.{name}"
    if not isinstance(found, Mapping):
        raise DataError(f"{where}: expected a table such as low = 0, high = 1; got {found!r}")
    options = dict(found)
    kind = options.pop("kind", "categorical" if "values" in options else "real")
    if kind not in _KEYS:
        raise DataError(f"{where}: expected kind to be one of {', '.join(_KEYS)}; got {kind!r}")
    _check_keys(where, options, _KEYS[kind])
    needed = ("values",) if kind == "categorical" else ("low", "high")
    for key in needed:
        if key not in options:
            raise DataError(f"{where}: expected {' and '.join(needed)}, got no {key!r}")
    try:
        if kind == "categorical":
            return Categorical(name, options.pop("values"), **options)
        made = Integer if kind == "integer" else Real
        return made(name, options.pop("low"), options.pop("high"), **options)
    except (DataError, TypeError) as error:
        raise DataError(f"{where}: {error}") from error


def _check_keys(where: str, found: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in found:
        if key not in known:
            raise DataError(
                f"{where}: expected {', '.join(known)}; got {key!r}{close_to(key, known)}"
            )
