"""Goals as people write them: "maximize yield", "cost <= 5", "yield >= 1.05 * baseline".

A small parser of our own: names may hold spaces and signs (``yield %``, ``t 1/2``), numbers are
decimals, and nothing is ever executed.

    goal   = (maximize | minimize) name  |  name (<= | >=) bound
    bound  = number  |  [number *] baseline [(+ | -) number]

Taught in part_5/tutorial_04.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import DataError
from ..space.parameters import close_to, plain, short

_AIM = re.compile(r"\s*(maximi[sz]e|minimi[sz]e|max|min)\s+(.*)", re.IGNORECASE | re.DOTALL)
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(rf"\s*({_NUMBER})\s*\Z")
_RELATIVE = re.compile(
    rf"\s*(?:({_NUMBER})\s*\*?\s*)?baseline\s*(?:([+-])\s*(\d+\.?\d*|\.\d+))?\s*\Z", re.IGNORECASE
)
_FORBIDDEN = re.compile(r"[<>=≤≥\x00-\x1f\x7f]")
_EXAMPLE = "for example 'maximize yield' or 'cost <= 5'"


def check_outcome_name(name: object) -> str:
    """The name of an outcome: any text on one line that no goal could be mistaken for.

    Raises:
        DataError: no such text.
    """
    name = plain(name)
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"outcome: expected a name such as 'yield', got {name!r}")
    if name != name.strip() or _FORBIDDEN.search(name):
        raise DataError(
            "outcome: expected a name without spaces at its ends, line breaks or signs <>=, got "
            f"{name!r}; try {_FORBIDDEN.sub('', name).strip()!r}"
        )
    return name


@dataclass(frozen=True)
class Objective:
    """An outcome that should be as large, or as small, as possible."""

    outcome: str
    maximize: bool

    @property
    def sign(self) -> float:
        """+1 to maximise, -1 to minimise: what the outcome is multiplied by inside."""
        return 1.0 if self.maximize else -1.0

    def __str__(self) -> str:
        return f"{'maximize' if self.maximize else 'minimize'} {self.outcome}"


@dataclass(frozen=True)
class Limit:
    """An outcome that has to stay below, or above, ``factor * baseline + offset``.

    A factor of 0 makes it a plain number.
    """

    outcome: str
    upper: bool
    factor: float
    offset: float

    @property
    def relative(self) -> bool:
        """Whether the bound depends on the baseline."""
        return self.factor != 0

    def bound(self, baseline: float | None) -> float:
        """The bound in the units of the outcome.

        Raises:
            DataError: it depends on a baseline, and there is none.
        """
        if not self.relative:
            return self.offset
        if baseline is None:
            raise DataError(
                f"goal {str(self)!r}: expected a baseline with a value of {self.outcome!r}, got "
                f"none; measure it and tell it by add(parameters, {{{self.outcome!r}: ...}}, "
                "baseline=True)"
            )
        return self.factor * baseline + self.offset

    def holds(self, value: float, baseline: float | None) -> bool:
        """Whether a value keeps the limit."""
        bound = self.bound(baseline)
        return value <= bound if self.upper else value >= bound

    def __str__(self) -> str:
        sign = "<=" if self.upper else ">="
        if not self.relative:
            return f"{self.outcome} {sign} {short(self.offset)}"
        factor = "" if self.factor == 1 else f"{short(self.factor)} * "
        rest = "" if not self.offset else f" {'-' if self.offset < 0 else '+'} "
        return (
            f"{self.outcome} {sign} {factor}baseline"
            + rest
            + (short(abs(self.offset)) if rest else "")
        )


@dataclass(frozen=True)
class Goals:
    """What a campaign is after: one or several objectives, and limits.

    Attributes:
        objectives: in the order in which they were given; the first leads.
        limits: likewise.
    """

    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...]

    @classmethod
    def read(cls, texts: object) -> "Goals":
        """Goals from their texts.

        Raises:
            DataError: text that is no goal, no objective, two aims for one outcome, or limits that
                exclude each other; the message shows which.

        Example:
            >>> goals = Goals.read(["maximize yield %", "cost <= 5", "purity >= 1.05 * baseline"])
            >>> goals.outcomes
            ('yield %', 'cost', 'purity')
            >>> print(goals)
            maximize yield %, cost <= 5, purity >= 1.05 * baseline
        """
        if isinstance(texts, Goals):
            return texts
        if isinstance(texts, str):
            raise DataError(f"goals: expected a list of texts, got {texts!r}; write [{texts!r}]")
        if not isinstance(texts, Sequence):
            raise DataError(f"goals: expected a list of texts, got {texts!r}; {_EXAMPLE}")
        read = [_read(text) for text in texts]
        objectives = tuple(dict.fromkeys(g for g in read if isinstance(g, Objective)))
        limits = tuple(dict.fromkeys(g for g in read if isinstance(g, Limit)))
        if not objectives:
            raise DataError(
                f"goals: expected at least one to maximize or minimize, got {list(texts)!r}; "
                f"{_EXAMPLE}"
            )
        aims = [o.outcome for o in objectives]
        for name in aims:
            if aims.count(name) > 1:
                raise DataError(f"goals: {name!r} cannot be maximized and minimized; keep one")
        _check_limits(limits)
        return cls(objectives, limits)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The outcomes that have to be measured, objectives first."""
        aims, limits = self.objectives, self.limits
        return tuple(dict.fromkeys([*(o.outcome for o in aims), *(c.outcome for c in limits)]))

    @property
    def texts(self) -> list[str]:
        """The goals as texts that `read` reads."""
        return [str(g) for g in (*self.objectives, *self.limits)]

    def broken(
        self, values: Mapping[str, float], baseline: Mapping[str, float]
    ) -> tuple[Limit, ...]:
        """The limits that values break; one whose outcome is missing counts as broken."""
        return tuple(
            limit
            for limit in self.limits
            if limit.outcome not in values
            or not limit.holds(values[limit.outcome], baseline.get(limit.outcome))
        )

    def __str__(self) -> str:
        return ", ".join(self.texts)


def _read(text: object) -> Objective | Limit:
    """One goal."""
    text = plain(text)
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"goals: expected a text, got {text!r}; {_EXAMPLE}")
    source = text.replace("≤", "<=").replace("≥", ">=").replace("\u00a0", " ")
    parts = re.split(r"(<=|>=|==|=|<|>)", source)
    aim = _AIM.match(source)
    if len(parts) == 1:
        if aim is None:
            raise DataError(
                f"goal {text!r}: expected 'maximize ...', 'minimize ...', or a limit with <= or "
                f">=, got neither{close_to(source.split()[0], ('maximize', 'minimize'))}; "
                f"{_EXAMPLE}"
            )
        return Objective(check_outcome_name(aim[2].strip()), aim[1].lower().startswith("max"))
    if len(parts) > 3:
        raise DataError(f"goal {text!r}: expected one relation, got more; write two goals")
    left, sign, right = parts
    if sign in ("<", ">"):
        raise DataError(
            f"goal {text!r}: expected {sign}=, got {sign!r}; a limit belongs to what is allowed"
        )
    if sign in ("=", "=="):
        raise DataError(
            f"goal {text!r}: expected <= or >=, got {sign!r}; measured values never equal a "
            "number: give two limits, or minimize the distance as an outcome of its own"
        )
    if aim is not None:
        raise DataError(
            f"goal {text!r}: expected an aim or a limit, got both; write two goals, such as "
            f"'{aim[1]} {aim[2].split('<')[0].split('>')[0].strip()}' and "
            f"'{source[source.index(aim[2]) :].strip()}'"
        )
    if _PLAIN.match(left) and not _PLAIN.match(right):  # 5 >= cost
        left, right, sign = right, left, "<=" if sign == ">=" else ">="
    factor, offset = _bound(text, right)
    return Limit(check_outcome_name(left.strip()), sign == "<=", factor, offset)


def _bound(text: str, side: str) -> tuple[float, float]:
    """Factor of the baseline and offset."""
    number, relative = _PLAIN.match(side), _RELATIVE.match(side)
    if number:
        return 0.0, _finite(text, number[1])
    if relative:
        factor = _finite(text, relative[1] or "1")
        if factor == 0:
            raise DataError(f"goal {text!r}: expected a factor that is not 0; leave baseline out")
        return factor, _finite(text, (relative[2] or "") + (relative[3] or "0"))
    hint = "; a unit is no part of a goal"
    if re.match(r"\s*[+-]?\d*,\d+", side):
        hint = "; write decimals with a point"
    elif "baseline" in side.lower():
        hint = "; for example '>= 1.05 * baseline' or '>= baseline + 2'"
    raise DataError(
        f"goal {text!r}: expected a number or a multiple of baseline, got {side.strip()!r}" + hint
    )


def _finite(text: str, number: str) -> float:
    value = float(number)
    if abs(value) == float("inf"):
        raise DataError(f"goal {text!r}: expected a number below 1e308, got {number}")
    return value + 0.0


def _check_limits(limits: Sequence[Limit]) -> None:
    """Refuse plain limits of one outcome that exclude each other."""
    plain_ones = [limit for limit in limits if not limit.relative]
    for high in (limit for limit in plain_ones if limit.upper):
        for low in (limit for limit in plain_ones if not limit.upper):
            if low.outcome == high.outcome and low.offset > high.offset:
                raise DataError(
                    f"goals: {str(high)!r} and {str(low)!r} exclude each other; change one"
                )
