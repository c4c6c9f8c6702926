"""Where to measure next: one stated rule for every case, or a strategy of one's own.

    too few values yet          the next point of a Sobol design
    one objective               noisy expected improvement (qLogNEI), pending points counted
    two or three objectives     noisy expected hypervolume improvement (qLogNEHVI), up to nine
                                points pending
    more of either              qLogNEI of a Chebyshev scalarisation with weights drawn anew for
                                every point (ParEGO)
    limits                      their probability counts as part of the improvement
    failures                    log P(success) is added
    a deterministic campaign    models without noise, and nothing is proposed twice

Each point has a seed of its own, ``derive(seed, "ask", number of the proposal)``, and models are
fitted to the data alone, without a memory of earlier fits: a campaign that is opened again proposes
bit for bit what it would have proposed.

Source: Letham et al. 2019, arXiv:1706.07094; Daulton, Balandat & Bakshy, "Parallel Bayesian
optimization of multiple noisy objectives with expected hypervolume improvement", NeurIPS 2021,
arXiv:2105.08195; Knowles, "ParEGO: a hybrid algorithm with on-line
landscape approximation for expensive multiobjective optimization problems", IEEE Transactions on
Evolutionary Computation 10(1), 2006; Gardner et al., ICML 2014.
Taught in part_5/tutorial_04.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, FitError, InfeasibleError, NumericsError, OptimizationError
from ..search.multi_start import optimize_acqf
from ..seeds import derive
from ..space.parameters import Value
from ..space.space import Space
from .acquisitions import acquisition, baseline_of, by_hypervolume
from .beliefs import Beliefs, Encoder, believe, counted
from .goals import Goals
from .trial import Trial
from .writer import Snapshot

_BLOCK = 64  # points of one Sobol sequence; then the next begins
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
    if by_hypervolume(goals, waiting):
        words = ["noisy expected hypervolume improvement (qLogNEHVI)"]
    elif len(goals.objectives) > 1:
        words = ["random Chebyshev weights of the objectives (ParEGO), qLogNEI"]
    if goals.limits:
        words.append(f"times the probability of {' and '.join(map(str, goals.limits))}")
    if failed:
        words.append(f"times the probability of success, learnt from {failed} failures")
    if waiting:
        words.append(f"given {waiting} pending trials")
    if deterministic:
        words.append("values are exact, nothing is proposed twice")
    return Rule("model", ", ".join(words))


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
            elif deterministic and not t.excluded:
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
        acq = acquisition(self.goals, self.trials, beliefs, self.pending, seed)
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

    def _nearest(self, code: Float[Tensor, "d"]) -> dict[str, Any]:
        """The nearest trial that has values, and how far it is in the unit cube."""
        if not self._told:
            return {}
        far = (torch.stack([c for _, c in self._told]) - code).square().sum(-1).sqrt()
        i = int(far.argmin())
        return {"nearest": self._told[i][0], "distance": far[i].item()}


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
