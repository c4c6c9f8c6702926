"""Where to measure next: one stated rule for every case, or a strategy of one's own.

    too few values yet          the next point of a Sobol design
    one objective               noisy expected improvement (qLogNEI), pending points counted
    several objectives          the same of a Chebyshev scalarisation with weights drawn anew for
                                every point (ParEGO)
    limits                      their probability counts as part of the improvement
    failures                    log P(success) is added
    a deterministic campaign    models without noise, and nothing is proposed twice

Each point has a seed of its own, ``derive(seed, "ask", number of the proposal)``, and models are
fitted to the data alone, without a memory of earlier fits: a campaign that is opened again proposes
bit for bit what it would have proposed.

Source: Letham et al. 2019, arXiv:1706.07094; Knowles, "ParEGO: a hybrid algorithm with on-line
landscape approximation for expensive multiobjective optimization problems", IEEE Transactions on
Evolutionary Computation 10(1), 2006; Gardner et al., ICML 2014.
Taught in part_5/tutorial_04.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..acquisition.monte_carlo import qLogNoisyExpectedImprovement
from ..acquisition.objectives import Constraint, Objective, at_least, at_most, output
from ..errors import DataError, FitError, InfeasibleError, NumericsError, OptimizationError
from ..sampling import Sampler
from ..search.multi_start import optimize_acqf
from ..seeds import derive, uniform
from ..space.parameters import Value
from ..space.space import Space
from .beliefs import Beliefs, Encoder, believe, counted
from .goals import Goals
from .trial import Trial
from .writer import Snapshot

_BLOCK = 64  # points of one Sobol sequence; then the next begins
_SAMPLES = 128
_AUGMENTED = 0.05  # weight of the sum beside the worst objective, as in ParEGO
_FAILED = (FitError, NumericsError, OptimizationError)


@dataclass(frozen=True)
class Proposal:
    """A point to measure, and what was believed of it.

    Attributes:
        point: parameters.
        origin: "design", "model" or "strategy".
        record: what `explain` shows, in plain types.
    """

    point: dict[str, Value]
    origin: str
    record: dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """Which of the cases applies, in words: what `Campaign.strategy` shows.

    Attributes:
        kind: "design" or "model".
        text: the rule as a sentence.
    """

    kind: str
    text: str


def design_size(space: Space, budget: int | float | None) -> int:
    """Points of the initial design: twice as many as parameters, at least 4, at most half of all.

    Example:
        >>> import bolearn as bl
        >>> design_size(bl.Space([bl.Real("A", 0, 1), bl.Real("B", 0, 1)]), 40)
        4
    """
    wanted = max(4, 2 * len(space))
    return wanted if budget is None else max(2, min(wanted, int(budget) // 2))


def rule(view: Snapshot, *, deterministic: bool) -> Rule:
    """The case of the next proposal."""
    goals, space = view.revision.goals, view.revision.space
    limit = (view.revision.settings.get("budget") or {}).get("trials")
    wanted = design_size(space, limit)
    told = waiting = failed = 0
    counts = dict.fromkeys(goals.outcomes, 0)
    for t in view.trials.values():
        waiting += t.pending
        failed += t.state == "failed"
        known = [name for name in counts if name in counted(t)]
        for name in known:
            counts[name] += 1
        told += len(known) == len(counts)
    missing = [name for name, count in counts.items() if count < 2]
    if told + waiting < wanted:
        return Rule(
            "design",
            f"Sobol design: {told} trials told and {waiting} on their way of the {wanted} that a "
            "model begins with",
        )
    if missing:
        names = ", ".join(map(repr, missing))
        return Rule("design", f"Sobol design, until {names} has been measured twice")
    words = ["noisy expected improvement (qLogNEI)"]
    if len(goals.objectives) > 1:
        words = [
            f"random Chebyshev weights of {len(goals.objectives)} objectives (ParEGO), qLogNEI"
        ]
    if goals.limits:
        words.append(f"times the probability of {' and '.join(map(str, goals.limits))}")
    if failed:
        words.append(f"times the probability of success, learnt from {failed} failures")
    if waiting:
        words.append(f"given {waiting} pending trials")
    if deterministic:
        words.append("values are exact, nothing is proposed twice")
    return Rule("model", ", ".join(words))


@dataclass(frozen=True, eq=False)
class Promising:
    """An acquisition plus log P(success): points that will probably fail promise little."""

    acquisition: Any
    beliefs: Beliefs

    @property
    def model(self) -> Any:
        """What searches look at for starts."""
        return self.acquisition.model

    def __call__(self, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "*batch"]:
        value = self.acquisition(X)
        return value + self.beliefs.log_success(X)  # type: ignore[no-any-return]

    def with_pending(self, X: Float[Tensor, "p d"]) -> "Promising":
        """The same, given further points on their way."""
        return Promising(self.acquisition.with_pending(X), self.beliefs)


@dataclass(frozen=True)
class Signed:
    """The objective "sign times output i"."""

    index: int
    sign: float

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        return self.sign * y[..., self.index]

    def scale(self, output_scale: Float[Tensor, "*r m"]) -> Float[Tensor, "*r"]:
        """The output's own."""
        return output_scale[..., self.index]


@dataclass(frozen=True)
class Chebyshev:
    """min_i w_i u_i + 0.05 sum_i w_i u_i of objectives u, each scaled by the values seen to 0...1.

    Args:
        signs: +1 or -1 for each output that is an objective, the first outputs.
        weights: positive, sum 1.
        lowest, width: of the signed values seen.
    """

    signs: tuple[float, ...]
    weights: tuple[float, ...]
    lowest: tuple[float, ...]
    width: tuple[float, ...]

    def __call__(self, y: Float[Tensor, "*s m"]) -> Float[Tensor, "*s"]:
        signs, w, low, width = (
            torch.tensor(v, dtype=y.dtype)
            for v in (self.signs, self.weights, self.lowest, self.width)
        )
        u = w * (signs * y[..., : len(self.signs)] - low) / width
        return u.amin(-1) + _AUGMENTED * u.sum(-1)


class Proposer:
    """Proposes points for one `ask`, each given those before it.

    Args:
        view: the campaign.
        encoder: of its present space.
        seed: of the campaign.
        first: number of the first proposal.
        deterministic: whether a repeat gives the same value.
    """

    def __init__(
        self, view: Snapshot, encoder: Encoder, *, seed: int, first: int, deterministic: bool
    ) -> None:
        self.view, self.encoder, self.seed, self.number = view, encoder, seed, first
        self.deterministic, self.space = deterministic, encoder.space
        self.goals: Goals = view.revision.goals
        self.trials = [view.trials[i] for i in sorted(view.trials)]
        self.pending: list[Tensor] = []
        self.never: list[Tensor] = []
        self.rejected: list[Tensor] = []
        self.done: list[Tensor] = []
        self._told: list[tuple[int, Tensor]] = []
        for t in self.trials:
            code = encoder.code(t)
            if code is None:
                continue
            if t.pending:
                self.pending.append(code)
            elif t.rejected:
                self.rejected.append(code)
            elif t.state == "abandoned":
                self.never.append(code)
            elif deterministic:
                self.done.append(code)
            if counted(t):
                self._told.append((t.id, code))
        self._beliefs: Beliefs | None = None

    def propose(self, rule: Rule, fixed: Mapping[str, Value]) -> Proposal:
        """The next point by the rule.

        Raises:
            InfeasibleError: no legal point is left.
        """
        seed = derive(self.seed, "ask", self.number)
        code, origin, record = None, rule.kind, {"rule": rule.text, "seed": seed}
        if rule.kind == "model":
            try:
                code, more = self._by_model(seed, fixed)
                record |= more
            except _FAILED as error:  # a campaign goes on; the history says why by chance
                record["rule"] = f"Sobol design, because the model failed: {error}"
        if code is None:
            code, origin = self._by_design(seed, fixed), "design"
        point: dict[str, Value] = self.space.decode(code)
        record |= self._nearest(code)
        self.pending.append(code)
        self.number += 1
        return Proposal(point, origin, record)

    def taken(self, soft: bool = True) -> Tensor | None:
        """Codes that are not to be proposed: on their way, given up, and done if exact."""
        codes = [*self.pending, *self.done, *self.never, *(self.rejected if soft else ())]
        return torch.stack(codes) if codes else None

    # ---------------------------------------------------------------- without a model

    def _by_design(self, seed: int, fixed: Mapping[str, Value]) -> Float[Tensor, "d"]:
        """The next point of the campaign's Sobol sequence that is left."""
        block, k = divmod(self.number, _BLOCK)
        code = self._sequence(block, fixed)[k]
        taken = self.taken()
        if taken is None or not _among(code, taken):
            return code
        return self._any(seed, fixed)

    def _sequence(self, block: int, fixed: Mapping[str, Value]) -> Float[Tensor, "n d"]:
        """The points of a part of the sequence; drawn once."""
        key = (block, tuple(fixed.items()))
        known = self.encoder.designs
        if key not in known:
            own = derive(self.seed, "design", block)
            known[key] = self.space.sobol(_BLOCK, own, fixed=fixed or None)
        return known[key]

    def _any(self, seed: int, fixed: Mapping[str, Value]) -> Float[Tensor, "d"]:
        """Any legal point that is left: rejected ones last, measured ones not if values are exact.

        Raises:
            InfeasibleError: there is none.
        """
        for soft in (True, False):
            try:
                code: Tensor = self.space.sobol(1, seed, fixed=fixed, exclude=self.taken(soft))[0]
            except InfeasibleError:
                if not soft:
                    raise self.exhausted(fixed) from None
            else:
                return code
        raise self.exhausted(fixed)

    def exhausted(self, fixed: Mapping[str, Value]) -> InfeasibleError:
        """What to say when nothing is left."""
        held = f" with {', '.join(f'{k} = {v}' for k, v in fixed.items())}" if fixed else ""
        done = "measured, " if self.deterministic else ""
        return InfeasibleError(
            f"ask: expected a legal point that is left{held}, got none: every one was {done}is on "
            "its way, or was abandoned; widen the space by change(space=...), or stop here"
        )

    # ---------------------------------------------------------------- with a model

    def beliefs(self) -> Beliefs | None:
        """The models, fitted once for all points of one `ask`."""
        if self._beliefs is None:
            self._beliefs = believe(
                self.view, self.encoder, self.goals.outcomes, deterministic=self.deterministic
            )
        return self._beliefs

    def _by_model(
        self, seed: int, fixed: Mapping[str, Value]
    ) -> tuple[Float[Tensor, "d"] | None, dict[str, Any]]:
        """The point with the highest acquisition, and what is believed of it."""
        beliefs = self.beliefs()
        if beliefs is None:
            return None, {}
        plain = qLogNoisyExpectedImprovement(
            beliefs.model,
            X_baseline=beliefs.baseline_X,
            sampler=Sampler(_SAMPLES, seed=derive(seed, "samples")),
            objective=self._objective(beliefs, seed),
            outcome_constraints=self._constraints(),
        )
        acq: Any = plain if beliefs.success is None else Promising(plain, beliefs)
        if self.pending:
            acq = acq.with_pending(torch.stack(self.pending))
        found = None
        for soft in (True, False):
            try:
                found = optimize_acqf(
                    acq,
                    space=self.space,
                    fixed=dict(fixed) or None,
                    exclude=self.taken(soft),
                    seed=derive(seed, "search"),
                )
                if torch.isfinite(found.value).all():
                    break
            except InfeasibleError:
                found = None
        if found is None or not torch.isfinite(found.value).all():
            return None, {}  # the design says whether anything is left
        code = found.x[0]
        predicted = beliefs.predict(code.unsqueeze(0))
        with torch.no_grad():
            works = beliefs.log_success(code.view(1, -1)).exp().item()
        record: dict[str, Any] = {
            "acquisition": found.value.item(),
            "predicted": {n: {"mean": m[0], "std": s[0]} for n, (m, s) in predicted.items()},
            "told": len(beliefs.baseline_X),
        }
        record |= self._best()
        if beliefs.success is not None:
            record["success"] = works
        return code, record

    def _best(self) -> dict[str, float]:
        """The best value so far, where there is one objective and a trial that keeps the limits."""
        goals = self.goals
        if len(goals.objectives) > 1:
            return {}
        aim, base = goals.objectives[0], baseline_of(self.trials)
        found = [{k: m.mean for k, m in counted(t).items()} for t in self.trials]
        good = [v[aim.outcome] for v in found if aim.outcome in v and not goals.broken(v, base)]
        return {"best": max(good, key=lambda y: aim.sign * y)} if good else {}

    def _objective(self, beliefs: Beliefs, seed: int) -> Objective:
        """The goal as one number to maximise."""
        aims = self.goals.objectives
        if len(aims) == 1:
            return output(0) if aims[0].maximize else Signed(0, -1.0)
        raw = -uniform([derive(seed, "weights")], (len(aims),))[0].log()  # uniform on the simplex
        weights = (raw / raw.sum()).tolist()
        lowest, width = [], []
        for aim in aims:
            seen = [aim.sign * m.mean for t in self.trials if (m := counted(t).get(aim.outcome))]
            lowest.append(min(seen))
            width.append((max(seen) - min(seen)) or 1.0)
        signs = tuple(aim.sign for aim in aims)
        return Chebyshev(signs, tuple(weights), tuple(lowest), tuple(width))

    def _constraints(self) -> tuple[Constraint, ...]:
        """The limits as constraints of the model's outputs."""
        found: list[Constraint] = []
        for limit in self.goals.limits:
            index = self.goals.outcomes.index(limit.outcome)
            bound = limit.bound(baseline_of(self.trials).get(limit.outcome))
            found.append(at_most(index, bound) if limit.upper else at_least(index, bound))
        return tuple(found)

    def _nearest(self, code: Float[Tensor, "d"]) -> dict[str, Any]:
        """The nearest trial that has values, and how far it is in the unit cube."""
        if not self._told:
            return {}
        far = (torch.stack([c for _, c in self._told]) - code).square().sum(-1).sqrt()
        i = int(far.argmin())
        return {"nearest": self._told[i][0], "distance": far[i].item()}


def baseline_of(trials: Sequence[Trial]) -> dict[str, float]:
    """Mean of each outcome over all measurements of the baseline."""
    found: dict[str, list[float]] = {}
    for trial in trials:
        if trial.baseline:
            for name, m in counted(trial).items():
                found.setdefault(name, []).extend(m.values)
    return {name: math.fsum(v) / len(v) for name, v in found.items()}


def check_baseline(goals: Goals, trials: Sequence[Trial]) -> None:
    """Check that goals that refer to a baseline have one.

    Raises:
        DataError: they have not.
    """
    known = baseline_of(trials)
    for limit in goals.limits:
        limit.bound(known.get(limit.outcome))


def check_names(what: str, names: object, space: Space) -> tuple[str, ...]:
    """Names of parameters, as `same` takes them.

    Raises:
        DataError: something else.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise DataError(
            f"{what}: expected a list of parameters such as [{space.names[0]!r}], got {names!r}"
        )
    return tuple(space[name].name for name in names)


def _among(code: Float[Tensor, "d"], taken: Float[Tensor, "k d"]) -> bool:
    return bool(((taken - code).abs().amax(-1) <= 1e-9).any())
