"""The store: trials and their history, read as they change and written one transaction at a time.

A `Store` keeps what it has read. Every write adds an event with the next number of the campaign and
marks the trials that it touched with it, so that only what is newer has to be read again: an `ask`
among 1,000 trials reads none but the new ones. Writers of one campaign wait for each other; each
sees all that was written before it.

Proposals take seconds and must not hold up those who tell: they are made outside any transaction,
under a lock of their own (`asking`), which the operating system or the database frees when its
holder dies.

Taught in part_5/tutorial_04.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, insert, literal_column, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..errors import DataError, StorageError
from ..space.parameters import close_to
from ..space.space import Space
from . import schema
from .goals import Goals
from .trial import Event, Trial, at, of_body
from .values import digest, dumps, loads
from .writer import Revision as Revision
from .writer import Snapshot as Snapshot
from .writer import Writer, event_row, revision_row


class Store:
    """One campaign in a database.

    Args:
        place: where.
        engine: connections to it.
        id: of the campaign in its table.
    """

    def __init__(self, place: schema.Place, engine: Engine, id: int, read_only: bool) -> None:
        self.place, self.engine, self.id, self.read_only = place, engine, id, read_only
        self._lock = threading.RLock()  # threads of one process share what was read
        self._asking = threading.Lock()
        self._pid = os.getpid()
        self._view: Snapshot | None = None

    # ---------------------------------------------------------------- making and finding

    @classmethod
    def create(
        cls,
        place: schema.Place,
        name: str,
        settings: Mapping[str, Any],
        first: Revision,
        actor: str,
        details: Mapping[str, Any],
    ) -> "Store":
        """A new campaign; the file or the tables are made where there are none.

        `details` is what the history says of it.

        Raises:
            StorageError: there is one of that name, or the place cannot be used.
        """
        found = schema.look(place)
        if place.path is not None and not place.path.exists():
            with _told(place):
                place.path.touch()
        engine = place.engine()
        uid = os.urandom(12).hex()
        with _told(place):
            schema.prepare(place, engine, found)
            with engine.begin() as c:
                table = schema.campaign
                names = set(c.execute(select(table.c.name)).scalars())
                if name in names:
                    raise StorageError(
                        f"{place}: there is a campaign {name!r} already; open it by "
                        "Campaign.open, or give the new one another name="
                    )
                now, kept = int(c.execute(select(_clock(c))).scalar_one()), dumps(dict(settings))
                made = c.execute(
                    insert(table).values(
                        uid=uid,
                        name=name,
                        settings=kept,
                        created_us=now,
                        next_number=0,
                        next_seq=1,
                        memory=None,
                        digest=digest(uid, name, kept, now),
                    )
                )
                key = made.inserted_primary_key
                assert key is not None
                c.execute(insert(schema.revision), revision_row(int(key[0]), first))
                line = event_row(int(key[0]), 0, now, actor, "create", None, details)
                c.execute(insert(schema.log), line)
        return cls(place, engine, int(key[0]), read_only=False)

    @classmethod
    def open(cls, place: schema.Place, name: str | None, read_only: bool) -> "Store":
        """A campaign that is there.

        Raises:
            StorageError: none, none of that name, several and no name, a damaged or newer file.
        """
        if place.memory:
            raise StorageError("where: a campaign in memory ends with its process; give a path")
        found = schema.look(place)
        if found is None:
            raise StorageError(f"{place}: there is no campaign; make one by Campaign.create")
        if read_only and found != schema.SCHEMA:
            raise StorageError(
                f"{place}: version {found} has to be brought to version {schema.SCHEMA} first; "
                "open it once without read_only=True (a copy of the old file is kept)"
            )
        engine = place.engine(read_only)
        with _told(place):
            schema.prepare(place, engine, found)
            schema.check_whole(place, engine)
            with engine.connect().execution_options(reading=True) as c:
                table = schema.campaign.c
                ids = {str(row[1]): int(row[0]) for row in c.execute(select(table.id, table.name))}
        if not ids:
            raise StorageError(f"{place}: there is no campaign; make one by Campaign.create")
        names = ", ".join(map(repr, sorted(ids)))
        if name is None:
            if len(ids) > 1:
                raise StorageError(f"{place}: there are several campaigns; give a name: {names}")
            (name,) = ids
        if name not in ids:
            raise StorageError(
                f"{place}: no campaign {name!r}; there is {names}{close_to(name, sorted(ids))}"
            )
        return cls(place, engine, ids[name], read_only)

    # ---------------------------------------------------------------- reading

    def read(self) -> Snapshot:
        """The campaign as it is now; only what changed since the last look is read.

        Raises:
            StorageError: it cannot be read, or is damaged.
        """
        with self._lock, _told(self.place):
            self._after_fork()
            with self._reading() as c:
                self._view = self._newest(c)
            return self._view

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A connection that sees one moment, whatever others write meanwhile."""
        options: dict[str, Any] = {"reading": True}
        if self.engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        with self.engine.connect() as c:
            yield c.execution_options(**options)

    def _newest(self, c: Connection, lock: bool = False) -> Snapshot:
        """What changed since the last look; writers of one campaign wait for each other here."""
        old, t = self._view, schema.campaign.c
        asked = select(schema.campaign, _clock(c).label("now_us")).where(t.id == self.id)
        if lock:  # says nothing to SQLite, whose transaction is a writer's already
            asked = asked.with_for_update()
        row = c.execute(asked).mappings().one()
        now = int(row["now_us"])
        if old is not None and row["next_seq"] == old.next_seq:
            return replace(old, now_us=now)
        if digest(row["uid"], row["name"], row["settings"], row["created_us"]) != row["digest"]:
            raise StorageError(f"{self.place}: the campaign's settings are damaged; use a backup")
        known = () if old is None else old.revisions
        r = schema.revision.c
        newer = c.execute(
            select(r.number, r.body, r.digest)
            .where(r.campaign_id == self.id, r.number >= len(known))
            .order_by(r.number)
        )
        revisions = (*known, *(_revision_of(self.place, *found) for found in newer))
        trials = {} if old is None else dict(old.trials)
        s = schema.trial.c
        since = -1 if old is None else old.next_seq
        rows = c.execute(
            select(s.number, s.revision, s.state, s.owner, s.lease_us, s.body, s.digest)
            .where(s.campaign_id == self.id, s.changed_seq >= since)
            .order_by(s.number)
        )
        for found in rows:
            made = self._trial(row["uid"], tuple(found))
            trials[made.id] = made
        if len(trials) != row["next_number"] or max(trials, default=-1) >= len(trials):
            raise StorageError(f"{self.place}: trials are missing; the file is damaged")
        return Snapshot(
            uid=row["uid"],
            name=row["name"],
            settings=loads(row["settings"], str(self.place)),
            created_us=row["created_us"],
            next_number=row["next_number"],
            next_seq=row["next_seq"],
            memory=row["memory"],
            revisions=revisions,
            trials=trials,
            now_us=now,
        )

    def _trial(self, uid: str, row: tuple[Any, ...]) -> Trial:
        number, revision, state, owner, lease, body, check = row
        if digest(number, revision, state, body) != check:
            raise StorageError(
                f"{self.place}: trial {number} is damaged: what is stored does not fit its "
                "checksum; use a backup"
            )
        return of_body(
            loads(body, f"{self.place}, trial {number}"),
            id=number,
            revision=revision,
            state=state,
            owner=owner,
            lease_us=lease,
            campaign=uid,
        )

    def history(self) -> list[Event]:
        """All that happened, in order.

        Raises:
            StorageError: a line is missing, or was changed.
        """
        e = schema.log.c
        columns = (e.seq, e.at_us, e.actor, e.kind, e.trial, e.payload, e.digest)
        found = []
        with self._lock, _told(self.place):
            self._after_fork()
            with self._reading() as c:
                rows = c.execute(
                    select(*columns).where(e.campaign_id == self.id).order_by(e.seq)
                ).all()
        for i, (*parts, check) in enumerate(rows):
            if parts[0] != i or digest(*parts) != check:
                raise StorageError(
                    f"{self.place}: line {i} of the history is missing or was changed; use a backup"
                )
            seq, us, actor, kind, number, payload = parts
            found.append(Event(seq, at(us), actor, kind, number, loads(payload, "history")))
        return found

    # ---------------------------------------------------------------- writing

    @contextmanager
    def writing(self, actor: str) -> Iterator[Writer]:
        """One transaction; kept when the block ends, undone when it raises.

        Raises:
            StorageError: the store is read-only, the disk is full, or the database refuses.
        """
        self._check_writable()
        with self._lock, _told(self.place):
            self._after_fork()
            with self.engine.begin() as c:
                writer = Writer(self.id, c, actor, self._newest(c, lock=True))
                yield writer
                view = writer.finish()
            self._view = view

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Hold the campaign's lock for proposals: one proposer at a time, of all processes.

        Raises:
            StorageError: the store is read-only, or the lock cannot be made.
        """
        self._check_writable()
        if self.place.memory:
            with self._asking:
                yield
        elif self.place.path is not None:
            with (
                self._asking,
                self.place.path.with_name(f"{self.place.path.name}-ask").open("a+b") as file,
            ):
                _hold(file)
                yield
        else:
            key = {"key": (schema.APPLICATION_ID << 24) + self.id}
            with self._asking, self.engine.connect() as c:
                c = c.execution_options(isolation_level="AUTOCOMMIT")
                c.execute(text("select pg_advisory_lock(:key)"), key)
                try:
                    yield
                finally:
                    c.execute(text("select pg_advisory_unlock(:key)"), key)

    def backup(self, path: object) -> Path:
        """A copy in a new file.

        Raises:
            StorageError: the file exists, or cannot be written.
        """
        target = schema.Place(path).path
        if target is None:
            raise StorageError(f"backup: expected the path of a file, got {path!r}")
        if target.exists():
            raise StorageError(f"{target}: exists already; choose a name that is free")
        with self._lock, _told(self.place):
            self._after_fork()
            if self.place.path is not None:
                schema.copy_file(self.place.path, target)
            elif self.place.memory:
                with self._reading() as c:
                    raw: Any = c.connection.driver_connection
                    c.rollback()
                    raw.execute("vacuum into ?", (str(target),))
            else:
                self._copy_to(target)
        return target

    def _copy_to(self, target: Path) -> None:
        """The rows of this campaign in a new SQLite file."""
        copies = [(schema.campaign, schema.campaign.c.id)] + [
            (table, table.c.campaign_id)
            for table in (schema.revision, schema.trial, schema.token, schema.log)
        ]
        with self._reading() as c:
            rows = [
                [dict(row) for row in c.execute(select(table).where(own == self.id)).mappings()]
                for table, own in copies
            ]
        place = schema.Place(target)
        target.touch()
        engine = place.engine()
        schema.prepare(place, engine, None)
        with engine.begin() as c:
            for (table, _), found in zip(copies, rows, strict=True):
                if found:
                    c.execute(insert(table), found)
        engine.dispose()
        schema.checkpoint(target)

    def close(self) -> None:
        """Give the connections back; an SQLite file is whole without its companions then."""
        if self.place.memory:
            return
        with self._lock:
            self.engine.dispose()
            if self.place.path is not None and not self.read_only and self.place.path.exists():
                with _told(self.place):
                    schema.checkpoint(self.place.path)

    def _check_writable(self) -> None:
        if self.read_only:
            raise StorageError(f"{self.place}: was opened with read_only=True; open it without")

    def _after_fork(self) -> None:
        """A process that was forked off must not use its parent's connections."""
        if os.getpid() != self._pid:
            self.engine.dispose(close=False)
            self._pid = os.getpid()


@contextmanager
def _told(place: schema.Place) -> Iterator[None]:
    """What a database or a disk says, as a StorageError."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        said = schema._first_line(error)
        hint = "nothing was stored"
        if "full" in said or "I/O" in said:
            hint = "is the disk full? Nothing was stored; free some space and do it again"
        elif "malformed" in said or "not a database" in said:
            hint = "the file is damaged; use a backup"
        elif "readonly" in said or "unable to open" in said:
            hint = "may you write to this file and its folder?"
        elif isinstance(error, DBAPIError) and error.connection_invalidated:
            hint = "the connection broke; look whether it was stored, then do it again"
        raise StorageError(f"{place}: {said}; {hint}") from error


def _hold(file: IO[bytes]) -> None:
    """Wait for the lock of a file; it is free when the file is closed, or its process is gone."""
    if os.name == "nt":
        import msvcrt

        while True:
            try:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
                return
            except OSError:
                time.sleep(0.02)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def _clock(c: Connection) -> Any:
    """The database's clock in microseconds, one for all who use it."""
    if c.dialect.name == "postgresql":
        return literal_column("cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)")
    millis = "cast(round((julianday('now') - 2440587.5) * 86400000) as integer)"
    return literal_column(f"{millis} * 1000")


def _revision_of(place: schema.Place, number: int, body: str, check: str) -> Revision:
    if digest(number, body) != check:
        raise StorageError(f"{place}: space and goals (revision {number}) are damaged")
    found = loads(body, f"{place}, revision {number}")
    try:
        return Revision(
            number,
            Space.from_json(found["space"]),
            Goals.read(found["goals"]),
            tuple(found["outcomes"]),
            found["settings"],
            found["fill"],
            found["rename"],
        )
    except (KeyError, TypeError, DataError) as error:
        raise StorageError(f"{place}: revision {number} cannot be read: {error}") from error
