"""Sessions of the ten expeditions: one that reaches each, and some that only look like it.

The model sessions were played in the page by mouse and keyboard, and stored as exported. The wrong
ones are what the page would have exported had they gone on otherwise.

Taught in part_3/tutorial_04 and part_3/tutorial_05.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bolearn import data as stored
from bolearn.errors import DataError
from bolearn.models.evidence import log_marginal_likelihood
from bolearn.teach.goldmine import page as goldmine

NAMES = {
    1: "Greedy is a lottery",
    2: "Disagreement is the rule",
    3: "The parameter that matters is not ξ",
    4: "One find cannot fit a lengthscale",
    5: "ξ has a unit",
    6: "Noise breaks folklore",
    7: "Goals differ",
    8: "Order does not matter",
    9: "One drill carries the decision",
    10: "Chance has a tail",
}
_SESSIONS = Path(stored.__file__).with_name("expeditions.json")


@functools.cache
def _stored() -> list[dict[str, Any]]:
    sessions: list[dict[str, Any]] = json.loads(_SESSIONS.read_text(encoding="utf-8"))
    return sessions


def model_session(number: int) -> str:
    """A session of the page that reaches an expedition, as the page exported it.

    Args:
        number: of the expedition, 1 to 10.

    Raises:
        DataError: there is no such expedition.

    Example:
        >>> goldmine.replay(model_session(4)).mine.name
        'riddle'
    """
    if isinstance(number, bool) or number not in NAMES:
        raise DataError(f"expected the number of an expedition, 1 to {len(NAMES)}; got {number!r}")
    return json.dumps(_stored()[number - 1], separators=(",", ":"), ensure_ascii=False)


def _retold(data: Mapping[str, Any], actions: Sequence[Any], **changes: Any) -> str:
    """What the page would have exported after other actions."""
    numbered = [{**action, "n": n} for n, action in enumerate(actions, 1)]
    told = {**copy.deepcopy(dict(data)), "actions": numbered, **changes}
    told |= {"steps": len(numbered), "undos": 0, "cost_start": told["cost"]}
    end = goldmine.replay(json.dumps(told)).moments()[-1]
    told["drills"] = [{"x": drill.x, "y": drill.y, "by": drill.by} for drill in end.drills]
    told["model"] = dict(end.model)
    told["peeks"] = sum(action["kind"] == "peek" for action in actions)
    told["stopped"] = any(action["kind"] == "stop" for action in actions)
    session, page = goldmine.replay(json.dumps(told)), told["page"]
    if session.model is not None:
        page |= {name: v.tolist() for name, v in session.values(_points(page["x"])).items()}
        page["best_f"] = session.best_f
        page["log_marginal_likelihood"] = log_marginal_likelihood(session.model).item()
    return json.dumps(told)


def _drilled(session: goldmine.Session, x: float, by: str) -> dict[str, Any]:
    """The action of drilling a place of a mine without noise."""
    y = session.mine.noiseless(_points([x])).item()
    return {"kind": "drill", "by": by, "x": x, "y": y}


def wrong_sessions(number: int) -> Iterator[tuple[str, str]]:
    """Sessions that look like attempts at an expedition and do not reach it, with the reason.

    They are what the page would have exported had its model session gone on otherwise.

    Example:
        >>> [why for why, _ in wrong_sessions(9)][:2]
        ['another drill was deleted', 'the truth was revealed first']
    """
    data = json.loads(model_session(number))
    session, actions = goldmine.replay(json.dumps(data)), list(data["actions"])
    rules, races = data["rules"], data["races"]

    def told(*others: Any, **changes: Any) -> str:
        return _retold(data, others, **changes)

    def drilled(x: float, by: str = "me") -> dict[str, Any]:
        return _drilled(session, x, by)

    if number == 1:
        ends = goldmine.play(session.mine, _points([0.8, 3.0]), "ei", 8).flatten().tolist()
        by_ei = [drilled(x, "ei") for x in ends[2:]]
        yield "EI drilled, not mean only", told(*actions[:2], *by_ei)
        yield "it was stopped before it stood still", told(*actions[:-8])
        ends = goldmine.play(session.mine, _points([1.0, 3.0]), "mean", 8).flatten().tolist()
        own, steps = [drilled(x) for x in ends[:2]], [drilled(x, "mean") for x in ends[2:]]
        yield "drill 1 is far from the flip", told(*own, *steps)
        ends = goldmine.play(session.mine, _points([4.0, 3.0]), "mean", 8).flatten().tolist()
        own, steps = [drilled(x) for x in ends[:2]], [drilled(x, "mean") for x in ends[2:]]
        yield "it has found the richer hill", told(*own, *steps)
    elif number == 2:
        yield "they agree, and nowhere differ", told(*actions[:-1])
        yield "they differ, and nowhere agree", told(*map(drilled, (4.225, 3.125, 1.075)))
        yield "two drills only", told(*actions[:3])
    elif number == 3:
        longer = actions[-1]
        yield (
            "the mine does not look solved yet",
            told(*actions[:-1], {**longer, "model": {**longer["model"], "lengthscale": 1.5}}),
        )
        yield (
            "more than the lengthscale was changed",
            told(*actions[:-1], {**longer, "model": {**longer["model"], "variance": 1.0}}),
        )
        yield "three drills only", told(*actions[:3], longer)
        yield (
            "so many drills that the map is right",
            told(*actions[:-1], *[drilled(x) for x in (0.0, 1.5, 2.0, 2.5, 3.5, 5.0)], longer),
        )
    elif number == 4:
        yield (
            "it was fitted at the end only",
            told(*[action for action in actions[:-1] if action["kind"] == "drill"], actions[-1]),
        )
        yield "the last fit is missing", told(*actions[:-1])
        yield "the last drills were pretended", told(
            *actions[:-1], {"kind": "pretend", "drill": 7, "x": actions[-2]["x"], "y": 0.0},
            {**actions[-1], "model": dict(session.moments()[-2].model)},
        )  # fmt: skip
        yield "the lengthscale was told", told(*actions, mine={**data["mine"], "name": "draw"})
    elif number == 5:
        yield "xi is zero", told(*actions, rules={**rules, "xi_ei": 0})
        yield (
            "the xi of PI was raised, not that of EI",
            told(*actions, rules={**rules, "xi_ei": 0.05, "xi_pi": rules["xi_ei"]}),
        )
        yield "two drills only", told(*actions[:2], actions[-1])
    elif number == 6:
        yield (
            "no place was drilled again",
            told(*actions[:4], *{action["x"]: action for action in actions[4:]}.values()),
        )
        yield (
            "a reader drilled again, not a policy",
            told(*[{**action, "by": "me"} for action in actions]),
        )
        yield "five drills only", told(*actions[:5])
    elif number == 7:
        yield "too early", told(*actions[:-2], actions[-1])
        late = drilled(5.125, "ei")
        yield "too late", told(*actions[:-1], late, actions[-1])
        yield "not stopped", told(*actions[:-1])
        yield "a drill costs nothing", told(*actions, cost=0.0)
    elif number == 8:
        yield "no find was pretended", told(*actions[:-1])
        yield "no drill was deleted and drilled again", told(*actions[:4], actions[-1])
        small = {**actions[-1], "y": actions[0]["y"] + 0.01}
        yield "the pretended find moves nothing", told(*actions[:-1], small)
    elif number == 9:
        other = {"kind": "delete", "drill": 2, "x": actions[2]["x"], "y": actions[2]["y"]}
        yield "another drill was deleted", told(*actions[:-1], other)
    elif number == 10:
        yield "no race on the needle", told(*actions, races=races[:1])
        yield "no race on the gold mine", told(*actions, races=races[1:])
        less = {**races[1], "results": {k: v for k, v in races[1]["results"].items() if k != "ei"}}
        yield "random and one other on the needle", told(*actions, races=[races[0], less])
    if number != 10:
        yield "the truth was revealed first", told({"kind": "peek"}, *actions)
    if number == 9:
        yield "from four drills", told(*actions[1:5], {**actions[-1], "drill": 0})


def _points(values: Sequence[float | int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(-1)
