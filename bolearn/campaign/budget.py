"""Budgets: trials, money and hours, counted in the store over all who work on a campaign.

Taught in part_5/tutorial_04.
"""

import math
from collections.abc import Mapping
from typing import Any

from ..errors import DataError
from ..shapes import is_number, is_whole
from ..space.parameters import close_to, plain, short
from .writer import Snapshot

_KINDS = ("trials", "cost", "hours")


def check_budget(budget: object) -> dict[str, int | float] | None:
    """A budget as a dictionary.

    Args:
        budget: a number of trials, or ``{"trials": 60, "cost": 500.0, "hours": 72}``; None: none.

    Raises:
        DataError: something else.
    """
    budget = plain(budget)
    if budget is None:
        return None
    if is_whole(budget):
        budget = {"trials": budget}
    if not isinstance(budget, Mapping) or not budget:
        raise DataError(
            "budget: expected a number of trials or a dictionary such as {'trials': 60, 'cost': "
            f"500.0, 'hours': 72}}, got {budget!r}"
        )
    found: dict[str, int | float] = {}
    for kind, value in budget.items():
        if kind not in _KINDS:
            raise DataError(
                f"budget: expected {', '.join(_KINDS)}, got {kind!r}{close_to(kind, _KINDS)}"
            )
        number: Any = plain(value)
        right = is_whole(number) if kind == "trials" else is_number(number)
        if not right or number <= 0:
            what = "a whole number" if kind == "trials" else "a number"
            raise DataError(f"budget: expected {what} > 0 as {kind}, got {value!r}")
        found[kind] = int(number) if kind == "trials" else float(number)
    return found


def left(view: Snapshot) -> tuple[int | float, str | None]:
    """How many trials may still be asked for, and why there are none.

    Trials count that were told, failed or stopped, and those on their way, whoever asked for them;
    data from before do not. Of money, a trial on its way reserves what trials have cost so far on
    average.
    """
    budget = view.revision.settings.get("budget")
    if not budget:
        return math.inf, None
    trials = [t for t in view.trials.values() if t.origin != "data" and t.state != "abandoned"]
    waiting = [t for t in trials if t.pending]
    ended = len(trials) - len(waiting)
    on_their_way = f" and {len(waiting)} on their way" if waiting else ""
    room: int | float = math.inf
    if "trials" in budget:
        room = max(0, budget["trials"] - len(trials))
        if room == 0:
            return 0, (
                f"the budget of {short(budget['trials'])} trials is used: {ended} ended"
                f"{on_their_way}"
            )
    if "hours" in budget:
        hours = max(0, view.now_us - view.created_us) / 3.6e9
        if hours >= budget["hours"]:
            return 0, f"the budget of {short(budget['hours'])} hours is used: {hours:.1f} passed"
    if "cost" in budget:
        known = [t.spent for t in view.trials.values() if t.spent is not None]
        paid = math.fsum(t.spent for t in trials if t.spent is not None)
        each = math.fsum(known) / len(known) if known else 0.0
        reserved = each * sum(t.spent is None for t in waiting)
        rest = budget["cost"] - paid - reserved
        if rest <= 0 or rest < each:
            return 0, (
                f"the budget of {short(budget['cost'])} is used: {paid:g} spent, {reserved:g} "
                f"reserved for {len(waiting)} on their way, a trial costs {each:g} on average"
            )
        if each > 0:
            room = min(room, math.floor(rest / each + 1e-9))
    return room, None
