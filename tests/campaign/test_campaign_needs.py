"""What people ask of a campaign, one test for each: what was told, by whom, and what becomes of it.

Those that need processes that are killed are in test_campaign_stories; those that need a model in
test_campaign_models; sheets in test_campaign_sheets.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from campaigns import POINT, make, measured, play, reaction
from jaxtyping import config

import bolearn as bl


@pytest.fixture(autouse=True, scope="module")
def unchecked() -> Iterator[None]:
    """As users run it: without the annotations of the test suite, which would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def test_need_3_work_that_never_comes_back() -> None:
    c = make()
    c.ask(2, lease=0.0, by="worker")
    hand = c.ask(1)[0]
    time.sleep(0.01)
    queued = c.expire(retries=1)
    assert [(t.id, t.state, t.attempt) for t in queued] == [(0, "queued", 1), (1, "queued", 1)]
    assert c[hand.id].state == "running", "asked by hand: no lease"
    again = c.claim(lease=0.0, by="other")
    assert again is not None and (again.id, again.owner) == (0, "other")
    time.sleep(0.01)
    (lost,) = c.expire(retries=1)
    assert lost.state == "failed" and "no report from other" in str(lost.reason)
    assert c.tell(0, 50.0).state == "completed", "a late value is a value"
    assert c.claim(lease=60.0, by="third") is not None
    assert c.renew(1, 60.0, by="third") and not c.renew(1, 60.0, by="other")
    assert c.expire(retries=0) == [] and c.claim() is None


@pytest.mark.parametrize("strategy", ["sobol", None])
def test_need_5_pending_points_are_never_proposed_again(strategy: str | None) -> None:
    space = bl.Space([bl.Integer("k", 1, 3), bl.Categorical("s", ["a", "b"])])
    c = make(space=space, strategy=strategy)
    points = [tuple(t.parameters.values()) for _ in range(6) for t in c.ask()]
    assert len(set(points)) == 6
    with pytest.raises(bl.InfeasibleError, match=r"on its way.*change"):
        c.ask()


def test_need_6_failures_are_no_values_and_do_not_stop_the_campaign() -> None:
    c = make()
    (t,) = c.ask()
    failed = c.fail(t.id, "spilled")
    assert (failed.state, failed.parameters, failed.outcomes) == ("failed", t.parameters, {})
    for wrong in (float("nan"), float("inf"), None):
        with pytest.raises(bl.DataError, match="use fail"):
            c.tell(c.ask()[0].id, {"yield": wrong})
    for _ in range(8):
        c.fail(c.ask()[0].id, "again")
    assert c.best() is None and len(c.ask()) == 1


def test_need_7_partial_outcomes() -> None:
    c = make(goals=["maximize yield", "cost <= 5"])
    c.ask()
    assert c.tell(0, {"yield": 80.0}).state == "running"
    assert c.best() is None, "its cost is not known"
    done = c.tell(0, {"cost": 3.0})
    assert done.state == "completed" and done.outcomes == {"yield": 80.0, "cost": 3.0}
    assert c.best() == done


def test_need_8_corrections_and_outliers_keep_their_history() -> None:
    c = make()
    c.ask(2)
    c.tell(0, 81.5)
    before = len(c.history())
    assert c.tell(0, 81.5) == c[0] and len(c.history()) == before, "the same again changes nothing"
    with pytest.raises(bl.DataError, match=r"told as 81.5 before, now as 18.5; pass replace=True"):
        c.tell(0, 18.5)
    assert c.tell(0, 18.5, replace=True, note="digits swapped").values == {"yield": 18.5}
    correction = c.history()[-1]
    assert correction.kind == "correct" and correction.details["before"] == {"yield": 81.5}
    assert correction.details["note"] == "digits swapped"
    c.tell(1, 99.0)
    out = c.exclude(1, "wrong bottle")
    assert out.excluded and c.best() == c[0] and c.table().loc[1, "yield"] == 99.0
    c.include(1)
    assert c.best() == c[1]


def test_need_9_the_lab_used_something_else() -> None:
    c = make()
    (t,) = c.ask()
    asked = t.parameters["temperature"]
    done = c.tell(t.id, 62.0, parameters={"temperature": 71.3})
    assert done.parameters == {**t.parameters, "temperature": 71.3}
    assert done.asked["temperature"] == asked and not done.pending
    row = c.table().loc[t.id]
    assert (row["temperature"], row["temperature (asked)"]) == (71.3, asked)
    with pytest.raises(bl.DataError, match=r"temprature.*did you mean"):
        c.tell(c.ask()[0].id, 1.0, parameters={"temprature": 70})


def test_need_10_data_from_outside() -> None:
    c = make()
    with pytest.raises(bl.DataError, match="temperature: expected 20 to 90 °C, got 120"):
        c.add({**POINT, "temperature": 120}, 70.0)
    outside = c.add({**POINT, "temperature": 120.25}, 70.0, allow_outside=True)
    assert outside.state == "completed" and c.best() == outside
    assert all(t.parameters in c.space for t in c.ask(20))


def test_need_11_the_space_changes_and_keeps_its_trials() -> None:
    c = make()
    play(c, 4)
    old = c.trials
    wider = bl.Space(
        [
            bl.Real("A", 0, 1, step=0.01),
            bl.Real("B", 0, 1, step=0.01),
            bl.Real("heat", 20, 120, unit="°C", step=0.5),
            bl.Integer("cycles", 1, 8),
            bl.Categorical("solvent", ["MeOH", "DMF"]),
            bl.Real("pH", 2, 12),
        ],
        constraints=["A + B <= 1"],
    )
    for arguments, words in (
        ({}, "'temperature' is not in the new space; say what it is called now"),
        ({"rename": {"temperature": "heat"}}, "'pH' is new; say what earlier trials had"),
        ({"rename": {"temperatur": "heat"}}, "did you mean 'temperature'"),
    ):
        with pytest.raises(bl.DataError, match=words):
            c.change(space=wider, **arguments)
    assert c.space == reaction()
    c.change(space=wider, fill={"pH": 7.0}, rename={"temperature": "heat"}, note="hotter")
    assert c.trials == old and [t.revision for t in c.trials] == [0] * 4
    new = c.ask(8)
    assert all(t.parameters in wider and t.revision == 1 for t in new)
    c.tell(new[0].id, 70.0)
    c.tell(0, 71.0, replace=True)
    assert c.table().shape[0] == 12


def test_need_12_other_goals_later() -> None:
    c = make()
    play(c, 3)
    c.change(goals=["maximize yield", "purity >= 90"])
    assert [t.state for t in c.trials] == ["completed"] * 3 and c.best() is None
    assert c.tell(1, {"purity": 95.0}).state == "completed"
    assert c.best() == c[1]
    (t,) = c.ask()
    assert c.tell(t.id, {"yield": 1.0}).state == "running"


def test_need_14_a_deterministic_campaign_repeats_nothing() -> None:
    space = bl.Space([bl.Integer("k", 1, 4), bl.Categorical("s", ["a", "b"])])
    c = make(space=space, deterministic=True)
    seen = []
    for i in range(8):
        (t,) = c.ask()
        seen.append(tuple(t.parameters.values()))
        if i == 3:
            c.fail(t.id, "broke")
        else:
            c.tell(t.id, float(i))
    assert len(set(seen)) == 8
    with pytest.raises(bl.InfeasibleError, match="measured"):
        c.ask()
    assert c.stop_reason() == "all 8 points of the space were measured"


def test_need_15_mixtures_are_exact() -> None:
    parts = [bl.Real(name, 0, 1, step=0.05) for name in "abc"]
    space = bl.Space(parts, constraints=["a + b + c == 1", "a - 2 * b <= 0.5"])
    c = make(space=space, strategy=None)
    for i in range(8):
        (t,) = c.ask()
        p = t.parameters
        assert abs(sum(p.values()) - 1) < 1e-9 and p["a"] - 2 * p["b"] <= 0.5 + 1e-9
        c.tell(t.id, -((p["a"] - 0.4) ** 2) - (p["b"] - 0.3) ** 2 + 0.01 * i)
    with pytest.raises(bl.InfeasibleError):
        bl.Space(parts, constraints=["a + b + c == 1", "a + b + c >= 2"])


def test_need_16_steps_hold_on_every_axis() -> None:
    space = bl.Space([bl.Real("t", 1, 600, log=True, step=0.5), bl.Real("x", 0.05, 1, step=0.1)])
    c = make(space=space, strategy=None)
    for _ in range(6):
        (t,) = c.ask()
        assert t.parameters in space
        assert t.parameters["t"] * 2 == int(t.parameters["t"] * 2)
        c.tell(t.id, t.parameters["x"])


@pytest.mark.parametrize("told", [0, 10])
def test_need_17_a_batch_that_shares_a_setting(told: int) -> None:
    c = make(strategy=None)
    play(c, told)
    batch = c.ask(3, same=["temperature", "solvent"])
    assert len({(t.parameters["temperature"], t.parameters["solvent"]) for t in batch}) == 1
    assert len({tuple(t.parameters.values()) for t in batch}) == 3
    with pytest.raises(bl.DataError, match="did you mean 'solvent'"):
        c.ask(2, same=["solvnt"])


@pytest.mark.parametrize("told", [0, 10])
def test_need_18_some_parameters_are_fixed_for_now(told: int) -> None:
    c = make(strategy=None)
    play(c, told)
    batch = c.ask(2, fixed={"solvent": "THF", "A": 0.8})
    assert all(t.parameters["solvent"] == "THF" and t.parameters["A"] == 0.8 for t in batch)
    assert all(t.parameters in c.space for t in batch)
    before = len(c)
    for fixed in ({"solvent": "water"}, {"A": 1.5}, {"nothing": 1}):
        with pytest.raises(bl.DataError):
            c.ask(fixed=fixed)
    with pytest.raises(bl.InfeasibleError):
        c.ask(fixed={"A": 0.8, "B": 0.8})
    assert len(c) == before


def test_need_19_goals_relative_to_a_baseline() -> None:
    c = make(goals=["maximize yield", "yield >= 1.05 * baseline", "cost <= baseline + 1"])
    with pytest.raises(bl.DataError, match="expected a baseline with a value of 'yield'"):
        c.ask()
    assert len(c) == 0
    c.add(POINT, {"yield": 40.0, "cost": 3.0}, baseline=True)
    c.ask(2)
    c.tell(1, {"yield": 41.9, "cost": 3.0})
    assert c.best() is None
    c.tell(2, {"yield": 42.0, "cost": 4.0})
    assert c.best() == c[2]
    for drifting in (41.0, 42.0, 43.0):
        c.add(POINT, {"yield": drifting, "cost": 3.0}, baseline=True)
    (drift,) = [k for k in c.health() if k.name == "baseline of yield"]
    assert drift.level == "warning" and "40, 41, 42, 43" in drift.message


def test_need_20_budgets_and_reasons_to_stop() -> None:
    c = make(budget=3)
    c.add(POINT, 41.0)
    assert c.stop_reason() is None
    assert len(c.ask(5)) == 3, "what is on its way counts"
    with pytest.raises(bl.BudgetError, match="3 trials is used: 0 ended and 3 on their way"):
        c.ask()
    c.abandon(2, "no time")
    assert len(c.ask()) == 1
    assert "budget of 3 trials" in str(c.stop_reason())
    c.change(budget={"trials": 10, "cost": 10.0})
    c.tell(1, 50.0, spent=4.0)
    assert c.stop_reason() == (
        "the budget of 10 is used: 4 spent, 8 reserved for 2 on their way, a trial costs 4 on "
        "average"
    )
    c.tell(3, 51.0, spent=1.0)
    assert len(c.ask(5)) == 1, "2.5 on average: 5 spent, 2.5 reserved, room for one"


def test_need_22_review() -> None:
    c = make(review=True)
    a, b, d = c.ask(3, by="model")
    assert {t.state for t in (a, b, d)} == {"candidate"} and c.claim() is None
    with pytest.raises(bl.DataError, match=r"approve\(0\) it first"):
        c.tell(0, 1.0)
    c.approve(0, by="anna")
    edited = c.approve(1, {"temperature": 55.0}, by="anna")
    assert edited.parameters["temperature"] == 55.0 and edited.asked == b.parameters
    with pytest.raises(bl.DataError, match="temperature: expected 20 to 90"):
        c.approve(2, {"temperature": 200})
    gone = c.reject(2, "too hot for the flask", by="ben")
    assert not gone.pending and gone.reason == "too hot for the flask"
    assert (c.history()[-1].kind, c.history()[-1].by) == ("reject", "ben")
    assert [t.id for t in c.queue()] == [0, 1]
    first = c.claim(by="robot")
    assert first is not None and first.id == 0
    assert c.tell(0, 60.0).state == c.tell(1, 61.0).state == "completed"


def test_a_rejected_point_comes_again_only_when_no_other_is_left() -> None:
    space = bl.Space([bl.Integer("k", 1, 3)])
    c = make(space=space, review=True, deterministic=True)
    turned_down = c.reject(c.ask()[0].id, "no").parameters
    others = [c.ask()[0].parameters for _ in range(2)]
    assert turned_down not in others and c.ask()[0].parameters == turned_down
    c.abandon(3, "never")
    with pytest.raises(bl.InfeasibleError):
        c.ask()


def test_need_25_history_says_who_when_and_what(tmp_path: Path) -> None:
    c = make(tmp_path / "a.db", note="Suzuki, second try")
    c.ask(2, by="anna")
    c.tell(0, 60.0, by="robot 2", token="a")
    c.fail(1, "spilled", by="ben")
    found = c.history()
    assert [(e.seq, e.by, e.kind, e.trial) for e in found[1:]] == [
        (1, "anna", "ask", 0),
        (2, "anna", "ask", 1),
        (3, "robot 2", "tell", 0),
        (4, "ben", "fail", 1),
    ]
    assert found[0].details["settings"]["note"] == "Suzuki, second try"
    assert all(a.at <= b.at for a, b in itertools.pairwise(found))


WRONG = [
    float("nan"), float("-inf"), None, "81,5", "81.5", True, np.bool_(True), 1j, [], (1.0, -1.0),
    (1.0, 2.0, 3.0), [1.0, None], [1.0, float("nan")], (float("nan"), 1.0), {"mean": 1}, 1e301,
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_story_3_what_is_no_value_stores_nothing(wrong: object) -> None:
    c = make(goals=["maximize yield", "cost <= 5"])
    c.ask()
    before = c.history()
    with pytest.raises(bl.DataError):
        c.tell(0, {"cost": 1.0, "yield": wrong})
    with pytest.raises(bl.DataError):
        c.add(POINT, {"yield": wrong})
    assert c.history() == before and c[0].outcomes == {} and len(c) == 1
    assert len(c.ask()) == 1


@pytest.mark.parametrize("number", [81.5, np.float64(81.5), np.float32(81.5), np.int64(81), 0.1])
def test_numpys_numbers_are_values(number: float) -> None:
    c = make()
    c.ask()
    assert c.tell(0, number).outcomes == {"yield": float(str(number))}
    assert type(c[0].values["yield"]) is float
    c.ask()
    assert c.tell(1, np.array([1.0, 2.0])).outcomes == {"yield": [1.0, 2.0]}


def test_story_4_and_2_told_twice() -> None:
    c = make()
    c.ask(2)
    first = c.tell(0, 60.0, token="t-1")
    assert c.tell(0, 60.0, token="t-1") == first and len(c.history()) == 4
    with pytest.raises(bl.DataError, match="token 't-1': was used for trial 0"):
        c.tell(1, 60.0, token="t-1")
    with pytest.raises(bl.DataError, match="token"):
        c.tell(0, 61.0, token="t-1", replace=True)
    assert c[1].state == "running"


def test_story_5_unknown_trials_and_outcomes() -> None:
    c, other = make(), make()
    c.ask(3)
    (foreign,) = other.ask()
    for wrong, words in (
        (7, r"trial 7: expected a trial of 'campaign'; the nearest are 0, 1, 2"),
        (3.0, "got 3.0; write 3"),
        ("2", "write 2 without quotes"),
        (True, "got True"),
        (None, "got None"),
        (-1, "trial -1"),
        (foreign, "belongs to another campaign"),
    ):
        with pytest.raises(bl.DataError, match=words):
            c.tell(wrong, 1.0)
    with pytest.raises(bl.DataError, match=r"unknown outcome 'yeild'.*did you mean 'yield'"):
        c.tell(0, {"yeild": 1.0})
    assert c.tell(np.int64(0), 1.0).state == "completed"


def test_what_cannot_be_done_to_a_trial_says_so() -> None:
    c = make()
    c.ask(2)
    c.tell(0, 1.0)
    for call, words in (
        (lambda: c.fail(0, "x"), "trial 0, which is completed; use exclude"),
        (lambda: c.abandon(0, "x"), "which is completed; use exclude"),
        (lambda: c.reject(1, "x"), "which is running; use abandon"),
        (lambda: c.exclude(1, "x"), "expected one with values"),
        (lambda: c.fail(1, ""), "reason: expected a text"),
        (lambda: c.fail(1, "a\x00b"), "NUL"),
        (lambda: c.tell(1), "expected outcomes, got none"),
        (lambda: c.requeue(0, "x"), "completed, not running"),
        (lambda: c.explain(99), "expected a trial"),
        (lambda: c.change(), "expected a space, goals or a budget"),
        (lambda: c.ask(0), "n: expected"),
    ):
        with pytest.raises(bl.DataError, match=words):
            call()


def test_early_stopping_by_the_median() -> None:
    c = make(goals=["minimize loss"])
    c.ask(7)
    for i in range(5):
        assert not c.report(i, 1, {"loss": float(i)})
    assert not c.report(5, 1, 2.0), "as good as the median of five"
    assert c.report(6, 1, 2.5), "behind the median of six"
    stopped = c[6]
    assert stopped.state == "stopped" and not stopped.pending
    with pytest.raises(bl.DataError, match="expected a step >= 1"):
        c.report(0, 0.5, 1.0)
    assert not c.report(0, 2, 0.0)
    assert c.tell(6, 0.5).state == "completed", "what is told all the same counts"


def test_several_campaigns_in_one_file(tmp_path: Path) -> None:
    place = tmp_path / "lab.db"
    make(place, name="one").ask()
    make(place, name="two")
    with pytest.raises(bl.StorageError, match="several campaigns; give a name: 'one', 'two'"):
        bl.Campaign.open(place)
    with pytest.raises(bl.StorageError, match="there is a campaign 'one' already"):
        make(place, name="one")
    with pytest.raises(bl.StorageError, match="did you mean 'two'"):
        bl.Campaign.open(place, "twoo")
    assert len(bl.Campaign.open(place, "one")) == 1 and len(bl.Campaign.open(place, "two")) == 0
    looking = bl.Campaign.open(place, "one", read_only=True)
    assert len(looking.trials) == 1
    with pytest.raises(bl.StorageError, match="read_only"):
        looking.tell(0, 1.0)


def test_measured_points_are_measured(tmp_path: Path) -> None:
    c = make()
    play(c, 3)
    assert c[1].values == {"yield": measured(c[1].parameters)["yield"]}
