"""A strategy in a study: called with all replicates at once if it can, else one by one.

Whether it can is found out by asking: a strategy that proposes the same points in the batch as
alone does not mix its replicates.

Taught in part_4/tutorial_03.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import BolearnError, DataError, OptimizationError, ShapeError
from ..seeds import Seed, derive
from ..space.space import Space
from ..strategies.protocol import Strategy, StudyData

_SAME_PROPOSAL = 1e-4  # of the box: how far a proposal in the batch may be from the one made alone
_ROUNDING = 1e-9  # of the box: how far outside a proposal may be, to be moved back


@dataclass
class Arm:
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
    space: Space | None = None

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
        X = torch.maximum(torch.minimum(X, upper), lower)
        if self.space is not None:
            self._check_legal(X, where, verb)
        return X

    def _check_legal(self, X: Tensor, where: str, verb: str) -> None:
        """Codes ``R k d`` have to be legal points of the space.

        Raises:
            DataError: some are not.
        """
        assert self.space is not None
        legal = self.space.is_legal(X)
        if not legal.all():
            i, j = (int(k) for k in (~legal).nonzero()[0])
            raise DataError(
                f"{where}, replicate {i}: {verb} {X[i, j].tolist()}, which is no legal point of "
                "the space; use data.space.round(X), or optimize_acqf(acq, space=data.space)"
            )


def _replicate(data: StudyData, i: int, axis: bool, state: object) -> StudyData:
    """Replicate i alone, with a replicate axis of one or without."""
    at: Any = slice(i, i + 1) if axis else i
    return replace(data, X=data.X[at], Y=data.Y[at], observed=data.observed[at], state=state)


def _copied(data: StudyData) -> StudyData:
    """Copies, so that a strategy that writes into its data writes into nobody else's."""
    tensors = {key: getattr(data, key).clone() for key in ("X", "Y", "observed", "bounds")}
    return replace(data, **tensors)


def _describe(x: object) -> str:
    if isinstance(x, Tensor):
        return f"a tensor of shape {tuple(x.shape)}"
    if isinstance(x, tuple):
        return f"a tuple of {', '.join(_describe(entry) for entry in x)}"
    return type(x).__name__


def _late(data: StudyData) -> str:
    return f" in round {data.round}" if data.round else ""


def _of(replicate: int | None) -> str:
    return "" if replicate is None else f", replicate {replicate}"
