"""`run`, `maximize`, `minimize`: many workers, crashes, hangs, Ctrl-C; the budget stays exact."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from campaigns import make
from light_workers import dies_at_second, hangs_at_second, know_second, square

import bolearn as bl
from bolearn.campaign import pools, running

SPAWN = get_context("spawn")


def line(**options: Any) -> bl.Campaign:
    """A campaign over one number, without a model."""
    space = bl.Space([bl.Real("x", 0, 1)])
    return make(None, space=space, goals=["maximize y"], **options)


def states(c: bl.Campaign) -> dict[str, int]:
    found = [t.state for t in c.trials]
    return {s: found.count(s) for s in set(found)}


def second() -> float:
    c = line()
    return float(c.ask(2)[1].parameters["x"])


# ------------------------------------------------------------------ in this process


def test_what_comes_out_is_what_asking_and_telling_gives() -> None:
    by_hand = line(strategy=None, budget=7)
    for _ in range(7):
        (t,) = by_hand.ask()
        by_hand.tell(t.id, square(t.parameters))
    ran = bl.run(line(strategy=None), square, budget=7)
    assert [t.parameters for t in ran.trials] == [t.parameters for t in by_hand.trials]
    assert [t.outcomes for t in ran.trials] == [t.outcomes for t in by_hand.trials]
    assert ran.budget == {"trials": 7} and ran.trials[-1].origin == "model"


@pytest.mark.parametrize("executor", ["threads", "pool"])
def test_the_budget_is_exact_with_eight_workers(executor: str) -> None:
    count, most, now, lock = 0, 0, 0, threading.Lock()

    def measure(p: dict[str, Any]) -> float:
        nonlocal count, most, now
        with lock:
            count, now = count + 1, now + 1
            most = max(most, now)
        time.sleep(0.002 * (1 + 4 * p["x"]))
        with lock:
            now -= 1
        return float(p["x"])

    with ThreadPoolExecutor(8) as pool:
        where: Executor | str = pool if executor == "pool" else "threads"
        c = bl.run(line(), measure, executor=where, workers=8, budget=60)
    assert count == 60 and states(c) == {"completed": 60} and 2 <= most <= 8
    assert len({t.parameters["x"] for t in c.trials}) == 60
    bl.run(c, measure, workers=8, budget=60)
    assert count == 60


def test_a_free_worker_does_not_wait_for_a_slow_one() -> None:
    gate, order = threading.Event(), []

    def measure(p: dict[str, Any]) -> float:
        order.append(p["x"])
        if len(order) == 1:
            assert gate.wait(20)
        elif len(order) == 6:
            gate.set()
        return float(p["x"])

    c = bl.run(line(), measure, workers=2, budget=6)
    assert states(c) == {"completed": 6}
    assert sum(t.ended_us < c.trials[0].ended_us for t in c.trials if t.ended_us) >= 4


def test_what_goes_wrong_makes_a_failed_trial_with_its_reason() -> None:
    def measure(p: dict[str, Any]) -> Any:
        if p["x"] > 0.75:
            raise ValueError("the glass \x00 broke")
        return float("nan") if p["x"] < 0.25 else p["x"]

    c = bl.run(line(), measure, budget=12)
    reasons = {t.reason for t in c.trials if t.state == "failed"}
    assert len(c) == 12 and 0 < sum(t.state == "completed" for t in c.trials) < 12
    assert any(
        r and r.startswith("ValueError: the glass  broke (test_run.py, line") for r in reasons
    )
    assert any(r and r.startswith("y: expected a finite number, got nan") for r in reasons)
    assert all(t.attempt == 0 for t in c.trials)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "expected a number to be returned, got None"),
        ("81,5", "expected a number to be returned, got '81,5'"),
        ({"yy": 1.0}, "unknown outcome 'yy'.*did you mean 'y'"),
    ],
)
def test_a_function_that_returns_no_outcomes_stops_the_run_and_loses_nothing(
    found: Any, message: str
) -> None:
    c = line()
    with pytest.raises(bl.DataError, match=message):
        bl.run(c, lambda p: found, budget=8, workers=2)
    assert set(states(c)) == {"queued"}
    bl.run(c, square, budget=8)
    assert states(c) == {"completed": 8}


def test_costs_partial_outcomes_wishes_and_reviewed_trials() -> None:
    c = make(goals=["maximize yield", "cost <= 5"], budget={"cost": 20.0})
    wish = c.add({**c.space.decode(c.space.sobol(1, 3)[0])})
    bl.run(c, lambda p: {"yield": 50.0, "spent": 2.0}, workers=2)
    assert len(c) == 10 and all(t.spent == 2.0 and t.state == "running" for t in c.trials)
    assert c.trials[0].parameters == wish.parameters
    c.tell(4, {"cost": 3.0})
    assert c[4].state == "completed"

    reviewed = line(review=True)
    first, _, third = reviewed.ask(3)
    reviewed.approve(third)
    reviewed.approve(first, {"x": 0.5})
    bl.run(reviewed, square)
    assert states(reviewed) == {"completed": 2, "candidate": 1}
    assert reviewed[first.id].outcomes == {"y": 0.25}


def test_arguments_that_cannot_be_used() -> None:
    for options, message in [
        ({}, "budget: expected one"),
        ({"budget": 0}, "whole number > 0"),
        ({"budget": 5, "executor": "rockets"}, "expected None, 'threads', 'processes'"),
        ({"budget": 5, "executor": Executor()}, "does not say how many"),
        ({"budget": 5, "workers": 0}, "workers"),
        ({"budget": 5, "retries": -1}, "retries"),
        ({"budget": 5, "timeout": -1}, "timeout"),
    ]:
        c = line()
        with pytest.raises(bl.DataError, match=message):
            bl.run(c, square, **options)
        assert len(c) == 0


def test_a_thread_that_hangs_is_left_behind_and_its_late_value_accepted() -> None:
    calls: list[float] = []

    def measure(p: dict[str, Any]) -> float:
        calls.append(p["x"])
        if len(calls) <= 2:
            time.sleep(0.5)  # the first point, both times it is handed out
            return -1.0
        return float(p["x"])

    c = bl.run(line(), measure, budget=3, timeout=0.15, retries=1)
    assert c[0].state == "failed" and c[0].attempt == 1
    assert c[0].reason == "no result within 0.15 s, 2 times"
    assert [t.state for t in c.trials[1:]] == ["completed"] * 2
    calls[:] = [0.0]
    with ThreadPoolExecutor(1) as pool:  # its only worker hangs: another takes its place
        late = bl.run(line(), measure, executor=pool, budget=3, timeout=0.15, retries=0)
        assert states(late)["completed"] >= 2 and len(calls) == 4


def test_the_line_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    bl.run(line(), square, budget=5, progress=True)
    text = capsys.readouterr().err
    assert text.endswith("\n") and "campaign: 5/5 trials, best y 0." in text
    bl.run(line(), square, budget=5)
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------ processes


def by_processes(
    c: bl.Campaign, measure: Any, *, workers: int, timeout: float | None, retries: int
) -> None:
    """As `run(executor="processes")`, with workers that know the second point."""
    own = pools.Processes(SPAWN, know_second, (second(),))
    line_ = running.CampaignLine(False)
    running._Runner(c, measure, own, workers, 60.0, timeout, retries, line_).run()


def test_story_10_a_worker_that_dies_costs_only_its_trial() -> None:
    for kind in ("pool", "processes"):
        c = line()
        if kind == "pool":
            with ProcessPoolExecutor(2, SPAWN, know_second, (second(),)) as pool:
                bl.run(c, dies_at_second, executor=pool, budget=4, retries=1)
        else:
            c.change(budget=4)
            by_processes(c, dies_at_second, workers=2, timeout=None, retries=1)
        assert states(c) == {"completed": 3, "failed": 1}
        assert c[1].state == "failed" and c[1].attempt == 1
        assert c[1].reason == "its worker process ended with code 3, 2 times"
        assert all(c[i].attempt == 0 for i in (0, 2, 3))


def test_a_process_that_takes_too_long_is_killed() -> None:
    c, began = line(), time.monotonic()
    c.change(budget=3)
    by_processes(c, hangs_at_second, workers=1, timeout=1.0, retries=0)
    assert [t.state for t in c.trials] == ["completed", "failed", "completed"]
    assert c[1].reason == "no result within 1 s" and time.monotonic() - began < 50


def test_functions_that_cannot_be_sent_say_so() -> None:
    c = line()
    with pytest.raises(bl.DataError, match="define it at the top level"):
        bl.run(c, lambda p: p["x"], executor="processes", workers=1, budget=3)
    with pytest.raises(bl.DataError, match="define it at the top level"):
        bl.run(c, lambda p: p["x"], executor=ProcessPoolExecutor(1), budget=3)
    assert "running" not in states(c)


STORY = """
    import signal, sys, time
    import bolearn as bl

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it

    def measure(p):
        print("begun", flush=True)
        time.sleep(0.05 if len(sys.argv) < 3 else float(sys.argv[2]))
        return p["x"]

    if __name__ == "__main__":
        c = bl.Campaign.open(sys.argv[1])
        bl.run(c, measure, workers=2, budget=12, lease=1.0)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_or_killed_goes_on_later(tmp_path: Path, how: signal.Signals) -> None:
    script, file = tmp_path / "story.py", tmp_path / "a.db"
    script.write_text(textwrap.dedent(STORY))
    space = bl.Space([bl.Real("x", 0, 1)])
    with make(file, space=space, goals=["maximize y"]) as c:
        with subprocess.Popen(
            [sys.executable, script, file, "0.3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            for _ in range(4):
                process.stdout.readline()
            process.send_signal(how)
            process.communicate(timeout=30)
        done = {t.id: t.outcomes for t in c.trials if t.state == "completed"}
        found = states(c)
        assert found.get("completed", 0) >= 2 and len(c) < 12
        if how == signal.SIGINT:
            assert process.returncode != 0 and set(found) == {"completed", "queued"}
        else:
            assert found["running"] >= 1
        bl.run(c, lambda p: float(p["x"]), workers=2, budget=12, lease=1.0)
        assert states(c) == {"completed": 12}
        assert {i: c[i].outcomes for i in done} == done


def test_two_runs_on_one_file_share_one_budget(tmp_path: Path) -> None:
    script, file = tmp_path / "story.py", tmp_path / "a.db"
    script.write_text(textwrap.dedent(STORY))
    make(file, space=bl.Space([bl.Real("x", 0, 1)]), goals=["maximize y"]).close()
    command = [sys.executable, str(script), str(file)]
    with (
        bl.Campaign.open(file) as c,
        subprocess.Popen(command, stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout is not None and other.stdout.readline()
        bl.run(c, square, workers=2, budget=12)
        assert other.wait(60) == 0
        assert states(c) == {"completed": 12}
        assert len({t.parameters["x"] for t in c.trials}) == 12


def test_dask_workers() -> None:
    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "n_workers": 2, "threads_per_worker": 2}
    with (
        distributed.LocalCluster(dashboard_address=None, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        c = bl.run(line(), lambda p: p["x"], executor=client.get_executor(), budget=20)
    assert states(c) == {"completed": 20}


# ------------------------------------------------------------------ one line


def test_maximize_finds_the_best_of_a_function_of_a_dictionary() -> None:
    space = [bl.Real("x", 0, 1), bl.Categorical("way", ["up", "down"])]

    def f(p: dict[str, Any]) -> float:
        return -((p["x"] - 0.3) ** 2) + (0.5 if p["way"] == "down" else 0.0)

    best = bl.maximize(f, bl.Space(space), budget=9, seed=1)
    assert best.x["way"] == "down" and abs(best.x["x"] - 0.3) < 0.1
    assert best.value == f(best.x) == max(best.table()["value"]) and len(best.table()) == 9
    least = bl.minimize(lambda p: -f(p), space, budget=9, seed=1)
    assert least.x["way"] == "down" and abs(least.value + best.value) < 0.02
    assert bl.maximize(f, space, budget=4, seed=2).x != best.x


def test_one_line_goes_on_in_its_file_and_says_when_nothing_works(tmp_path: Path) -> None:
    space = bl.Space([bl.Real("value", 0, 1)])
    found = bl.minimize(lambda p: p["value"], space, budget=4, where=tmp_path / "a.db")
    first = found.campaign.trials
    more = bl.minimize(lambda p: p["value"], space, budget=6, where=tmp_path / "a.db")
    assert more.campaign.trials[:4] == first
    assert len(more.campaign) == 6 and more.campaign.goals == ("minimize f",)
    with pytest.raises(bl.DataError, match="another space, goal or seed"):
        bl.maximize(lambda p: p["value"], space, budget=6, where=tmp_path / "a.db")
    with pytest.raises(bl.OptimizationError, match="got 3 that failed; the last: KeyError: 'y'"):
        bl.maximize(lambda p: p["y"], space, budget=3)


def test_nothing_is_imported_before_it_is_needed() -> None:
    slow = ["typer", "plotly", "sqlalchemy", "distributed", "pandas", "torch"]
    code = (
        "import sys, bolearn, bolearn.campaign.pools\n"
        f"print([name for name in {slow} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
