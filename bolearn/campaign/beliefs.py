"""From trials to models: what is told to them, and what is not.

Each outcome has a model of its own data: a trial whose cost is missing still teaches the yield.
Repeats are rows of their own, from which noise is learnt; standard errors that were told for every
row are taken as known (one of 0 says nothing: nobody measures without error). Trials of an earlier
space are read in the present one: renamed, filled in, and a category that is gone becomes a label
unlike all others. Failures have a model of their own: a Gaussian process through the labels 1 (it
worked) and 0 (it failed), P(success) = Phi((mean - 1/2) / std), least-squares classification.

Source: Rasmussen & Williams, "Gaussian processes for machine learning", 2006, section 6.5.
Taught in part_5/tutorial_04.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError
from ..models.exact import ExactGP
from ..models.fit import fit_mll
from ..models.model_list import ModelList
from ..models.priors import matern_kernel
from ..numerics import log_ndtr
from ..space.parameters import Categorical, Value
from ..space.space import Space
from .trial import Trial
from .values import Measured
from .writer import Revision, Snapshot

_LABEL_NOISE = 0.01  # variance of the labels of failures: one may be an accident
_LEAST_NOISE = 1e-6  # of the variance of the values: what a told standard error counts at least


class Encoder:
    """Trials as codes of the present space; each is worked out once.

    Args:
        revisions: of the campaign, the present one last.
    """

    def __init__(self, revisions: Sequence[Revision]) -> None:
        self.revisions = tuple(revisions)
        self.space: Space = self.revisions[-1].space
        self._known: dict[int, tuple[Trial, Tensor | None]] = {}
        self.designs: dict[tuple[Any, ...], Tensor] = {}  # of `proposals`: parts of the sequence

    def point(self, parameters: Mapping[str, Value], revision: int) -> dict[str, Value]:
        """Parameters of an earlier revision, renamed and filled in for the present one."""
        found = dict(parameters)
        for later in self.revisions[revision + 1 :]:
            found = {later.rename.get(name, name): value for name, value in found.items()}
            for name, value in later.fill.items():
                found.setdefault(name, value)
            found = {name: found[name] for name in later.space.names if name in found}
        return found

    def code(self, trial: Trial) -> Tensor | None:
        """The code ``d`` of what was really set; None where the present space has none."""
        known = self._known.get(trial.id)
        if known is not None:
            before = known[0]
            if before is trial or (before.asked == trial.asked and before.used == trial.used):
                return known[1]
        code = self._encoded(self.point(trial.parameters, trial.revision))
        self._known[trial.id] = (trial, code)
        return code

    def _encoded(self, point: dict[str, Value]) -> Tensor | None:
        gone: list[str] = []
        for p in self.space:
            if p.name not in point:
                return None
            if isinstance(p, Categorical) and p.complaint(point[p.name]):
                if p.ordered:
                    return None
                point[p.name], gone = p.values[0], [*gone, p.name]
        try:
            code = self.space.encode(point, allow_outside=True)
        except DataError:  # below zero on what is a logarithmic axis now
            return None
        for name in gone:
            code[self.space.columns[name]] = 0.0
        return code

    def codes(self, trials: Sequence[Trial]) -> Float[Tensor, "n d"]:
        """The codes of those that have one."""
        found = [code for code in map(self.code, trials) if code is not None]
        return torch.stack(found) if found else torch.zeros(0, self.space.d, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Rows:
    """What the model of one outcome is told.

    Attributes:
        X: codes ``n d``.
        Y: values ``n m``, in the units of the outcomes: m = 1, or those measured together.
        variance: of each, squared units ``n m``, where every row was told a standard error.
    """

    X: Float[Tensor, "n d"]
    Y: Float[Tensor, "n m"]
    variance: Float[Tensor, "n m"] | None


def counted(trial: Trial) -> dict[str, Measured]:
    """What a trial has to say: its outcomes; of one that was stopped, the last that it reported."""
    if trial.excluded:
        return {}
    if trial.state != "stopped":
        return trial.measured
    found: dict[str, Measured] = {}
    for _, values in trial.reports:
        found |= values
    return {**found, **trial.measured}


def rows_of(trials: Sequence[Trial], encoder: Encoder, outcome: str) -> Rows | None:
    """The rows of one outcome, in the order of the trials; None without any."""
    X, y, sems = [], [], []
    for trial in trials:
        measured = counted(trial).get(outcome)
        code = None if measured is None else encoder.code(trial)
        if measured is None or code is None:
            continue
        for value in measured.values:
            X.append(code)
            y.append(value)
            sems.append(measured.sem or 0.0)
    if not X:
        return None
    Y = torch.tensor(y, dtype=torch.float64).unsqueeze(-1)
    variance = None
    if min(sems) > 0:
        least = _LEAST_NOISE * max(Y.var(correction=0).item(), 1e-300)
        squared = torch.tensor(sems, dtype=torch.float64).square().clamp_min(least)
        variance = squared.unsqueeze(-1)
    return Rows(torch.stack(X), Y, variance)


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What is believed of a campaign's outcomes, given what was told so far.

    Attributes:
        outcomes: the modelled ones, in the order of the model's outputs.
        model: an `ExactGP` where all were measured at the same points, else a `ModelList`.
        baseline_X: codes of the trials whose first objective is known, ``n d``.
        success: model of the labels of failures; None while nothing failed.
    """

    outcomes: tuple[str, ...]
    model: Any
    baseline_X: Float[Tensor, "n d"]
    success: ExactGP | None

    def predict(self, X: Float[Tensor, "n d"]) -> dict[str, tuple[list[float], list[float]]]:
        """Mean and standard deviation of each outcome at codes ``n d``."""
        with torch.no_grad():
            belief = self.model.posterior(X)
            mean, std = belief.mean, belief.variance.clamp_min(0).sqrt()
        return {
            name: (mean[:, i].tolist(), std[:, i].tolist()) for i, name in enumerate(self.outcomes)
        }

    def log_success(self, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "*batch"]:
        """log P(all q points work): 0 while nothing failed."""
        if self.success is None:
            return torch.zeros(X.shape[:-2], dtype=X.dtype)
        belief = self.success.posterior(X)
        z = (belief.mean - 0.5) / belief.variance.clamp_min(1e-12).sqrt()
        return log_ndtr(z).squeeze(-1).sum(-1)


def believe(
    view: Snapshot, encoder: Encoder, outcomes: Sequence[str], *, deterministic: bool
) -> Beliefs | None:
    """Fit the models; None while an outcome has no value.

    Raises:
        FitError, NumericsError: as `fit_mll`.
    """
    trials = [view.trials[i] for i in sorted(view.trials)]
    rows = [rows_of(trials, encoder, name) for name in outcomes]
    if any(r is None for r in rows):
        return None
    known = [r for r in rows if r is not None]
    first = known[0]
    together = all(torch.equal(r.X, first.X) and r.variance is None for r in known)
    if together:
        merged = replace(first, Y=torch.cat([r.Y for r in known], dim=-1), variance=None)
        model: Any = fit_mll(_gp(merged, encoder.space, deterministic))
    else:
        model = fit_mll(ModelList([_gp(r, encoder.space, deterministic) for r in known]))
    return Beliefs(tuple(outcomes), model, first.X, _success(trials, encoder))


def _gp(rows: Rows, space: Space, deterministic: bool) -> ExactGP:
    """The model that all strategies use: Matern-5/2 under its usual priors."""
    d, m = rows.X.shape[-1], rows.Y.shape[-1]
    options: dict[str, Any] = {"noise_free": deterministic}
    if rows.variance is not None:
        options = {"noise_var": rows.variance}
    return ExactGP(rows.X, rows.Y, space.bounds, kernel=matern_kernel(d, (m,)), **options)


def _success(trials: Sequence[Trial], encoder: Encoder) -> ExactGP | None:
    """The model of what works, if anything failed and anything did not."""
    X, labels = [], []
    for trial in trials:
        failed = trial.state == "failed" and not trial.measured
        worked = bool(counted(trial))
        code = encoder.code(trial) if (failed or worked) and not trial.excluded else None
        if code is not None:
            X.append(code)
            labels.append(0.0 if failed else 1.0)
    if not labels or math.isclose(sum(labels), len(labels)) or sum(labels) == 0:
        return None
    space, Y = encoder.space, torch.tensor(labels, dtype=torch.float64).unsqueeze(-1)
    kernel = matern_kernel(space.d, (1,))
    noisy = ExactGP(torch.stack(X), Y, space.bounds, kernel=kernel, noise_var=_LABEL_NOISE)
    return fit_mll(noisy)
