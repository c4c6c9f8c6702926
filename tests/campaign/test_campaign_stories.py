"""What goes wrong: processes that are killed, races, full disks, damaged and newer files.

Children are forked, and killed for real.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from campaigns import POINT, make, play, reaction

import bolearn as bl
from bolearn.campaign.trial import Trial

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
Place = Callable[[str], tuple[str, str]]


def in_children(count: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What ``work(number, *arguments)`` returned in each of several processes at once."""
    fork = multiprocessing.get_context("fork")
    start, results = fork.Barrier(count), fork.Queue()

    def child(i: int) -> None:
        start.wait()
        try:
            results.put(("ok", work(i, *arguments)))
        except BaseException:
            results.put(("error", traceback.format_exc()))

    children = [fork.Process(target=child, args=(i,)) for i in range(count)]
    for c in children:
        c.start()
    found = [results.get(timeout=300) for _ in children]
    for c in children:
        c.join()
    assert all(word == "ok" for word, _ in found), found
    return [value for _, value in found]


def killed(work: Callable[[], Any], after: int) -> bool:
    """Run in a child that is killed -9 at a line of the package or of SQLAlchemy; was it?"""
    child = os.fork()
    if child == 0:
        left = [after]

        def count(frame: Any, event: str, argument: Any) -> Any:
            file = frame.f_code.co_filename
            if "bolearn/campaign" not in file and "sqlalchemy/engine" not in file:
                return None
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return count

        sys.settrace(count)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def open_at(at: tuple[str, str]) -> bl.Campaign:
    return bl.Campaign.open(at[0], at[1])


def ask_and_tell(i: int, at: tuple[str, str], rounds: int) -> list[tuple[int, float]]:
    c, told = open_at(at), []
    for k in range(rounds):
        (t,) = c.ask(by=f"worker {i}")
        c.tell(t.id, 100.0 * i + k, by=f"worker {i}")
        told.append((t.id, 100.0 * i + k))
    return told


def test_need_4_and_story_1_writers_share_one_store(place: Place) -> None:
    at = place("shared")
    make(at[0], name=at[1]).close()
    processes, rounds = 4, 8
    told = [pair for part in in_children(processes, ask_and_tell, at, rounds) for pair in part]
    c = open_at(at)
    trials = c.trials
    assert [t.id for t in trials] == list(range(processes * rounds))
    assert {t.id: t.values["yield"] for t in trials} == dict(told)
    assert len({tuple(t.parameters.values()) for t in trials}) == processes * rounds
    assert [e.seq for e in c.history()] == list(range(1 + 2 * processes * rounds))


def add_or_look(i: int, at: tuple[str, str], rounds: int) -> int:
    """The first adds, the others look until they have seen all."""
    c, seen = open_at(at), 0
    while i and seen < rounds:
        seen = len(c.trials)
    for _ in range(rounds if i == 0 else 0):
        c.add(POINT, 1.0)
    return len(c.trials)


def test_readers_see_one_moment_while_others_write(place: Place) -> None:
    at = place("read")
    make(at[0], name=at[1]).close()
    assert in_children(3, add_or_look, at, 40) == [40] * 3


def test_threads_share_one_campaign(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    for where in (None, tmp_path / "a.db"):
        c = make(where)

        def work(k: int, c: bl.Campaign = c) -> int:
            (t,) = c.ask()
            c.tell(t.id, float(k))
            return t.id

        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(work, range(16)))
        assert sorted(ids) == list(range(16)) and len(c.trials) == 16
        assert sorted(t.values["yield"] for t in c.trials) == list(map(float, range(16)))


def test_need_1_a_tell_that_is_killed_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    c = make(path, goals=["maximize yield", "minimize cost"])
    c.ask(40)
    c.close()

    def tell(i: int) -> None:
        with bl.Campaign.open(path) as own:
            own.tell(i, {"yield": float(i), "cost": 2.0 * i}, spent=1.0, token=f"t{i}")

    kills = 0
    for i, after in enumerate(range(20, 4000, 300)):
        kills += killed(lambda i=i: tell(i), after)  # type: ignore[misc]
        with bl.Campaign.open(path) as again:
            t = again[i]
            whole = t.values == {"yield": float(i), "cost": 2.0 * i} and t.state == "completed"
            absent = t.values == {} and t.state == "running" and t.spent is None
            assert whole or absent, t
            done = again.tell(i, {"yield": float(i), "cost": 2.0 * i}, spent=1.0, token=f"t{i}")
            assert done.state == "completed"
            told = [e for e in again.history() if e.trial == i and e.kind == "tell"]
            assert len(told) == 1, "stored once"
    assert kills >= 6
    assert len(bl.Campaign.open(path)) == 40


def test_story_2_killed_between_asking_and_telling(place: Place) -> None:
    at = place("killed")
    make(at[0], name=at[1]).close()

    def ask_then_die() -> None:
        open_at(at).ask()
        os.kill(os.getpid(), signal.SIGKILL)

    killed(ask_then_die, 10**9)
    c = open_at(at)
    assert [t.state for t in c.trials] == ["running"]
    (t,) = c.ask()
    assert t.parameters != c[0].parameters
    assert c.tell(0, 55.0).state == "completed"


def test_a_proposer_that_is_killed_frees_its_lock(place: Place) -> None:
    at = place("proposer")
    make(at[0], name=at[1]).close()

    def hold_and_die() -> None:
        with open_at(at)._store.asking():
            os.kill(os.getpid(), signal.SIGKILL)

    assert killed(hold_and_die, 10**9)
    assert len(open_at(at).ask()) == 1


def test_story_8_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    c = make(path)
    c.ask(3)
    c.tell(0, 50.0)
    c.close()

    def fill(i: int) -> str:
        own = bl.Campaign.open(path)
        own.trials  # noqa: B018
        size = max(path.stat().st_size, (tmp_path / "a.db-wal").stat().st_size)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        try:
            for k in range(2000):
                own.tell(1, 60.0 + k, replace=True, note="x" * 2000)
        except bl.StorageError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            own.tell(2, 70.0)
            return str(error)
        return "no error"

    (said,) = in_children(1, fill)
    assert "is the disk full? Nothing was stored" in said
    again = bl.Campaign.open(path)
    assert again[0].values == {"yield": 50.0} and again[2].values == {"yield": 70.0}
    assert again.tell(1, 1.0, replace=True).values == {"yield": 1.0}
    assert [e.seq for e in again.history()] == list(range(len(again.history())))


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_story_9_and_need_25_a_newer_file_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    c = make(path)
    play(c, 2)
    c.close()
    raw = sqlite3.connect(path)
    raw.execute("update meta set value = '99' where key = 'schema'")
    raw.commit()
    raw.close()
    before = sha(path)
    for call in (bl.Campaign.open, lambda p: bl.Campaign.open(p, read_only=True), make):
        with pytest.raises(bl.StorageError, match="version 1 or older, got version 99"):
            call(path)
    assert sha(path) == before and [p.name for p in tmp_path.glob("a.db-wal")] == []


def test_what_is_no_campaign_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    other, text, empty = tmp_path / "other.db", tmp_path / "notes.txt", tmp_path / "empty.db"
    raw = sqlite3.connect(other)
    raw.execute("create table mine (x)")
    raw.commit()
    raw.close()
    text.write_text("temperature: 60")
    for path in (other, text):
        before = sha(path)
        for call in (bl.Campaign.open, make):
            with pytest.raises(bl.StorageError, match=r"not of campaigns|no campaign"):
                call(path)
        assert sha(path) == before
    for path in (tmp_path / "missing.db", tmp_path / "no folder" / "a.db", tmp_path):
        with pytest.raises(bl.StorageError):
            bl.Campaign.open(path)
    empty.touch()
    with pytest.raises(bl.StorageError, match="there is no campaign"):
        bl.Campaign.open(empty)
    assert len(make(empty)) == 0
    for wrong in ("mysql://host/db", 7, "", "sqlite:///a.db"):
        with pytest.raises(bl.DataError, match="where: expected"):
            bl.Campaign.open(wrong)


@pytest.mark.parametrize("kind", ["value", "setting", "history", "cut", "zeros"])
def test_a_damaged_file_is_noticed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.db"
    c = make(path)
    for _ in range(30):
        (t,) = c.ask()
        c.tell(t.id, 61.25)
    c.close()
    content = path.read_bytes()
    if kind == "cut":
        content = content[: len(content) // 2]
    elif kind == "zeros":
        content = content[:4096] + bytes(8192) + content[12288:]
    else:
        old = {"value": b"61.25", "setting": b'"seed":7', "history": b'"seen":3'}[kind]
        assert old in content
        content = content.replace(old, old[:-1] + b"9")
    path.write_bytes(content)
    with pytest.raises(bl.StorageError, match=r"damaged|missing|was changed"):
        bl.Campaign.open(path).history()


def test_story_13_copies_are_whole(tmp_path: Path) -> None:
    path, copy, spare = tmp_path / "a.db", tmp_path / "copy.db", tmp_path / "spare.db"
    c = make(path)
    play(c, 3)
    assert c.backup(spare) == spare
    with pytest.raises(bl.StorageError, match="exists already"):
        c.backup(spare)
    play(c, 1)
    c.close()
    shutil.copy(path, copy)
    assert not (tmp_path / "a.db-wal").exists() or not (tmp_path / "a.db-wal").stat().st_size
    assert bl.Campaign.open(copy).trials == c.trials
    kept = bl.Campaign.open(spare)
    assert kept.trials == c.trials[:3] and play(kept, 1) == [c[3].parameters]


def test_a_backup_of_memory_and_of_a_server(tmp_path: Path, postgresql: str) -> None:
    for i, where in enumerate((None, postgresql)):
        c = make(where, name=f"backup {tmp_path.name} {i}", strategy=None)
        play(c, 3)
        path = c.backup(tmp_path / f"{i}.db")
        again = bl.Campaign.open(path)
        assert (again.trials, again.history()) == (c.trials, c.history())
        assert play(again, 2) == play(c, 2)


def test_need_2_on_a_server(tmp_path: Path, postgresql: str) -> None:
    at = (postgresql, f"resumed in {tmp_path.name}")
    whole = make(None, strategy=None, goals=["minimize cost"])
    broken = make(at[0], name=at[1], strategy=None, goals=["minimize cost"])
    expected = play(whole, 12)
    assert play(broken, 11) == expected[:11]
    broken.close()
    assert play(open_at(at), 1) == expected[11:]


def test_many_trials_open_quickly(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    c = make(path)
    with c._store.writing("test") as w:
        for _ in range(2_000):
            w.add(Trial(id=-1, state="queued", asked=POINT, origin="wish"), "add", {})
    c.close()
    started = time.process_time()
    again = bl.Campaign.open(path)
    assert len(again) == 2_000
    # a few times what it takes with the annotations checked, which is several times what users pay
    assert time.process_time() - started < 3.0


def test_nothing_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, bolearn\n"
        "print([m for m in ('sqlalchemy', 'openpyxl', 'psycopg') if m in sys.modules])\n"
        "bolearn.Campaign\n"
        "print([m for m in ('openpyxl', 'psycopg', 'pandas') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_clocks_never_make_a_duration_negative() -> None:
    trial = Trial(id=0, state="completed", asked={}, asked_us=2_000_000, ended_us=1_000_000)
    assert trial.seconds == 0.0 and reaction() is not None
