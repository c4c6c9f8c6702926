r"""Maximum a posteriori hyperparameters: every start of every replicate and output in one batch.

The objective of a row (one start of one data set) is its log marginal likelihood plus the log
densities of the hyperparameters' priors, per observation. For plain kernels its gradient comes in
closed form (`fit_plain`); for any other kernel that of the likelihood does, and the kernel's comes
from autograd (`fit_general`). Both climb in logarithms of what is positive: a change of 1 is then
large, whatever the parameter.

Taught in part_3/tutorial_03 (the gradient) and part_4/tutorial_01 (priors, starts).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from gpytorch.means import ConstantMean
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .. import seeds
from ..errors import DataError, FitError, FitWarning, NumericsError
from ..optim import lbfgs
from ..optim.minimum import LIMIT, Minimum
from .exact import ExactGP
from .factor import check_kernel
from .fit_general import GeneralRows
from .fit_plain import PlainRows
from .model_list import ModelList

_RETRIES = 5
# The tolerances of SciPy's L-BFGS-B, which BoTorch's fit uses.
_GTOL, _FTOL = 1e-5, 2.220446049250313e-09
_LIMIT = 500  # iterations


@dataclass(frozen=True, eq=False)
class FitReport:
    """What happened in a fit, for each replicate and output (``*r m``).

    Attributes:
        value: log posterior density of the hyperparameters per observation, at the end.
        start: which start won; 0 is the given one if there was one.
        spread: value of the winner minus the worst start's, as far as that one climbed (rows on
            their way to an end already reached are given up).
        iterations: accepted steps of the winner.
        converged: whether the winner met a convergence test.
        limited: whether the winner was stopped by the limit on iterations: it might have gone on.
        evaluations: calls of the batched objective.
        attempts: 1, or more when the first starts all failed and others were drawn.
    """

    value: Float[Tensor, "*r m"]
    start: Int[Tensor, "*r m"]
    spread: Float[Tensor, "*r m"]
    iterations: Int[Tensor, "*r m"]
    converged: Bool[Tensor, "*r m"]
    limited: Bool[Tensor, "*r m"]
    evaluations: int
    attempts: int

    def __str__(self) -> str:
        done, total = int(self.converged.sum()), self.converged.numel()
        stopped = int(self.limited.sum())
        return (
            f"fit: {done} of {total} data sets converged, "
            + (f"{stopped} stopped at the limit of iterations, " if stopped else "")
            + f"{self.evaluations} batched evaluations, "
            f"log posterior per observation {self.value.min().item():.4f} to "
            f"{self.value.max().item():.4f}, attempts {self.attempts}"
        )


_Start = dict[str, Any] | None
_Model = TypeVar("_Model", ExactGP, ModelList)


def fit_mll(
    model: _Model, *, start: _Start | Sequence[_Start] = None, seed: seeds.Seed = 0
) -> _Model:
    """The model with its hyperparameters fitted by maximum a posteriori, from several starts.

    The model that is given stays as it is.

    The starts are fixed (smooth and rough functions, with little noise and with much) and equal
    for all replicates; only if all of them fail are others drawn: from log-normal priors, where
    the closed form applies, and otherwise round the first start. Frozen parameters
    (``requires_grad`` is False) stay as they are.

    Args:
        model: the model. Of a `ModelList`, every model is fitted.
        start: `ExactGP.hyperparameters` of an earlier fit (a warm start): tried beside the first
            fixed start instead of the others. For a `ModelList`, one (or None) for each model.
        seed: for the starts that are drawn when the fixed ones fail.

    Returns:
        A new model of the same data with the best hyperparameters found, and a ``fit_report``
        (for a `ModelList`, a tuple of them).

    Warns:
        FitWarning: a climb was stopped by the limit of 500 iterations: the end may not be a
            maximum.

    Raises:
        DataError: a start with unknown names, or a model that is no Gaussian process.
        FitError: no start of some replicate gave a finite value.
        NumericsError: a kernel that is no covariance function.

    Example:
        >>> X = torch.linspace(0, 1, 8, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> model = fit_mll(ExactGP(X, (6 * X).sin(), box))
        >>> bool(model.fit_report.converged)
        True

    Source: Rasmussen & Williams 2006, equations 2.30 and 5.9.
    """
    seeds.check_seed(seed)
    if isinstance(model, ModelList):
        return _fit_each(model, start, seed)
    if not isinstance(model, ExactGP):
        raise DataError(_no_gp(model))
    if start is not None and not isinstance(start, dict):
        raise DataError(
            f"start: expected a dict of hyperparameters for one model, got {type(start).__name__}"
        )
    return _fit(model, start, seed)


def _no_gp(model: object) -> str:
    return (
        f"model: expected an ExactGP or a ModelList of them, got {type(model).__name__}; other "
        "surrogates fit themselves"
    )


def _fit_each(models: ModelList, start: _Start | Sequence[_Start], seed: seeds.Seed) -> ModelList:
    """Fit every model of a list."""
    parts = [part for part in models if isinstance(part, ExactGP)]
    if len(parts) < len(models):
        raise DataError(_no_gp(next(part for part in models if not isinstance(part, ExactGP))))
    starts = [start] * len(parts) if start is None else start
    if isinstance(starts, dict) or len(starts) != len(parts):
        raise DataError(
            f"start: expected a sequence of {len(parts)} starts (dicts or None), one for each "
            f"model, got {type(starts).__name__} of length {len(starts)}"
        )
    pairs = enumerate(zip(parts, starts, strict=True))
    fitted = [_fit(part, own, seeds.derive_each(seed, "model", i)) for i, (part, own) in pairs]
    return ModelList(fitted, fit_report=tuple(part.fit_report for part in fitted))


def _fit(model: ExactGP, start: _Start, seed: seeds.Seed) -> ExactGP:
    """Fit one Gaussian process."""
    model.check_unchanged(thoroughly=True)
    plain = _is_plain(model)
    if (
        model.stationary() is None
    ):  # noise that grows can hide that a kernel is no covariance function
        check_kernel(model, finite=False)
    rows: PlainRows | GeneralRows = PlainRows(model) if plain else GeneralRows(model)
    theta, ended = _starts(rows, start), []
    best: _Best | None = None
    for attempt in range(_RETRIES + 1):
        S = theta.shape[0]
        end = lbfgs.minimize(
            rows.objective(S),
            theta.reshape(S * rows.count, -1),
            rows.lower,
            rows.upper,
            ftol=_FTOL,
            gtol=_GTOL,
            max_iter=_LIMIT,
            first_step=0.5,
            max_step=2.0,
            rivals=torch.arange(rows.count, device=theta.device).repeat(S),
        )
        ended.append(end)
        # Data sets that have a fit keep it: what another one needs must not change them.
        best = _best_start(end, S) if best is None else best.filled_by(_best_start(end, S))
        if torch.isfinite(best.value).all():
            break
        theta = rows.draw(seeds.derive_each(seed, "fit", attempt))
    else:
        assert best is not None
        raise FitError(_explain_failure(model, int((~torch.isfinite(best.value)).sum())))
    shape = (*model.batch_shape, model.num_outputs)
    report = FitReport(
        value=-best.value.view(shape),
        start=best.start.view(shape),
        spread=best.spread.view(shape),
        iterations=best.iterations.view(shape),
        converged=best.converged.view(shape),
        limited=best.limited.view(shape),
        evaluations=sum(end.evaluations for end in ended),
        attempts=len(ended),
    )
    fitted = rows.fitted(best.theta, report)
    if not plain:
        fitted.factor()  # a kernel that is no covariance function is an error now, and not later
    _warn_of_limits(report)
    return fitted


def _warn_of_limits(report: FitReport) -> None:
    """Say that climbs were stopped before they ended."""
    stopped = int(report.limited.sum())
    if stopped:
        warnings.warn(
            f"fit_mll: {stopped} of {report.limited.numel()} data sets were stopped by the limit "
            f"of {_LIMIT} iterations and may not be at a maximum (see fit_report.limited); fit "
            "again with start=model.hyperparameters(), or look at the kernel's parameters: two "
            "that do the same leave a ridge without an end",
            FitWarning,
            stacklevel=4,
        )


def _explain_failure(model: ExactGP, lost: int) -> str:
    """Why no start of some data sets gave a likelihood."""
    rows = (*model.batch_shape, model.num_outputs)
    text = (
        f"fit_mll: no start gave a finite likelihood for {lost} of {torch.Size(rows).numel()} "
        f"data sets after {_RETRIES + 1} attempts; the model is unchanged. "
    )
    try:
        check_kernel(model)
    except NumericsError as cause:
        return f"{text}{cause}"
    return text + (
        "Look for duplicated inputs with different values and a tiny fixed noise_var, or pass a "
        "kernel with wider constraints"
    )


@dataclass(frozen=True, eq=False)
class _Best:
    """The best start of each data set b; value is infinite where every start failed."""

    theta: Tensor  # b p
    value: Tensor  # b: the objective, minus the log posterior per observation
    start: Tensor  # b
    spread: Tensor  # b
    iterations: Tensor  # b
    converged: Tensor  # b
    limited: Tensor  # b

    def filled_by(self, other: "_Best") -> "_Best":
        """This one, with the other's entries where this one has none."""
        have = torch.isfinite(self.value)
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return _Best(*(torch.where(have.view(-1, *(1,) * (x.ndim - 1)), x, y) for x, y in pairs))


def _best_start(end: Minimum, S: int) -> _Best:
    """Pick the best of S starts for each data set; rows are start * count + data set."""
    values = end.value.view(S, -1)
    finite = torch.isfinite(values)
    score = torch.where(finite, values, torch.inf)
    start = score.argmin(0)
    value = score.amin(0)
    pick = start * values.shape[1] + torch.arange(values.shape[1], device=values.device)
    return _Best(
        theta=end.x[pick],
        value=value,
        start=start,
        spread=torch.where(finite, values, -torch.inf).amax(0) - value,
        iterations=end.iterations[pick],
        converged=end.converged[pick],
        limited=end.status[pick] == LIMIT,
    )


def _is_plain(model: ExactGP) -> bool:
    """Whether the closed form knows kernel, mean and every prior, and every parameter is free."""
    mean = model.mean
    if model.stationary() is None or not all(p.requires_grad for p in model.parameters()):
        return False
    if type(mean) is not ConstantMean or mean.constraint_for_parameter_name("raw_constant"):
        return False
    known = ("lengthscale_prior", "outputscale_prior", "noise_prior")
    parts = [part for part in (model.kernel, mean, model.likelihood) if part is not None]
    return all(
        name.rpartition(".")[2] in known for part in parts for name, *_ in part.named_priors()
    )


def _starts(rows: PlainRows | GeneralRows, start: _Start) -> Float[Tensor, "S b p"]:
    """The fixed starts, or a warm start and the first of them."""
    fixed = rows.fixed_starts()
    return fixed if start is None else torch.stack([rows.warm_start(start), fixed[0]])
