"""A campaign that is opened again is the same campaign: trials, history, next proposals."""

from __future__ import annotations

from pathlib import Path

import pytest
from campaigns import POINT, make, measured, play, reaction

import bolearn as bl


def test_need_2_the_same_proposals_bit_for_bit_after_reopening_before_every_ask(
    tmp_path: Path,
) -> None:
    goals = ["maximize yield", "cost <= 4.6"]
    whole = make(None, goals=goals, strategy=None, budget=12)
    expected = play(whole, 12)
    broken = make(tmp_path / "a.db", goals=goals, strategy=None, budget=12)
    for point in expected:
        broken.close()
        broken = bl.Campaign.open(tmp_path / "a.db")
        assert play(broken, 1) == [point]
    ours, theirs = ([t.proposal for t in c.trials] for c in (whole, broken))
    assert ours == theirs and [p["acquisition"] for p in ours if "acquisition" in p]
    with pytest.raises(bl.BudgetError, match="12 trials is used: 12 ended"):
        broken.ask()


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    c = make(tmp_path / "a.db", goals=["maximize yield", "minimize cost"], outcomes=["purity"])
    c.add(POINT, {"yield": [41.0, 43.5], "cost": (3.0, 0.1)}, baseline=True, label="lab book 7")
    c.ask(3, by="anna")
    c.tell(1, {"yield": 0.1 + 0.2, "purity": 5e-324}, parameters={"temperature": 71.3})
    c.fail(2, "spilled", by="ben")
    with bl.Campaign.open(tmp_path / "a.db") as again:
        assert again.trials == c.trials and again.history() == c.history()
        assert again.space == reaction() and again.goals == c.goals
        assert again.table().equals(c.table())
        assert again[1].outcomes == {"yield": 0.1 + 0.2, "purity": 5e-324}
    assert [e.by for e in c.history() if e.kind in ("ask", "fail")] == ["anna"] * 3 + ["ben"]
    assert [e.seq for e in c.history()] == list(range(len(c.history())))


def test_two_that_look_at_one_file_see_each_others_trials(tmp_path: Path) -> None:
    one, other = make(tmp_path / "a.db"), bl.Campaign.open(tmp_path / "a.db")
    (a,), (b,) = one.ask(), other.ask()
    assert (a.id, b.id) == (0, 1) and a.parameters != b.parameters
    other.tell(a.id, measured(a.parameters)["yield"])
    assert one[0].state == "completed" and one.trials == other.trials


def test_the_best_trial_keeps_the_limits() -> None:
    c = make(goals=["maximize yield", "cost <= 4"])
    assert c.best() is None
    c.add(POINT, {"yield": 90.0, "cost": 4.1})
    c.add(POINT, {"yield": 50.0, "cost": 4.0})
    c.add(POINT, {"yield": 99.0})
    best = c.best()
    assert best is not None and best.id == 1


def test_a_campaign_can_be_put_away_and_used_again(tmp_path: Path) -> None:
    for where in (None, tmp_path / "a.db"):
        with make(where) as c:
            play(c, 2)
        assert len(c.trials) == 2 and play(c, 1) and len(c.history()) == 7
