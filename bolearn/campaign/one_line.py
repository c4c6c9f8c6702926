"""`maximize` and `minimize`: one line for a function of a dictionary.

    best = bl.maximize(lambda p: -(p["x"] - 0.3) ** 2, bl.Space([bl.Real("x", 0, 1)]), budget=20)

Taught in part_4/tutorial_03.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from ..errors import DataError, OptimizationError
from ..shapes import check_count
from ..space.parameters import Parameter, Value
from ..space.space import Space
from .campaign import Campaign
from .running import run

_NAMES = ("value", "f", "objective", "outcome")


@dataclass(frozen=True, eq=False)
class Optimum:
    """What was found.

    Attributes:
        x: the best setting that was measured.
        value: its value, as measured.
        campaign: all trials; ask it for more.
    """

    x: dict[str, Value]
    value: float
    campaign: Campaign

    def table(self) -> Any:
        """All trials as a pandas table."""
        return self.campaign.table()


def maximize(
    f: Callable[[dict[str, Any]], Any],
    space: Space | Sequence[Parameter],
    budget: int,
    seed: int = 0,
    *,
    executor: Executor | str | None = None,
    workers: int | None = None,
    where: Any = None,
    deterministic: bool = False,
    progress: bool | None = None,
) -> Optimum:
    """The largest value of a function within a number of evaluations.

    Args:
        f: takes a dictionary of parameters, returns a number. An evaluation that raises, or that
            returns no finite number, has failed; the search goes on, and keeps away from there.
        space: what may be tried; a list of parameters will do.
        budget: number of evaluations.
        seed: all chance comes from it.
        executor, workers: as in `run`.
        where: a file that keeps the trials; None: memory. A file that is there already is gone on
            with, up to the budget.
        deterministic: whether f is exact: two evaluations of one setting give one value.
        progress: as in `run`.

    Returns:
        ``.x``, ``.value``, ``.table()`` and the ``.campaign``.

    Raises:
        DataError: arguments that cannot be used.
        OptimizationError: every evaluation failed; the message has the last reason.

    Example:
        >>> import bolearn as bl
        >>> space = bl.Space([bl.Real("x", 0, 1), bl.Categorical("way", ["up", "down"])])
        >>> best = bl.maximize(lambda p: -(p["x"] - 0.3) ** 2, space, budget=12, seed=0)
        >>> len(best.table()), round(best.x["x"], 1)
        (12, 0.3)
    """
    how = (executor, workers, where, deterministic, progress)
    return _optimize("maximize", f, space, budget, seed, *how)


def minimize(
    f: Callable[[dict[str, Any]], Any],
    space: Space | Sequence[Parameter],
    budget: int,
    seed: int = 0,
    *,
    executor: Executor | str | None = None,
    workers: int | None = None,
    where: Any = None,
    deterministic: bool = False,
    progress: bool | None = None,
) -> Optimum:
    """The smallest value of a function; see `maximize`.

    Example:
        >>> import bolearn as bl
        >>> space = bl.Space([bl.Integer("n", 0, 9)])
        >>> bl.minimize(lambda p: (p["n"] - 7) ** 2, space, budget=10, deterministic=True).x
        {'n': 7}
    """
    how = (executor, workers, where, deterministic, progress)
    return _optimize("minimize", f, space, budget, seed, *how)


def _optimize(
    aim: str,
    f: Callable[[dict[str, Any]], Any],
    space: Space | Sequence[Parameter],
    budget: int,
    seed: int,
    executor: Executor | str | None,
    workers: int | None,
    where: Any,
    deterministic: bool,
    progress: bool | None,
) -> Optimum:
    if not callable(f):
        raise DataError(f"f: expected a function of one dictionary, got {type(f).__name__}")
    trials = check_count("budget", budget)
    legal = space if isinstance(space, Space) else Space(list(space))
    name = next(n for n in _NAMES if n not in legal.names)
    campaign = _campaign(where, legal, f"{aim} {name}", seed, trials, deterministic)
    run(campaign, f, executor=executor, workers=workers, budget=trials, progress=progress)
    best = campaign.best()
    if best is None:
        failed = [t.reason for t in campaign.trials if t.state == "failed"]
        why = failed[-1] if failed else "nothing was evaluated"
        raise OptimizationError(
            f"{aim}: expected at least one evaluation to succeed, got {len(failed)} that failed; "
            f"the last: {why}"
        )
    return Optimum(best.parameters, best.values[name], campaign)


def _campaign(
    where: Any, space: Space, goal: str, seed: int, budget: int, deterministic: bool
) -> Campaign:
    """A new campaign, or the one in a file that is there.

    Raises:
        DataError: that one is about something else.
    """
    from pathlib import Path

    if not isinstance(where, str | Path) or "://" in str(where) or not Path(where).exists():
        return Campaign.create(
            where, space, [goal], seed=seed, budget=budget, deterministic=deterministic
        )
    found = Campaign.open(where)
    if found.space != space or found.goals != (goal,) or found.seed != seed:
        raise DataError(
            f"where: {where} has a campaign with another space, goal or seed; give another file"
        )
    return found
