"""The ten expeditions of the gold mine: what each asks for, and whether a session reaches it.

    teach.check("p3.t4.expedition", text)              which of the ten does this session reach?
    teach.check("p3.t4.expedition", text, number=3)    does it reach the third?

The text is what the page `goldmine` shows under "Python". Its actions are done again, one by one;
so what counts is not only how a session ends, but what was seen on the way. What was done after the
truth had been revealed does not count. And what cannot have happened is noticed (`again`): finds
that the mine does not hold, drills that their policy would not have made, races that were not run,
actions left out, numbers that do not follow from the drills.

Taught in part_3/tutorial_04 and part_3/tutorial_05.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bolearn.errors import BolearnError
from bolearn.models.evidence import log_marginal_likelihood
from bolearn.models.exact import ExactGP
from bolearn.teach.goldmine import again, mines
from bolearn.teach.goldmine import page as goldmine
from bolearn.teach.goldmine.sessions import NAMES, model_session, wrong_sessions
from bolearn.teach.quest import Finding, Quest, Verdict

_NOTCH = 1 / (mines.PLACES - 1)  # of the mine's width
_NEAR = 6.5 * _NOTCH  # the page counts places up to 6 notches apart as the same
_LARGE = 1 / 6  # of the mine's width: 1 in the gold mine
_AGAIN = "press Copy, under Python, and paste the whole text between the quotes"


class _Trip:
    """A session and its moments before the truth was revealed."""

    def __init__(self, session: goldmine.Session) -> None:
        self.session, self.data = session, session.data
        self.history = session.moments()
        kinds = [moment.kind for moment in self.history]
        self.peeks = int(self.data["peeks"])
        self.peeked_before = self.peeks > kinds.count("peek")
        before = kinds.index("peek") if "peek" in kinds else len(kinds)
        self.moments = self.history[: 1 if self.peeked_before else before]
        self.scale = float(self.data["scale"])
        low, high = map(float, session.mine.bounds)
        self.low, self.width = low, high - low

    @property
    def end(self) -> goldmine.Moment:
        """The last moment that counts."""
        return self.moments[-1]

    @property
    def name(self) -> str:
        """Which mine it is."""
        return self.session.mine.name

    def model(
        self,
        moment: goldmine.Moment,
        drills: Sequence[goldmine.Drill] | None = None,
        **changes: Any,
    ) -> ExactGP:
        """The model of a moment, of its drills or of others."""
        drills = moment.drills if drills is None else drills
        settings = {**moment.model, **changes}
        kernel = settings.pop("kernel")
        X, Y = (_column([getattr(drill, key) for drill in drills]) for key in ("x", "y"))
        return goldmine.start_model(self.session.mine, X, Y, kernel=kernel, **settings)

    def wants(self, model: ExactGP, policy: str, xi: float | None = None) -> float:
        """Where a policy would drill, with the rules as they were at the end."""
        rules = self.data["rules"]
        best_f = float(model.Y.max()) if rules["incumbent"] == "seen" else None
        own = float(rules.get(f"xi_{policy}", 0.0))
        beta = float(rules["beta"])
        xi = own if xi is None else xi
        return float(goldmine.suggest(model, policy, best_f=best_f, xi=xi, beta=beta))

    def promise(self, model: ExactGP) -> float:
        """What the best next drill promises, in ounces."""
        seen = self.data["rules"]["incumbent"] == "seen"
        best_f = float(model.Y.max()) if seen else None
        return float(goldmine.ratings(model, "ei", best_f=best_f).exp().max()) / self.scale

    def far(self, a: float, b: float) -> float:
        """A distance, as a share of the mine's width."""
        return abs(a - b) / self.width


def _column(values: Sequence[float | int]) -> Float[Tensor, "n 1"]:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(-1)


# -- is it a session of the page? ----------------------------------------------------------------


def read(text: str, number: int | None = None) -> Finding:
    """Which expeditions a session reaches, and what is missing for the others.

    Args:
        text: what the page shows under "Python".
        number: of the only expedition to look for.

    Example:
        >>> read(model_session(5)).verdicts[5].reached
        True
        >>> read("{").problem[:35]
        'expected the text that the page sho'
    """
    try:
        session = goldmine.replay(text)
    except BolearnError as error:
        return Finding(problem=f"{error}. Open Python in the page, {_AGAIN}")
    try:
        trip = _Trip(session)
        problem = _edited(trip)
        wanted = () if problem else _JUDGES if number is None else (number,)
        verdicts = {one: _JUDGES[one](trip) for one in wanted}
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, BolearnError) as error:
        what = f"{type(error).__name__}: {error}"
        return Finding(problem=f"this session is incomplete ({what}); {_AGAIN}")
    if problem:
        return Finding(problem=f"{problem}; was the text edited? {_AGAIN[0].upper()}{_AGAIN[1:]}")
    notes = []
    if trip.peeked_before:
        notes.append(
            "the truth of this mine had been revealed before its drills were cleared away: nothing "
            "here counts but races; begin an expedition anew with its Start button"
        )
    elif trip.peeks:
        notes.append("the truth was revealed; what was done after that does not count")
    return Finding(verdicts, notes=notes)


def _edited(trip: _Trip) -> str:
    """What shows that the text is not as the page wrote it, or nothing."""
    data, last, unit = trip.data, trip.history[-1], _unit(trip)
    if trip.peeks < sum(moment.kind == "peek" for moment in trip.history):
        return "there are more looks at the truth among the actions than the session counts"
    for moment in trip.history:
        if moment.kind in ("drill", "move"):
            x, y = float(moment.action["x"]), float(moment.action["y"])
            if not _on_grid(trip, x):
                return f"x = {x:.6g} is no place of this mine"
            if not _holds(trip, x, y, moment.noisy):
                return f"this mine does not hold {y:.6g} {unit} at x = {x:.4g}"
    told = [(float(d["x"]), float(d["y"]), str(d["by"])) for d in data["drills"]]
    if told != [(drill.x, drill.y, drill.by) for drill in last.drills]:
        return "the drills at the end do not follow from the actions"
    if dict(data["model"]) != dict(last.model):
        return "the model at the end does not follow from the actions"
    for before, after in itertools.pairwise(trip.history):
        if after.kind == "fit" and _evidence(trip, after) < _evidence(trip, before) - 1e-6:
            return "a fit has made the finds less likely"
    if trip.session.model is not None and not trip.session.difference() < 1e-5:
        return "the page's numbers do not follow from the drills"
    undone = again.missing(trip.session) or again.not_by(trip.session, trip.history)
    return undone or next(filter(None, (again.not_run(r, trip.scale) for r in data["races"])), "")


def _unit(trip: _Trip) -> str:
    return str(trip.data["unit"])


def _on_grid(trip: _Trip, x: float) -> bool:
    k = (x - trip.low) / trip.width / _NOTCH
    return abs(k - round(k)) < 1e-6 and -0.5 < k < mines.PLACES - 0.5


def _holds(trip: _Trip, x: float, y: float, noisy: bool) -> bool:
    """Whether a drill could have found this: the truth, and the page's noise if there is any."""
    rest = (y - float(trip.session.mine.noiseless(_column([x])))) / trip.scale
    if not noisy:
        return abs(rest) < 1e-9
    seed = int(trip.data["mine"]["seed"])
    return bool((_noise(trip.name, seed) - rest).abs().min() < 1e-9)


@functools.lru_cache(maxsize=4)
def _noise(name: str, seed: int) -> Tensor:
    """What noise adds to the first 3000 measurements in a mine, in ounces."""
    return mines.measurement_errors(mines.mine(name, seed), seed, 3000)


def _evidence(trip: _Trip, moment: goldmine.Moment) -> float:
    if not moment.drills:
        return -math.inf
    return log_marginal_likelihood(trip.model(moment)).item()


# -- the ten -------------------------------------------------------------------------------------


def _plain(trip: _Trip, moment: goldmine.Moment, name: str = "gold") -> list[str]:
    """What keeps a moment from being plain: another mine, noise, pretended finds."""
    missing = []
    if trip.name != name:
        missing.append(f"It takes place in the mine {name!r}; this session is from {trip.name!r}.")
    if moment.noisy:
        missing.append("The measurements must not be noisy.")
    if not moment.real:
        missing.append("A pretended find stands among the drills; it must be a real one.")
    return missing


def _greedy(trip: _Trip) -> Verdict:
    """Mean only stands still on the poorer hill, near a flip."""
    end = trip.end
    count = next(
        (i for i, drill in enumerate(reversed(end.drills)) if drill.by != "mean"), len(end.drills)
    )
    own = end.drills[: len(end.drills) - count]
    missing = _plain(trip, end)
    if len(own) < 2 or count < 3:
        missing.append(
            "First two drills or more that are not by mean only, then three or more that are; "
            f"here {len(own)} and then {count}."
        )
    if missing:
        return Verdict(missing, near=count > 0)
    last, earlier = end.drills[-1], end.drills[:-1]
    if min(trip.far(last.x, drill.x) for drill in earlier) > 1.5 * _NOTCH:
        missing.append("Mean only still moves: let it step until it drills an old place again.")
    top = max(drill.y for drill in end.drills) / trip.scale
    gold = mines.mine("gold")
    assert gold.optimal_value is not None
    if gold.optimal_value - top < 1:
        missing.append("Mean only has found the richer hill: undo, move one of your drills.")
    if missing:
        return Verdict(missing)
    # Where would it have ended if one of the own drills had stood up to 20 notches elsewhere?
    shifts = torch.arange(-20, 21, dtype=torch.float64) * _NOTCH * trip.width
    X = _column([drill.x for drill in own]).expand(len(own), len(shifts), -1, -1).clone()
    for i in range(len(own)):
        X[i, :, i, 0] = (X[i, :, i, 0] + shifts).clamp(*gold.bounds.flatten().tolist())
    model = end.model
    ends = gold.noiseless(
        goldmine.play(
            gold, X.flatten(0, 1), "mean", 12,
            kernel=str(model["kernel"]),
            lengthscale=float(model["lengthscale"]),
            variance=model["variance"] / trip.scale**2,
            noise_var=model["noise_var"] / trip.scale**2,
            mean=model["mean"] / trip.scale,
        )
    ).amax((1, 2)).unflatten(0, (len(own), len(shifts)))  # fmt: skip
    if (gold.optimal_value - ends[:, 20] < 1).any():
        missing.append("With the model as it is set now mean only ends elsewhere: leave it alone.")
    elif not (gold.optimal_value - ends < 0.05).any():
        missing.append(
            "Nowhere within 0.5 of one of your drills does the end flip to the richer hill: move a "
            "drill on and let mean only go again, until you have both ends close together."
        )
    return Verdict(missing)


def _disagreement(trip: _Trip) -> Verdict:
    """All five policies agree at one moment and all differ at another."""
    most, least, seen = 0, 9, set()
    for moment in trip.moments:
        key = (moment.drills, json.dumps(moment.model, sort_keys=True))
        if len(moment.drills) < 3 or not moment.real or key in seen:
            continue
        seen.add(key)
        model = trip.model(moment)
        wants = sorted(trip.wants(model, policy) for policy in goldmine.POLICIES)
        steps = [trip.far(a, b) for a, b in itertools.pairwise(wants)]
        different = 1 + sum(step > _NEAR for step in steps)
        most, least = max(most, different), min(least, different)
    missing = []
    if not seen:
        missing.append("There was no moment with three drills or more, all of them real.")
    if seen and most < 5:
        missing.append(f"There was no moment at which all five differ; {most} is the most.")
    if seen and least > 1:
        missing.append(
            f"There was no moment at which all five want the same place; {least} places are the "
            "fewest. Where is the least known place also the best believed?"
        )
    return Verdict(missing, near=bool(seen) and (most == 5 or least == 1))


def _not_xi(trip: _Trip) -> Verdict:
    """The lengthscale alone makes the mine look solved, and the map wrong."""
    end, start = trip.end, trip.moments[0]
    missing = _plain(trip, end)
    others = [key for key in ("kernel", "variance", "noise_var", "mean")
              if end.model[key] != start.model[key]]  # fmt: skip
    if others:
        missing.append(f"Only the lengthscale may change; changed too: {', '.join(others)}.")
    changed = end.model["lengthscale"] != start.model["lengthscale"]
    if not changed:
        missing.append("The lengthscale is as it was: slide ℓ, in Model.")
    if len(end.drills) < 4:
        missing.append(f"Four drills or more; here {len(end.drills)}.")
    if missing:
        return Verdict(missing, near=changed and trip.name == "gold" and len(end.drills) > 2)
    belief = trip.model(end).posterior(mines.places(trip.session.mine).unsqueeze(-2))
    doubt = belief.variance.mean().sqrt().item() / trip.scale
    truth = trip.session.mine.noiseless(mines.places(trip.session.mine))
    error = (belief.mean.flatten() - truth.flatten()).abs().max().item() / trip.scale
    moved = trip.far(
        trip.wants(trip.model(end), "ei"),
        trip.wants(trip.model(end, lengthscale=start.model["lengthscale"]), "ei"),
    )
    if doubt > 0.1:
        missing.append(f"The doubt is still {doubt:.2f} oz; it has to look like at most 0.1.")
    if error < 1:
        missing.append("The map is right to less than an ounce everywhere: fewer drills, longer ℓ.")
    if moved < _LARGE - 1e-9:
        missing.append(
            f"EI wants a place only {moved * trip.width:.2f} from where it wanted it with the old "
            "lengthscale; 1 or more is asked for."
        )
    return Verdict(missing)


def _one_find(trip: _Trip) -> Verdict:
    """Fits after 1, 2, 3, 5 and 8 drills; the last one is right."""
    missing = _plain(trip, trip.end, "riddle")
    fits = {len(m.drills): m for m in trip.moments if m.kind == "fit" and m.real}
    absent = [n for n in (1, 2, 3, 5, 8) if n not in fits]
    if absent:
        listed = ", ".join(map(str, absent))
        missing.append(f"No fit at {listed} drill{'s' * (absent != [1])} of real finds.")
    near = trip.name == "riddle" and bool(fits)
    if missing:
        return Verdict(missing, near=near)
    hidden = mines.lengthscale_of(int(trip.data["mine"]["seed"]))
    ratio = float(fits[8].model["lengthscale"]) / hidden
    if not 1 / 1.5 < ratio < 1.5:
        missing.append(
            f"The fit at 8 drills is {'longer' if ratio > 1 else 'shorter'} than the hidden "
            f"lengthscale by a factor {max(ratio, 1 / ratio):.1f}: drill places close to each "
            "other as well as far apart, or try another random mine."
        )
    return Verdict(missing, near=near)


def _unit_of_xi(trip: _Trip) -> Verdict:
    """The same number means another xi in grams."""
    end, xi = trip.end, float(trip.data["rules"]["xi_ei"])
    grams = _unit(trip) == "g"
    missing = [] if grams else ["The session ends in ounces: weigh in grams, in Mine."]
    if len(end.drills) < 3:
        missing.append(f"Three drills or more; here {len(end.drills)}.")
    if xi == 0:
        missing.append("EI's ξ is 0, which is the same in every unit: raise it, in Rules.")
    if missing:
        return Verdict(missing, near=grams)
    model = trip.model(end)
    moved = trip.far(trip.wants(model, "ei"), trip.wants(model, "ei", xi=xi * trip.scale))
    if moved < _LARGE / 2 - 1e-9:
        missing.append(
            f"ξ = {xi:g} oz and ξ = {xi:g} g send EI to places {moved * trip.width:.2f} apart; "
            f"{trip.width * _LARGE / 2:.2g} or more is asked for. Another ξ, or other drills."
        )
    return Verdict(missing)


def _folklore(trip: _Trip) -> Verdict:
    """Under noise a policy drills an old place again, and the best find is not believed."""
    end = trip.end
    missing = [] if end.noisy else ["The measurements are not noisy: tick that, in Mine."]
    if not end.real:
        missing.append("A pretended find stands among the drills; it must be a real one.")
    if len(end.drills) < 6:
        missing.append(f"Six drills or more; here {len(end.drills)}.")
    again = any(
        moment.kind == "drill"
        and moment.noisy
        and moment.drills[-1].by in goldmine.POLICIES  # which can be played again
        and moment.drills[-1].x in [drill.x for drill in moment.drills[:-1]]
        for moment in trip.moments
    )
    if not again:
        missing.append("No policy has drilled an old place again yet: let it step on.")
    if missing:
        return Verdict(missing, near=end.noisy)
    model = trip.model(end)
    believed = int(model.posterior(model.X).mean.flatten().argmax())
    seen = int(model.Y.flatten().argmax())
    if end.drills[believed].x == end.drills[seen].x:
        missing.append(
            "The best find is also where the belief is highest: step on, or stop earlier, until "
            "the two are at different places (To beat, in Rules, shows either)."
        )
    return Verdict(missing)


def _goals(trip: _Trip) -> Verdict:
    """Stopped in time: the last drill was worth its cost and the next is not."""
    profit, cost = trip.data["goal"] == "profit", float(trip.data["cost"]) / trip.scale
    stops = [moment for moment in trip.moments if moment.kind == "stop"]
    missing = [] if profit else ["The goal is not to make a profit."]
    if cost < 0.0999:
        missing.append(f"A drill must cost 0.1 oz or more; here {cost:.2f}.")
    if not stops or not trip.data["stopped"]:
        missing.append("The session was not ended by Stop here.")
    elif not stops[-1].real:
        missing.append("A pretended find stands among the drills; it must be a real one.")
    elif len(stops[-1].drills) < 2:
        missing.append("Two drills or more.")
    if missing:
        return Verdict(missing, near=profit)
    end = stops[-1]
    now, before = trip.model(end), trip.model(end, end.drills[:-1])
    promise, promised = trip.promise(now), trip.promise(before)
    top = now.posterior(now.X).mean.max().item() / trip.scale
    if promise > cost:
        missing.append(
            f"Too early: the best next drill promises {promise:.2f} oz and costs {cost:.2f}."
        )
    if promised <= cost:
        missing.append(f"Too late: the last drill promised {promised:.2f} oz and cost {cost:.2f}.")
    if top - cost * len(end.drills) <= 0:
        missing.append("The drills have cost more than they found.")
    if trip.far(trip.wants(now, "variance"), trip.wants(now, "ei", xi=0.0)) < _NEAR:
        missing.append("To learn and to find one would drill the same place next.")
    return Verdict(missing)


def _order(trip: _Trip) -> Verdict:
    """The same drills in two orders; a pretended find that moves EI."""
    orders: dict[tuple[tuple[float, float], ...], set[tuple[float, ...]]] = {}
    for moment in trip.moments:
        if len(moment.drills) >= 3 and moment.real:
            drills = [(drill.x, drill.y) for drill in moment.drills]
            orders.setdefault(tuple(sorted(drills)), set()).add(tuple(x for x, _ in drills))
    missing = []
    if not any(len(ways) > 1 for ways in orders.values()):
        noise = " With noise another drill finds something else." if trip.end.noisy else ""
        missing.append(
            "The same drills, three or more, have not stood in two orders: delete one and drill "
            f"its place again.{noise}"
        )
    pretends = [i for i, moment in enumerate(trip.moments) if moment.kind == "pretend"]
    furthest = 0.0
    for i in pretends:
        first, which = i, trip.moments[i].action["drill"]
        while trip.moments[first].kind == "pretend" and (
            trip.moments[first].action["drill"] == which
        ):
            first -= 1
        before, after = (trip.model(trip.moments[j]) for j in (first, i))
        moved = trip.far(trip.wants(before, "ei"), trip.wants(after, "ei"))
        furthest = max(furthest, moved)
    if not pretends:
        missing.append("No find was pretended: drag a drill up or down.")
    elif furthest < _LARGE - 1e-9:
        missing.append(
            f"The pretended find moves EI's suggestion by {furthest * trip.width:.2f} only; "
            f"{trip.width * _LARGE:.2g} or more is asked for. Drag further, or another drill."
        )
    return Verdict(missing, near=len(missing) < 2)


def _influence(trip: _Trip) -> Verdict:
    """The drill was deleted whose loss moves EI furthest."""
    missing, near = ["No drill was deleted from five or more real ones."], False
    for before, after in itertools.pairwise(trip.moments):
        if after.kind != "delete" or len(before.drills) < 5 or not before.real:
            continue
        near, now = True, trip.wants(trip.model(before), "ei")
        shifts = []
        for i in range(len(before.drills)):
            rest = [*before.drills[:i], *before.drills[i + 1 :]]
            shifts.append(trip.far(now, trip.wants(trip.model(before, rest), "ei")))
        own = shifts[after.action["drill"]]
        if max(shifts) < _LARGE - 1e-9:
            missing = [
                f"No drill of these carries the decision: the most that EI's suggestion moves is "
                f"{max(shifts) * trip.width:.2f}, and {trip.width * _LARGE:.2g} is asked for."
            ]
        elif own < max(shifts) - 1.5 * _NOTCH:
            missing = [
                f"The deleted drill moved EI's suggestion by {own * trip.width:.2f}; another one "
                "would have moved it further: undo and try them all."
            ]
        else:
            return Verdict()
    return Verdict(missing, near=near)


def _tails(trip: _Trip) -> Verdict:
    """Two races: in the gold mine a better median with a worse tail, and the needle."""
    races = [race for race in trip.data["races"]
             if "random" in race["results"] and len(race["results"]) > 2]  # fmt: skip
    by_mine = {name: [race for race in races if race["mine"]["name"] == name]
               for name in ("gold", "needle")}  # fmt: skip
    missing = [
        f"No finished race of random and two others in the mine {name!r}."
        for name, found in by_mine.items()
        if not found
    ]
    if by_mine["gold"] and not any(map(_lottery, by_mine["gold"])):
        missing.append(
            "In the gold mine no policy of the race has a lower median regret than random and a "
            "higher 90 % quantile: let others race, or set the model as it was at the start."
        )
    return Verdict(missing, near=bool(trip.data["races"]))


def _lottery(race: Mapping[str, Any]) -> bool:
    """Whether a policy of a race has a better median than chance and a worse unlucky tenth."""
    ends = {policy: result["regret"][-1] for policy, result in race["results"].items()}
    _, median, tail = ends["random"]
    return any(own[1] < median and own[2] > tail for own in ends.values())


_JUDGES: dict[int, Callable[[_Trip], Verdict]] = {
    1: _greedy,
    2: _disagreement,
    3: _not_xi,
    4: _one_find,
    5: _unit_of_xi,
    6: _folklore,
    7: _goals,
    8: _order,
    9: _influence,
    10: _tails,
}


# What one does in each, in a few words. Those of tutorial 4 come in the order 1, 2, 3, 5, 6, 7, 10,
# those of tutorial 5 in the order 4, 8, 9: as the page lists them.
_DO = {
    1: "let mean only step on until it drills an old place again; move a drill and try anew",
    2: "step on with EI and watch the marks of all five policies",
    3: "drill once more, slide ℓ in Model, and look at the doubt in Views",
    4: "drill where the doubt is largest; press Fit by marginal likelihood after 1, 2, 3, 5 and 8",
    5: "weigh in grams, in Mine, and slide EI's ξ, in Rules",
    6: "let EI step on until it drills an old place again",
    7: "step on with EI, and press Stop here when the next drill is not worth its cost",
    8: "delete a drill and drill its place again; then drag another one up or down",
    9: "say which drill carries the decision, and delete it; undo and try the others",
    10: "open the race, choose random and two others, race; then choose the needle in Mine, race",
}


def _start(number: int) -> str:
    tutorial = 5 if number in (4, 8, 9) else 4
    return (
        f"the page is the gold mine in part_3/tutorial_04, below the figure of section 1 (this "
        f"expedition belongs to tutorial {tutorial}); in it open Ten expeditions and press Start "
        f"beside {NAMES[number]!r}; {_DO[number]}. Then open Python below the picture, press Copy, "
        "paste the text between the quotes and run this cell again"
    )


QUEST = Quest(
    id="p3.t4.expedition",
    name="Ten expeditions",
    todo=(
        "play it in the page, the gold mine below the figure of section 1 of part_3/tutorial_04 "
        "(Ten expeditions, Start), open Python below it, press Copy, paste the text between the "
        "quotes and run this cell again"
    ),
    hints=(
        "Press Start beside an expedition in the page: it sets the mine, the drills and the policy "
        "from which the goal is near. The words below the picture say what the policy wants.",
        "Say what you expect before you drag: which drill, how far? Undo takes back what you "
        "drilled, moved or deleted; what was undone is not in the session.",
        'The text to paste is one line that begins with {"format" and ends with }. It knows all '
        "actions in order: reach the goal first, look at the truth afterwards.",
    ),
    goals=NAMES,
    read=read,
    model=model_session,
    wrongs=wrong_sessions,
    starts={number: _start(number) for number in NAMES},
)
