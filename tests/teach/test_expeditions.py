"""The ten expeditions: sessions of the page that reach them, some that do not, and edited ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import played
import pytest
import torch

import bolearn as bl
from bolearn import teach
from bolearn.errors import BolearnError, DataError
from bolearn.teach import exercises, explorables, goldmine
from bolearn.teach.__main__ import main
from bolearn.teach.goldmine import again
from bolearn.teach.goldmine.expeditions import QUEST, read
from bolearn.teach.goldmine.sessions import wrong_sessions
from bolearn.teach.session import summary

ID = "p3.t4.expedition"
NUMBERS = range(1, 11)
needs_browser = pytest.mark.skipif(chromium.PROGRAM is None, reason="Chromium is not installed")
PAGE = (explorables.FOLDER / "goldmine.html").read_text(encoding="utf-8")


def data_of(number: int) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(goldmine.model_session(number))
    return data


def status(text: object, number: int | None = None) -> str:
    return QUEST.judge(text, number).status


def drill(x: float, by: str = "me", mine: str = "gold", seed: int = 1) -> dict[str, Any]:
    """The action of drilling a place, without noise."""
    truth = goldmine.mine(mine, seed)
    y = truth.noiseless(torch.tensor([[x]], dtype=torch.float64)).item()
    return {"kind": "drill", "by": by, "x": x, "y": y}


def told(data: dict[str, Any], actions: list[dict[str, Any]], **changes: Any) -> str:
    """A session with other actions (drills and models only), as the page would export it."""
    standing = [{key: action[key] for key in ("x", "y", "by")}
                for action in actions if action["kind"] == "drill"]  # fmt: skip
    models = [action["model"] for action in actions if "model" in action]
    model = models[-1] if models else data["start"]
    data = data | {"actions": actions, "drills": standing, "model": model} | changes
    session = goldmine.replay(json.dumps(data))
    assert session.model is not None
    grid = torch.tensor(data["page"]["x"], dtype=torch.float64).unsqueeze(-1)
    page = {name: value.tolist() for name, value in session.values(grid).items()}
    page["best_f"] = session.best_f
    page["log_marginal_likelihood"] = bl.log_marginal_likelihood(session.model).item()
    return json.dumps(data | {"page": data["page"] | page})


def raced(race: dict[str, Any], policy: str) -> dict[str, Any]:
    """What the page would export of a race of one more policy."""
    run = again.raced(race, policy)
    short = run["best"] - run["gold"](run["spots"])
    quantiles = {what: run[what].tolist() for what in ("regret", "error", "profit")}
    solved = (short <= 0.01 * run["range"]).double().mean().item()
    return {**quantiles, "spots": run["spots"].tolist(), "solved": solved}


# ------------------------------------------------------------------ right, wrong, and neither


@pytest.mark.parametrize("number", NUMBERS)
def test_the_model_session_reaches_its_expedition(number: int) -> None:
    found = read(goldmine.model_session(number))
    assert found.problem == "" and found.notes == []
    assert found.verdicts[number].reached
    assert list(found.verdicts) == list(NUMBERS)
    assert goldmine.replay(goldmine.model_session(number)).data["format"] == goldmine.FORMAT


def test_a_session_reaches_no_expedition_by_accident() -> None:
    reached = {n: [k for k, v in read(goldmine.model_session(n)).verdicts.items() if v.reached]
               for n in NUMBERS}  # fmt: skip
    assert reached == {n: [n] for n in NUMBERS}


@pytest.mark.parametrize("number", NUMBERS)
def test_wrong_sessions_are_refused_with_a_reason(number: int) -> None:
    reasons = []
    for why, text in wrong_sessions(number):
        found = read(text)
        assert found.problem == "", f"{why}: it is an honest session"
        assert not found.verdicts[number].reached and found.verdicts[number].missing, why
        result = QUEST.judge(text, number)
        assert result.status == "failed" and result.message, why
        reasons.append(why)
    assert len(set(reasons)) == len(reasons) >= 3


def test_the_quest_counts_in_the_selftest() -> None:
    assert exercises.quest(ID) is QUEST and list(exercises.QUESTS) == [ID]


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        ({"hints": ("a", "a", "b")}, "three different texts"),
        ({"model": lambda number: goldmine.model_session(1 + number % 10)}, "not accepted"),
        ({"wrongs": lambda number: iter([("why", goldmine.model_session(number))])}, "not refused"),
        ({"wrongs": lambda number: iter(())}, "0 wrong texts; at least 3"),
    ],
)
def test_the_selftest_finds_a_quest_that_is_not_ready(breaks: dict[str, Any], words: str) -> None:
    alone = replace(QUEST, goals={3: QUEST.goals[3]})
    assert alone.problems() == []
    assert any(words in problem for problem in replace(alone, **breaks).problems())


@pytest.mark.parametrize("text", ["", "   \n", None, ...])
def test_nothing_pasted_yet_is_not_attempted(text: object) -> None:
    for number in (None, 3):
        result = QUEST.judge(text, number)
        assert result.status == "not attempted" and "press Copy" in result.rows[0].value
        assert "part_3/tutorial_04" in result.rows[0].value
    for number, name in QUEST.goals.items():
        todo = QUEST.judge(text, number).rows[0].value
        assert f"press Start beside {name!r}" in todo and len(todo) < 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (goldmine.model_session(5)[:-9], "complete; got no JSON.*press Copy"),
        ("session(view())", "got no JSON.*press Copy"),
        ("[1]", "got 'list'.*press Copy"),
        (5, "a text between quotes, got a value of type int.*press Copy"),
    ],
)
def test_what_is_no_session_teaches_what_to_copy(text: object, words: str) -> None:
    result = QUEST.judge(text)
    assert result.status == "error" and re.search(words, result.message)


@pytest.mark.parametrize("key", ["actions", "start", "peeks", "page", "drills", "races", "unit"])
def test_an_incomplete_session_is_an_error_not_a_crash(key: str) -> None:
    data = data_of(10 if key == "races" else 8)
    for value in (None, [], [{}], {}, "x", 3):
        spoilt = QUEST.judge(json.dumps(data | {key: value}))
        assert spoilt.status in ("error", "failed", "passed")
    del data[key]
    result = QUEST.judge(json.dumps(data))
    assert result.status == "error" and "complete" in result.message


def edits() -> Iterator[tuple[str, dict[str, Any], str]]:
    """What somebody might change in an exported text, and what the check says to it."""
    data = data_of(7)
    data["drills"][1]["y"] += 1
    yield "a find at the end", data, "drills at the end do not follow"
    data = data_of(7)
    data["drills"][1]["y"] += 1
    data["actions"][1]["y"] += 1
    yield "a find in both places", data, "does not hold 6.84[0-9]* oz at x = 6"
    data = data_of(7)
    data["drills"][1]["x"] = data["actions"][1]["x"] = 5.99
    yield "a place that is none", data, "5.99 is no place of this mine"
    data = data_of(6)
    for entry in (data["drills"][4], data["actions"][4]):
        entry["y"] += 1e-6
    yield "a noisy find, by a little", data, "this mine does not hold"
    data = data_of(3)
    data["model"]["lengthscale"] = 3.0
    yield "the model", data, "model at the end does not follow"
    data = data_of(8)
    data["page"]["mean"][3] += 0.01
    yield "a number of the page", data, "numbers do not follow from the drills"
    data = data_of(4)
    data["actions"][-1]["model"]["lengthscale"] = data["model"]["lengthscale"] = 0.3
    yield "a fit", data, "a fit has made the finds less likely"
    data = data_of(9)
    data["actions"].insert(0, {"kind": "peek"})
    yield "a look that was not counted", data, "more looks at the truth"
    for part in ("first", "last", "random"):
        data = data_of(10)
        results = data["races"][0]["results"]
        policy = "random" if part == "random" else "ei"
        results[policy]["regret"][{"first": 0, "last": -1, "random": 9}[part]][2] += 0.5
        yield f"a race, {part}", data, "the race of random, mean, ei was not run like this"


@pytest.mark.parametrize(
    ("data", "words"), [(d, w) for _, d, w in edits()], ids=[name for name, _, _ in edits()]
)
def test_an_edited_session_is_noticed(data: dict[str, Any], words: str) -> None:
    result = QUEST.judge(json.dumps(data))
    assert result.status == "error" and "was the text edited?" in result.message
    assert re.search(words, result.message)


def forged() -> Iterator[tuple[str, int, dict[str, Any], str]]:
    """Sessions of things that never happened, free of contradictions as far as one can see."""
    made_by = "would not have drilled at"
    data = data_of(6)
    mine = goldmine.mine("gold")
    errors = goldmine.measurement_errors(mine, 1, 12)
    again_at = drill(data["actions"][0]["x"])
    again_at["y"] += errors[10].item()
    for by in ("mean", "ei", "pi", "ucb", "variance"):
        data = data_of(6)
        actions = [*data["actions"][:8], {**again_at, "by": by}]
        yield f"by {by}, drilled by hand", 6, json.loads(told(data, actions)), made_by
    data = data_of(1)
    by_hand = [*map(drill, (0.8, 3.0)), *[drill(x, "mean") for x in (2.0, 2.0, 2.0, 2.0)]]
    yield "mean only, drilled by hand", 1, json.loads(told(data, by_hand)), made_by
    data = data_of(6)
    for entry in data["actions"]:
        if entry["by"] == "ei":
            entry["xi"] = 3.0
    yield "another xi", 6, data, made_by
    data = data_of(7)
    data["cost"] = 0.15
    yield "another cost", 7, data, "the cost of a drill does not follow"
    data = data_of(9)
    data["actions"].insert(-1, {"kind": "peek", "n": len(data["actions"])})
    data["actions"][-1]["n"] += 1
    cut = data | {"steps": data["steps"] + 1}  # as the page tells it, the peek cut out
    cut["actions"] = [action for action in data["actions"] if action["kind"] != "peek"]
    yield "a peek cut out", 9, cut, "an action is missing"
    data = data_of(3)
    data["actions"][0]["n"], data["actions"][1]["n"] = 2, 1
    yield "the order", 3, data, "an action is missing, or stands where"
    races = "was not run like this"
    for name in ("spots", "regret", "error", "profit", "solved"):
        data = data_of(10)
        result = data["races"][0]["results"]["mean"]
        if name == "solved":
            result["solved"] += 0.05
        elif name == "spots":
            result["spots"][7] = result["spots"][8]
        else:
            result[name][7][1] += 0.01
        yield f"a race's {name}", 10, data, races
    for key, value in (("cost", 0.1), ("noisy", True), ("seeds", 100), ("steps", 11)):
        data = data_of(10)
        data["races"][0][key] = value
        yield f"a race with another {key}", 10, data, races
    data = data_of(10)
    data["races"][1]["results"]["ucb"] = data["races"][1]["results"]["ei"]
    yield "a result of another policy", 10, data, races
    data = data_of(10)
    data["races"][0]["model"]["lengthscale"] = 0.5
    yield "a race with another model", 10, data, races
    data = data_of(10)
    data["races"][1] = {**data["races"][0], "mine": {"name": "needle", "seed": 1}}
    yield "the race of another mine", 10, data, races


@pytest.mark.parametrize(
    ("number", "data", "words"),
    [(n, d, w) for _, n, d, w in forged()],
    ids=[name for name, _, _, _ in forged()],
)
def test_what_never_happened_is_noticed(number: int, data: dict[str, Any], words: str) -> None:
    result = QUEST.judge(json.dumps(data), number)
    assert result.status == "error" and words in result.message


@pytest.mark.parametrize("policy", ["pi", "ucb", "variance"])
def test_a_race_that_was_run_is_believed(policy: str) -> None:
    data = data_of(10)
    for race in data["races"]:
        race["results"][policy] = raced(race, policy)
    assert status(json.dumps(data), 10) == "passed"


def test_a_race_in_grams_with_noise_is_believed() -> None:
    data, ounce = data_of(10), 31.1034768
    race = data["races"][0]
    race["noisy"] = True
    race["results"] = {policy: raced(race, policy) for policy in race["results"]}
    told_ = json.loads(json.dumps(race))
    told_["cost"] *= ounce
    told_["model"] |= {k: race["model"][k] * ounce**2 for k in ("variance", "noise_var")}
    told_["model"]["mean"] *= ounce
    told_["rules"] |= {k: race["rules"][k] * ounce for k in ("xi_pi", "xi_ei")}
    for result in told_["results"].values():
        for what in ("regret", "error", "profit"):
            result[what] = [[ounce * value for value in row] for row in result[what]]
    assert again.not_run(told_, ounce) == "" and again.not_run(race, 1.0) == ""


def test_a_session_of_an_older_page_is_judged_by_what_it_tells() -> None:
    data = data_of(7)
    for key in ("steps", "cost_start"):
        del data[key]
    for action in data["actions"]:
        del action["n"]
    assert status(json.dumps(data), 7) == "passed"


def test_a_look_at_the_truth_is_said_and_what_follows_does_not_count() -> None:
    data = data_of(9)
    peek = {"kind": "peek"}
    after = data | {"peeks": 1, "actions": [*data["actions"], peek]}
    before = data | {"peeks": 1, "actions": [*data["actions"][:-1], peek, data["actions"][-1]]}
    earlier = data | {"peeks": 1}  # revealed, then the mine was emptied
    for changed, wanted, words in [
        (after, "passed", "what was done after that does not count"),
        (before, "failed", "what was done after that does not count"),
        (earlier, "failed", "had been revealed before"),
    ]:
        result = QUEST.judge(json.dumps(changed), 9)
        assert result.status == wanted
        assert result.rows[0].label == "note" and words in result.rows[0].value


def test_a_race_counts_whenever_the_truth_was_revealed() -> None:
    assert status(json.dumps(data_of(10) | {"peeks": 1, "actions": [{"kind": "peek"}]}), 10) == (
        "passed"
    )


def test_the_lottery_needs_a_flip_nearby() -> None:
    """A drill may stand up to 0.5 from where the end flips, not further."""
    gold = goldmine.mine("gold")

    def ends(own: list[tuple[float, float]]) -> list[float]:
        places = goldmine.play(
            gold, torch.tensor(own, dtype=torch.float64).unsqueeze(-1), "mean", 12
        )
        found: list[float] = gold.noiseless(places).amax((1, 2)).tolist()
        return found

    def session(first: float) -> str:
        X = torch.tensor([[first], [3.0]], dtype=torch.float64)
        x = goldmine.play(gold, X, "mean", 8).flatten().tolist()
        return told(data_of(1), [*map(drill, x[:2]), *[drill(place, "mean") for place in x[2:]]])

    steps = [k / 40 for k in range(-20, 21)]
    wanted = {}
    for first in (1.0, 1.9, 2.3, 2.625):
        assert max(ends([(first, 3.0)])) < 7
        moved = [(first + step, 3.0) for step in steps] + [(first, 3 + step) for step in steps]
        wanted[first] = "passed" if max(ends(moved)) > 8.12 else "failed"
    assert set(wanted.values()) == {"passed", "failed"}
    assert {first: status(session(first), 1) for first in wanted} == wanted
    assert status(session(2.875), 1) == "failed"  # from there it finds the richer hill


def by_a_hair() -> Iterator[tuple[int, str, str]]:
    """Sessions that meet every condition of an expedition but one."""
    data = data_of(3)
    longer = {"kind": "set", "model": data["model"] | {"lengthscale": 2.0}}
    yield 3, told(data, [*data["actions"][:-1], longer]), "The doubt is still 0.1[0-9] oz"
    places = [5.8, 0.3, 5.3, 0.1, 5.5, 3.1]
    yield 3, told(data, [*map(drill, places), longer]), "right to less than an ounce"
    data = data_of(4)
    fit = {"kind": "fit", "model": data["start"]}
    same = [drill(0.5, mine="riddle", seed=14)] * 8
    actions = [*same[:1], fit, *same[:1], fit, *same[:1], fit, *same[:2], fit, *same[:3], fit]
    yield 4, told(data, actions), "longer than the hidden lengthscale by a factor 2.2"
    data = data_of(6)
    lucky = drill(5.05)
    lucky["y"] += goldmine.measurement_errors(goldmine.mine("gold"), 1, 12)[11].item()
    yield 6, told(data, [*data["actions"], lucky]), "The best find is also where the belief"
    data = data_of(7)
    late = [*data["actions"][:-1], drill(1.5), data["actions"][-1]]
    yield 7, told(data, late), "Too late: the last drill promised 0.[12]"
    data = data_of(10)
    gold, needle = data["races"]
    two = {**gold["results"], "variance": raced(gold, "variance")}
    del two["mean"]
    yield 10, json.dumps(data | {"races": [gold | {"results": two}, needle]}), "no policy of the"


@pytest.mark.parametrize(("number", "text", "words"), list(by_a_hair()), ids=range(6))
def test_one_condition_missed_is_missed(number: int, text: str, words: str) -> None:
    found = read(text, number)
    assert found.problem == ""
    (missing,) = found.verdicts[number].missing
    assert re.search(words, missing)


# ------------------------------------------------------------------ in a notebook and outside


def test_the_check_shows_all_ten_in_words_and_records_the_one_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    teach.setup("p3.t4")
    result = teach.check(ID, goldmine.model_session(8))
    text, html = result.text(), result._repr_html_()
    assert result.status == "passed" and "✓ p3.t4.expedition Ten expeditions: passed" in text
    assert "✓ reached: Order does not matter" in text and "1 of 10 in this text" in text
    assert "✗ nearly: Disagreement is the rule. Missing: There was no moment" in text
    assert text.count("○ not here:") == 8
    for name in QUEST.goals.values():
        assert name in " ".join(text.split()) and name in html
    assert "color:inherit" in html and not re.search(r"color:\s*(?!inherit)[#a-z]", html)
    assert teach.check(ID, goldmine.model_session(8), number=8).id == f"{ID}.8"
    assert teach.check(ID, goldmine.model_session(8), number=9).status == "failed"
    assert teach.check(ID, "", number=7).status == "not attempted"
    assert summary()["exercises"] == {"passed": 2, "failed": 1, "not attempted": 1}
    teach.hint(ID, 3)
    assert "one line that begins with" in capsys.readouterr().out


def test_wrong_numbers_and_ids_are_errors() -> None:
    for number in (0, 11, True):
        with pytest.raises(teach.ExerciseError, match="a number from 1 to 10"):
            teach.check(ID, "", number=number)
    with pytest.raises(teach.ExerciseError, match="only a quest has numbers"):
        teach.check("p1.t1.e1", lambda: None, number=1)
    with pytest.raises(teach.ExerciseError, match=re.escape(ID)):
        teach.check(f"{ID}s", "")
    with pytest.raises(DataError, match="1 to 10; got 0"):
        goldmine.model_session(0)
    with pytest.raises(teach.ExerciseError):
        exercises.find(ID)  # who wants a function gets no quest


def test_a_file_of_answers_may_hold_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.py"
    file.write_text(
        f"expedition_3 = r'''{goldmine.model_session(3)}'''\nexpedition_5 = r''''''\n",
        encoding="utf-8",
    )
    assert main(["check", str(file), "--tutorial", "p3.t4", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)["exercises"]
    own = {entry["id"]: entry["status"] for entry in report if ID in entry["id"]}
    assert own == {f"{ID}.3": "passed", f"{ID}.5": "not attempted"}
    file.write_text(f"expedition_3 = r'''{goldmine.model_session(3)}'''", encoding="utf-8")
    assert main(["check", str(file)]) == 0


# ------------------------------------------------------------------ moments


def test_moments_do_the_actions_again() -> None:
    session = goldmine.replay(goldmine.model_session(8))
    moments = session.moments()
    kinds = ["start", *["drill"] * 4, "delete", "drill", "pretend"]
    assert [moment.kind for moment in moments] == kinds
    assert [len(moment.drills) for moment in moments] == [0, 1, 2, 3, 4, 3, 4, 4]
    assert [drill.x for drill in moments[-1].drills] == session.X.flatten().tolist()
    assert moments[-2].real and not moments[-1].real
    assert moments[-1].model == session.data["model"]
    noisy = goldmine.replay(goldmine.model_session(6)).moments()
    assert all(moment.noisy for moment in noisy)
    data = data_of(6)
    off = {"kind": "noise", "on": False}
    switched = goldmine.replay(json.dumps(data | {"actions": [*data["actions"], off]})).moments()
    assert [moment.noisy for moment in switched[-2:]] == [True, False]


# ------------------------------------------------------------------ in the page


def close(found: Any, wanted: Any) -> bool:
    """The same JSON, numbers to 1e-9."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(close(found[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(close, found, wanted))
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        return bool(np.isclose(found, wanted, rtol=1e-9, atol=1e-9))
    return bool(found == wanted)


@needs_browser
@pytest.mark.parametrize("number", NUMBERS)
def test_each_expedition_is_played_by_hand_and_passes(
    browser: chromium.Chromium, tmp_path: Path, number: int
) -> None:
    text = played.played(browser, tmp_path, number)
    assert status(text, number) == "passed"
    assert close(json.loads(text), data_of(number)), "python tests/teach/played.py stores it anew"


def by_keyboard(page: played.Page) -> None:
    """The ninth expedition without a mouse: Delete on the drill that carries the decision."""
    run = page.browser.run
    run("document.querySelectorAll('#ground .handle')[0].focus()")
    run("document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'Delete'}))")


def by_mouse(page: played.Page) -> None:
    """The seventh, by hand instead of by EI: two drills on the ground."""
    page.choose("me")
    page.drill(6.0)
    page.drill(5.15)
    page.click("#stop")


def too_long(page: played.Page) -> None:
    """The seventh, one drill too many."""
    while page.browser.run("view().most > s.cost"):
        page.click("#step")
    page.click("#step")
    page.click("#stop")


def spied(page: played.Page) -> None:
    """The ninth, after a look at the truth."""
    page.panel(played.MINE)
    page.click("#reveal")
    played.influence(page)


@needs_browser
@pytest.mark.parametrize(
    ("number", "play", "wanted", "words"),
    [
        (9, by_keyboard, "passed", ""),
        (7, by_mouse, "passed", ""),
        (7, too_long, "failed", "Too late: the last drill promised"),
        (9, spied, "failed", "No drill was deleted"),
    ],
)
def test_other_ways_through_the_page(
    browser: chromium.Chromium, tmp_path: Path, number: int, play: Callable[[played.Page], None],
    wanted: str, words: str,
) -> None:  # fmt: skip
    page = played.Page(browser, tmp_path, number)
    play(page)
    result = QUEST.judge(page.export(), number)
    assert result.status == wanted and words in result.message


@needs_browser
def test_the_page_lists_the_ten_and_starts_them_afresh(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    page = played.Page(browser, tmp_path, 6)
    names = browser.run("EXPEDITIONS.map(e => e[0])")
    assert dict(enumerate(names, 1)) == QUEST.goals
    assert browser.run("document.getElementById('expedition').textContent") == (
        "Expedition 6: Noise breaks folklore"
    )
    starts = browser.run("EXPEDITIONS.map(e => ({...START, ...e[2]}))")
    for start in starts:
        explorables.page("goldmine", start)  # a state that a notebook may ask for
    page.click("#step")
    page.panel(played.MINE)
    page.click("#grams")
    page.click("#reveal")
    page.panel("at-expeditions")
    page.click("#expeditions li:nth-child(5) button")
    data = json.loads(page.export())
    assert [drill["x"] for drill in data["drills"]] == [1.2, 2.6, 4.4]
    assert data["peeks"] == 0 and data["unit"] == "oz" and data["mine"]["noisy"] is False
    assert data["rules"]["xi_ei"] == 1 and [a["kind"] for a in data["actions"]] == ["drill"] * 3


def test_the_page_stays_small() -> None:
    assert len(PAGE.encode()) < 80_000


@needs_browser
@pytest.mark.parametrize("width", [360, 700, 1400])
def test_the_list_fits_at_every_width(
    browser: chromium.Chromium, tmp_path: Path, width: int
) -> None:
    file = tmp_path / "goldmine.html"
    file.write_text(explorables.page("goldmine"), encoding="utf-8")
    browser.look(width, 1200)
    browser.open(file)
    browser.run("document.getElementById('at-expeditions').open = true")
    browser.draw()
    across = browser.run("[document.documentElement.scrollWidth, innerWidth]")
    assert across[0] <= across[1]
    buttons = browser.run(
        "[...document.querySelectorAll('#expeditions button')].map(b => b.ariaLabel)"
    )
    assert buttons == [f"Start expedition {number}" for number in NUMBERS]


def test_errors_are_those_of_the_package() -> None:
    assert issubclass(teach.ExerciseError, BolearnError)
