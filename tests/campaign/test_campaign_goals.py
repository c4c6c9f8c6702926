"""Goals as text: what is read, what is refused, and that nothing is executed."""

from __future__ import annotations

import pytest

import bolearn as bl
from bolearn.campaign.goals import Goals


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("maximize yield", "maximize yield"),
        ("Maximise  yield %", "maximize yield %"),
        ("min t 1/2", "minimize t 1/2"),
        ("cost<=5", "cost <= 5"),
        ("cost ≤ 5.50", "cost <= 5.5"),
        ("5 >= cost", "cost <= 5"),
        ("-1e-3 <= drift of T", "drift of T >= -0.001"),
        ("yield >= 1.05 * baseline", "yield >= 1.05 * baseline"),
        ("yield >= baseline", "yield >= baseline"),
        ("cost <= 2baseline - 0.5", "cost <= 2 * baseline - 0.5"),
        ("max-min <= 3", "max-min <= 3"),
    ],
)
def test_a_goal_is_read_and_written_in_one_form(text: str, canonical: str) -> None:
    read = Goals.read([text, "maximize the rest"])
    assert canonical in read.texts
    assert Goals.read(read.texts) == read


@pytest.mark.parametrize(
    ("goals", "words"),
    [
        ("maximize yield", r"expected a list of texts.*write \['maximize yield'\]"),
        ([], "at least one to maximize or minimize"),
        (["cost <= 5"], "at least one to maximize or minimize"),
        (["maximise"], "expected 'maximize ...'"),
        (["maximze yield"], "did you mean 'maximize'"),
        (["maximize yield", "minimize yield"], "cannot be maximized and minimized"),
        (["maximize y", "cost < 5"], "expected <=, got '<'"),
        (["maximize y", "cost == 5"], "expected <= or >="),
        (["maximize y", "1 <= cost <= 5"], "expected one relation"),
        (["maximize y", "cost <= 5 EUR"], "a unit is no part of a goal"),
        (["maximize y", "cost <= 5,5"], "decimals with a point"),
        (["maximize y", "cost <= baseline * 2"], "a multiple of baseline"),
        (["maximize y", "cost <= 0 * baseline"], "not 0"),
        (["maximize y", "cost <= 1e999"], "below 1e308"),
        (["maximize y", "cost <= 5", "cost >= 6"], "exclude each other"),
        (["maximize y", "cost <= __import__('os').getcwd()"], "expected a number"),
        (["maximize yield <= 5"], "got both"),
        ([7], "expected a text, got 7"),
        (None, "expected a list of texts"),
    ],
)
def test_what_is_no_goal_is_refused(goals: object, words: str) -> None:
    with pytest.raises(bl.DataError, match=words):
        Goals.read(goals)


def test_limits_hold_at_their_bound_and_follow_the_baseline() -> None:
    goals = Goals.read(["maximize y", "y >= 1.5 * baseline", "cost <= 5"])
    assert goals.broken({"y": 3.0, "cost": 5.0}, {"y": 2.0}) == ()
    assert [str(g) for g in goals.broken({"y": 2.9}, {"y": 2.0})] == [
        "y >= 1.5 * baseline",
        "cost <= 5",
    ]


def test_no_outcome_is_called_as_a_parameter() -> None:
    space = bl.Space([bl.Real("cost", 0, 1)])
    with pytest.raises(bl.DataError, match="a name that no parameter has"):
        bl.Campaign.create(None, space, ["minimize cost"], seed=0)
