"""Measured values at the border, and the canonical text in which everything is stored.

Taught in part_5/tutorial_04.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import DataError, StorageError
from ..shapes import is_number
from ..space.parameters import close_to, plain, short

Told = float | tuple[float, float] | list[float]
"""A measured outcome as it is told: a number, (mean, standard error), or a list of repeats."""


@dataclass(frozen=True)
class Measured:
    """One outcome of one trial: repeats, or a mean with its standard error.

    Attributes:
        values: the repeats; a single one where there were none.
        sem: standard error of the mean, if one was told.
    """

    values: tuple[float, ...]
    sem: float | None = None

    @property
    def mean(self) -> float:
        """Mean of the repeats."""
        return math.fsum(self.values) / len(self.values)

    @property
    def told(self) -> Told:
        """In the form in which it was told."""
        if self.sem is not None:
            return (self.values[0], self.sem)
        return self.values[0] if len(self.values) == 1 else list(self.values)

    def stored(self) -> Any:
        """As JSON: a number, a list, or an object with mean and sem."""
        if self.sem is not None:
            return {"mean": self.values[0], "sem": self.sem}
        return self.values[0] if len(self.values) == 1 else list(self.values)

    @classmethod
    def of_stored(cls, found: Any) -> "Measured":
        """Undo `stored`."""
        if isinstance(found, dict):
            return cls((float(found["mean"]),), float(found["sem"]))
        return cls(tuple(map(float, found)) if isinstance(found, list) else (float(found),))

    def __str__(self) -> str:
        if self.sem is not None:
            return f"{short(self.values[0])} ± {short(self.sem)}"
        return ", ".join(map(short, self.values))


def measured(name: str, value: object) -> Measured:
    """Check what was told of one outcome.

    Args:
        name: of the outcome, for messages.
        value: a finite number, ``(mean, sem)``, or a list of repeats; NumPy's will do.

    Raises:
        DataError: anything else; nothing is stored then.

    Example:
        >>> print(measured("yield", [62, 64]), "|", measured("yield", (62.5, 0.5)))
        62, 64 | 62.5 ± 0.5
    """
    if isinstance(value, np.ndarray | torch.Tensor):
        value = value.tolist()
    if isinstance(value, tuple) and len(value) == 2:
        mean, sem = (_number(name, v) for v in value)
        if sem < 0:
            raise DataError(
                f"{name}: expected (mean, standard error) with a standard error >= 0, got "
                f"{value!r}; give repeats as a list"
            )
        return Measured((mean,), sem)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if not value or isinstance(value, tuple):
            raise DataError(
                f"{name}: expected a number, (mean, standard error) or a list of repeats, got "
                f"{value!r}" + ("; leave the outcome out if it is missing" if not value else "")
            )
        return Measured(tuple(_number(name, v) for v in value))
    return Measured((_number(name, value),))


def _number(name: str, value: object) -> float:
    """A finite number.

    Raises:
        DataError: anything else, with a way out.
    """
    value = plain(value)
    if is_number(value) and abs(value) < 1e300:
        return float(value) + 0.0  # no negative zero: databases keep none
    got, hint = f"{value!r}" + ("" if is_number(value) else f" ({type(value).__name__})"), ""
    if value is None or isinstance(value, float | int):
        hint = (
            "; use fail(trial, reason) if it went wrong, or leave the outcome out if it is missing"
        )
    if isinstance(value, bool):
        hint = "; truth values are no numbers"
    elif isinstance(value, str):
        hint = "; numbers without quotes, decimals with a point"
    raise DataError(f"{name}: expected a finite number, got {got}{hint}")


def check_outcomes(outcomes: object, known: Sequence[str]) -> dict[str, Measured]:
    """Check what was told of a trial.

    Args:
        outcomes: a dictionary, name to value; a value alone where there is one outcome.
        known: the outcomes of the campaign.

    Raises:
        DataError: an unknown name, or a value that is not usable.
    """
    outcomes = plain(outcomes)
    if not isinstance(outcomes, Mapping):
        if len(known) != 1:
            names = ", ".join(map(repr, known))
            raise DataError(
                f"outcomes: expected a dictionary with values of {names}, got {outcomes!r}"
            )
        outcomes = {known[0]: outcomes}
    if not outcomes:
        raise DataError("outcomes: expected at least one, got an empty dictionary")
    for name in outcomes:
        if name not in known:
            names = ", ".join(map(repr, known))
            raise DataError(f"unknown outcome {name!r}: expected {names}" + close_to(name, known))
    return {str(name): measured(str(name), value) for name, value in outcomes.items()}


def check_text(what: str, text: object, *, needed: bool = False) -> str | None:
    """A reason, a note, a name of a person: text that every database can keep.

    Raises:
        DataError: no text, text with NUL characters, or no reason where one is needed.
    """
    text = plain(text)
    if text is None and not needed:
        return None
    if not isinstance(text, str) or (needed and not text.strip()):
        raise DataError(f"{what}: expected a text, got {text!r}")
    if "\x00" in text:
        raise DataError(f"{what}: expected a text without NUL characters, got {text!r}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{what}: expected a text that can be written as UTF-8: {error}") from None
    return text


def check_parameter_texts(values: Mapping[str, object]) -> None:
    """Labels go to the database, too."""
    for name, value in values.items():
        if isinstance(value, str):
            check_text(name, value)


def dumps(x: object) -> str:
    """Canonical JSON: sorted, without spaces, no NaN; floats come back bit for bit."""
    return json.dumps(x, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def loads(text: str, what: str) -> Any:
    """Undo `dumps`.

    Raises:
        StorageError: no such text: the file is damaged.
    """
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise StorageError(f"{what}: its stored text is damaged ({error}); use a backup") from error


def digest(*parts: object) -> str:
    """A short checksum of what is stored in one row."""
    joined = "\x1f".join("" if part is None else str(part) for part in parts)
    return hashlib.blake2b(joined.encode(), digest_size=8).hexdigest()
