"""One transaction on a campaign, and what it sees: revisions, trials, a snapshot.

Taught in part_5/tutorial_04.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ..space.space import Space
from . import schema
from .goals import Goals
from .trial import Trial, body_of
from .values import digest, dumps


@dataclass(frozen=True)
class Revision:
    """Space and goals as they were from some time on."""

    number: int
    space: Space
    goals: Goals
    outcomes: tuple[str, ...]  # measured beside those of the goals
    settings: dict[str, Any]  # budget, ...: what may change
    fill: dict[str, Any]  # what trials of earlier revisions had where this space has a new name
    rename: dict[str, str]  # old name of a parameter to its new one


@dataclass(frozen=True)
class Snapshot:
    """A campaign as it was at one moment."""

    uid: str
    name: str
    settings: Mapping[str, Any]  # seed, strategy, review, ...: what never changes
    created_us: int
    next_number: int
    next_seq: int
    memory: str | None
    revisions: tuple[Revision, ...]
    trials: Mapping[int, Trial]
    now_us: int = 0

    @property
    def revision(self) -> Revision:
        """The one in force."""
        return self.revisions[-1]


class Writer:
    """One transaction: what it sees is what is there, and all of it is kept, or nothing."""

    def __init__(self, id: int, c: Connection, actor: str, view: Snapshot) -> None:
        self._id, self._c, self.actor, self.view = id, c, actor, view
        self.now_us = view.now_us
        self._trials = dict(view.trials)
        self._next_seq, self._next_number = view.next_seq, view.next_number
        self._memory, self._revisions = view.memory, view.revisions

    @property
    def trials(self) -> Mapping[int, Trial]:
        """All trials, those of this transaction among them."""
        return self._trials

    @property
    def next_number(self) -> int:
        """The number that the next new trial gets."""
        return self._next_number

    def event(self, kind: str, number: int | None, details: Mapping[str, Any]) -> int:
        """Add a line to the history."""
        seq = self._next_seq
        row = event_row(self._id, seq, self.now_us, self.actor, kind, number, details)
        self._c.execute(insert(schema.log), row)
        self._next_seq += 1
        return seq

    def add(self, trial: Trial, kind: str, details: Mapping[str, Any]) -> Trial:
        """A new trial; it gets its number here."""
        made = replace(
            trial,
            id=self._next_number,
            asked_us=self.now_us,
            revision=self.view.revision.number,
            campaign=self.view.uid,
        )
        self._next_number += 1
        seq = self.event(kind, made.id, details)
        self._c.execute(insert(schema.trial), self._row(made, seq))
        self._trials[made.id] = made
        return made

    def save(self, trial: Trial, kind: str, details: Mapping[str, Any]) -> Trial:
        """A trial that changed, and the line of the history that says how."""
        seq = self.event(kind, trial.id, details)
        row, t = self._row(trial, seq), schema.trial.c
        if trial.lease_us == self._trials[trial.id].lease_us:
            del row["lease_us"]  # another process may have prolonged it, which leaves no line
        where = (t.campaign_id == self._id, t.number == trial.id)
        self._c.execute(update(schema.trial).where(*where).values(row))
        self._trials[trial.id] = trial
        return trial

    def lease(self, number: int, until_us: int | None) -> None:
        """Until when a running trial's owner has to report; no line in the history."""
        t = schema.trial.c
        where = (t.campaign_id == self._id, t.number == number)
        self._c.execute(update(schema.trial).where(*where).values(lease_us=until_us))
        self._trials[number] = replace(self._trials[number], lease_us=until_us)

    def overdue(self) -> list[Trial]:
        """Running trials whose owner should have reported by now."""
        t = schema.trial.c
        rows = self._c.execute(
            select(t.number).where(
                t.campaign_id == self._id, t.state == "running", t.lease_us < self.now_us
            )
        )
        return [self._trials[n] for n in sorted(rows.scalars())]

    def remember(self, memory: str | None) -> None:
        """What the strategy keeps for its next call."""
        self._memory = memory

    def revise(self, revision: Revision) -> None:
        """A new revision, from now on the one in force."""
        self._c.execute(insert(schema.revision), revision_row(self._id, revision))
        self._revisions = (*self._revisions, revision)

    def token(self, token: str) -> tuple[int, str] | None:
        """Trial and digest of what was told under a token, if it was used."""
        t = schema.token.c
        where = (t.campaign_id == self._id, t.token == token)
        row = self._c.execute(select(t.number, t.digest).where(*where)).first()
        return None if row is None else (int(row[0]), str(row[1]))

    def use_token(self, token: str, number: int, content: str) -> None:
        """Note that a token was used."""
        row = {
            "campaign_id": self._id,
            "token": token,
            "number": number,
            "digest": content,
        }
        self._c.execute(insert(schema.token), row)

    def _row(self, trial: Trial, seq: int) -> dict[str, Any]:
        body = dumps(body_of(trial))
        return {
            "campaign_id": self._id,
            "number": trial.id,
            "revision": trial.revision,
            "state": trial.state,
            "changed_seq": seq,
            "owner": trial.owner,
            "lease_us": trial.lease_us,
            "body": body,
            "digest": digest(trial.id, trial.revision, trial.state, body),
        }

    def finish(self) -> Snapshot:
        """Write the campaign's own row; the snapshot after the transaction."""
        view = replace(
            self.view,
            next_seq=self._next_seq,
            next_number=self._next_number,
            memory=self._memory,
            revisions=self._revisions,
            trials=self._trials,
        )
        if view.next_seq != self.view.next_seq:
            values = {
                "next_seq": view.next_seq,
                "next_number": view.next_number,
                "memory": view.memory,
            }
            at_row = schema.campaign.c.id == self._id
            self._c.execute(update(schema.campaign).where(at_row).values(values))
        return view


def revision_row(id: int, r: Revision) -> dict[str, Any]:
    body = dumps(
        {
            "space": r.space.to_json(),
            "goals": r.goals.texts,
            "outcomes": list(r.outcomes),
            "settings": r.settings,
            "fill": r.fill,
            "rename": r.rename,
        }
    )
    return {"campaign_id": id, "number": r.number, "body": body, "digest": digest(r.number, body)}


def event_row(
    id: int,
    seq: int,
    now_us: int,
    actor: str,
    kind: str,
    number: int | None,
    details: Mapping[str, Any],
) -> dict[str, Any]:
    """A line of the history, with its checksum."""
    payload = dumps(dict(details))
    return {
        "campaign_id": id,
        "seq": seq,
        "at_us": now_us,
        "actor": actor,
        "kind": kind,
        "trial": number,
        "payload": payload,
        "digest": digest(seq, now_us, actor, kind, number, payload),
    }
