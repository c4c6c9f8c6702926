"""Replicated studies: every method on the same starts and the same noise, many seeds at once.

One run of an optimiser proves nothing. A study runs each strategy on R replicates as one batched
loop, so that tens of seeds cost little more than one. The design is paired: in replicate i all
strategies start from the same Sobol points, and evaluation j meets the same noise, whatever was
evaluated before. Differences within replicates are then far less noisy than the methods themselves
(`bolearn.stats`).

Taught in part_4/tutorial_03.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .errors import BolearnError, DataError, OptimizationError, ShapeError, StorageError
from .sampling import sobol_points
from .seeds import Seed, check_seed, derive_each, replicate_seeds
from .shapes import check_bounds, check_count, check_tensor
from .stats import PairedComparison, compare_paired, quantiles
from .strategies import Strategy, StudyData

if TYPE_CHECKING:
    import pandas

Kind = Literal["simple", "inference"]

_FORMAT = "bolearn.study/1"
_SAME_PROPOSAL = 1e-4  # of the box: how far a proposal in the batch may be from the one made alone
_ROUNDING = 1e-9  # of the box: how far outside a proposal may be, to be moved back
_FALSE_OPTIMUM = 1e-8  # relative: how far a value may exceed the known optimum


@runtime_checkable
class StudyProblem(Protocol):
    """What a study needs of a problem; `bolearn.Problem` has it."""

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


@dataclass(frozen=True)
class Failure:
    """One evaluation without a result: where it happened and what the problem said."""

    replicate: int
    evaluation: int
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class StudyResult:
    """Everything a study saw. Dictionaries have one entry for each strategy, in the given order.

    `problem` and `output` name what was maximised. `X` (``R N d``), `Y` (``R N m``) and `observed`
    (``R N``) hold the N = n_init + n_iter q evaluations; `values` (``R N``) their noise-free
    outputs (NaN for failed evaluations); `recommended` (``R n_iter+1 d``, only for strategies that
    recommend) the points recommended after the initial design and after each round,
    `recommended_values` (``R n_iter+1``) their noise-free outputs. `seconds` is the time spent
    inside the strategy. `batched` says whether it worked on all replicates at once, `notes` why
    not. `seeds` are the R seeds of the replicates:
    ``study(..., replicates=1, seed=[result.seeds[i]])`` is replicate i alone.
    """

    problem: str
    output: str
    bounds: Float[Tensor, "2 d"]
    optimal_value: float | None
    noise_std: float
    n_init: int
    n_iter: int
    q: int
    seeds: tuple[int, ...]
    X: dict[str, Tensor]
    Y: dict[str, Tensor]
    observed: dict[str, Tensor]
    values: dict[str, Tensor]
    recommended: dict[str, Tensor]
    recommended_values: dict[str, Tensor]
    seconds: dict[str, float]
    batched: dict[str, bool]
    notes: dict[str, str]
    failures: dict[str, tuple[Failure, ...]]
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The strategies, in the order in which they were given."""
        return tuple(self.X)

    @property
    def replicates(self) -> int:
        """R."""
        return len(self.seeds)

    @property
    def evaluations(self) -> Int[Tensor, " N"]:
        """1, 2, ..., N: the horizontal axis of a regret curve."""
        return torch.arange(1, self.n_init + self.n_iter * self.q + 1)

    def __repr__(self) -> str:
        return (
            f"StudyResult({self.problem}: {', '.join(self.names)}; {self.replicates} replicates, "
            f"{self.n_init} + {self.n_iter} x {self.q} evaluations)"
        )

    def best(self, name: str, kind: Kind = "simple") -> Float[Tensor, "R N"]:
        """Noise-free value in hand after each evaluation.

        Args:
            name: a strategy.
            kind: "simple": the best value evaluated so far (minus infinity before the first
                success). "inference": the value at the recommended point, held between rounds
                (NaN before the initial design is complete); needs a strategy with `recommend`.

        Raises:
            DataError: unknown strategy or kind, or a strategy that recommends nothing.
        """
        self._check_name(name)
        if kind == "simple":
            values = self.values[name]
            return values.masked_fill(values.isnan(), -torch.inf).cummax(-1).values
        if kind != "inference":
            raise DataError(f"kind: expected 'simple' or 'inference', got {kind!r}")
        if name not in self.recommended_values:
            raise DataError(
                f"strategy {name!r} recommends nothing, so it has no inference regret; give it a "
                "method recommend(data) -> R d, or use kind='simple'"
            )
        held = self.recommended_values[name]
        steps = (self.evaluations - self.n_init).div(self.q, rounding_mode="floor")
        best = held[:, steps.clamp(min=0)]
        best[:, : self.n_init - 1] = torch.nan
        return best

    def regret(self, name: str, kind: Kind = "simple") -> Float[Tensor, "R N"]:
        """Distance to the known optimum after each evaluation: optimal value - `best`.

        Args:
            name, kind: as in `best`.

        Raises:
            DataError: the problem's optimum is not known, or a value exceeds it.
        """
        best = self.best(name, kind)
        if self.optimal_value is None:
            raise DataError(
                f"regret needs the optimal value of {self.problem}, which is not known; give "
                "optimal_value= to the problem, or use result.best(name)"
            )
        regret = self.optimal_value - best
        slack = _FALSE_OPTIMUM * max(1.0, abs(self.optimal_value))
        if (regret < -slack).any():
            raise DataError(
                f"{name!r} found the value {best[~best.isnan()].max().item():.17g}, better than "
                f"optimal_value = {self.optimal_value:.17g} of {self.problem}; correct it"
            )
        return torch.where(regret.abs() <= slack, regret.clamp(min=0.0), regret)

    def compare(
        self,
        a: str,
        b: str,
        *,
        at: int | None = None,
        kind: Kind = "simple",
        floor: float = 1e-12,
        confidence: float = 0.95,
    ) -> PairedComparison:
        """Compare two strategies by the paired differences of their log10 regret.

        Where the optimum is not known, by the best values themselves.

        Args:
            a, b: strategies; the verdict is about a.
            at: after how many evaluations; default: all.
            kind: as in `best`.
            floor: smaller regrets count as this one: both have found the optimum.
            confidence: of the interval and the verdict.

        Raises:
            DataError: unknown names, or a budget outside the study.
        """
        scores = [self.scores(name, at=at, kind=kind, floor=floor) for name in (a, b)]
        better: Literal["lower", "higher"] = "lower" if self.optimal_value is not None else "higher"
        return compare_paired(*scores, better=better, confidence=confidence)

    def scores(
        self, name: str, *, at: int | None = None, kind: Kind = "simple", floor: float = 1e-12
    ) -> Float[Tensor, " R"]:
        """What `compare` compares: log10 regret, or best value where the optimum is not known.

        Args:
            name: a strategy.
            at, kind, floor: as in `compare`.

        Raises:
            DataError: an unknown name, or a budget outside the study.
        """
        index = self._index(at)
        if self.optimal_value is None:
            return self.best(name, kind)[:, index]
        return self.regret(name, kind)[:, index].clamp(min=floor).log10()

    def table(
        self,
        at: int | None = None,
        *,
        reference: str | None = None,
        kind: Kind = "simple",
        floor: float = 1e-12,
    ) -> "pandas.DataFrame":
        """One row for each strategy: quantiles of the regret, and comparison with a reference.

        Columns: median and 10, 25, 75, 90 % quantiles of the regret (of the best value, where the
        optimum is not known); median paired difference of log10 regret to the reference with its
        95 % bootstrap interval; wins, losses, ties and the verdict of the sign test; failed
        evaluations, seconds spent in the strategy, and whether it ran batched.

        Args:
            at: after how many evaluations; default: all.
            reference: the strategy to compare with; default: the first.
            kind: as in `best`.
            floor: as in `compare`.

        Raises:
            DataError: an unknown reference, or a budget outside the study.
        """
        import pandas

        base = self.names[0] if reference is None else reference
        self._check_name(base)
        index, known = self._index(at), self.optimal_value is not None
        levels = {"median": 0.5, "q10": 0.1, "q25": 0.25, "q75": 0.75, "q90": 0.9}
        delta = "log10 difference" if known else "difference"
        rows = []
        for name in self.names:
            score = (self.regret if known else self.best)(name, kind)[:, index]
            row: dict[str, object] = dict(
                zip(levels, quantiles(score, list(levels.values())).tolist(), strict=True)
            )
            if name == base:
                row |= {delta: 0.0, "verdict": "reference"}
            else:
                paired = self.compare(name, base, at=at, kind=kind, floor=floor)
                row |= {delta: paired.median_difference, "low": paired.low, "high": paired.high}
                row |= {"wins": paired.wins, "losses": paired.losses, "ties": paired.ties}
                row |= {"verdict": paired.verdict}
            row |= {"failures": len(self.failures[name]), "seconds": self.seconds[name]}
            row |= {"batched": self.batched[name]}
            rows.append(row)
        columns = [*levels, delta, "low", "high", "wins", "losses", "ties", "verdict"]
        columns += ["failures", "seconds", "batched"]
        frame = pandas.DataFrame(rows, index=pandas.Index(self.names, name="strategy"))
        frame = frame.reindex(columns=columns)
        counts = {name: "Int64" for name in ("wins", "losses", "ties", "failures")}
        return frame.astype(counts)

    def to_json(self, path: str | os.PathLike[str], *, points: bool = True) -> None:
        """Write the result as JSON: plain lists of decimal numbers that read back exactly.

        Args:
            path: where; replaced as a whole or not at all.
            points: False leaves out the evaluated points (most of the file); values, regrets,
                tables and comparisons stay.
        """
        content: dict[str, object] = {"format": _FORMAT}
        for name in (
            "problem",
            "output",
            "optimal_value",
            "noise_std",
            "n_init",
            "n_iter",
            "q",
            "seeds",
        ):
            content[name] = getattr(self, name)
        content["bounds"] = _to_lists(self.bounds)
        arms: dict[str, dict[str, object]] = {}
        for name in self.names:
            arms[name] = {
                "seconds": self.seconds[name],
                "batched": self.batched[name],
                "note": self.notes.get(name, ""),
                "failures": [[f.replicate, f.evaluation, f.reason] for f in self.failures[name]],
            }
            for key in ("X", "Y", "observed", "values", "recommended", "recommended_values"):
                tensors = getattr(self, key)
                if name in tensors and (points or key not in ("X", "recommended")):
                    arms[name][key] = _to_lists(tensors[name])
        content |= {"strategies": arms, "versions": self.versions}
        _write_whole(Path(path), json.dumps(content, allow_nan=False).encode())

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> "StudyResult":
        """Read what `to_json` wrote. Without points, `X` and `recommended` hold NaN.

        Raises:
            StorageError: not a study, or one of another format.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            found = content["format"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StorageError(
                f"{path}: expected a study written by StudyResult.to_json ({error!r})"
            ) from error
        if found != _FORMAT:
            raise StorageError(f"{path}: expected format {_FORMAT!r}, got {found!r}")
        arms, bounds = content["strategies"], _from_lists(content["bounds"])
        d = bounds.shape[-1]

        def tensors(key: str, points_of: str = "") -> dict[str, Tensor]:
            read = {}
            for name, arm in arms.items():
                if key in arm:
                    read[name] = _from_lists(arm[key])
                elif points_of in arm:
                    shape = _from_lists(arm[points_of]).shape
                    read[name] = torch.full((*shape, d), torch.nan, dtype=torch.float64)
            return read

        return cls(
            problem=content["problem"],
            output=content["output"],
            bounds=bounds,
            optimal_value=content["optimal_value"],
            noise_std=content["noise_std"],
            n_init=content["n_init"],
            n_iter=content["n_iter"],
            q=content["q"],
            seeds=tuple(content["seeds"]),
            X=tensors("X", points_of="values"),
            Y=tensors("Y"),
            observed={name: x.bool() for name, x in tensors("observed").items()},
            values=tensors("values"),
            recommended=tensors("recommended", points_of="recommended_values"),
            recommended_values=tensors("recommended_values"),
            seconds={name: arm["seconds"] for name, arm in arms.items()},
            batched={name: arm["batched"] for name, arm in arms.items()},
            notes={name: arm["note"] for name, arm in arms.items() if arm["note"]},
            failures={
                name: tuple(Failure(*entry) for entry in arm["failures"])
                for name, arm in arms.items()
            },
            versions=content["versions"],
        )

    def _check_name(self, name: str) -> None:
        if name not in self.X:
            raise DataError(f"expected one of the strategies {list(self.names)}, got {name!r}")

    def _index(self, at: int | None) -> int:
        total = self.n_init + self.n_iter * self.q
        if at is None:
            return total - 1
        if check_count("at", at) > total:
            raise DataError(f"at: the study has {total} evaluations, got at={at}")
        return at - 1


def study(
    problem: StudyProblem,
    strategies: Mapping[str, Strategy],
    n_init: int,
    n_iter: int,
    q: int = 1,
    replicates: int = 64,
    seed: Seed = 0,
    progress: bool = False,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
) -> StudyResult:
    """Run every strategy on the same replicates: shared starts, shared noise, one batched loop.

    Replicate i has the seed ``derive(seed, i)``. Its initial design, the noise of evaluation j and
    the seed that a strategy gets in round t are derived from it by name, so that they do not depend
    on the other replicates or on the other strategies. Two strategies with the same code see the
    same seeds: where they do the same, they get the same.

    A strategy is called with all replicates at once if it says that it can (``batched = True``), or
    if in the first round it proposes the same points in the batch as alone (tried on up to three
    replicates). Otherwise it is called replicate by replicate, and the result says so.

    An evaluation that raises or returns a number that is not finite is recorded as a failure and
    masked out: strategies see `observed` False, no average contains it.

    Args:
        problem: what to maximise, a `bolearn.Problem`.
        strategies: name -> strategy; see `bolearn.strategies`.
        n_init: points of the shared initial Sobol design.
        n_iter: rounds after it.
        q: points per round.
        replicates: R, how many runs of each strategy.
        seed: an int, or one for each replicate.
        progress: print a line for each strategy to standard error.
        checkpoint: a file in which the state is saved after every round; if it exists, the study
            goes on from there.

    Raises:
        DataError: counts below 1, no strategies, a problem that fails everywhere, proposals that
            are not finite or outside the bounds.
        ShapeError: proposals or values of the wrong shape.
        OptimizationError: a strategy raised; its own error is the cause.
        StorageError: a checkpoint of another study.

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
    box = check_bounds(problem.bounds)
    counts = {"n_init": n_init, "n_iter": n_iter, "q": q, "replicates": replicates}
    for name, value in counts.items():
        check_count(name, value)
    _check_strategies(strategies)
    run_seeds = tuple(replicate_seeds(check_seed(seed), (replicates,)))
    trials = _Trials(problem, run_seeds)
    design = sobol_points(box, n_init, seed=derive_each(run_seeds, "design"), replicates=replicates)
    start = trials.evaluate(design, first=0)
    _check_design(start)
    saved = _Checkpoint.open(checkpoint, problem, box, n_init, n_iter, q, run_seeds, strategies)
    records = {}
    for name, strategy in strategies.items():
        record = _Record.begin(start, n_init + n_iter * q, n_iter + 1)
        arm = _Arm(name, strategy, box, run_seeds)
        saved.restore(name, record, arm)
        for t in range(record.rounds, n_iter + 1):
            _advance(record, arm, trials, n_init, q, t, last=t == n_iter)
            saved.store(name, record, arm)
            if progress:
                end = "\n" if t == n_iter else ""
                print(f"\r{name}: {min(t + 1, n_iter)}/{n_iter} rounds", end=end, file=sys.stderr)
        records[name] = (record, arm)
    recommending = {name: r for name, (r, arm) in records.items() if arm.recommends}
    return StudyResult(
        problem=_name(problem),
        output=str(getattr(problem, "output", "value")),
        bounds=box,
        optimal_value=None if problem.optimal_value is None else float(problem.optimal_value),
        noise_std=float(problem.noise_std),
        n_init=n_init,
        n_iter=n_iter,
        q=q,
        seeds=run_seeds,
        X={name: r.X for name, (r, _) in records.items()},
        Y={name: r.Y for name, (r, _) in records.items()},
        observed={name: r.observed for name, (r, _) in records.items()},
        values={name: r.values for name, (r, _) in records.items()},
        recommended={name: r.recommended for name, r in recommending.items()},
        recommended_values={name: r.recommended_values for name, r in recommending.items()},
        seconds={name: r.seconds for name, (r, _) in records.items()},
        batched={name: arm.mode == "batch" for name, (_, arm) in records.items()},
        notes={name: arm.note for name, (_, arm) in records.items() if arm.note},
        failures={name: tuple(r.failures) for name, (r, _) in records.items()},
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

    def evaluate(self, X: Tensor, first: int) -> _Batch:
        """Evaluate ``R k d`` as the evaluations first, first + 1, ... of every replicate."""
        columns, failures, error = [], [], None
        for j in range(X.shape[1]):
            noise = derive_each(self.seeds, "noise", first + j)
            column, raised = self._guarded(self.problem, X[:, j : j + 1], tuple(cast(Any, noise)))
            for i in (~column.isfinite().all(-1)[:, 0]).nonzero()[:, 0].tolist():
                reason = repr(raised[i]) if i in raised else "not a finite number"
                failures.append(Failure(i, first + j, reason))
                error = raised.get(i, error)
            columns.append(column)
        Y = torch.cat(columns, dim=1)
        observed = Y.isfinite().all(-1)
        Y = torch.where(observed.unsqueeze(-1), Y, torch.nan)
        values = Y[..., 0] if self.problem.noise_std == 0.0 else self.noiseless(X)
        values = torch.where(observed, values, torch.nan)
        return _Batch(X, Y, observed, values, failures, error)

    def noiseless(self, X: Tensor) -> Tensor:
        """Noise-free first outputs ``R k`` at ``R k d``; NaN where the problem fails."""
        columns = [
            self._guarded(lambda x, seed: self.problem.noiseless(x), X[:, j : j + 1], self.seeds)[0]
            for j in range(X.shape[1])
        ]
        values = torch.cat(columns, dim=1)[..., 0]
        return torch.where(values.isfinite(), values, torch.nan)

    def _guarded(
        self, f: Callable[[Tensor, Seed | None], Tensor], X: Tensor, seeds: tuple[int, ...]
    ) -> tuple[Tensor, dict[int, Exception]]:
        """f at ``R 1 d``; if it raises, once more for each replicate, to find out which failed."""
        try:
            return self._checked(f(X, seeds), len(X)), {}
        except Exception as error:
            rows: list[Tensor | None] = []
            raised: dict[int, Exception] = {}
            if len(X) == 1:
                rows, raised = [None], {0: error}
            for i in range(len(X) if len(X) > 1 else 0):
                try:
                    rows.append(self._checked(f(X[i : i + 1], (seeds[i],)), 1))
                except Exception as error:
                    rows.append(None)
                    raised[i] = error
        m = next((row.shape[-1] for row in rows if row is not None), 1)
        failed = torch.full((1, 1, m), torch.nan, dtype=torch.float64, device=X.device)
        return torch.cat([failed if row is None else row for row in rows]), raised

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
        where = slice(self.used, self.used + batch.X.shape[1])
        for key in ("X", "Y", "observed", "values"):
            getattr(self, key)[:, where] = getattr(batch, key)
        self.failures += batch.failures
        self.used = where.stop

    def data(self, bounds: Tensor, n_init: int, t: int) -> StudyData:
        """What the strategy may see; copies, so that nobody can write into the record."""
        n = self.used
        return StudyData(
            X=self.X[:, :n].clone(),
            Y=self.Y[:, :n].clone(),
            observed=self.observed[:, :n].clone(),
            bounds=bounds,
            X_pending=None,
            round=t,
            n_init=n_init,
        )


def _advance(
    record: _Record, arm: "_Arm", trials: _Trials, n_init: int, q: int, t: int, *, last: bool
) -> None:
    """One round: propose (not after the last), recommend for the data so far, evaluate."""
    data = record.data(arm.bounds, n_init, t)
    proposal = None
    if not last:
        proposal = arm.propose(data, q)
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
    one, ``X: n d``). The mode is found in the first round.
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
        if not self.mode:
            X = self._first(data, q)
        elif self.mode == "batch":
            X = self._timed(self._all, data, q)
        else:
            X = self._timed(self._one_by_one, data, q)
        return self._checked(X, data.round, "proposed")

    def recommend(self, data: StudyData) -> Tensor:
        """Points ``R d``, checked."""
        strategy = cast(Any, self.strategy)

        def ask(seen: StudyData, q: int) -> Tensor:
            shape = tuple(seen.X.shape[:-2]) + tuple(seen.X.shape[-1:])
            try:
                x = strategy.recommend(seen)
            except Exception as error:
                raise self._raised("recommend", data.round, error) from error
            if not isinstance(x, Tensor) or tuple(x.shape) != shape:
                raise ShapeError(
                    f"strategy {self.name!r}, round {data.round}: recommend: expected a tensor of "
                    f"shape {shape}, got {_describe(x)}"
                )
            return x

        def one_by_one(seen: StudyData, q: int) -> Tensor:
            axis = self.mode == "axis"
            views = [_replicate(seen, i, axis, self.state[i]) for i in range(len(seen.X))]
            rows = [ask(view, q) for view in views]
            return torch.cat(rows) if axis else torch.stack(rows)

        if self.mode == "batch":
            x = self._timed(ask, replace(data, state=self.state), 1)
        else:
            x = self._timed(one_by_one, data, 1)
        return self._checked(x.unsqueeze(1), data.round, "recommended")[:, 0]

    def _timed(self, call: Callable[[StudyData, int], Tensor], data: StudyData, q: int) -> Tensor:
        started = time.perf_counter()
        X = call(data, q)
        self.seconds += time.perf_counter() - started
        return X

    def _first(self, data: StudyData, q: int) -> Tensor:
        """The first round: find out how the strategy wants to be called, and call it."""
        declared = getattr(self.strategy, "batched", None)
        if declared is False:
            self.mode, self.state = "plain", [None] * len(data.X)
            self.note = "declares batched = False"
            return self._timed(self._one_by_one, data, q)
        self.mode = "batch"
        try:
            X = self._timed(self._all, data, q)
        except (OptimizationError, ShapeError) as error:
            if declared is True:
                raise
            return self._without_batch(data, q, error)
        if declared is True or self._agrees_alone(data, q, X):
            return X
        self.mode, self.state = "axis", [None] * len(data.X)
        self.note = (
            "proposes other points in the batch than alone: "
            "it mixes replicates, or draws without using its seed"
        )
        return self._timed(self._one_by_one, data, q)

    def _without_batch(self, data: StudyData, q: int, batch_error: BolearnError) -> Tensor:
        """It fails on all replicates: try it on one, without and with a replicate axis."""
        errors: list[BolearnError] = [batch_error]
        for mode in ("plain", "axis"):
            self.mode, self.state = mode, [None] * len(data.X)
            self.note = f"fails on all replicates at once: {batch_error.__cause__ or batch_error}"
            try:
                return self._timed(self._one_by_one, data, q)
            except (OptimizationError, ShapeError) as error:
                errors.append(error)
        if len({str(error.__cause__ or error) for error in errors}) == 1:
            raise batch_error
        raise OptimizationError(
            f"{batch_error}. Called with one replicate alone, X: {tuple(data.X.shape[1:])}, "
            f"it fails too: {errors[1]}"
        ) from ExceptionGroup("batched, alone, alone with a replicate axis", errors)

    def _agrees_alone(self, data: StudyData, q: int, X: Tensor) -> bool:
        """Whether most of up to three replicates get the same proposal alone as in the batch.

        Not all need to: a rounding error may tip the choice between two equally good points.
        """
        r = len(data.X)
        if r == 1:
            return True
        probes = sorted({0, r // 2, r - 1})
        width, agree = self.bounds[1] - self.bounds[0], 0
        for i in probes:
            alone, _ = self._call(_replicate(data, i, True, None), q, (self._seed(i, data.round),))
            agree += bool((((alone[0] - X[i]) / width).abs() <= _SAME_PROPOSAL).all())
        return 2 * agree > len(probes)

    def _all(self, data: StudyData, q: int) -> Tensor:
        seeds = tuple(self._seed(i, data.round) for i in range(len(data.X)))
        X, self.state = self._call(replace(data, state=self.state), q, seeds)
        return X

    def _one_by_one(self, data: StudyData, q: int) -> Tensor:
        rows, axis = [], self.mode == "axis"
        for i in range(len(data.X)):
            seed = self._seed(i, data.round)
            view = _replicate(data, i, axis, self.state[i])
            x, self.state[i] = self._call(view, q, (seed,) if axis else seed, replicate=i)
            rows.append(x if axis else x.unsqueeze(0))
        return torch.cat(rows)

    def _call(
        self, data: StudyData, q: int, seed: Seed, replicate: int | None = None
    ) -> tuple[Tensor, object]:
        """Call the strategy; check the shape of what it returns."""
        try:
            out = self.strategy(data, self.bounds, q, seed)
        except Exception as error:
            raise self._raised("", data.round, error, replicate) from error
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
        return cast(int, derive_each(self.run_seeds[i], "strategy", t))

    def _raised(
        self, what: str, t: int, error: Exception, replicate: int | None = None
    ) -> OptimizationError:
        where = f"strategy {self.name!r}, round {t}{_of(replicate)}"
        call = f"{what} raised" if what else "it raised"
        return OptimizationError(f"{where}: {call} {type(error).__name__}: {error}")

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


class _Checkpoint:
    """Saves every round of a study in one file, and brings a study back to where it was."""

    def __init__(self, path: Path | None, settings: dict[str, Any], arms: dict[str, Any]) -> None:
        self.path, self.settings, self.arms = path, settings, arms

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None,
        problem: StudyProblem,
        bounds: Tensor,
        n_init: int,
        n_iter: int,
        q: int,
        seeds: tuple[int, ...],
        strategies: Mapping[str, Strategy],
    ) -> "_Checkpoint":
        settings = {
            "format": _FORMAT,
            "problem": _name(problem),
            "bounds": bounds.tolist(),
            "noise_std": float(problem.noise_std),
            "n_init": n_init,
            "n_iter": n_iter,
            "q": q,
            "seeds": list(seeds),
            "strategies": list(strategies),
        }
        if path is None:
            return cls(None, settings, {})
        file = Path(path)
        if not file.exists():
            return cls(file, settings, {})
        try:
            content = torch.load(file, weights_only=True)
            found = content["settings"]
        except Exception as error:
            raise StorageError(
                f"{file}: expected the checkpoint of a study ({error}); move it away to start anew"
            ) from error
        for key, value in settings.items():
            if found.get(key) != value:
                raise StorageError(
                    f"{file}: the checkpoint belongs to another study: {key} is "
                    f"{_short(found.get(key))} there and {_short(value)} here; use another file"
                )
        return cls(file, settings, content["arms"])

    def store(self, name: str, record: _Record, arm: _Arm) -> None:
        """Save one strategy's progress; the file is replaced as a whole or not at all."""
        if self.path is None:
            return
        if not _is_plain(arm.state):
            raise StorageError(
                f"strategy {name!r}: a checkpoint needs a state made of tensors, numbers, strings, "
                f"lists, tuples and dictionaries, got {type(arm.state).__name__}; "
                "run the study without checkpoint="
            )
        content = vars(record) | {
            "failures": [(f.replicate, f.evaluation, f.reason) for f in record.failures]
        }
        self.arms[name] = {
            "record": {k: v.clone() if isinstance(v, Tensor) else v for k, v in content.items()},
            "arm": {"mode": arm.mode, "note": arm.note, "state": arm.state},
        }
        part = self.path.with_name(self.path.name + ".part")
        torch.save({"settings": self.settings, "arms": self.arms}, part)
        os.replace(part, self.path)

    def restore(self, name: str, record: _Record, arm: _Arm) -> None:
        """Bring record and arm to the saved round, if there is one."""
        if name not in self.arms:
            return
        saved = self.arms[name]
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


def _is_plain(state: object) -> bool:
    if isinstance(state, list | tuple):
        return all(_is_plain(entry) for entry in state)
    if isinstance(state, dict):
        return all(_is_plain(entry) for pair in state.items() for entry in pair)
    return state is None or isinstance(state, Tensor | int | float | str)


def _of(replicate: int | None) -> str:
    return "" if replicate is None else f", replicate {replicate}"


def _short(x: object) -> str:
    text = repr(x)
    return text if len(text) <= 80 else text[:77] + "..."


def _to_lists(x: Tensor) -> Any:
    """Nested lists with None for NaN: JSON has no other word for it."""
    if x.ndim > 1:
        return [_to_lists(row) for row in x]
    return [None if value != value else value for value in x.tolist()]


def _from_lists(x: Sequence[Any]) -> Tensor:
    def numbers(entry: Any) -> Any:
        if isinstance(entry, list):
            return [numbers(value) for value in entry]
        return float("nan") if entry is None else float(entry)

    return torch.tensor(numbers(x), dtype=torch.float64)


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("bolearn", "torch", "gpytorch", "numpy", "scipy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
