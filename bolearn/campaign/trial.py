"""A trial: one setting to be run, what became of it, and how it is stored.

    candidate --approve--> queued --claim--> running --tell--> completed
        |                     |                 |----fail----> failed
        reject               abandon            |---report---> stopped
        +-------> abandoned <-+-----------------+

Without review, what is asked for is running at once: somebody asked in order to run it. A late
value is accepted from a trial that failed, was stopped or abandoned: data are data.

Taught in part_5/tutorial_04.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from ..space.parameters import Value
from .values import Measured, Told

STATES = ("candidate", "queued", "running", "completed", "stopped", "failed", "abandoned")
PENDING = ("candidate", "queued", "running")
"""States in which a trial is on its way: whoever asks next is told so."""

ORIGINS = ("design", "model", "strategy", "wish", "data")
"""Where a trial comes from: the initial design, the rule's model, a strategy of one's own, a
person's wish, or data from before."""


@dataclass(frozen=True)
class Trial:
    """One setting and its outcomes, as of when it was looked at; a value that never changes.

    Attributes:
        id: number within the campaign, from 0, without gaps.
        state: see `STATES`.
        asked: what was proposed.
        used: what was really set, where that differs.
        measured: outcome to `Measured`.
        spent: what the trial cost to run, in the units of the budget.
        label: free text, such as the number in a lab book.
        origin: see `ORIGINS`.
        attempt: how often it was handed out again.
        reason: why it failed, was stopped, abandoned, rejected or excluded.
        note: remarks.
        baseline: whether it measures the baseline, which relative goals refer to.
        excluded: whether its values are kept from the models.
        rejected: whether a reviewer turned it down.
        revision: number of the space and goals under which it was made.
        batch: number of the `ask` that made it.
        reports: partial results: (step, outcome to value).
        proposal: what was believed when it was proposed; see `Campaign.explain`.
        asked_us, ended_us: microseconds since 1970 by the database's clock.
        owner: who runs it, if it was claimed.
        lease_us: until when its owner has to report.
        campaign: identifier of its campaign.
    """

    id: int
    state: str
    asked: dict[str, Value]
    used: dict[str, Value] | None = None
    measured: dict[str, Measured] = field(default_factory=dict)
    spent: float | None = None
    label: str | None = None
    origin: str = "model"
    attempt: int = 0
    reason: str | None = None
    note: str | None = None
    baseline: bool = False
    excluded: bool = False
    rejected: bool = False
    revision: int = 0
    batch: int | None = None
    reports: tuple[tuple[float, dict[str, Measured]], ...] = field(default=(), repr=False)
    proposal: dict[str, Any] | None = field(default=None, repr=False)
    asked_us: int = field(default=0, repr=False)
    ended_us: int | None = field(default=None, repr=False)
    owner: str | None = field(default=None, repr=False)
    lease_us: int | None = field(default=None, repr=False)
    campaign: str = field(default="", repr=False)

    @property
    def parameters(self) -> dict[str, Value]:
        """What was really set: `used` where that is known, else `asked`."""
        return dict(self.asked if self.used is None else self.used)

    @property
    def outcomes(self) -> dict[str, Told]:
        """Outcomes as they were told: a number, (mean, standard error), or a list of repeats."""
        return {name: m.told for name, m in self.measured.items()}

    @property
    def values(self) -> dict[str, float]:
        """Outcomes as numbers: means of repeats."""
        return {name: m.mean for name, m in self.measured.items()}

    @property
    def pending(self) -> bool:
        """Whether it is still on its way."""
        return self.state in PENDING

    @property
    def asked_at(self) -> datetime:
        """When it was proposed or added, by the database's clock (UTC)."""
        return at(self.asked_us)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended, by the database's clock (UTC)."""
        return None if self.ended_us is None else at(self.ended_us)

    @property
    def seconds(self) -> float | None:
        """How long it took from asking to its end."""
        return None if self.ended_us is None else max(0, self.ended_us - self.asked_us) / 1e6

    def __str__(self) -> str:
        setting = ", ".join(f"{k} = {v}" for k, v in self.parameters.items())
        found = ", ".join(f"{k} = {m}" for k, m in self.measured.items())
        return f"trial {self.id} ({self.state}): {setting}" + (f": {found}" if found else "")


@dataclass(frozen=True)
class Event:
    """One line of the history: who did what, and when.

    Attributes:
        seq: number, from 0, without gaps: the order of things, whatever clocks say.
        at: by the database's clock (UTC).
        by: who.
        kind: create, ask, tell, correct, add, fail, abandon, ...
        trial: number of the trial, if it is about one.
        details: what, in plain types.
    """

    seq: int
    at: datetime
    by: str
    kind: str
    trial: int | None
    details: dict[str, Any]

    def __str__(self) -> str:
        what = "" if self.trial is None else f" trial {self.trial}"
        more = ", ".join(f"{k}: {v}" for k, v in self.details.items() if v not in (None, {}, []))
        return f"{self.seq:>4}  {self.at:%Y-%m-%d %H:%M:%S}  {self.by}: {self.kind}{what}  {more}"


def at(microseconds: int) -> datetime:
    """A moment from microseconds since 1970."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(
        microsecond=microseconds % 1_000_000
    )


# Stored apart from the text, in columns of their own.
_COLUMNS = ("id", "state", "revision", "owner", "lease_us", "campaign")
_DEFAULTS = {f.name: f.default for f in fields(Trial)}


def body_of(trial: Trial) -> dict[str, Any]:
    """What is stored of a trial as JSON; what is as it usually is, is left out."""
    body: dict[str, Any] = {}
    for f in fields(Trial):
        value = getattr(trial, f.name)
        if f.name in _COLUMNS or value is None or value == _DEFAULTS[f.name]:
            continue
        if f.name == "measured":
            if value:
                body["outcomes"] = {name: m.stored() for name, m in value.items()}
        elif f.name == "reports":
            body["reports"] = [[s, {k: m.stored() for k, m in found.items()}] for s, found in value]
        else:
            body[f.name] = value
    return body


def of_body(body: Mapping[str, Any], **columns: Any) -> Trial:
    """Undo `body_of`."""
    found = dict(body)
    outcomes = found.pop("outcomes", {})
    reports = found.pop("reports", [])
    return Trial(
        measured={name: Measured.of_stored(v) for name, v in outcomes.items()},
        reports=tuple(
            (float(s), {k: Measured.of_stored(v) for k, v in values.items()})
            for s, values in reports
        ),
        **found,
        **columns,
    )
