"""Sessions of the page `goldmine`, played again in Python: the same model, the same numbers.

    from bolearn import teach

    session = teach.goldmine.replay(text)      # what the page shows under "Python"
    session.model.posterior(session.X)         # an ExactGP, as any other

The text is one JSON object. All its gold is in the session's last `unit` (whatever was weighed in
grams or ounces on the way), lengths are the mine's own.

    format      "bolearn goldmine 1"
    mine        name; seed, of a random mine; low, high; noisy; noise_std, if it is noisy
    unit, scale "oz" and 1, or "g" and the grams of an ounce
    goal        the last chosen: learn, find or profit
    policy      the last chosen: me, random, variance, mean, pi, ei, ucb or ts
    rules       xi_pi, xi_ei, beta; incumbent, what is to be beaten: "believed" or "seen"
    cost        of one drill
    start       hyperparameters before the first action: kernel ("rbf" or "matern52"),
                lengthscale, variance, noise_var, mean
    model       the same at the end
    drills      the drills that stand at the end, in order: x, y, and by which policy
    actions     what was done, in order, without what was undone (see below); it begins with the
                drills that the page started with
    peeks, fits, undos
                how often the truth was revealed, the model fitted, a step undone
    stopped     whether the session was ended by "Stop here"
    page        what the page computed at 21 places x: mean, std, pi, ei, ucb; best_f,
                log_marginal_likelihood, and next: where each policy would drill
    races       a list of finished races: model, rules, cost, noisy; seeds; start and steps, the
                drills at random and by policy; results for each policy:
                    regret, error, profit: 10 %, 50 % and 90 % quantiles after each drill
                    spots: the richest place that each seed drilled
                    solved: the share of seeds that come within 1 % of the mine's range of its
                    richest spot

An action has a kind, and with it:

    drill       by which policy, x, y; xi or beta if the policy has one (xi in the unit of then)
    move        drill (its number, from 0), new x and y: drilled anew elsewhere
    pretend     drill, x, new y: another find at the same place, a what-if
    delete      drill, x, y
    set, fit    model: the hyperparameters from here on, by hand or by marginal likelihood
    noise       on: whether measurements are noisy from here on
    unit        unit
    peek, stop  nothing

Taught in part_3/tutorial_04.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.means import ConstantMean
from jaxtyping import Float
from torch import Tensor

from bolearn.acquisition.analytic import (
    ExpectedImprovement,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
)
from bolearn.errors import DataError
from bolearn.models.exact import ExactGP, log_marginal_likelihood
from bolearn.problems.core import Problem
from bolearn.problems.one_input import GoldMine1d, Needle1d, Step1d, TwoScale1d

FORMAT = "bolearn goldmine 1"
PLACES = 241  # where the page drills: the ends of the mine and 239 places between
_FIXED: dict[str, Callable[[], Problem]] = {
    "gold": GoldMine1d,
    "two_scale": TwoScale1d,
    "needle": Needle1d,
    "step": Step1d,
}
_RANDOM = ("draw", "riddle")
_KERNELS: dict[str, Callable[[], Kernel]] = {
    "rbf": RBFKernel,
    "matern52": lambda: MaternKernel(nu=2.5),
}
_POSITIVE = ("lengthscale", "variance", "noise_var")


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
        own = self.values(_column(page["x"]))
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
    except (TypeError, ValueError) as error:
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
        X, Y = (_column([float(drill[key]) for drill in drills]) for key in ("x", "y"))
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


def mine(name: str, seed: int = 0, *, scale: float = 1.0) -> Problem:
    """A mine of the page as a problem; its optimum is the richest of the page's 241 places.

    Args:
        name: gold, two_scale, needle, step, draw or riddle.
        seed: of a random mine (draw, riddle); the same seed gives the same mine in both.
        scale: 1 for ounces, 28.349523125 for grams.

    Raises:
        DataError: an unknown name, or a seed that is not a whole number below 2^31.

    Example:
        >>> round(mine("gold").optimal_value, 3)
        8.176
    """
    if name not in (*_FIXED, *_RANDOM):
        raise DataError(f"expected a mine among {', '.join((*_FIXED, *_RANDOM))}; got {name!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise DataError(f"seed: expected a whole number from 0 to 2^31 - 1, got {seed!r}")
    if name in _RANDOM:
        bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        truth = _waves(seed)
    else:
        problem = _FIXED[name]()
        bounds, truth = problem.bounds, problem.f

    def gold(X: Tensor) -> Tensor:
        values: Tensor = truth(X)
        return scale * values

    low, high = bounds.flatten().tolist()
    steps = torch.arange(PLACES, dtype=torch.float64).unsqueeze(-1)
    places = low + (high - low) * steps / (PLACES - 1)
    best = gold(places).argmax()
    return Problem(
        gold,
        bounds,
        optimal_value=gold(places[best : best + 1]).item(),
        optimal_points=places[best : best + 1],
        how="enumerated: the richest of the 241 places of the page",
        name=name,
        inputs=("place",),
        output="gold",
    )


def _column(values: Sequence[float | int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(-1)


def _model(
    kernel: str, values: Mapping[str, float], X: Tensor, Y: Tensor, bounds: Tensor
) -> ExactGP:
    """The page's model; it has the lengthscale in the mine's units, ExactGP in the unit cube."""
    model = ExactGP(
        X, Y, bounds, kernel=ScaleKernel(_KERNELS[kernel]()), mean=ConstantMean(),
        noise_var=values["noise_var"], standardize=False,
    )  # fmt: skip
    width = (bounds[1] - bounds[0]).item()
    return model.with_hyperparameters(
        lengthscale=values["lengthscale"] / width,
        outputscale=values["variance"],
        mean=values["mean"],
    )


# -- random mines: the page's own generator, number by number ------------------------------------

_MINE, _MASK = 1, 0xFFFFFFFF


def _stream(*keys: int) -> Iterator[float]:
    """Uniform numbers in (0, 1): the keys are hashed, then mulberry32 counts on."""
    a = 2166136261
    for key in keys:
        a = ((a ^ key) * 16777619) & _MASK
        a = ((a ^ (a >> 15)) * 2246822519) & _MASK
    while True:
        a = (a + 0x6D2B79F5) & _MASK
        t = ((a ^ (a >> 15)) * (a | 1)) & _MASK
        t ^= (t + (((t ^ (t >> 7)) * (t | 61)) & _MASK)) & _MASK
        yield ((t ^ (t >> 14)) + 0.5) / 2**32


def _gaussian(uniform: Iterator[float]) -> Iterator[float]:
    """Normal numbers by Box and Muller, in pairs."""
    while True:
        r, angle = math.sqrt(-2 * math.log(next(uniform))), 2 * math.pi * next(uniform)
        yield r * math.cos(angle)
        yield r * math.sin(angle)


def lengthscale_of(seed: int) -> float:
    """The lengthscale with which the page draws the random mine of this seed: 0.05 to 0.3."""
    return 0.05 * 6 ** next(_stream(_MINE, seed))


def _waves(seed: int) -> Callable[[Tensor], Tensor]:
    """About a draw from the RBF prior: sqrt(2 / 200) times the sum of 200 random waves."""
    uniform, normal = _stream(_MINE, seed, 1), _gaussian(_stream(_MINE, seed, 2))
    lengthscale = lengthscale_of(seed)
    waves = [(next(normal) / lengthscale, 2 * math.pi * next(uniform)) for _ in range(200)]
    w, b = torch.tensor(waves, dtype=torch.float64).T

    def draw(X: Tensor) -> Tensor:
        value: Tensor = torch.cos(X * w.to(X.device) + b.to(X.device)).sum(-1) / 10
        return value

    return draw
