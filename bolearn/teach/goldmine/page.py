"""Sessions of the page `goldmine`, played again in Python: the same model, the same numbers.

    from bolearn import teach

    session = teach.goldmine.replay(text)      # what the page shows under "Python"
    session.model.posterior(session.X)         # an ExactGP, as any other

What the page does for one mine, some functions do for a batch of them: `random_drills`,
`start_model`, `ratings`, `suggest` and `play`, with the page's places, models and random numbers.

The text is one JSON object. All its gold is in the session's last `unit` (whatever was weighed in
grams or ounces on the way), lengths are the mine's own.

    format      "bolearn goldmine 1"
    mine        name; seed, of a random mine; low, high; noisy; noise_std, if it is noisy
    unit, scale "oz" and 1, or "g" and the grams of an ounce
    goal        the last chosen: learn, find or profit
    policy      the last chosen: me, random, variance, mean, pi, ei, ucb or ts
    rules       xi_pi, xi_ei, beta; incumbent, what is to be beaten: "believed" or "seen"
    cost        of one drill; cost_start, before the first action
    start       hyperparameters before the first action: kernel ("rbf" or "matern52"),
                lengthscale, variance, noise_var, mean
    model       the same at the end
    drills      the drills that stand at the end, in order: x, y, and by which policy
    actions     what was done, in order, without what was undone (see below); it begins with the
                drills that the page started with
    peeks, fits, undos
                how often the truth was revealed, the model fitted, a step undone
    steps       how many actions there were, undone ones included
    stopped     whether the session was ended by "Stop here"
    page        what the page computed at 21 places x: mean, std, pi, ei, ucb; best_f,
                log_marginal_likelihood, and next: where each policy would drill
    races       a list of finished races, in this mine and in those before it: mine, model, rules,
                cost, noisy; seeds; start and steps, the drills at random and by policy; results
                for each policy:
                    regret, error, profit: 10 %, 50 % and 90 % quantiles after each drill
                    spots: the richest place that each seed drilled
                    solved: the share of seeds that come within 1 % of the mine's range of its
                    richest spot

An action has a kind, a number n that counts the undone ones as well, and with it:

    drill       by which policy, x, y; xi or beta if the policy has one (xi in the unit of then)
    move        drill (its number, from 0), new x and y: drilled anew elsewhere
    pretend     drill, x, new y: another find at the same place, a what-if
    delete      drill, x, y
    set, fit    model: the hyperparameters from here on, by hand or by marginal likelihood
    noise       on: whether measurements are noisy from here on
    unit        unit
    cost        cost of a drill from here on
    peek, stop  nothing

Taught in part_3/tutorial_04.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.means import ConstantMean
from jaxtyping import Float
from torch import Tensor

from bolearn.acquisition.analytic import (
    ExpectedImprovement,
    LogExpectedImprovement,
    LogProbabilityOfImprovement,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
)
from bolearn.errors import DataError, ShapeError
from bolearn.models.evidence import log_marginal_likelihood
from bolearn.models.exact import ExactGP
from bolearn.problems.core import Problem
from bolearn.shapes import check_count
from bolearn.teach.goldmine.mines import PLACES, column, first_model, mine, places_in

FORMAT = "bolearn goldmine 1"
POLICIES = ("variance", "mean", "pi", "ei", "ucb")  # those that rate places without dice
_KERNELS: dict[str, Callable[[torch.Size], Kernel]] = {
    "rbf": lambda shape: RBFKernel(batch_shape=shape),
    "matern52": lambda shape: MaternKernel(nu=2.5, batch_shape=shape),
}
_POSITIVE = ("lengthscale", "variance", "noise_var")


@dataclass(frozen=True)
class Drill:
    """A drill that stands.

    Attributes:
        x: its place.
        y: its find.
        by: the policy that drilled it, or "me".
        pretended: whether a reader has pretended another find.
    """

    x: float
    y: float
    by: str
    pretended: bool = False


@dataclass(frozen=True)
class Moment:
    """How things stood after an action; gold is in the session's last unit.

    Attributes:
        kind: of the action; "start" before the first.
        action: the whole entry.
        drills: those that stood, in order.
        model: the hyperparameters.
        noisy: whether measurements were noisy.
    """

    kind: str
    action: Mapping[str, Any]
    drills: tuple[Drill, ...]
    model: Mapping[str, Any]
    noisy: bool

    @property
    def real(self) -> bool:
        """Whether all finds were made, none pretended."""
        return not any(drill.pretended for drill in self.drills)


@dataclass(frozen=True, eq=False)
class Session:
    """A session of the page, with the model that it ended with.

    Args:
        data: the whole JSON object.
        mine: the truth, in the session's unit.
        X: the places of the drills that stand at the end, ``n 1``.
        Y: what they found, ``n 1``.
        model: an ExactGP with the page's hyperparameters; None before the first drill.
    """

    data: Mapping[str, Any]
    mine: Problem
    X: Float[Tensor, "n 1"]
    Y: Float[Tensor, "n 1"]
    model: ExactGP | None

    @property
    def actions(self) -> list[dict[str, Any]]:
        """What was done, in order, without what was undone."""
        actions: list[dict[str, Any]] = self.data["actions"]
        return actions

    def moments(self) -> list[Moment]:
        """The session's actions, done again: one moment before the first and one after each."""
        switches = [bool(action["on"]) for action in self.actions if action["kind"] == "noise"]
        noisy = not switches[0] if switches else bool(self.data["mine"]["noisy"])
        moments = [Moment("start", {}, (), self.data["start"], noisy)]
        for action in self.actions:
            kind, now = action["kind"], moments[-1]
            drills, model = list(now.drills), now.model
            if kind == "drill":
                drills.append(Drill(float(action["x"]), float(action["y"]), str(action["by"])))
            elif kind in ("move", "pretend"):
                old, x, y = drills[action["drill"]], float(action["x"]), float(action["y"])
                drills[action["drill"]] = Drill(x, y, old.by, pretended=kind == "pretend")
            elif kind == "delete":
                del drills[action["drill"]]
            elif kind in ("set", "fit"):
                model = action["model"]
            elif kind == "noise":
                noisy = bool(action["on"])
            moments.append(Moment(kind, action, tuple(drills), model, noisy))
        return moments

    @property
    def best_f(self) -> float:
        """What is to be beaten: the highest belief at a drill, or the highest value seen.

        Before the first drill it is the prior mean.
        """
        if self.model is None:
            return float(self.data["model"]["mean"])
        seen = self.data["rules"]["incumbent"] == "seen"
        return float((self.Y if seen else self.model.posterior(self.X).mean).max())

    def values(self, X: Float[Tensor, "k 1"]) -> dict[str, Tensor]:
        """What model and rules say at some places: mean, std, pi, ei and ucb, each ``k``.

        Raises:
            DataError: nothing has been drilled.
        """
        if self.model is None:
            raise DataError("values: expected a session with at least one drill, got none")
        rules, belief = self.data["rules"], self.model.posterior(X)
        points = X.unsqueeze(-2)
        pi = ProbabilityOfImprovement(self.model, self.best_f + rules["xi_pi"])
        ei = ExpectedImprovement(self.model, self.best_f + rules["xi_ei"])
        ucb = UpperConfidenceBound(self.model, float(rules["beta"]))
        return {
            "mean": belief.mean.squeeze(-1),
            "std": belief.variance.squeeze(-1).sqrt(),
            "pi": pi(points),
            "ei": ei(points),
            "ucb": ucb(points),
        }

    def difference(self) -> float:
        """The largest difference between the page's numbers and Python's, in prior deviations.

        Of all that is under `page`: probabilities and the log marginal likelihood as they are,
        amounts of gold divided by the prior's standard deviation.

        Raises:
            DataError: nothing has been drilled.
        """
        page, unit = self.data["page"], math.sqrt(self.data["model"]["variance"])
        own = self.values(column(page["x"]))
        assert self.model is not None  # or values would have raised
        gaps: list[float] = [abs(self.best_f - page["best_f"]) / unit]
        evidence = log_marginal_likelihood(self.model).item()
        gaps.append(abs(evidence - page["log_marginal_likelihood"]))
        for name, value in own.items():
            told = torch.tensor(page[name], dtype=torch.float64)
            gaps.append((value - told).abs().max().item() / (1.0 if name == "pi" else unit))
        return max(gaps)


def replay(session_json: str) -> Session:
    """Rebuild a session of the page from the JSON that the page shows under "Python".

    The model is an ExactGP with the page's hyperparameters, fixed and without standardisation, so
    that `posterior`, acquisitions and `log_marginal_likelihood` mean what they mean on the page.

    Args:
        session_json: the text, as copied.

    Raises:
        DataError: no JSON, not a session of this page, or one that was damaged on the way.

    Example:
        >>> text = '''{"format": "bolearn goldmine 1", "mine": {"name": "gold", "seed": 0},
        ...     "scale": 1, "rules": {"incumbent": "seen", "xi_pi": 0, "xi_ei": 0, "beta": 4},
        ...     "model": {"kernel": "rbf", "lengthscale": 1, "variance": 4, "noise_var": 1e-6,
        ...     "mean": 4}, "drills": [{"x": 3, "y": 3.5, "by": "me"}], "actions": []}'''
        >>> session = replay(text)
        >>> round(session.values(session.X)["mean"].item(), 4)
        3.5
    """
    try:
        data = json.loads(session_json)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"expected the text that the page shows under Python, complete; got no JSON: {error}"
        ) from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        got = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise DataError(f"expected a session with format {FORMAT!r}, got {got!r}")
    try:
        given = data["mine"]
        truth = mine(given["name"], given["seed"], scale=float(data["scale"]))
        drills = list(data["drills"])
        X, Y = (column([float(drill[key]) for drill in drills]) for key in ("x", "y"))
        hyperparameters = {key: float(data["model"][key]) for key in (*_POSITIVE, "mean")}
        kernel = data["model"]["kernel"]
        rules = [float(data["rules"][key]) for key in ("xi_pi", "xi_ei", "beta")]
        incumbent, _ = data["rules"]["incumbent"], data["actions"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"expected a complete session, got one where this is missing or no number: {error}; "
            "copy the whole text again"
        ) from None
    numbers = [*hyperparameters.values(), *rules]
    if kernel not in _KERNELS or not all(map(math.isfinite, numbers)):
        raise DataError(f"expected a kernel among {', '.join(_KERNELS)} and finite numbers")
    if min(hyperparameters[key] for key in _POSITIVE) <= 0 or min(rules) < 0:
        raise DataError(
            f"expected positive {', '.join(_POSITIVE)} and no negative xi_pi, xi_ei or beta, "
            f"got {hyperparameters} and {rules}"
        )
    if incumbent not in ("believed", "seen"):
        raise DataError(f"expected incumbent to be believed or seen, got {incumbent!r}")
    model = _model(kernel, hyperparameters, X, Y, truth.bounds) if drills else None
    return Session(data, truth, X, Y, model)


def start_model(
    mine: Problem,
    X: Float[Tensor, "*r n 1"],
    Y: Float[Tensor, "*r n 1"],
    *,
    noisy: bool = False,
    kernel: str = "rbf",
    **changes: float | int,
) -> ExactGP:
    """The model with which the page starts in a mine, given some drills; one for each replicate.

    Args:
        mine: what `mine` gives.
        X: places.
        Y: finds.
        noisy: whether the model expects noisy measurements.
        kernel: rbf or matern52.
        changes: other values of lengthscale, variance, noise_var or mean, in the page's units. A
            random mine starts with lengthscale 0.2, whatever its own is.

    Raises:
        DataError: an unknown mine, kernel or hyperparameter.

    Example:
        >>> from bolearn.teach.goldmine import random_drills
        >>> gold = mine("gold")
        >>> X, Y = random_drills(gold, 4)
        >>> start_model(gold, X, Y, lengthscale=0.5).batch_shape
        torch.Size([200])
    """
    lengthscale, variance, mean, noise_std = first_model(mine)
    values = {
        "lengthscale": lengthscale,
        "variance": variance,
        "mean": mean,
        "noise_var": noise_std**2 if noisy else 1e-6 * variance,
    }
    unknown = sorted(set(changes) - set(values))
    if unknown or kernel not in _KERNELS:
        raise DataError(
            f"start_model: expected a kernel among {', '.join(_KERNELS)} and changes among "
            f"{', '.join(values)}; got {', '.join(unknown) or repr(kernel)}"
        )
    values |= {name: float(value) for name, value in changes.items()}
    return _model(kernel, values, X, Y, mine.bounds)


def ratings(
    model: ExactGP,
    policy: str,
    *,
    best_f: float | int | Float[Tensor, "*r"] | None = None,
    xi: float | int = 0.0,
    beta: float | int = 4.0,
) -> Float[Tensor, " places *r"]:
    """How a policy rates the page's places; PI and EI in logarithms, as the page has them.

    Args:
        model: of drills in one input.
        policy: variance (the standard deviation), mean, pi, ei or ucb.
        best_f: what pi and ei want to beat; default the highest belief at a drill.
        xi: how much more than best_f counts as better.
        beta: of ucb.

    Raises:
        DataError: an unknown policy.

    Example:
        >>> from bolearn.teach.goldmine import random_drills
        >>> gold = mine("gold")
        >>> model = start_model(gold, *random_drills(gold, 4))
        >>> promise = ratings(model, "ei").exp().amax(0)      # ounces, for each of 200 seeds
        >>> promise.shape
        torch.Size([200])
    """
    if policy not in POLICIES:
        raise DataError(f"expected a policy among {', '.join(POLICIES)}; got {policy!r}")
    r = model.batch_shape
    points = places_in(model.bounds).reshape(PLACES, *[1] * len(r), 1, 1).expand(PLACES, *r, 1, 1)
    if policy in ("variance", "mean"):
        belief = model.posterior(points)
        return (belief.mean if policy == "mean" else belief.variance.sqrt())[..., 0, 0]
    if policy == "ucb":
        return UpperConfidenceBound(model, float(beta))(points)
    top = model.posterior(model.X).mean[..., 0].amax(-1) if best_f is None else best_f
    level = top + float(xi)
    rule = LogExpectedImprovement if policy == "ei" else LogProbabilityOfImprovement
    return rule(model, level)(points)


def suggest(
    model: ExactGP,
    policy: str,
    *,
    best_f: float | int | Float[Tensor, "*r"] | None = None,
    xi: float | int = 0.0,
    beta: float | int = 4.0,
) -> Float[Tensor, "*r 1"]:
    """Where a policy would drill: the page's place that it rates highest, the first of equals.

    Args:
        model, policy, best_f, xi, beta: as in `ratings`.

    Raises:
        DataError: an unknown policy.

    Example:
        >>> from bolearn.teach.goldmine import random_drills
        >>> gold = mine("gold")
        >>> model = start_model(gold, *random_drills(gold, 4, seeds=[0]))
        >>> suggest(model, "ei").shape
        torch.Size([1, 1])
    """
    rated = ratings(model, policy, best_f=best_f, xi=xi, beta=beta)
    return places_in(model.bounds)[rated.argmax(0)]


def play(
    mine: Problem,
    X: Float[Tensor, "*r n 1"],
    policy: str,
    steps: int,
    *,
    errors: Float[Tensor, "*r t 1"] | None = None,
    xi: float | int = 0.0,
    beta: float | int = 4.0,
    kernel: str = "rbf",
    **changes: float | int,
) -> Float[Tensor, "*r t 1"]:
    """Let a policy drill on from some drills, as the page's race does.

    Args:
        mine: what `mine` gives.
        X: the first drills, of each replicate.
        policy, xi, beta: as in `ratings`.
        steps: how many drills it adds.
        errors: what noise adds to each of the t = n + steps finds; default no noise.
        kernel, changes: as in `start_model`.

    Returns:
        All t places, in order; `mine.noiseless` of them is the gold that is there.

    Raises:
        DataError: an unknown mine, policy, kernel or hyperparameter.
        ShapeError: not one error for each find.

    Example:
        >>> from bolearn.teach.goldmine import random_drills
        >>> gold = mine("gold")
        >>> X, _ = random_drills(gold, 3, seeds=range(8))
        >>> there = gold.noiseless(play(gold, X, "ei", 12))
        >>> bool((there.amax((1, 2)) > 8.1).all())
        True
    """
    check_count("steps", steps)
    wanted = (*X.shape[:-2], X.shape[-2] + steps, 1)
    if errors is not None and tuple(errors.shape) != wanted:
        raise ShapeError(
            f"errors: expected one for each find, shape {wanted}, got {tuple(errors.shape)}"
        )
    for _ in range(steps):
        found = mine.noiseless(X)
        if errors is not None:
            found = found + errors[..., : X.shape[-2], :]
        noisy = errors is not None
        model = start_model(mine, X, found, noisy=noisy, kernel=kernel, **changes)
        x = suggest(model, policy, xi=xi, beta=beta)
        X = torch.cat([X, x.unsqueeze(-2)], dim=-2)
    return X


def _model(
    kernel: str, values: Mapping[str, float], X: Tensor, Y: Tensor, bounds: Tensor
) -> ExactGP:
    """The page's model; it has the lengthscale in the mine's units, ExactGP in the unit cube."""
    shape = torch.Size((*X.shape[:-2], 1))
    model = ExactGP(
        X, Y, bounds, kernel=ScaleKernel(_KERNELS[kernel](shape), batch_shape=shape),
        mean=ConstantMean(batch_shape=shape), noise_var=values["noise_var"], standardize=False,
    )  # fmt: skip
    width = (bounds[1] - bounds[0]).item()
    return model.with_hyperparameters(
        lengthscale=values["lengthscale"] / width,
        outputscale=values["variance"],
        mean=values["mean"],
    )
