"""Replicated studies: every method on the same starts and the same noise, many seeds at once.

One run of an optimiser proves nothing. A study runs each strategy on R replicates as one batched
loop, so that tens of seeds cost little more than one. The design is paired: in replicate i all
strategies start from the same Sobol points, and evaluation j meets the same noise, whatever was
evaluated before. Differences within replicates are then far less noisy than the methods themselves
(`bolearn.stats`).

Taught in part_4/tutorial_03.
"""

import io
import os
import platform
import sys
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from types import MethodType
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from .errors import (
    BolearnError,
    DataError,
    OptimizationError,
    ShapeError,
    StorageError,
    UnsupportedError,
)
from .results import FORMAT, Failure, StudyResult, write_whole
from .sampling import sobol_points
from .seeds import Seed, derive, derive_each, replicate_seeds
from .shapes import check_bounds, check_count, check_tensor
from .strategies import Strategy, StudyData

_SAME_PROPOSAL = 1e-4  # of the box: how far a proposal in the batch may be from the one made alone
_BAR, _REDRAW = 20, 0.1  # characters of the progress bar, and seconds between two looks
_ROUNDING = 1e-9  # of the box: how far outside a proposal may be, to be moved back
_SAME_VALUE = 1e-9  # relative: a value that was measured again, perhaps on another machine
_ATOMS = (type(None), bool, int, float, str, Tensor, torch.nn.Parameter, torch.Size)


@runtime_checkable
class StudyProblem(Protocol):
    """What a study needs of a problem; `bolearn.Problem` has it.

    If it has a method `feasible` (of values ``R k m``) or an attribute `fidelity` (the index of an
    input whose target is 1), as `bolearn.Problem` does, the study takes note of them.
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


def study(
    problem: StudyProblem,
    strategies: Mapping[str, Strategy],
    n_init: int,
    n_iter: int,
    q: int = 1,
    replicates: int = 64,
    seed: Seed = 0,
    progress: bool | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
) -> StudyResult:
    """Run every strategy on the same replicates: shared starts, shared noise, one batched loop.

    Replicate i has the seed ``derive(seed, i)``. Its initial design, the noise of evaluation j and
    the seed that a strategy gets in round t are derived from it by name, so that they do not depend
    on the other replicates or on the other strategies. Two strategies with the same code see the
    same seeds: where they do the same, they get the same.

    A strategy is called with all replicates at once if it says that it can (``batched = True``), or
    if in the first two rounds it proposes the same points in the batch as alone (tried on up to
    three replicates). Otherwise it is called replicate by replicate, and the result says so.

    An evaluation that raises or returns a number that is not finite is recorded as a failure and
    masked out: strategies see `observed` False, no average contains it.

    What counts is output 0 without noise: with constraints only where they are met (without noise,
    too), and with a fidelity at its target 1, whatever the fidelity of the measurement.

    Args:
        problem: what to maximise, a `bolearn.Problem`.
        strategies: name -> strategy; see `bolearn.strategies`.
        n_init: points of the shared initial Sobol design.
        n_iter: rounds after it.
        q: points per round.
        replicates: R, how many runs of each strategy.
        seed: an int, or one for each replicate.
        progress: show a line for each strategy on standard error: rounds, time elapsed, time left.
            Default: if that is a terminal, and not in continuous integration (``CI`` is set).
        checkpoint: a file in which the state is saved after every round; if it exists, the study
            goes on from there and ends as if it had never stopped. The initial design is measured
            again, to see that the problem is the same.

    Raises:
        DataError: counts below 1, no strategies, a problem that fails everywhere, proposals that
            are not finite or outside the bounds.
        ShapeError: proposals or values of the wrong shape.
        OptimizationError: a strategy raised; its own error is the cause.
        StorageError: a checkpoint of another study, one that cannot be read or written, or a state
            that cannot be saved.
        UnsupportedError: a fidelity whose target 1 is not within the bounds.

    Example:
        >>> import bolearn as bl
        >>> problem = bl.problems.Branin()
        >>> arms = {"random": bl.strategies.random, "Sobol": bl.strategies.sobol}
        >>> result = bl.study(problem, arms, n_init=4, n_iter=6, replicates=8)
        >>> result.regret("Sobol").shape
        torch.Size([8, 10])
    """
    if not isinstance(problem, StudyProblem):
        raise DataError(
            f"problem: expected a bolearn.Problem, got {type(problem).__name__}; "
            "wrap a function as bolearn.Problem(f, bounds)"
        )
    counts = {"n_init": n_init, "n_iter": n_iter, "q": q, "replicates": replicates}
    for name, value in counts.items():
        check_count(name, value)
    _check_strategies(strategies)
    run_seeds = tuple(replicate_seeds(seed, (replicates,)))
    plan = _Plan(problem, check_bounds(problem.bounds), n_init, n_iter, q, run_seeds)
    trials = _Trials(problem, run_seeds, _fidelity(problem, plan.bounds))
    saved = _Checkpoint.open(checkpoint, plan, strategies)
    start = trials.evaluate(plan.design(), first=0)
    _check_design(start)
    done, line = {}, _ProgressLine(progress, list(strategies), n_iter)
    for name, strategy in strategies.items():
        record = _Record.begin(start, n_init + n_iter * q, n_iter + 1)
        arm = _Arm(name, strategy, plan.bounds, run_seeds)
        saved.restore(name, record, arm)
        for t in range(record.rounds, n_iter + 1):
            _advance(record, arm, trials, plan, t)
            saved.store(name, record, arm)
            line.show(name, t)
        done[name] = (record, arm)
    return _result(plan, done)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What all strategies of a study have in common."""

    problem: StudyProblem
    bounds: Tensor
    n_init: int
    n_iter: int
    q: int
    seeds: tuple[int, ...]

    def design(self) -> Tensor:
        """The initial design ``R n_init d``, a Sobol sequence for each replicate."""
        own = derive_each(self.seeds, "design")
        return sobol_points(self.bounds, self.n_init, seed=own, replicates=len(self.seeds))


def _result(plan: _Plan, done: "dict[str, tuple[_Record, _Arm]]") -> StudyResult:
    """What all strategies did, turned round: a dictionary for each kind of fact."""
    problem = plan.problem
    recommending = {name: r for name, (r, arm) in done.items() if arm.recommends}
    return StudyResult(
        problem=_name(problem),
        output=str(getattr(problem, "output", "value")),
        bounds=plan.bounds,
        optimal_value=None if problem.optimal_value is None else float(problem.optimal_value),
        noise_std=float(problem.noise_std),
        n_init=plan.n_init,
        n_iter=plan.n_iter,
        q=plan.q,
        seeds=plan.seeds,
        X={name: r.X for name, (r, _) in done.items()},
        Y={name: r.Y for name, (r, _) in done.items()},
        observed={name: r.observed for name, (r, _) in done.items()},
        values={name: r.values for name, (r, _) in done.items()},
        recommended={name: r.recommended for name, r in recommending.items()},
        recommended_values={name: r.recommended_values for name, r in recommending.items()},
        seconds={name: r.seconds for name, (r, _) in done.items()},
        batched={name: arm.mode == "batch" for name, (_, arm) in done.items()},
        notes={name: arm.note for name, (_, arm) in done.items() if arm.note},
        failures={name: tuple(r.failures) for name, (r, _) in done.items()},
        versions=_versions(),
    )


@dataclass
class _Batch:
    """Evaluated points: ``X: R k d``, ``Y: R k m``, ``observed: R k``, ``values: R k``."""

    X: Tensor
    Y: Tensor
    observed: Tensor
    values: Tensor
    failures: list[Failure]
    error: Exception | None


@dataclass(frozen=True)
class _Trials:
    """The problem, evaluated so that noise depends on (replicate, evaluation index) only."""

    problem: StudyProblem
    seeds: tuple[int, ...]
    fidelity: int | None = None

    def evaluate(self, X: Tensor, first: int) -> _Batch:
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
        values = self._counting(Y) if exact else self.noiseless(X)
        values = torch.where(observed, values, torch.nan)
        return _Batch(X, Y, observed, values, failures, error)

    def noiseless(self, X: Tensor) -> Tensor:
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
        """First outputs ``R k``; NaN where the problem fails or a constraint is not met."""
        counts = Y[..., 0].isfinite()
        feasible = getattr(self.problem, "feasible", None)
        if feasible is not None:
            counts = counts & feasible(Y)
        return torch.where(counts, Y[..., 0], torch.nan)

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
class _Record:
    """What one strategy has done so far; tensors have room for all evaluations."""

    X: Tensor
    Y: Tensor
    observed: Tensor
    values: Tensor
    recommended: Tensor
    recommended_values: Tensor
    failures: list[Failure]
    used: int  # evaluations
    rounds: int = 0
    seconds: float = 0.0

    @classmethod
    def begin(cls, start: _Batch, total: int, recommendations: int) -> "_Record":
        r = len(start.X)

        def room(x: Tensor, count: int, fill: float | bool) -> Tensor:
            return torch.full((r, count, *x.shape[2:]), fill, dtype=x.dtype, device=x.device)

        record = cls(
            X=room(start.X, total, torch.nan),
            Y=room(start.Y, total, torch.nan),
            observed=room(start.observed, total, False),
            values=room(start.values, total, torch.nan),
            recommended=room(start.X, recommendations, torch.nan),
            recommended_values=room(start.values, recommendations, torch.nan),
            failures=[],
            used=0,
        )
        record.append(start)
        return record

    def append(self, batch: _Batch) -> None:
        """Write a batch behind what is there."""
        m, found = self.Y.shape[-1], batch.Y.shape[-1]
        if m != found and batch.observed.any():
            raise ShapeError(
                f"problem: expected {m} outputs, as in the initial design, got {found}"
            )
        where = slice(self.used, self.used + batch.X.shape[1])
        for key in ("X", "Y", "observed", "values"):
            getattr(self, key)[:, where] = getattr(batch, key)
        self.failures += batch.failures
        self.used = where.stop

    def data(self, bounds: Tensor, n_init: int, t: int) -> StudyData:
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
        )


def _advance(record: _Record, arm: "_Arm", trials: _Trials, plan: _Plan, t: int) -> None:
    """One round: propose (not after the last), recommend for the data so far, evaluate."""
    data = record.data(arm.bounds, plan.n_init, t)
    proposal = arm.propose(data, plan.q) if t < plan.n_iter else None
    if arm.recommends:
        # The state of this round was made from exactly this data: no second fit is needed.
        point = arm.recommend(data)
        record.recommended[:, t] = point
        record.recommended_values[:, t] = _values_at(point, data, record, trials)
    record.seconds = arm.seconds
    if proposal is not None:
        record.append(trials.evaluate(proposal, first=record.used))
    record.rounds = t + 1


def _values_at(point: Tensor, data: StudyData, record: _Record, trials: _Trials) -> Tensor:
    """Noise-free values at ``R d``, looked up where the point was evaluated already."""
    same = torch.eq(data.X, point.unsqueeze(1)).all(-1) & data.observed
    known = record.values[:, : record.used].gather(1, same.int().argmax(-1, keepdim=True))[:, 0]
    if same.any(-1).all():
        return known
    return torch.where(same.any(-1), known, trials.noiseless(point.unsqueeze(1))[:, 0])


@dataclass
class _Arm:
    """A strategy with its state and the way in which it is called.

    Modes: "batch" (all replicates at once), "axis" (one by one, ``X: 1 n d``), "plain" (one by
    one, ``X: n d``). The mode is found in the first round and looked at again in the second, where
    there are results of the strategy's own for the first time.
    """

    name: str
    strategy: Strategy
    bounds: Tensor
    run_seeds: tuple[int, ...]
    mode: str = ""
    note: str = ""
    state: Any = None  # in a batch one state, else a list of R states
    seconds: float = 0.0

    @property
    def recommends(self) -> bool:
        return callable(getattr(self.strategy, "recommend", None))

    def propose(self, data: StudyData, q: int) -> Tensor:
        """Points ``R q d``, checked."""
        if not self.mode or (self.mode == "batch" and data.round == 1):
            X = self._tried(data, q)
        elif self.mode == "batch":
            X = self._timed(self._all, data, q)
        else:
            X = self._timed(self._one_by_one, data, q)
        return self._checked(X, data.round, "proposed")

    def recommend(self, data: StudyData) -> Tensor:
        """Points ``R d``, checked."""
        if self.mode == "batch":
            x = self._timed(self._recommendation, replace(data, state=self.state))
        else:
            x = self._timed(self._recommendations, data)
        return self._checked(x.unsqueeze(1), data.round, "recommended")[:, 0]

    def _recommendations(self, data: StudyData) -> Tensor:
        axis = self.mode == "axis"
        views = [_replicate(data, i, axis, state) for i, state in enumerate(self.state)]
        rows = [self._recommendation(view) for view in views]
        return torch.cat(rows) if axis else torch.stack(rows)

    def _recommendation(self, data: StudyData) -> Tensor:
        shape = (*data.X.shape[:-2], data.X.shape[-1])
        try:
            x = cast(Any, self.strategy).recommend(_copied(data))
        except Exception as error:
            raise self._raised("recommend", data.round, error) from error
        if not isinstance(x, Tensor) or tuple(x.shape) != shape:
            raise ShapeError(
                f"strategy {self.name!r}, round {data.round}: recommend: expected a tensor of "
                f"shape {shape}, got {_describe(x)}"
            )
        return x

    def _timed(self, call: Callable[..., Tensor], *arguments: Any) -> Tensor:
        started = time.perf_counter()
        X = call(*arguments)
        self.seconds += time.perf_counter() - started
        return X

    def _tried(self, data: StudyData, q: int) -> Tensor:
        """The first two rounds: find out how the strategy wants to be called, and call it."""
        declared = getattr(self.strategy, "batched", None)
        if declared is False:
            self.mode, self.state = "plain", [None] * len(data.X)
            self.note = "declares batched = False"
            return self._timed(self._one_by_one, data, q)
        self.mode, stateless = "batch", self.state is None
        try:
            X = self._timed(self._all, data, q)
        except (OptimizationError, ShapeError) as error:
            if declared is True:
                raise
            return self._without_batch(data, q, error, stateless)
        if declared is True or self._agrees_alone(data, q, X, stateless):
            return X
        self.note = (
            f"proposes other points in the batch than alone{_late(data)}: "
            "it mixes replicates, or draws without using its seed"
        )
        return self._alone("axis", data, q, stateless)

    def _alone(self, mode: str, data: StudyData, q: int, stateless: bool) -> Tensor:
        """Call it replicate by replicate from now on."""
        self.mode = mode
        self.state = [self._own_state(data, q, i, stateless) for i in range(len(data.X))]
        return self._timed(self._one_by_one, data, q)

    def _own_state(self, data: StudyData, q: int, i: int, stateless: bool) -> object:
        """Replicate i's state, had it been alone; from the first round, which is played again."""
        if stateless:
            return None
        n = data.n_init
        first = replace(data, X=data.X[:, :n], Y=data.Y[:, :n], observed=data.observed[:, :n])
        return self._one(replace(first, round=0), q, i, None)[1]

    def _without_batch(
        self, data: StudyData, q: int, batch_error: BolearnError, stateless: bool
    ) -> Tensor:
        """It fails on all replicates: try it on one, without and with a replicate axis."""
        errors: list[BolearnError] = [batch_error]
        reason = batch_error.__cause__ or batch_error
        self.note = f"fails on all replicates at once{_late(data)}: {reason}"
        for mode in ("plain", "axis"):
            try:
                return self._alone(mode, data, q, stateless)
            except (OptimizationError, ShapeError) as error:
                errors.append(error)
        if len({str(error.__cause__ or error) for error in errors}) == 1:
            raise batch_error
        raise OptimizationError(
            f"{batch_error}. Called with one replicate alone, X: {tuple(data.X.shape[1:])}, "
            f"it fails too: {errors[1]}"
        ) from ExceptionGroup("batched, alone, alone with a replicate axis", errors)

    def _agrees_alone(self, data: StudyData, q: int, X: Tensor, stateless: bool) -> bool:
        """Whether most of up to three replicates get the same proposal alone as in the batch.

        Not all need to: a rounding error may tip the choice between two equally good points.
        """
        r = len(data.X)
        if r == 1:
            return True
        probes = sorted({0, r // 2, r - 1})
        width, agree = self.bounds[1] - self.bounds[0], 0
        for i in probes:
            alone, _ = self._one(data, q, i, self._own_state(data, q, i, stateless))
            agree += bool((((alone[0] - X[i]) / width).abs() <= _SAME_PROPOSAL).all())
        return 2 * agree > len(probes)

    def _all(self, data: StudyData, q: int) -> Tensor:
        seeds = tuple(self._seed(i, data.round) for i in range(len(data.X)))
        X, self.state = self._call(replace(data, state=self.state), q, seeds)
        return X

    def _one_by_one(self, data: StudyData, q: int) -> Tensor:
        rows = []
        for i in range(len(data.X)):
            x, self.state[i] = self._one(data, q, i, self.state[i])
            rows.append(x.unsqueeze(0) if self.mode == "plain" else x)
        return torch.cat(rows)

    def _one(self, data: StudyData, q: int, i: int, state: object) -> tuple[Tensor, object]:
        """Call it for replicate i: with a replicate axis of one, in mode "plain" without."""
        axis, seed = self.mode != "plain", self._seed(i, data.round)
        view = _replicate(data, i, axis, state)
        return self._call(view, q, (seed,) if axis else seed, replicate=i)

    def _call(
        self, data: StudyData, q: int, seed: Seed, replicate: int | None = None
    ) -> tuple[Tensor, object]:
        """Call the strategy; check the shape of what it returns."""
        try:
            out = self.strategy(_copied(data), self.bounds.clone(), q, seed)
        except Exception as error:
            raise self._raised("it", data.round, error, replicate) from error
        X, state = out if isinstance(out, tuple) and len(out) == 2 else (out, data.state)
        shape = (*data.X.shape[:-2], q, data.X.shape[-1])
        if not isinstance(X, Tensor) or tuple(X.shape) != shape:
            no_q = isinstance(X, Tensor) and q == 1 and tuple(X.shape) == (*shape[:-2], shape[-1])
            raise ShapeError(
                f"strategy {self.name!r}, round {data.round}{_of(replicate)}: expected a tensor "
                f"of shape {shape}, or (tensor, state), got {_describe(out)}"
                + ("; the axis of the q points is missing: use X.unsqueeze(-2)" if no_q else "")
            )
        return X.detach(), state

    def _seed(self, i: int, t: int) -> int:
        return derive(self.run_seeds[i], "strategy", t)

    def _raised(
        self, what: str, t: int, error: Exception, replicate: int | None = None
    ) -> OptimizationError:
        where = f"strategy {self.name!r}, round {t}{_of(replicate)}"
        return OptimizationError(f"{where}: {what} raised {type(error).__name__}: {error}")

    def _checked(self, X: Tensor, t: int, verb: str) -> Tensor:
        """Points ``R k d`` that are float64, finite and inside the box (up to rounding)."""
        where = f"strategy {self.name!r}, round {t}"
        if X.dtype != self.bounds.dtype or X.device != self.bounds.device:
            raise DataError(
                f"{where}: {verb} points in {X.dtype} on {X.device}, expected "
                f"{self.bounds.dtype} on {self.bounds.device}; create them with "
                "dtype=bounds.dtype, device=bounds.device"
            )
        lower, upper = self.bounds[0], self.bounds[1]
        slack = _ROUNDING * (upper - lower)
        # NaN compares false, so that it counts as outside
        inside = (torch.ge(X, lower - slack) & torch.le(X, upper + slack)).all(-1)
        if not inside.all():
            i, j = (int(k) for k in (~inside).nonzero()[0])
            raise DataError(
                f"{where}, replicate {i}: {verb} {X[i, j].tolist()}, which is not inside the "
                f"bounds {self.bounds.tolist()}; use X.clamp(bounds[0], bounds[1])"
            )
        return torch.maximum(torch.minimum(X, upper), lower)


class _ProgressLine:
    """One line that is written over until a strategy is done: rounds, time elapsed, time left."""

    def __init__(self, wanted: bool | None, names: list[str], n_iter: int) -> None:
        terminal = sys.stderr.isatty() and not os.environ.get("CI")
        self.wanted = terminal if wanted is None else wanted
        self.names, self.n_iter = names, n_iter
        self.name, self.drawn, self.width = "", 0.0, 0
        self.times: list[float] = []  # when rounds ended, with the beginning in front

    def show(self, name: str, t: int) -> None:
        """Round t of a strategy is done; the last, t = n_iter, only recommends."""
        if not self.wanted:
            return
        now = time.monotonic()
        if name != self.name:
            began = self.times[-1] if self.times else now
            self.name, self.times, self.drawn = name, [began], 0.0
        self.times.append(now)
        last = t == self.n_iter
        if not last and now - self.drawn < _REDRAW:
            return
        done = min(t + 1, self.n_iter)
        # rounds get slower as data grow: the last ones tell best how long the next will take
        recent = self.times[-6:]
        each = (recent[-1] - recent[0]) / (len(recent) - 1)
        filled = done * _BAR // self.n_iter
        place = f" ({self.names.index(name) + 1} of {len(self.names)})"
        text = (
            f"{name}{place if len(self.names) > 1 else ''} "
            f"[{'#' * filled}{'.' * (_BAR - filled)}] {done}/{self.n_iter} rounds, "
            f"{_clock(now - self.times[0])} elapsed"
            + ("" if last else f", {_clock(each * (self.n_iter - done))} left")
        )
        end = "\n" if last else ""
        print(f"\r{text.ljust(self.width)}", end=end, file=sys.stderr, flush=True)
        self.drawn, self.width = now, 0 if last else len(text)


def _clock(seconds: float) -> str:
    """0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Checkpoint:
    """Saves every round of a study in one file, and brings a study back to where it was."""

    def __init__(self, path: Path | None, settings: dict[str, Any], arms: dict[str, Any]) -> None:
        self.path, self.settings, self.arms = path, settings, arms

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None,
        plan: _Plan,
        strategies: Mapping[str, Strategy],
    ) -> "_Checkpoint":
        """What is in the file, if it belongs to this study; nothing if there is none yet."""
        if path is None:
            return cls(None, {}, {})
        if not isinstance(path, str | os.PathLike):
            raise DataError(f"checkpoint: expected the path of a file, got {path!r}")
        settings = {
            "format": FORMAT,
            "problem": _name(plan.problem),
            "bounds": plan.bounds.tolist(),
            "noise_std": float(plan.problem.noise_std),
            "n_init": plan.n_init,
            "n_iter": plan.n_iter,
            "q": plan.q,
            "seeds": list(plan.seeds),
            "strategies": {name: _recipe(strategy) for name, strategy in strategies.items()},
        }
        file = Path(path)
        if not file.parent.is_dir():
            raise StorageError(f"checkpoint: the folder of {file} does not exist; create it first")
        if not file.exists():
            return cls(file, settings, {})
        try:
            content = torch.load(file, weights_only=True)
            found, arms = dict(content["settings"]), dict(content["arms"])
        except Exception as error:
            raise StorageError(
                f"{file}: expected the checkpoint of a study ({error}); move it away to start anew"
            ) from error
        _check_same_study(file, found, settings)
        return cls(file, settings, arms)

    def store(self, name: str, record: _Record, arm: _Arm) -> None:
        """Save one strategy's progress; the file is replaced as a whole or not at all."""
        if self.path is None:
            return
        odd = _not_plain(arm.state, "state")
        if odd:
            raise StorageError(
                f"strategy {name!r}: a checkpoint needs a state made of tensors, numbers, strings, "
                f"lists, tuples and dictionaries (those types exactly), got {odd}; convert it in "
                "the strategy, for example by float(...), or run the study without checkpoint="
            )
        content = vars(record) | {
            "failures": [(f.replicate, f.evaluation, f.reason) for f in record.failures]
        }
        self.arms[name] = {
            "record": {k: v.clone() if isinstance(v, Tensor) else v for k, v in content.items()},
            "arm": {"mode": arm.mode, "note": arm.note, "state": arm.state},
        }
        file = io.BytesIO()
        try:
            torch.save({"settings": self.settings, "arms": self.arms}, file)
            write_whole(self.path, file.getvalue())
        except (OSError, RuntimeError) as error:
            raise StorageError(
                f"{self.path}: the checkpoint cannot be written ({error}); choose another place"
            ) from error

    def restore(self, name: str, record: _Record, arm: _Arm) -> None:
        """Bring record and arm to the saved round, if there is one."""
        if name not in self.arms:
            return
        saved, n = self.arms[name], record.used
        for key in ("X", "Y", "observed", "values"):
            before, now = (x[:, :n].double() for x in (saved["record"][key], getattr(record, key)))
            if before.shape != now.shape or not torch.allclose(
                before, now, rtol=_SAME_VALUE, atol=0.0, equal_nan=True
            ):
                raise StorageError(
                    f"{self.path}: the checkpoint belongs to another problem: its initial design, "
                    f"measured again, gives other numbers ({key}); use another file. A problem "
                    "that draws numbers of its own has to take them from the seed it is given"
                )
        for key, value in saved["record"].items():
            setattr(record, key, value)
        record.failures = [Failure(*entry) for entry in saved["record"]["failures"]]
        for key, value in saved["arm"].items():
            setattr(arm, key, value)
        arm.seconds = record.seconds


def _check_strategies(strategies: Mapping[str, Strategy]) -> None:
    if not isinstance(strategies, Mapping) or not strategies:
        raise DataError(
            'strategies: expected a dictionary such as {"Sobol": bolearn.strategies.sobol}, '
            f"got {type(strategies).__name__}" + (" without entries" if not strategies else "")
        )
    for name, strategy in strategies.items():
        if not isinstance(name, str) or not callable(strategy):
            raise DataError(
                f"strategies: expected names and functions (data, bounds, q, seed) -> X, "
                f"got {name!r}: {type(strategy).__name__}"
            )
        if isinstance(strategy, type):
            raise DataError(f"strategies: {name!r} is a class; give an instance, {name}(...)")


def _check_same_study(file: Path, found: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse a checkpoint with other settings; of dictionaries, show only what differs."""
    for key, here in settings.items():
        there = found.get(key)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            both = there.items() & here.items()
            there, here = dict(there.items() - both), dict(here.items() - both)
        raise StorageError(
            f"{file}: the checkpoint belongs to another study: {key} is {_short(there)} there "
            f"and {_short(here)} here; use another file"
        )


def _check_design(start: _Batch) -> None:
    """Every replicate needs one success, or there is nothing to learn from."""
    without = (~start.observed.any(-1)).nonzero()[:, 0].tolist()
    if without:
        n = start.X.shape[1]
        raise DataError(
            f"problem: none of the n_init={n} initial evaluations succeeded in replicates "
            f"{_short(without)} (of {len(start.X)}); the first said: {start.failures[0].reason}. "
            "Mend the problem, or use a larger n_init"
        ) from start.error


def _replicate(data: StudyData, i: int, axis: bool, state: object) -> StudyData:
    """Replicate i alone, with a replicate axis of one or without."""
    at: Any = slice(i, i + 1) if axis else i
    return replace(data, X=data.X[at], Y=data.Y[at], observed=data.observed[at], state=state)


def _name(problem: StudyProblem) -> str:
    return str(getattr(problem, "name", None) or type(problem).__name__)


def _describe(x: object) -> str:
    if isinstance(x, Tensor):
        return f"a tensor of shape {tuple(x.shape)}"
    if isinstance(x, tuple):
        return f"a tuple of {', '.join(_describe(entry) for entry in x)}"
    return type(x).__name__


def _not_plain(x: object, where: str) -> str:
    """What in a state would not come back from a file as it is; "" if all would.

    Types have to be exact: a subclass (a NumPy number, a named tuple) would be read as something
    else, or not at all.
    """
    parts: list[tuple[object, str]] = []
    if type(x) in (list, tuple):
        parts = [(entry, f"{where}[{i}]") for i, entry in enumerate(cast("list[object]", x))]
    elif type(x) in (dict, OrderedDict):
        pairs = cast("dict[object, object]", x)
        parts = [(key, f"the key {key!r} of {where}") for key in pairs]
        parts += [(entry, f"{where}[{key!r}]") for key, entry in pairs.items()]
    elif type(x) not in _ATOMS:
        return f"{type(x).__module__}.{type(x).__qualname__} as {where}"
    return next(filter(None, (_not_plain(*part) for part in parts)), "")


def _recipe(x: object, depth: int = 6) -> str:
    """What a strategy is made of, as far as can be told: names of functions, attributes, numbers.

    Attributes of attributes are followed six levels deep, in case they lead back.
    """
    if isinstance(x, MethodType) and depth > 0:
        return f"{_recipe(x.__self__, depth - 1)}.{x.__name__}"
    if isinstance(x, type) or (callable(x) and hasattr(x, "__qualname__")):
        return f"{x.__module__}.{x.__qualname__}"
    if x is None or isinstance(x, int | float | str):
        return repr(x)
    kind = _recipe(type(x))
    if depth == 0:
        return kind
    if isinstance(x, Tensor | np.ndarray | np.generic):
        numbers = torch.as_tensor(x).detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return f"{kind}({x.dtype}, {tuple(x.shape)}, {zlib.crc32(numbers.numpy().tobytes()):x})"
    if isinstance(x, partial):
        inside = {"": (x.func, *x.args), **x.keywords}
    elif isinstance(x, list | tuple):
        return f"[{', '.join(_recipe(entry, depth - 1) for entry in x)}]"
    elif isinstance(x, dict):
        inside = {repr(key): entry for key, entry in x.items()}
    elif is_dataclass(x):
        inside = {f.name: getattr(x, f.name) for f in fields(x)}
    else:
        inside = getattr(x, "__dict__", {})
    return f"{kind}({', '.join(f'{k}={_recipe(v, depth - 1)}' for k, v in inside.items())})"


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


def _fidelity(problem: StudyProblem, box: Tensor) -> int | None:
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


def _copied(data: StudyData) -> StudyData:
    """Copies, so that a strategy that writes into its data writes into nobody else's."""
    tensors = {key: getattr(data, key).clone() for key in ("X", "Y", "observed", "bounds")}
    return replace(data, **tensors)


def _late(data: StudyData) -> str:
    return f" in round {data.round}" if data.round else ""


def _of(replicate: int | None) -> str:
    return "" if replicate is None else f", replicate {replicate}"


def _short(x: object) -> str:
    text = repr(x)
    return text if len(text) <= 80 else text[:77] + "..."


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("bolearn", "torch", "gpytorch", "numpy", "scipy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
