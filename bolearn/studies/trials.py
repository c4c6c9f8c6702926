"""The problem's side of a study: what is evaluated, with which noise, and what has come back.

Noise belongs to (replicate, index of the evaluation), not to a strategy: whatever two strategies
did before, their evaluations j differ by where they looked and by nothing else.

Taught in part_4/tutorial_03.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..errors import DataError, ShapeError, UnsupportedError
from ..sampling import sobol_points
from ..seeds import Seed, derive, derive_each, replicate_seeds
from ..shapes import check_tensor
from ..space.space import Space
from ..strategies.baselines import drawn
from ..strategies.protocol import StudyData
from .results import Failure


@runtime_checkable
class StudyProblem(Protocol):
    """What a study needs of a problem; `bolearn.Problem` has it.

    If it has a method `feasible` (of values ``R k m``) or an attribute `fidelity` (the index of an
    input whose target is 1), as `bolearn.Problem` does, the study takes note of them; and of an
    attribute `noise_free`, where values without noise of the problem's own are not exact. So it
    does of `space`, whose codes its inputs then are, and of `unavailable`, codes that cannot be
    evaluated, or `entries`, the only ones that can (`bolearn.problems.SpaceProblem`,
    `bolearn.problems.TableProblem`).
    """

    @property
    def bounds(self) -> Tensor:
        """The box ``2 d``."""

    @property
    def optimal_value(self) -> float | None:
        """The best noise-free value, if it is known."""

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise; 0 means that values are exact."""

    def __call__(self, X: Tensor, seed: Seed | None = None) -> Tensor:
        """Observed values ``*r n m`` at ``*r n d``, to be maximised."""

    def noiseless(self, X: Tensor) -> Tensor:
        """The same without noise."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What all strategies of a study have in common."""

    problem: StudyProblem
    bounds: Tensor
    n_init: int
    n_iter: int
    q: int
    seeds: tuple[int, ...]

    @property
    def space(self) -> Space | None:
        """The space of the problem, if it has one."""
        return getattr(self.problem, "space", None)

    @property
    def unavailable(self) -> Tensor | None:
        """Codes of the space that cannot be evaluated."""
        gone: Tensor | None = getattr(self.problem, "unavailable", None)
        return gone if gone is not None and len(gone) else None

    @property
    def entries(self) -> Tensor | None:
        """The only codes that can be evaluated, where the problem lists them."""
        return getattr(self.problem, "entries", None)

    @property
    def name(self) -> str:
        """What the problem calls itself, else its type."""
        return str(getattr(self.problem, "name", None) or type(self.problem).__name__)

    @property
    def ref_point(self) -> Tensor | None:
        """The reference point of several objectives, if the problem has one."""
        ref: Tensor | None = getattr(self.problem, "ref_point", None)
        return ref if ref is not None and len(ref) > 1 else None

    @property
    def noise_free(self) -> bool:
        """Whether the problem says that its values are exact."""
        exact = self.problem.noise_std == 0
        return exact and bool(getattr(self.problem, "noise_free", True))

    def design(self) -> Tensor:
        """The initial design ``R n_init d``, a Sobol sequence for each replicate."""
        own = derive_each(self.seeds, "design")
        if self.space is not None:
            gone = self.unavailable
            if self.entries is not None:
                every = self.entries.expand(len(self.seeds), *self.entries.shape)
                streams = replicate_seeds(own, (len(self.seeds),))
                return drawn(every, self.n_init, streams).to(self.bounds.device)
            design = self.space.sobol(self.n_init, own, len(self.seeds), exclude=gone)
            return design.to(self.bounds.device)
        return sobol_points(self.bounds, self.n_init, seed=own, replicates=len(self.seeds))


@dataclass
class Batch:
    """Evaluated points: ``X: R k d``, ``Y: R k m``, ``observed: R k``, ``values: R k``.

    ``outcomes: R k o`` are the o objectives that count together; none (o = 0) if there is one.
    """

    X: Tensor
    Y: Tensor
    observed: Tensor
    values: Tensor
    outcomes: Tensor
    failures: list[Failure]
    error: Exception | None


@dataclass(frozen=True)
class Trials:
    """The problem, evaluated so that noise depends on (replicate, evaluation index) only."""

    problem: StudyProblem
    seeds: tuple[int, ...]
    fidelity: int | None = None

    def evaluate(self, X: Tensor, first: int) -> Batch:
        """Evaluate ``R k d`` as the evaluations first, first + 1, ... of every replicate."""
        columns, failures, error = [], [], None
        for j in range(X.shape[1]):
            noise = tuple(derive(seed, "noise", first + j) for seed in self.seeds)
            column, raised = self._guarded(self.problem, X[:, j : j + 1], noise)
            for i in (~column.isfinite().all(-1)[:, 0]).nonzero()[:, 0].tolist():
                reason = repr(raised[i]) if i in raised else "not a finite number"
                failures.append(Failure(i, first + j, reason))
                error = raised.get(i, error)
            columns.append(column)
        Y = _joined(columns, dim=1)
        observed = Y.isfinite().all(-1)
        Y = torch.where(observed.unsqueeze(-1), Y, torch.nan)
        exact = self.problem.noise_std == 0.0 and self.fidelity is None
        counting = self._counting(Y) if exact else self._noiseless(X)
        counting = torch.where(observed.unsqueeze(-1), counting, torch.nan)
        several = counting if self.objectives > 1 else counting[..., :0]
        return Batch(X, Y, observed, counting[..., 0], several, failures, error)

    @property
    def objectives(self) -> int:
        """How many of the first outputs count together: all with a reference point, else one."""
        ref_point = getattr(self.problem, "ref_point", None)
        return 1 if ref_point is None else max(1, len(ref_point))

    def noiseless(self, X: Tensor) -> Tensor:
        """The value of output 0 that counts at ``R k d``: see `_noiseless`."""
        return self._noiseless(X)[..., 0]

    def _noiseless(self, X: Tensor) -> Tensor:
        """What counts at ``R k d``, without noise and at the target fidelity, as `_counting`."""
        if self.fidelity is not None:
            X = X.clone()
            X[..., self.fidelity] = 1.0
        columns = [
            self._guarded(lambda x, seed: self.problem.noiseless(x), X[:, j : j + 1], self.seeds)[0]
            for j in range(X.shape[1])
        ]
        return self._counting(_joined(columns, dim=1))

    def _counting(self, Y: Tensor) -> Tensor:
        """First outputs ``R k o``; NaN where the problem fails or a constraint is not met."""
        first = Y[..., : self.objectives]
        counts = first.isfinite().all(-1)
        feasible = getattr(self.problem, "feasible", None)
        if feasible is not None:
            counts = counts & feasible(Y)
        return torch.where(counts.unsqueeze(-1), first, torch.nan)

    def _guarded(
        self, f: Callable[[Tensor, Seed | None], Tensor], X: Tensor, seeds: tuple[int, ...]
    ) -> tuple[Tensor, dict[int, Exception]]:
        """f at ``R 1 d``; if it raises, once more for each replicate, to find out which failed."""
        try:
            return self._checked(f(X, seeds), len(X)), {}
        except Exception as error:
            if len(X) == 1:
                return torch.full_like(X[..., :1], torch.nan), {0: error}
        alone = [self._guarded(f, X[i : i + 1], (seed,)) for i, seed in enumerate(seeds)]
        raised = {i: errors[0] for i, (_, errors) in enumerate(alone) if errors}
        return _joined([values for values, _ in alone], dim=0), raised

    def _checked(self, Y: Tensor, replicates: int) -> Tensor:
        check_tensor("values of the problem", Y, finite=False)
        if Y.ndim != 3 or Y.shape[:2] != (replicates, 1):
            raise ShapeError(
                f"problem: expected values R n m = ({replicates}, 1, m) at X of shape "
                f"({replicates}, 1, d), got {tuple(Y.shape)}"
            )
        return Y.detach()


@dataclass
class Record:
    """What one strategy has done so far; tensors have room for all evaluations."""

    X: Tensor
    Y: Tensor
    observed: Tensor
    values: Tensor
    outcomes: Tensor
    recommended: Tensor
    recommended_values: Tensor
    failures: list[Failure]
    used: int  # evaluations
    rounds: int = 0
    seconds: float = 0.0

    @classmethod
    def begin(cls, start: Batch, total: int, recommendations: int) -> "Record":
        r = len(start.X)

        def room(x: Tensor, count: int, fill: float | bool) -> Tensor:
            return torch.full((r, count, *x.shape[2:]), fill, dtype=x.dtype, device=x.device)

        record = cls(
            X=room(start.X, total, torch.nan),
            Y=room(start.Y, total, torch.nan),
            observed=room(start.observed, total, False),
            values=room(start.values, total, torch.nan),
            outcomes=room(start.outcomes, total, torch.nan),
            recommended=room(start.X, recommendations, torch.nan),
            recommended_values=room(start.values, recommendations, torch.nan),
            failures=[],
            used=0,
        )
        record.append(start)
        return record

    def append(self, batch: Batch) -> None:
        """Write a batch behind what is there."""
        m, found = self.Y.shape[-1], batch.Y.shape[-1]
        if m != found and batch.observed.any():
            raise ShapeError(
                f"problem: expected {m} outputs, as in the initial design, got {found}"
            )
        where = slice(self.used, self.used + batch.X.shape[1])
        for key in ("X", "Y", "observed", "values", "outcomes"):
            getattr(self, key)[:, where] = getattr(batch, key)
        self.failures += batch.failures
        self.used = where.stop

    def data(self, bounds: Tensor, n_init: int, t: int, noise_free: bool = False) -> StudyData:
        """What the strategy may see."""
        n = self.used
        return StudyData(
            X=self.X[:, :n],
            Y=self.Y[:, :n],
            observed=self.observed[:, :n],
            bounds=bounds,
            X_pending=None,
            round=t,
            n_init=n_init,
            noise_free=noise_free,
        )


def _joined(parts: list[Tensor], dim: int) -> Tensor:
    """Values side by side; what failed altogether does not know how many outputs there are."""
    m = max(part.shape[-1] for part in parts)
    parts = [
        torch.full_like(part[..., :1], torch.nan).expand(*part.shape[:-1], m)
        if part.isnan().all()
        else part
        for part in parts
    ]
    found = sorted({part.shape[-1] for part in parts})
    if found != [m]:
        raise ShapeError(f"problem: expected the same number of outputs everywhere, got {found}")
    return torch.cat(parts, dim=dim)


def fidelity_of(problem: StudyProblem, box: Tensor) -> int | None:
    """The index of the input that is a fidelity, whose target 1 has to be within the bounds."""
    index = getattr(problem, "fidelity", None)
    if index is None:
        return None
    if type(index) is not int or not 0 <= index < box.shape[-1]:
        raise DataError(
            f"problem: expected fidelity to be the index of one of {box.shape[-1]} inputs, or "
            f"None, got {index!r}"
        )
    low, high = box[:, index].tolist()
    if not low <= 1.0 <= high:
        raise UnsupportedError(
            f"problem: a study counts values at fidelity 1, but the bounds of input {index} are "
            f"[{low:g}, {high:g}]; rescale it so that 1 is the truth, or drop fidelity="
        )
    return index


def check_space(plan: Plan) -> None:
    """Whether the space of a problem fits its bounds and has room for the evaluations.

    Raises:
        DataError: no `bolearn.Space`, other bounds, or more evaluations of exact values than legal
            points.
    """
    space = plan.space
    if space is None:
        return
    if not isinstance(space, Space) or not torch.equal(plan.bounds.cpu(), space.bounds):
        raise DataError(
            "problem: expected a bolearn.Space as space, and space.bounds as bounds, got "
            f"{type(space).__name__} with bounds {plan.bounds.tolist()}; use "
            "bolearn.problems.SpaceProblem(f, space)"
        )
    total = plan.n_init + plan.n_iter * plan.q
    if plan.problem.noise_std != 0:
        return
    if plan.entries is not None:
        there: int | float = len(plan.entries)
    elif not space.lattice.discrete.all():
        return
    else:
        try:
            there = space.num_designs
        except UnsupportedError:
            return  # too many to count
        there -= 0 if plan.unavailable is None else len(plan.unavailable)
    if total > there:
        raise DataError(
            f"n_init + n_iter * q: expected at most {there}, the number of points that can be "
            f"evaluated, for nothing is learned from a repeat without noise, got {total}"
        )


def short(x: object) -> str:
    text = repr(x)
    return text if len(text) <= 80 else text[:77] + "..."
