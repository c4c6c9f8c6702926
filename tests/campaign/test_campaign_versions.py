"""Files of every version so far are read, and brought up to date whole or not at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection

import bolearn as bl
from bolearn.campaign import schema

OLD = Path(__file__).parent


def old_file(path: Path, version: int) -> Path:
    """A database as it was written when its tables had that version."""
    raw = sqlite3.connect(path)
    raw.executescript((OLD / f"schema_{version}.sql").read_text(encoding="utf-8"))
    raw.close()
    return path


def test_there_is_a_file_of_every_version() -> None:
    found = {int(p.stem.removeprefix("schema_")) for p in OLD.glob("schema_*.sql")}
    assert found == set(range(1, schema.SCHEMA + 1))
    assert set(schema.MIGRATIONS) == set(range(1, schema.SCHEMA))


@pytest.mark.parametrize("version", range(1, schema.SCHEMA + 1))
def test_a_file_of_an_old_version_says_what_it_said(tmp_path: Path, version: int) -> None:
    c = bl.Campaign.open(old_file(tmp_path / "a.db", version))
    assert [t.state for t in c.trials] == [
        "completed", "completed", "failed", "abandoned", "running"
    ]  # fmt: skip
    assert c[0].outcomes == {"yield": (41.0, 0.5), "cost": 3.0} and c[0].baseline
    assert c[1].outcomes == {"yield": [62.0, 64.5], "cost": 3.3} and c[1].spent == 2.5
    assert c[1].parameters["temperature"] == 71.3 and c[1].note == "invoice corrected"
    assert (c.goals, c.budget) == (("maximize yield", "cost <= 5"), {"trials": 20})
    assert [e.by for e in c.history()[1:]] == ["anna"] * 5 + ["robot"] + ["ben"] * 3 + ["robot"]
    assert c.ask()[0].parameters == {"temperature": 34.5, "solvent": "MeOH"}
    assert c.tell(1, {"yield": [62.0, 64.5], "cost": 3.1}, parameters={"temperature": 71.3},
                  spent=2.5, token="t1") == c[1], "told under this token then"  # fmt: skip


def adds_a_column(c: Connection) -> None:
    c.exec_driver_sql("alter table trial add column colour text")
    c.exec_driver_sql("update trial set colour = 'blue'")


def fails_half_way(c: Connection) -> None:
    adds_a_column(c)
    c.exec_driver_sql("insert into nonsense values (1)")


def test_need_25_an_older_file_is_brought_up_to_date_after_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_file(tmp_path / "a.db", schema.SCHEMA)
    here = schema.SCHEMA
    monkeypatch.setattr(schema, "SCHEMA", here + 1)
    monkeypatch.setitem(schema.MIGRATIONS, here, fails_half_way)
    with pytest.raises(bl.StorageError, match="has to be brought to version"):
        bl.Campaign.open(path, read_only=True)
    with pytest.raises(bl.StorageError, match="nonsense"):
        bl.Campaign.open(path)
    raw = sqlite3.connect(path)
    columns = [row[1] for row in raw.execute("pragma table_info(trial)")]
    assert "colour" not in columns, "half a migration is none"
    monkeypatch.setitem(schema.MIGRATIONS, here, adds_a_column)
    assert len(bl.Campaign.open(path)) == 5
    assert raw.execute("select distinct colour from trial").fetchall() == [("blue",)]
    assert raw.execute("select value from meta where key = 'schema'").fetchone() == (str(here + 1),)
    raw.close()
    monkeypatch.setattr(schema, "SCHEMA", here)
    with pytest.raises(bl.StorageError, match=f"got version {here + 1}"):
        bl.Campaign.open(path)
    assert len(bl.Campaign.open(tmp_path / f"a.db.schema-{here}.bak")) == 5
