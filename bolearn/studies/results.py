"""What a study saw: regrets, tables and paired comparisons, and a file to keep them in.

Regret is measured on noise-free values against the problem's known optimum, with several objectives
on the hypervolume of all that was evaluated; differences are taken within replicates, where both
methods met the same start and the same noise (`bolearn.stats`).

Taught in part_4/tutorial_03.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError, StorageError
from ..shapes import check_count
from ..stats import PairedComparison, compare_paired, quantiles
from .files import is_sealed, seal, write_whole
from .fronts import hypervolumes

if TYPE_CHECKING:
    import pandas

Kind = Literal["simple", "inference", "hypervolume"]

FORMAT = "bolearn.study/2"
_WITHOUT_CHECKSUM = "bolearn.study/1"
_PLAIN = ("problem", "output", "optimal_value", "noise_std", "n_init", "n_iter", "q")
_TENSORS = ("X", "Y", "observed", "values", "outcomes", "recommended", "recommended_values")
_FALSE_OPTIMUM = 1e-8  # relative: how far a value may exceed the known optimum


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
    (``R N``) hold the N = n_init + n_iter q evaluations; `values` (``R N``) what they are worth:
    output 0 without noise, with a fidelity at its target, NaN for evaluations that failed or that
    do not meet a constraint; `recommended` (``R n_iter+1 d``, only for strategies that recommend)
    the points recommended after the initial design and after each round, `recommended_values`
    (``R n_iter+1``) what these are worth. `seconds` is the time spent inside the strategy.
    `batched` says whether it worked on all replicates at once, `notes` why not. `seeds` are the R
    seeds of the replicates:
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
    ref_point: tuple[float, ...] = ()
    optimal_hypervolume: float | None = None
    outcomes: dict[str, Tensor] = field(default_factory=dict)

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

    @property
    def default_kind(self) -> Kind:
        """The kind of regret that is meant if none is named."""
        return "hypervolume" if self.outcomes else "simple"

    def optimum(self, kind: Kind | None = None) -> float | None:
        """What `best` cannot exceed, if it is known."""
        several = (kind or self.default_kind) == "hypervolume"
        return self.optimal_hypervolume if several else self.optimal_value

    def best(self, name: str, kind: Kind | None = None) -> Float[Tensor, "R N"]:
        """Noise-free value in hand after each evaluation.

        Args:
            name: a strategy.
            kind: "simple": the best value evaluated so far (minus infinity before the first
                success that meets all constraints). "inference": the value at the recommended
                point, held between rounds (minus infinity if it fails or meets a constraint not,
                NaN before the initial design is complete); needs a strategy with `recommend`.
                "hypervolume": what all evaluated points together dominate above the reference
                point; needs several objectives, and is then the default.

        Raises:
            DataError: unknown strategy or kind, or a strategy that recommends nothing.
        """
        self._check_name(name)
        kind = kind or self.default_kind
        if kind == "hypervolume":
            if name not in self.outcomes:
                raise DataError(
                    f"kind: {self.problem} has no hypervolume; give the problem several objectives "
                    "with a ref_point, or use kind='simple'"
                )
            return hypervolumes(self.outcomes[name], self.ref_point)
        if kind == "simple":
            values = self.values[name]
            return values.masked_fill(values.isnan(), -torch.inf).cummax(-1).values
        if kind != "inference":
            raise DataError(f"kind: expected 'simple', 'inference' or 'hypervolume', got {kind!r}")
        if name not in self.recommended_values:
            raise DataError(
                f"strategy {name!r} recommends nothing, so it has no inference regret; give it a "
                "method recommend(data) -> R d, or use kind='simple'"
            )
        held = self.recommended_values[name]
        held = held.masked_fill(held.isnan(), -torch.inf)
        steps = (self.evaluations - self.n_init).div(self.q, rounding_mode="floor")
        best = held[:, steps.clamp(min=0)]
        best[:, : self.n_init - 1] = torch.nan
        return best

    def regret(self, name: str, kind: Kind | None = None) -> Float[Tensor, "R N"]:
        """Distance to the known optimum after each evaluation: optimal value - `best`.

        Args:
            name, kind: as in `best`.

        Raises:
            DataError: the problem's optimum is not known, or a value exceeds it.
        """
        best, optimum = self.best(name, kind), self.optimum(kind)
        several = (kind or self.default_kind) == "hypervolume"
        which = "optimal_hypervolume" if several else "optimal_value"
        if optimum is None:
            words = which.replace("_", " ")
            raise DataError(
                f"regret needs the {words} of {self.problem}, which is not known; give {which}= to "
                "the problem, or use result.best(name)"
            )
        regret = optimum - best
        slack = _FALSE_OPTIMUM * max(1.0, abs(optimum))
        if (regret < -slack).any():
            raise DataError(
                f"{name!r} found the value {best[~best.isnan()].max().item():.17g}, better than "
                f"{which} = {optimum:.17g} of {self.problem}; correct it"
            )
        return torch.where(regret.abs() <= slack, regret.clamp(min=0.0), regret)

    def compare(
        self,
        a: str,
        b: str,
        *,
        at: int | None = None,
        kind: Kind | None = None,
        floor: float = 1e-12,
        confidence: float = 0.95,
    ) -> PairedComparison:
        """Compare two strategies by the paired differences of their log10 regret.

        Where the optimum is not known, by the best values themselves. A run that has found nothing
        yet has an infinite score: it loses against one that has, and ties with another such run.

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
        better: Literal["lower", "higher"] = "lower" if self.optimum(kind) is not None else "higher"
        return compare_paired(*scores, better=better, confidence=confidence)

    def scores(
        self, name: str, *, at: int | None = None, kind: Kind | None = None, floor: float = 1e-12
    ) -> Float[Tensor, " R"]:
        """What `compare` compares: log10 regret, or best value where the optimum is not known.

        Args:
            name: a strategy.
            at, kind, floor: as in `compare`.

        Raises:
            DataError: an unknown name, or a budget outside the study.
        """
        index = self._index(at, kind)
        if self.optimum(kind) is None:
            return self.best(name, kind)[:, index]
        return self.regret(name, kind)[:, index].clamp(min=floor).log10()

    def table(
        self,
        at: int | None = None,
        *,
        reference: str | None = None,
        kind: Kind | None = None,
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
        index, known = self._index(at, kind), self.optimum(kind) is not None
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

    def long_table(self) -> "pandas.DataFrame":
        """One row for each evaluation: what happened, for figures and statistics of one's own.

        Columns: strategy, replicate, evaluation (from 1), the inputs ``x1, x2, ...``, the measured
        outputs ``y1, y2, ...`` (NaN where the evaluation failed), whether it is ``observed``, its
        noise-free ``value``, and the ``best`` value so far; with a known optimum the ``regret``.
        """
        import pandas

        R, N = self.replicates, len(self.evaluations)
        parts = []
        for name in self.names:
            columns: dict[str, Any] = {
                "strategy": name,
                "replicate": torch.arange(R).repeat_interleave(N),
                "evaluation": self.evaluations.repeat(R),
            }
            for letter, x in (("x", self.X[name]), ("y", self.Y[name])):
                columns |= {f"{letter}{k + 1}": x[..., k].flatten() for k in range(x.shape[-1])}
            columns["observed"] = self.observed[name].flatten()
            columns["value"] = self.values[name].flatten()
            columns["best"] = self.best(name).flatten()
            if self.optimum() is not None:
                columns["regret"] = self.regret(name).flatten()
            parts.append(
                pandas.DataFrame(
                    {k: v.cpu().numpy() if isinstance(v, Tensor) else v for k, v in columns.items()}
                )
            )
        return pandas.concat(parts, ignore_index=True)

    def to_json(self, path: str | os.PathLike[str], *, points: bool = True) -> None:
        """Write the result as JSON: plain lists of decimal numbers that read back exactly.

        Args:
            path: where; replaced as a whole or not at all.
            points: False leaves out the evaluated points (most of the file); values, regrets,
                tables and comparisons stay.

        Raises:
            StorageError: the file cannot be written.
        """
        content: dict[str, Any] = {"format": FORMAT, "checksum": ""}
        content |= {name: getattr(self, name) for name in (*_PLAIN, "seeds")}
        content["bounds"] = _to_lists(self.bounds)
        content["strategies"] = {name: self._arm(name, points) for name in self.names}
        content["versions"] = self.versions
        if self.outcomes:
            content["ref_point"] = self.ref_point
            content["optimal_hypervolume"] = self.optimal_hypervolume
        text = json.dumps(content, allow_nan=False)
        try:
            write_whole(Path(path), seal(text))
        except (OSError, TypeError) as error:
            raise StorageError(
                f"{path}: the study cannot be written there ({error}); choose a file in a folder "
                "that exists"
            ) from error

    def _arm(self, name: str, points: bool) -> dict[str, object]:
        """What a file holds of one strategy."""
        arm: dict[str, object] = {
            "seconds": self.seconds[name],
            "batched": self.batched[name],
            "note": self.notes.get(name, ""),
            "failures": [[f.replicate, f.evaluation, f.reason] for f in self.failures[name]],
        }
        for key in _TENSORS:
            tensors = getattr(self, key)
            if name in tensors and (points or key not in ("X", "recommended")):
                arm[key] = _to_lists(tensors[name])
        return arm

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> "StudyResult":
        """Read what `to_json` wrote. Without points, `X` and `recommended` hold NaN.

        Raises:
            StorageError: not a study, one of another format, one that lacks something, or one of
                which a bit has changed.
        """
        try:
            written = Path(path).read_bytes()
            content = json.loads(written)
            found = content["format"]
            if found not in (FORMAT, _WITHOUT_CHECKSUM):
                raise StorageError(f"{path}: expected format {FORMAT!r}, got {found!r}")
            if found == FORMAT and not is_sealed(written, content["checksum"]):
                raise ValueError("its checksum is wrong: it is damaged, or was edited")
            result = cls._from_content(content)
            result._check_shapes()
        except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise StorageError(
                f"{path}: expected a study written by StudyResult.to_json ({error!r})"
            ) from error
        return result

    @classmethod
    def _from_content(cls, content: dict[str, Any]) -> "StudyResult":
        """The result in a file; points that were left out are NaN, as many as there are values."""
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
            **{name: content[name] for name in _PLAIN},
            bounds=bounds,
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
            ref_point=tuple(content.get("ref_point", ())),
            optimal_hypervolume=content.get("optimal_hypervolume"),
            outcomes=tensors("outcomes"),
        )

    def _check_shapes(self) -> None:
        """Whether a file holds whole tables."""
        R, N, T, d = self.replicates, len(self.evaluations), self.n_iter + 1, self.bounds.shape[-1]
        wanted = {"X": (R, N, d), "observed": (R, N), "values": (R, N)}
        wanted |= {"recommended": (R, T, d), "recommended_values": (R, T)}
        wanted |= {"outcomes": (R, N, len(self.ref_point))}
        for key, shape in wanted.items():
            for name, x in getattr(self, key).items():
                if x.shape != shape:
                    raise DataError(f"{key} of {name!r}: expected {shape}, got {tuple(x.shape)}")
        for key in ("X", "Y", "observed", "values"):
            if list(getattr(self, key)) != list(self.seconds):
                raise DataError(f"{key}: expected an entry for each of {list(self.seconds)}")
        for name, y in self.Y.items():
            if y.ndim != 3 or y.shape[:2] != (R, N):
                raise DataError(f"Y of {name!r}: expected ({R}, {N}, m), got {tuple(y.shape)}")

    def _check_name(self, name: str) -> None:
        if name not in self.X:
            raise DataError(f"expected one of the strategies {list(self.names)}, got {name!r}")

    def _index(self, at: int | None, kind: Kind | None) -> int:
        """The column of a curve that belongs to ``at`` evaluations, checked."""
        total = len(self.evaluations)
        if at is None:
            return total - 1
        if check_count("at", at) > total:
            raise DataError(f"at: the study has {total} evaluations, got at={at}")
        if kind == "inference" and at < self.n_init:
            raise DataError(
                f"at: nothing is recommended before the initial design is complete, expected "
                f"at least n_init = {self.n_init}, got at={at}; use kind='simple'"
            )
        return at - 1


def _to_lists(x: Tensor) -> Any:
    """Nested lists with None for NaN: JSON has no other word for it."""
    if x.ndim > 1:
        return [_to_lists(row) for row in x]
    return [None if value != value else value for value in x.tolist()]


def _from_lists(x: Sequence[Any]) -> Tensor:
    """Undoes `_to_lists`."""

    def numbers(entry: Any) -> Any:
        if isinstance(entry, list):
            return [numbers(value) for value in entry]
        return float("nan") if entry is None else float(entry)

    return torch.tensor(numbers(x), dtype=torch.float64)
