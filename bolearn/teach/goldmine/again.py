"""What a session says was done, done again: are drills where their policy wants them, races run?

A session tells which policy drilled each place, and what the races came to. Both follow from what
it tells otherwise, apart from dice (random drills within a session, Thompson sampling), so both are
computed again and compared.

Taught in part_3/tutorial_04.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bolearn.models.exact import ExactGP
from bolearn.numerics import log_h, log_ndtr
from bolearn.stats import quantiles
from bolearn.teach.goldmine import mines, page
from bolearn.teach.goldmine.page import Moment, Session

OUNCE = 31.1034768  # in grams: a troy ounce, as gold is weighed
_NEARLY = 1e-5  # of the spread of a policy's ratings: places that differ by less are equally good
_SHARES = (0.1, 0.5, 0.9)


def not_by(session: Session, moments: Sequence[Moment]) -> str:
    """The first drill that the policy named with it would not have made, in words; or nothing."""
    scale = float(session.data["scale"])
    units = [str(a["unit"]) for a in session.actions if a["kind"] == "unit"]
    unit = str(session.data["unit"]) if not units else "g" if units[0] == "oz" else "oz"
    for before, after in itertools.pairwise(moments):
        if after.kind == "unit":
            unit = str(after.action["unit"])
        by = str(after.action.get("by"))
        if after.kind != "drill" or by not in page.POLICIES or not before.drills:
            continue
        x, model = float(after.action["x"]), model_of(session, before)
        in_unit = scale / (OUNCE if unit == "g" else 1.0)
        xi = float(after.action.get("xi", 0.0)) * in_unit
        beta = float(after.action.get("beta", session.data["rules"]["beta"]))
        place = int((mines.places(session.mine).flatten() - x).abs().argmin())
        if not any(
            _wanted(page.ratings(model, by, best_f=best_f, xi=xi, beta=beta), place)
            for best_f in (None, float(model.Y.max()))  # to beat: believed or seen
        ):
            return f"{by} would not have drilled at x = {x:.4g}"
    return ""


def model_of(session: Session, moment: Moment) -> ExactGP:
    """The page's model of a moment's drills."""
    settings = dict(moment.model)
    kernel = str(settings.pop("kernel"))
    X, Y = (
        torch.tensor([[getattr(drill, key)] for drill in moment.drills], dtype=torch.float64)
        for key in ("x", "y")
    )
    return page.start_model(session.mine, X, Y, kernel=kernel, **settings)


def _wanted(rated: Float[Tensor, " places"], place: int) -> bool:
    finite = rated[rated.isfinite()]
    spread = float(finite.max() - finite.min()) if len(finite) else 0.0
    near = rated[max(place - 1, 0) : place + 2].max()  # the neighbour of a flat top is as good
    return bool(near >= rated.max() - _NEARLY * spread)


def missing(session: Session) -> str:
    """What shows that an action was left out, or the cost of a drill changed; or nothing.

    The page numbers all actions and counts those that were undone.
    """
    data, actions = session.data, session.actions
    if "steps" in data and all("n" in action for action in actions):
        numbers = [0, *(int(action["n"]) for action in actions), int(data["steps"]) + 1]
        gaps = int(data["steps"]) - len(actions)
        if any(a >= b for a, b in itertools.pairwise(numbers)) or gaps != int(data["undos"]):
            return "an action is missing, or stands where it was not done"
    if "cost_start" in data:
        told = [data["cost_start"], *(a["cost"] for a in actions if a["kind"] == "cost")]
        if not abs(float(told[-1]) - float(data["cost"])) < 1e-9:
            return "the cost of a drill does not follow from the actions"
    return ""


def not_run(race: Mapping[str, Any], scale: float) -> str:
    """What shows that a race's numbers were not run, or nothing."""
    names = ", ".join(race["results"])
    for policy, told in race["results"].items():
        if not _agrees(raced(race, policy, scale), told, scale):
            return f"the race of {names} was not run like this"
    return ""


def _agrees(run: Mapping[str, Any], told: Mapping[str, Any], scale: float) -> bool:
    """Whether a race's stored numbers are those of the run, as far as it is known."""
    spots, known = torch.tensor(told["spots"], dtype=torch.float64), run["known"]
    if spots.shape != run["spots"].shape:
        return False
    stored = {}
    for what in ("regret", "error", "profit"):
        stored[what] = torch.tensor(told[what], dtype=torch.float64) / scale
        if tuple(stored[what].shape) != run["total"]:
            return False
        gap = (stored[what][:known] - run[what][:known]).abs()
        if not (gap < 1e-6 * (1 + run[what][:known].abs())).all():
            return False
    if known == run["total"][0] and not ((spots - run["spots"]).abs() < 1e-6).all():
        return False
    # The ends follow from the places drilled, with dice as well.
    regret = run["best"] - run["gold"](spots)
    ends = quantiles(regret, list(_SHARES))
    profit = run["best"] - run["cost"] * run["total"][0] - ends.flip(0)
    solved = (regret <= 0.01 * run["range"]).double().mean()
    return (
        bool((stored["regret"][-1] - ends).abs().max() < 1e-6)
        and bool((stored["profit"][-1] - profit).abs().max() < 1e-6)
        and abs(float(told["solved"]) - float(solved)) < 1e-9
    )


def raced(race: Mapping[str, Any], policy: str, scale: float = 1.0) -> Mapping[str, Any]:
    """A race of one policy, run again, in ounces.

    Args:
        race: as a session tells it; its results are not looked at.
        policy: random, or one of `POLICIES`; of Thompson sampling, which rolls dice of its own,
            only the first drills are known.
        scale: of the session.
    """
    return _raced(json.dumps({**race, "results": {}}, sort_keys=True), policy, scale)


@functools.lru_cache(maxsize=16)
def _raced(text: str, policy: str, scale: float) -> dict[str, Any]:
    """A race of one policy, run again: quantiles after each drill, and each seed's richest spot.

    The belief grows drill by drill and dice decide between equals, both as in the page, so that it
    comes to the same places even on a plateau. Of Thompson sampling only the start is known.
    """
    race = json.loads(text)
    ground = mines.mine(race["mine"]["name"], race["mine"]["seed"])
    assert ground.optimal_value is not None
    start, steps, seeds = (int(race[key]) for key in ("start", "steps", "seeds"))
    dice, total = policy not in (*page.POLICIES, "random"), start + steps
    noisy, cost = bool(race["noisy"]), float(race["cost"]) / scale
    X, Y = mines.random_drills(ground, total, seeds=range(seeds), noisy=noisy)
    errors = (Y - ground.noiseless(X)).squeeze(-1)
    places = mines.places(ground).flatten()
    truth = ground.noiseless(places.unsqueeze(-1)).flatten()
    at = (X - places).abs().argmin(-1)  # seeds total
    grown = _Grown(race["model"], places, seeds, scale)
    others = [mines.race_dice(seed) for seed in range(seeds)]
    square = []
    for t in range(start if dice else total):
        if t >= start and policy != "random":
            at[:, t] = _highest(grown.rated(policy, race["rules"], scale), others)
        grown.add(at[:, t], truth[at[:, t]] + errors[:, t])
        square.append((grown.mean - truth).square().mean(-1).sqrt())
    at = at[:, : len(square)]
    there = truth[at]
    top = there.cummax(-1).values
    spent = cost * torch.arange(1, at.shape[1] + 1, dtype=torch.float64)
    return {
        "known": at.shape[1],
        "total": (total, len(_SHARES)),
        "regret": quantiles((ground.optimal_value - top).mT, list(_SHARES)).mT,
        "error": quantiles(torch.stack(square), list(_SHARES)).mT,
        "profit": quantiles((top - spent).mT, list(_SHARES)).mT,
        "spots": places[at.gather(1, there.argmax(1, keepdim=True)).flatten()],
        "best": ground.optimal_value,
        "range": ground.optimal_value - truth.min(),
        "gold": lambda spots: ground.noiseless(spots.unsqueeze(-1)).flatten(),
        "cost": cost,
        "dice": dice,
    }


class _Grown:
    """The belief on all places, for every seed, which grows by a row of L^-1 K with each drill."""

    def __init__(
        self, told: Mapping[str, Any], places: Float[Tensor, " places"], seeds: int, scale: float
    ) -> None:
        self.variance_0 = float(told["variance"]) / scale**2
        self.noise_var = float(told["noise_var"]) / scale**2
        r = (places.unsqueeze(-1) - places).abs() / float(told["lengthscale"])
        s = math.sqrt(5) * r
        self.correlation = torch.exp(-r * r / 2)
        if told["kernel"] != "rbf":
            self.correlation = (1 + s + s * s / 3) * torch.exp(-s)
        self.mean = torch.full((seeds, len(places)), float(told["mean"]) / scale).double()
        self.variance = torch.full((seeds, len(places)), self.variance_0).double()
        self.rows: list[Tensor] = []
        self.at: list[Tensor] = []
        self.found: list[Tensor] = []

    def add(self, k: Tensor, y: Float[Tensor, " seeds"]) -> None:
        """Every seed drills a place and finds something."""
        one = k.unsqueeze(-1)
        row = self.variance_0 * self.correlation[k]
        for v in self.rows:
            row = row - v.gather(1, one) * v
        least = 1e-14 * self.variance_0
        pivot = (row.gather(1, one).clamp(min=least) + self.noise_var).sqrt()
        z = (y.unsqueeze(-1) - self.mean.gather(1, one)) / pivot
        row = row / pivot
        self.mean = self.mean + row * z
        self.variance = (self.variance - row * row).clamp(min=least)
        self.rows.append(row)
        self.at.append(k)
        self.found.append(y)

    def rated(
        self, policy: str, rules: Mapping[str, Any], scale: float
    ) -> Float[Tensor, "seeds places"]:
        """How a policy rates the places."""
        sd = self.variance.sqrt()
        if policy in ("variance", "mean"):
            return sd if policy == "variance" else self.mean
        if policy == "ucb":
            return self.mean + math.sqrt(float(rules["beta"])) * sd
        believed = self.mean.gather(1, torch.stack(self.at, dim=1))
        top = believed if rules["incumbent"] == "believed" else torch.stack(self.found, dim=1)
        xi = float(rules[f"xi_{policy}"]) / scale
        u = (self.mean - top.amax(1, keepdim=True) - xi) / sd
        return log_ndtr(u) if policy == "pi" else log_h(u) + sd.log()


def _highest(rated: Float[Tensor, "seeds places"], others: Sequence[Iterator[float]]) -> Tensor:
    """The best place of each seed; its dice decide between equals."""
    top, low = rated.amax(1, keepdim=True), rated.amin(1, keepdim=True)
    wide = torch.where((top - low).isfinite(), top - low, 1.0)
    best = rated >= top - 1e-10 * torch.minimum(wide, 1 + top.abs())
    chosen = rated.argmax(1)
    for i in (best.sum(1) > 1).nonzero().flatten().tolist():
        ties = best[i].nonzero().flatten()
        chosen[i] = ties[int(next(others[i]) * len(ties))]
    return chosen
