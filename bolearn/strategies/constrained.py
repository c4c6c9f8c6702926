r"""Strategies under limits of outcomes: output 0 is best where every other output is at most 0.

The model decides here more than the acquisition does. A limit that is steep on one side (a
pressure, a stress, 1/x^4) is no Gaussian process in its own units; its *bilog*

    bilog(v) = sign(v) log(1 + |v| / s),    s the median of |v|,

is flat where the limit is far and keeps its zero, which is all that matters of a limit. Whether an
output is modelled as it is or by its bilog, and with which kernel, is asked of the data: for each
replicate and output the larger evidence decides, the change of units counted in.

Taught in part_5/tutorial_07.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..acquisition.constrained import LogConstrainedExpectedImprovement
from ..acquisition.objectives import at_least
from ..errors import DataError, UnsupportedError
from ..linalg import psd_cholesky
from ..models.evidence import log_likelihood_by_output
from ..models.fit import fit_mll
from ..posteriors import GaussianPosterior
from ..protocols import Acquisition
from ..search.multi_start import optimize_acqf
from ..seeds import Seed, derive_each
from .modelling import BuildModel, FitModel, Recipe, matern_gp, rbf_gp
from .protocol import StudyData

_TINY = 1e-12  # least unit of a limit: one that is 0 everywhere has no scale of its own


@dataclass(frozen=True)
class ConstrainedLogEI:
    """Expected improvement over the best feasible value, times the probability of feasibility.

    In closed form, for q >= 1: the further points of a batch believe that the earlier ones gave
    what the model expects. While a replicate has no feasible point, the probability alone is
    maximised. Failed evaluations are believed to have been the worst of their replicate.

    Args:
        models: of which the evidence chooses, output by output; ``(X, Y, bounds, observed)`` ->
            an `ExactGP` that is not fitted.
        bilog: whether outputs may be modelled by their bilog.
        num_restarts, raw_samples: as in `optimize_acqf`.
        fit: as in `ModelBased`.
        noise_free: as in `ModelBased`.

    Raises:
        DataError: no model; one output only.

    Source:
        Gardner et al., "Bayesian optimization with inequality constraints", ICML 2014, equation 5;
        the bilog after Eriksson & Poloczek, "Scalable constrained Bayesian optimization", AISTATS
        2021, arXiv:2002.08526, section 2.2.
    """

    models: tuple[BuildModel, ...] = (matern_gp, rbf_gp)
    bilog: bool = True
    num_restarts: int = 16
    raw_samples: int = 512
    fit: FitModel = fit_mll
    noise_free: bool | None = False

    batched = True

    def __post_init__(self) -> None:
        """Check at the border."""
        if not self.models:
            raise DataError("models: expected at least one, such as (matern_gp,), got none")

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """Fit all models, choose by evidence, maximise; the state holds the fits."""
        seen, memory = self._believed(data, data.state, derive_each(seed, "model"), fit=True)
        model, best_f = seen.model, seen.best_f
        limits = [at_least(j, 0.0) for j in range(1, model.num_outputs)]
        picked: list[Tensor] = []
        for i in range(q):
            acq = LogConstrainedExpectedImprovement(model, best_f, outcome_constraints=limits)
            x = self._maximised(acq, data, bounds, picked, derive_each(seed, "optimize", i))
            picked.append(x)
            if i + 1 < q:
                model = model.believing(x)
        return torch.cat(picked, dim=-2), memory

    def recommend(self, data: StudyData) -> Float[Tensor, "*r d"]:
        """The evaluated point with the best mean among those believed feasible.

        Where there is none, the one that is most probably feasible.
        """
        seen, _ = self._believed(data, data.state, 0, fit=data.state is None)
        limits = [at_least(j, 0.0) for j in range(1, seen.model.num_outputs)]
        return _best_believed(seen.model, data, limits)

    def _maximised(
        self, acq: Acquisition, data: StudyData, bounds: Tensor, picked: list[Tensor], seed: Seed
    ) -> Float[Tensor, "*r 1 d"]:
        """The best point of the box, or of the legal points of a space that are left."""
        options: dict[str, Any] = {
            "num_restarts": self.num_restarts,
            "raw_samples": self.raw_samples,
            "batch_shape": data.X.shape[:-2],
            "seed": seed,
        }
        if data.space is None:
            return optimize_acqf(acq, bounds, 1, **options).x
        gone = data.excluded
        if data.deterministic and picked:
            assert gone is not None
            gone = torch.cat([gone, *picked], dim=-2)
        return optimize_acqf(acq, q=1, space=data.space, exclude=gone, **options).x

    def _believed(
        self, data: StudyData, state: Any, seed: Seed, *, fit: bool
    ) -> tuple["_Seen", dict[str, Any]]:
        """The models of the data, of which each replicate and output has its own."""
        views = _Views.of(data, self.bilog)
        told = replace(data, Y=views.Z)
        last = {"fits": [None] * len(self.models)} if state is None else state
        parts, evidence, which, fits = [], [], [], []
        for build, before in zip(self.models, last["fits"], strict=True):
            recipe = Recipe(build, self.fit, self.noise_free)
            full = recipe.fitted(told, before, seed) if fit else recipe.current(told, before)
            fits.append(full.hyperparameters())
            value, view = (_evidence(full) + views.jacobian).unflatten(-1, (-1, views.m)).max(-2)
            column = view * views.m + torch.arange(views.m, device=view.device)
            part = _columns(recipe, told, full, column)
            failed = replace(told, Y=part.Y)
            parts.append(recipe.with_lies(part, failed, ~data.observed, seed))
            evidence.append(value)
            which.append(view)
        pick = torch.stack(evidence, dim=-1).argmax(-1)  # *r m: the model of each output
        view = torch.stack(which, dim=-1).gather(-1, pick.unsqueeze(-1)).squeeze(-1)
        model = _Chosen(tuple(parts), pick)
        return _Seen(model, views.best_f(view[..., 0])), {"fits": fits}


constrained_log_ei = ConstrainedLogEI()
"""`ConstrainedLogEI` with its defaults: output 0 is maximised where all others are <= 0."""


def bilog(
    v: Float[Tensor, "*r n m"], observed: Bool[Tensor, "*r n"]
) -> tuple[Float[Tensor, "*r n m"], Float[Tensor, "*r m"]]:
    """sign(v) log(1 + |v| / s) with s the median of |v|, and the log Jacobian summed over n.

    Source: Eriksson & Poloczek 2021, arXiv:2002.08526, section 2.2 (there with s = 1).
    """
    seen = observed.unsqueeze(-1)
    size = torch.where(seen, v.abs(), torch.nan)
    s = size.nanmedian(-2, keepdim=True).values.clamp(min=_TINY)
    z = v.sign() * torch.log1p(v.abs() / s)
    # dz/dv = 1 / (s + |v|)
    return z, torch.where(seen, -(s + v.abs()).log(), 0.0).sum(-2)


@dataclass(frozen=True, eq=False)
class _Views:
    """Outputs as they are (limits with the sign turned: feasible where >= 0), and their bilogs."""

    Z: Float[Tensor, "*r n vm"]
    jacobian: Float[Tensor, "*r vm"]
    m: int
    best: Float[Tensor, "*r v"]  # the best feasible value in each view; -inf where there is none

    @staticmethod
    def of(data: StudyData, with_bilog: bool) -> "_Views":
        """Views of the data.

        Raises:
            DataError: one output only.
            UnsupportedError: several objectives.
        """
        m = data.Y.shape[-1]
        if m < 2:
            raise DataError(
                "constrained_log_ei: expected outputs after the first, feasible where <= 0, got "
                "one output; without limits use log_ei"
            )
        check_one_objective(data, "constrained_log_ei")
        seen = data.observed
        raw = torch.cat([data.Y[..., :1], -data.Y[..., 1:]], dim=-1)
        raw = torch.where(seen.unsqueeze(-1), raw, 0.0)
        feasible = seen & (raw[..., 1:] >= 0).all(-1)
        f = raw[..., 0]
        best = torch.where(feasible, f, -torch.inf).amax(-1, keepdim=True)
        if not with_bilog:
            return _Views(raw, torch.zeros_like(raw[..., 0, :]), m, best)
        # The objective is bent round its best feasible value, or round its median.
        middle = torch.where(seen, f, torch.nan).nanmedian(-1, keepdim=True).values
        base = torch.where(best > -torch.inf, best, middle).unsqueeze(-1)
        centred = torch.cat([raw[..., :1] - base, raw[..., 1:]], dim=-1)
        bent, log_slope = bilog(centred, seen)
        bent = torch.where(seen.unsqueeze(-1), bent, 0.0)
        jacobian = torch.cat([torch.zeros_like(log_slope), log_slope], dim=-1)
        zero = torch.where(best > -torch.inf, 0.0, -torch.inf)
        return _Views(torch.cat([raw, bent], -1), jacobian, m, torch.cat([best, zero], -1))

    def best_f(self, view: Int[Tensor, "*r"]) -> Float[Tensor, "*r"]:
        """The best feasible value in a view for each replicate."""
        return self.best.gather(-1, view.unsqueeze(-1)).squeeze(-1)


def check_one_objective(data: StudyData, who: str) -> None:
    """Check that all outputs after the first are limits, where the problem says how many are.

    Raises:
        UnsupportedError: some are objectives.
    """
    objectives = data.Y.shape[-1] - data.num_constraints
    if data.num_constraints and objectives > 1:
        raise UnsupportedError(
            f"{who}: expected one objective and limits, got {objectives} objectives and "
            f"{data.num_constraints} limits; use log_nehvi or parego"
        )


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is believed, and the value to improve on."""

    model: "_Chosen"
    best_f: Float[Tensor, "*r"]


def _evidence(model: Any) -> Float[Tensor, "*r m"]:
    """log p(y | X, hyperparameters) of each output in its own units."""
    with torch.no_grad():
        value = log_likelihood_by_output(model, lambda A, x: psd_cholesky(A, x).L)
        count, unit = model.observed.sum(-1, keepdim=True), model.output_scale
        return value - count * unit.log()  # type: ignore[no-any-return]


def _columns(recipe: Recipe, data: StudyData, full: Any, column: Int[Tensor, "*r m"]) -> Any:
    """The model of some outputs, others in each replicate, with the hyperparameters of all."""
    r = column.ndim - 1
    index = column.unsqueeze(-2).expand(*data.Y.shape[:-1], column.shape[-1])
    part = recipe.made(replace(data, Y=data.Y.gather(-1, index)))
    values = {}
    for name, value in full.hyperparameters().items():
        own = column.reshape(*column.shape, *(1,) * (value.ndim - column.ndim))
        values[name] = torch.take_along_dim(value, own, dim=r)
    return part.with_hyperparameters(**values)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """A surrogate whose output j is that of one of several models, in each replicate another."""

    parts: tuple[Any, ...]
    pick: Int[Tensor, "*r m"]

    @property
    def num_outputs(self) -> int:
        return self.pick.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        return self.pick.shape[:-1]

    @property
    def X(self) -> Tensor:
        return self.parts[0].X  # type: ignore[no-any-return]

    @property
    def Y(self) -> Tensor:
        index = self.pick.unsqueeze(-2)
        return _chosen([part.Y for part in self.parts], index)

    @property
    def observed(self) -> Tensor:
        return self.parts[0].observed  # type: ignore[no-any-return]

    def posterior(
        self, X: Float[Tensor, "*batch q d"], *, observation_noise: bool = False
    ) -> GaussianPosterior:
        """The beliefs of the chosen models, output by output."""
        beliefs = [p.posterior(X, observation_noise=observation_noise) for p in self.parts]
        return GaussianPosterior(
            torch.Size((*beliefs[0].batch_shape, *beliefs[0].event_shape)),
            partial(_marginal, beliefs, self.pick),
            partial(_joint, beliefs, self.pick),
        )

    def believing(self, x: Float[Tensor, "*r q d"]) -> "_Chosen":
        """As if the outcome at x had been what is expected there."""
        told = [p.condition(x, p.posterior(x).mean.detach()) for p in self.parts]
        return _Chosen(tuple(told), self.pick)


def _marginal(beliefs: Sequence[Any], pick: Tensor) -> tuple[Tensor, Tensor]:
    index = pick.unsqueeze(-2)
    return (
        _chosen([b.mean for b in beliefs], index),
        _chosen([b.variance for b in beliefs], index),
    )


def _joint(beliefs: Sequence[Any], pick: Tensor) -> tuple[Tensor, Tensor]:
    moments = [b.joint_moments for b in beliefs]
    mean = _chosen([mean for mean, _ in moments], pick.unsqueeze(-2))
    return mean, _chosen([c for _, c in moments], pick[..., None, None])


def _chosen(values: list[Tensor], which: Tensor) -> Tensor:
    """Entries of several tensors of one shape, by number."""
    out = values[0]
    for k, value in enumerate(values[1:], start=1):
        out = torch.where(which == k, value, out)
    return out


def _best_believed(model: _Chosen, data: StudyData, limits: Sequence[Any]) -> Float[Tensor, "*r d"]:
    """The row with the best mean among those believed feasible, or the most probably feasible."""
    with torch.no_grad():
        belief = model.posterior(data.X)
        mean = belief.mean
        certain = LogConstrainedExpectedImprovement(
            model, mean.new_full(model.batch_shape, -torch.inf), outcome_constraints=limits
        )
        r = len(model.batch_shape)
        probable = certain(data.X.movedim(-2, 0).unsqueeze(-2)).movedim(0, -1)  # *r n
        feasible = data.observed & (mean[..., 1:] >= 0).all(-1)
        best = torch.where(feasible, mean[..., 0], -torch.inf)
        fallback = torch.where(data.observed, probable, -torch.inf)
        row = torch.where(feasible.any(-1), best.argmax(-1), fallback.argmax(-1))
        index = row.reshape(*row.shape, 1, 1).expand(*row.shape, 1, data.X.shape[-1])
        assert row.ndim == r
        return data.X.gather(-2, index).squeeze(-2)
