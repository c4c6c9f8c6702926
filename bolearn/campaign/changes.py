"""What a call makes of a trial: functions from a trial to the trial after it, checked.

Taught in part_5/tutorial_04.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import DataError
from ..shapes import is_whole
from ..space.parameters import Value, plain
from ..space.space import Space
from .goals import Goals
from .proposals import Proposal
from .trial import PENDING, Trial
from .values import Measured, check_parameter_texts, dumps
from .writer import Snapshot, Writer


def find(view: Snapshot, trial: object) -> Trial:
    """A trial by its number, or as it is now.

    Raises:
        DataError: no such trial; the message says which there are.
    """
    number = plain(trial)
    if isinstance(trial, Trial):
        if trial.campaign != view.uid:
            raise DataError(f"trial {trial.id} belongs to another campaign, not to {view.name!r}")
        number = trial.id
    if not is_whole(number):
        hint = ""
        if isinstance(number, str) and number.strip().isdigit():
            hint = f"; write {number.strip()} without quotes"
        elif isinstance(number, float) and number == int(number):
            hint = f"; write {int(number)}"
        raise DataError(f"trial: expected the number of a trial, got {trial!r}{hint}")
    if number not in view.trials:
        near = sorted(view.trials, key=lambda i: (abs(i - number), i))[:3]
        there = f"the nearest are {', '.join(map(str, sorted(near)))}" if near else "there is none"
        raise DataError(f"trial {number}: expected a trial of {view.name!r}; {there}")
    return view.trials[number]


def checked(space: Space, parameters: object, outside: bool) -> dict[str, Value]:
    """A point for the store.

    Raises:
        DataError: what is wrong with it, all of it.
    """
    point = space.check(parameters, allow_outside=outside)
    check_parameter_texts(point)
    return point


def used(trial: Trial, parameters: object, space: Space) -> dict[str, Value]:
    """What was really set: what was asked, with some values of its own.

    Raises:
        DataError: values that no experiment can have had, unknown names.
    """
    if not isinstance(parameters, Mapping) or not parameters:
        raise DataError(
            f"parameters: expected a dictionary such as {{{space.names[0]!r}: ...}}, got "
            f"{parameters!r}"
        )
    return checked(space, {**trial.parameters, **parameters}, True)


def edited(trial: Trial, parameters: object, space: Space) -> dict[str, Value]:
    """A candidate as its reviewer wants it: legal.

    Raises:
        DataError: it is not.
    """
    if not isinstance(parameters, Mapping):
        raise DataError(f"parameters: expected a dictionary, got {parameters!r}")
    return checked(space, {**trial.parameters, **parameters}, False)


def proposed(
    p: Proposal, batch: int, review: bool, actor: str, now_us: int, lease: float | None
) -> Trial:
    """A new trial from a proposal."""
    running = not review
    return Trial(
        id=-1,
        state="running" if running else "candidate",
        asked=p.point,
        origin=p.origin,
        batch=batch,
        proposal=p.record,
        owner=actor if running else None,
        lease_us=None if lease is None or review else now_us + round(lease * 1e6),
    )


def known_token(w: Writer, token: str, content: str) -> bool:
    """Whether this was told already under its token.

    Raises:
        DataError: something else was.
    """
    before = w.token(token)
    if before is None:
        return False
    if before[1] != content:
        raise DataError(
            f"token {token!r}: was used for trial {before[0]} with other values; a token stands "
            "for one call, use a new one"
        )
    return True


def told(
    trial: Trial,
    outcomes: Mapping[str, Measured],
    parameters: dict[str, Value] | None,
    spent: float | None,
    note: str | None,
    correct: bool,
    goals: Goals,
    now_us: int,
) -> tuple[Trial, dict[str, Any]]:
    """The trial with what came out, and what the history says of it.

    Raises:
        DataError: a candidate, a rejected trial, or another value than the one told before.
    """
    if trial.state == "candidate":
        raise DataError(f"trial {trial.id} is a candidate: approve({trial.id}) it first")
    if trial.rejected:
        raise DataError(
            f"trial {trial.id} was rejected ({trial.reason}); add(...) what was measured anyway"
        )
    before: dict[str, Any] = {}
    for name, m in outcomes.items():
        old = trial.measured.get(name)
        if old is not None and old != m:
            before[name] = old.stored()
            _check_correct(trial, name, str(old), str(m), correct)
    if parameters is not None and trial.used is not None and parameters != trial.used:
        before["parameters"] = trial.used
        _check_correct(trial, "parameters", dumps(trial.used), dumps(parameters), correct)
    if spent is not None and trial.spent is not None and spent != trial.spent:
        before["spent"] = trial.spent
        _check_correct(trial, "spent", f"{trial.spent:g}", f"{spent:g}", correct)
    measured = {**trial.measured, **outcomes}
    differs = trial.used if parameters is None else parameters
    notes = [text for text in (trial.note, note) if text]
    made = replace(
        trial,
        measured=measured,
        used=None if differs == trial.asked else differs,
        spent=trial.spent if spent is None else spent,
        note="\n".join(notes) or None,
    )
    if outcomes and trial.state != "completed":
        complete = all(name in measured for name in goals.outcomes)
        made = replace(
            made,
            state="completed" if complete else "running",
            ended_us=now_us if complete else None,
            reason=None if trial.state in ("failed", "abandoned", "stopped") else trial.reason,
            lease_us=None if complete else trial.lease_us,
        )
    details: dict[str, Any] = {"outcomes": {k: m.stored() for k, m in outcomes.items()}}
    extra = {"parameters": parameters, "spent": spent, "note": note, "before": before or None}
    if trial.state in ("failed", "abandoned", "stopped"):
        extra["late"] = trial.state
    return made, details | {k: v for k, v in extra.items() if v is not None}


def _check_correct(trial: Trial, what: str, old: str, new: str, correct: bool) -> None:
    if not correct:
        raise DataError(
            f"trial {trial.id}: {what} was told as {old} before, now as {new}; pass replace=True "
            "to correct it (both stay in the history)"
        )


def reported(
    trial: Trial, step: float, found: dict[str, Measured], stop: bool, now_us: int
) -> Trial:
    """A running trial with a partial result.

    Raises:
        DataError: it is not running, or was further already.
    """
    _check_state(trial, "report", ("queued", "running"), "tell")
    if trial.reports and step < trial.reports[-1][0]:
        raise DataError(
            f"report: expected a step >= {trial.reports[-1][0]:g}, the last of trial {trial.id}, "
            f"got {step:g}"
        )
    before = tuple(r for r in trial.reports if r[0] != step)
    made = replace(trial, state="running", reports=(*before, (step, found)))
    if not stop:
        return made
    why = f"behind the median of the others at step {step:g}"
    return replace(made, state="stopped", reason=why, ended_us=now_us, lease_us=None)


def failed(trial: Trial, reason: str, now_us: int) -> Trial:
    """It went wrong."""
    _check_state(trial, "fail", ("queued", "running", "failed"), "exclude")
    return _ended(trial, "failed", reason, now_us)


def abandoned(trial: Trial, reason: str, now_us: int) -> Trial:
    """It will not be run."""
    _check_state(trial, "abandon", (*PENDING, "failed", "stopped", "abandoned"), "exclude")
    return _ended(trial, "abandoned", reason, now_us)


def rejected(trial: Trial, reason: str, now_us: int) -> Trial:
    """A reviewer turned it down."""
    if trial.rejected:
        return trial
    _check_state(trial, "reject", ("candidate", "queued"), "abandon")
    return replace(_ended(trial, "abandoned", reason, now_us), rejected=True)


def excluded(trial: Trial, reason: str, now_us: int) -> Trial:
    """Its values are kept from the models."""
    if not trial.measured and not trial.reports and trial.state != "failed":
        raise DataError(
            f"trial {trial.id}: expected one with values, got one that is {trial.state}; use "
            "abandon or fail"
        )
    return trial if trial.excluded else replace(trial, excluded=True, reason=reason)


def included(trial: Trial, reason: str, now_us: int) -> Trial:
    """The same undone."""
    return replace(trial, excluded=False, reason=None) if trial.excluded else trial


def approved(trial: Trial, parameters: dict[str, Value] | None) -> Trial:
    """A candidate may be run.

    Raises:
        DataError: it is no candidate.
    """
    if trial.state in ("queued", "running") and parameters in (None, trial.parameters):
        return trial
    _check_state(trial, "approve", ("candidate", "queued"), "add")
    other = None if parameters in (None, trial.asked) else parameters
    return replace(trial, state="queued", used=other or trial.used)


def _check_state(trial: Trial, what: str, allowed: tuple[str, ...], instead: str) -> None:
    if trial.state not in allowed:
        raise DataError(
            f"{what}: expected a trial that is {' or '.join(allowed[:-1])}, got trial {trial.id}, "
            f"which is {trial.state}"
            + (f" ({trial.reason})" if trial.reason else "")
            + f"; use {instead}"
        )


def _ended(trial: Trial, state: str, reason: str, now_us: int) -> Trial:
    if trial.state == state:
        return trial
    return replace(trial, state=state, reason=reason, ended_us=now_us, lease_us=None)
