"""The tables of a store, how a database is opened, and how an old one is brought up to date.

Six tables. `trial.body` and all settings are canonical JSON; a row carries a checksum of what it
holds, so that a damaged file is noticed and not believed. `event` is only ever added to. Nothing is
pickled, so that reading a store runs no code.

SQLAlchemy Core speaks to SQLite and PostgreSQL. SQLite gets four settings without which it loses
data or refuses work under several writers: transactions that begin as writers (BEGIN IMMEDIATE;
one that reads first and then wants to write fails at once, whatever the timeout), a write-ahead
log, full synchronisation, and a timeout for the lock.

Taught in part_5/tutorial_04.
"""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from ..errors import DataError, StorageError
from .trial import STATES

SCHEMA = 1
"""Version of the tables that this code writes."""

MIN_READER = 1
"""The oldest code, by its `SCHEMA`, that may read what this code writes."""

APPLICATION_ID = 0x424F4C43  # "BOLC": any other SQLite file is refused
_TIMEOUT = 60.0  # seconds to wait for another writer

tables = MetaData()
meta = Table(
    "meta", tables, Column("key", Text, primary_key=True), Column("value", Text, nullable=False)
)
campaign = Table(
    "campaign",
    tables,
    Column("id", Integer, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    Column("settings", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("next_number", Integer, nullable=False),
    Column("next_seq", Integer, nullable=False),
    Column("memory", Text),
    Column("digest", Text, nullable=False),
)
revision = Table(
    "revision",
    tables,
    Column("campaign_id", ForeignKey("campaign.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("body", Text, nullable=False),
    Column("digest", Text, nullable=False),
)
trial = Table(
    "trial",
    tables,
    Column("campaign_id", ForeignKey("campaign.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("changed_seq", Integer, nullable=False),
    Column("owner", Text),
    Column("lease_us", BigInteger),
    Column("body", Text, nullable=False),
    Column("digest", Text, nullable=False),
    CheckConstraint(f"state in ({', '.join(map(repr, STATES))})", name="trial_state"),
)
Index("trial_by_change", trial.c.campaign_id, trial.c.changed_seq)
token = Table(
    "token",
    tables,
    Column("campaign_id", ForeignKey("campaign.id"), primary_key=True),
    Column("token", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("digest", Text, nullable=False),
)
log = Table(
    "event",
    tables,
    Column("campaign_id", ForeignKey("campaign.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("trial", Integer),
    Column("payload", Text, nullable=False),
    Column("digest", Text, nullable=False),
)

MIGRATIONS: dict[int, Callable[[Connection], None]] = {}
"""What brings tables of version k to version k + 1."""


class Place:
    """Where campaigns are kept: nowhere (in memory), a file, or a PostgreSQL database.

    Args:
        where: None, a path, or a URL ``postgresql://user:password@host/database``.

    Raises:
        DataError: something else.
    """

    def __init__(self, where: object) -> None:
        self.path: Path | None = None
        self.url = ""
        if where is None:
            self.url = "sqlite://"
        elif isinstance(where, str) and "://" in where:
            self.url = _postgresql(where)
        elif isinstance(where, str | os.PathLike) and str(where).strip():
            self.path = Path(os.fsdecode(where)).absolute()
        else:
            raise DataError(
                "where: expected None, the path of a file such as 'reaction.db', or a URL such as "
                f"'postgresql://user@host/database', got {where!r}"
            )

    @property
    def memory(self) -> bool:
        """Whether nothing is kept."""
        return self.path is None and self.url == "sqlite://"

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        return "memory" if self.memory else make_url(self.url).render_as_string(hide_password=True)

    def engine(self, read_only: bool = False) -> Engine:
        """Connections to it, with the settings above."""
        if self.path is None and not self.memory:
            try:
                # without it, a database without an encoding answers in bytes
                return create_engine(
                    self.url, pool_pre_ping=True, connect_args={"client_encoding": "utf8"}
                )
            except ImportError as error:
                raise StorageError(
                    "PostgreSQL needs psycopg: pip install 'bolearn[campaign]'"
                ) from error
        if self.path is None:
            options: dict[str, Any] = {"poolclass": StaticPool}
            made = create_engine(self.url, connect_args={"check_same_thread": False}, **options)
        else:
            target = _read_only(self.path) if read_only else f"{self.path.as_uri()}?mode=rw"
            made = create_engine(
                f"sqlite:///{self.path}",
                creator=lambda: sqlite3.connect(
                    target, uri=True, timeout=_TIMEOUT, check_same_thread=False
                ),
            )
        event.listen(made, "connect", lambda raw, _: _prepare(raw, read_only))
        event.listen(made, "begin", _begin)
        return made


def _postgresql(where: str) -> str:
    """A URL for the driver that we use."""
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise DataError(f"where: expected a URL such as postgresql://..., got {error}") from None
    if url.get_backend_name() == "sqlite":
        raise DataError(f"where: expected the path of the file itself, got {where!r}")
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise DataError(
            f"where: expected a path or postgresql://..., got a URL of {url.get_backend_name()!r}"
        )
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _prepare(raw: Any, read_only: bool) -> None:
    """Settings of a fresh SQLite connection."""
    raw.isolation_level = None  # transactions are begun by `_begin`, not by the driver
    raw.execute("pragma foreign_keys=on")
    if not read_only:
        raw.execute("pragma journal_mode=wal")
        raw.execute("pragma synchronous=full")


def _begin(connection: Connection) -> None:
    """Begin as a writer, unless the connection says that it only reads."""
    reading = connection.get_execution_options().get("reading")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


# ---------------------------------------------------------------- versions


def look(place: Place) -> int | None:
    """The schema of what is there; None if nothing is. Changes nothing, not even a byte.

    Raises:
        StorageError: no store of campaigns, a damaged one, or one of newer code.
    """
    if place.memory:
        return None
    if place.path is not None:
        return _look_at_file(place.path)
    engine = place.engine()
    try:
        with engine.connect() as c:
            if not inspect(c).has_table("meta"):
                return None
            found = {key: value for key, value in c.execute(select(meta.c.key, meta.c.value))}
    except SQLAlchemyError as error:
        raise StorageError(f"{place}: cannot be reached: {_first_line(error)}") from error
    finally:
        engine.dispose()
    return _schema_of(str(place), found)


def _look_at_file(path: Path) -> int | None:
    """The same for a file, by a connection that only reads."""
    if not path.exists():
        if not path.parent.is_dir():
            raise StorageError(f"{path}: its folder does not exist; make it first")
        return None
    if path.is_dir():
        raise StorageError(f"{path}: expected a file, got a folder; add the name of a file")
    if path.stat().st_size == 0:
        return None
    raw = None
    try:
        with path.open("rb") as f:
            head = f.read(16)
        if head != b"SQLite format 3\x00":
            raise StorageError(
                f"{path}: no campaign: the file does not begin as an SQLite database does; it is "
                "left as it was, choose another name"
            )
        raw = sqlite3.connect(_read_only(path), uri=True, timeout=_TIMEOUT)
        (kind,) = raw.execute("pragma application_id").fetchone()
        if kind != APPLICATION_ID:
            raise StorageError(
                f"{path}: an SQLite database, but not of campaigns; it is left as it was, choose "
                "another name"
            )
        found = dict(raw.execute("select key, value from meta").fetchall())
    except (sqlite3.Error, OSError) as error:
        raise StorageError(
            f"{path}: cannot be read: {error}; is it damaged? Use a backup"
        ) from error
    finally:
        if raw is not None:
            raw.close()
    return _schema_of(str(path), found)


def _read_only(path: Path) -> str:
    """The address of a file for a connection that leaves nothing behind.

    Where nobody writes there is no log beside it; a plain reader would make one and leave it.
    """
    alone = not path.with_name(f"{path.name}-wal").exists()
    return f"{path.as_uri()}?mode=ro" + ("&immutable=1" if alone else "")


def _schema_of(where: str, found: dict[str, str]) -> int:
    """The version of stored tables, refused if it is newer than this code."""
    try:
        schema, least = int(found["schema"]), int(found["min_reader"])
    except (KeyError, ValueError) as error:
        raise StorageError(f"{where}: its version is missing or damaged; use a backup") from error
    if schema > SCHEMA:
        raise StorageError(
            f"{where}: expected a store of version {SCHEMA} or older, got version {schema} "
            f"(readable from version {least} on), written by bolearn "
            f"{found.get('written_by', '(unknown)')}; update bolearn. Nothing was changed"
        )
    return schema


def prepare(place: Place, engine: Engine, schema: int | None) -> None:
    """Make the tables where there are none; bring older ones up to date, all in one transaction.

    An older file is copied beside itself first, as ``NAME.schema-K.bak``.

    Raises:
        StorageError: the database refuses.
    """
    if schema == SCHEMA:
        return
    if schema is not None and place.path is not None:
        spare = place.path.with_name(f"{place.path.name}.schema-{schema}.bak")
        if not spare.exists():
            copy_file(place.path, spare)
    with engine.begin() as c:
        if schema is None:
            tables.create_all(c)
            if c.dialect.name == "sqlite":
                c.exec_driver_sql(f"pragma application_id={APPLICATION_ID}")
            present = c.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar()
            if present is None:
                rows = {"schema": SCHEMA, "min_reader": MIN_READER, "written_by": _version()}
                c.execute(insert(meta), [{"key": k, "value": str(v)} for k, v in rows.items()])
            return
        stored = c.execute(select(meta.c.value).where(meta.c.key == "schema").with_for_update())
        for k in range(int(stored.scalar_one()), SCHEMA):
            MIGRATIONS[k](c)
        for key, value in (("schema", SCHEMA), ("min_reader", MIN_READER)):
            c.execute(update(meta).where(meta.c.key == key).values(value=str(value)))


def check_whole(place: Place, engine: Engine) -> None:
    """Ask SQLite whether a file is whole.

    Raises:
        StorageError: it is not.
    """
    if place.path is None:
        return
    with engine.connect().execution_options(reading=True) as c:
        (said,) = c.exec_driver_sql("pragma quick_check(1)").one()
    if said != "ok":
        raise StorageError(f"{place}: the file is damaged ({said}); use a backup")


def copy_file(source: Path, target: Path) -> None:
    """A whole copy of a database, while others may be writing to it."""
    raw = sqlite3.connect(source, timeout=_TIMEOUT, isolation_level=None)
    try:
        raw.execute("vacuum into ?", (str(target),))
    finally:
        raw.close()


def checkpoint(path: Path) -> None:
    """Move what is in the write-ahead log into the file, as far as nobody else is using it."""
    raw = sqlite3.connect(path, timeout=_TIMEOUT, isolation_level=None)
    try:
        raw.execute("pragma wal_checkpoint(truncate)").fetchall()
    finally:
        raw.close()


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("bolearn")
    except metadata.PackageNotFoundError:
        return "without a version"


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
