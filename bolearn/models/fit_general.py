r"""The fit of any kernel: the likelihood's gradient in closed form, the kernel's by autograd.

With r = y - c, a = K^-1 r and W = (a a^T - K^-1) / 2, the log likelihood changes by <W, dK> + a.dc:
autograd has to walk through the kernel and the mean only, not through a factorisation. All rows
that still climb, whatever start of whatever data set they belong to, are one batch of k kernels.

What must be positive climbs by its logarithm. gpytorch's own parameters are inverse softplus values
there, which take a hundred steps from 1 to 1,000 and cannot leave small values at all.

Taught in part_4/tutorial_01.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .. import seeds
from ..errors import DataError
from ..linalg import gram
from ..optim.minimum import ValueAndGradient
from . import priors
from .exact import ExactGP, log_likelihood_by_output
from .factor import mask_covariance
from .fit_plain import normals_of_rows
from .hyperparameters import named_parameters, within
from .replicated import batch_shapes, set_batch_shape

# Where a fit starts, as factors of the parameters as they are.
_FACTORS: tuple[dict[str, float], ...] = (
    {},
    {"raw_lengthscale": 0.25, "raw_noise": 0.1},
    {"raw_lengthscale": 4.0},
    {"raw_lengthscale": 4.0, "raw_noise": 50.0},
)
_LOG_2PI = math.log(2 * math.pi)
_AGREE = 1e-9  # how closely rows together and data sets one by one have to give the same


@dataclass(frozen=True, eq=False)
class _Coordinate:
    """One parameter of every row: what its columns of theta mean."""

    shape: torch.Size  # within one row
    constraint: Any
    positive: bool  # theta is the logarithm of the constrained value; else the raw value
    low: Tensor  # of its columns
    high: Tensor

    @staticmethod
    def of(model: ExactGP, name: str, shape: torch.Size, constraint: Any) -> "_Coordinate":
        """Between what it is climbed: the constraint's ends and the support of its prior."""
        path, _, leaf = name.rpartition(".")
        support = priors.support(priors.prior_of(model.get_submodule(path), leaf), model.X)
        if constraint is None:
            return _Coordinate(shape, None, False, *(v.expand(shape).reshape(-1) for v in support))
        ends = tuple(x.to(model.X) for x in (constraint.lower_bound, constraint.upper_bound))
        low, high = priors.common_range(leaf, ends, support)
        positive = bool((ends[0] >= 0).all())
        if positive:
            low, high = (
                within(constraint, v).log() for v in (low.clamp(min=1e-10), high.clamp(max=1e10))
            )
        elif constraint.enforced:  # at an end the raw value is infinite
            free = (-torch.inf, torch.inf)
            low, high = (
                torch.where(v == end, limit, constraint.inverse_transform(within(constraint, v)))
                for v, end, limit in zip((low, high), ends, free, strict=True)
            )
        low, high = (v.expand(shape).reshape(-1) for v in (low, high))
        return _Coordinate(shape, constraint, positive, low, high)

    def to_theta(self, raw: Tensor) -> Tensor:
        """Raw values as coordinates."""
        if not self.positive:
            return raw
        value = self.constraint.transform(raw) if self.constraint.enforced else raw
        return value.clamp(min=1e-300).log()

    def to_raw(self, theta: Tensor) -> Tensor:
        """Undoes `to_theta`."""
        if not self.positive:
            return theta
        value = theta.exp()
        if not self.constraint.enforced:
            return value
        return self.constraint.inverse_transform(value)  # type: ignore[no-any-return]


class GeneralRows:
    """Any kernel and mean: rows b are replicates x outputs, with every free parameter of each."""

    def __init__(self, model: ExactGP) -> None:
        self.model = model
        self.lead = (*model.batch_shape, model.num_outputs)
        self.count = math.prod(self.lead)
        parameters = named_parameters(model)
        self.frozen = {_entry(name)[0] for name, p, _ in parameters if not p.requires_grad}
        self.coordinates: dict[str, _Coordinate] = {}
        for name, parameter, constraint in parameters:
            key, entry = _entry(name)
            if key not in self.coordinates and key not in self.frozen:
                shape = parameter.shape if entry is not None else parameter.shape[len(self.lead) :]
                self.coordinates[key] = _Coordinate.of(model, name, shape, constraint)
        if not self.coordinates:
            raise DataError(
                "fit_mll: expected a parameter to fit, got a model with all of them frozen; set "
                "requires_grad of some to True, or do not fit it"
            )
        self.lower, self.upper = (
            torch.cat([getattr(own, side) for own in self.coordinates.values()])
            for side in ("low", "high")
        )
        self.template = model.unsealed(copy.deepcopy)  # its batch shape will change
        self._together: _Together | None = None
        self._looked = False

    def read(self, model: ExactGP) -> Float[Tensor, "b p"]:
        """The parameters of a model as rows."""
        columns: dict[str, list[Tensor]] = {}
        for name, parameter, _ in named_parameters(model):
            key, entry = _entry(name)
            if key in self.frozen:
                continue
            own = self.coordinates[key]
            rows = own.to_theta(parameter.detach())
            rows = rows.reshape(1 if entry is not None else self.count, own.shape.numel())
            columns.setdefault(key, []).append(rows)
        theta = torch.cat([torch.cat(columns[key]) for key in self.coordinates], dim=-1)
        return torch.clamp(theta, self.lower, self.upper)

    def _split(self, theta: Float[Tensor, "k p"]) -> dict[str, Tensor]:
        """Rows as raw values ``k *shape`` of each parameter."""
        sizes = [own.shape.numel() for own in self.coordinates.values()]
        return {
            key: own.to_raw(part.reshape(-1, *own.shape))
            for (key, own), part in zip(
                self.coordinates.items(), theta.split(sizes, dim=-1), strict=True
            )
        }

    def _tensors(self, theta: Float[Tensor, "b p"]) -> dict[str, Tensor]:
        """Rows as a value for each free parameter of the model."""
        by_key, values = self._split(theta), {}
        for name, parameter, _ in named_parameters(self.model):
            key, entry = _entry(name)
            if key not in self.frozen:
                part = by_key[key] if entry is None else by_key[key][entry]
                values[name] = part.reshape(parameter.shape)
        return values

    def warm_start(self, start: dict[str, Any]) -> Float[Tensor, "b p"]:
        """Rows of given hyperparameters; those that are missing as the model has them.

        Raises:
            DataError, ShapeError: as `ExactGP.with_hyperparameters`.
        """
        return self.read(self.model.with_hyperparameters(**start))

    def fitted(self, theta: Float[Tensor, "b p"], report: object) -> ExactGP:
        """The model with the parameters of some rows."""
        return self.model.reparametrised(self._tensors(theta), report)

    def fixed_starts(self) -> Float[Tensor, "S b p"]:
        """The parameters as they are, and multiples of them: see `_FACTORS`."""
        here = self.read(self.model)
        starts = []
        for factors in _FACTORS:
            shift = [
                here.new_full(
                    (own.shape.numel(),), math.log(factors.get(key.rpartition(".")[2], 1))
                )
                * own.positive
                for key, own in self.coordinates.items()
            ]
            starts.append(here + torch.cat(shift))
        return torch.clamp(torch.stack(starts), self.lower, self.upper)

    def draw(self, seed: seeds.Seed) -> Float[Tensor, "S b p"]:
        """Four starts from a normal around the parameters as they are."""
        z = normals_of_rows(self.model, len(self.lower), seed)
        return torch.clamp(self.read(self.model) + z, self.lower, self.upper)

    def objective(self, S: int) -> ValueAndGradient:
        """Minus log posterior per observation and its gradient, for rows of ``S * b``."""
        together = self.together()
        if together is None:
            return lambda theta, rows: self.one_by_one(theta, rows)
        return lambda theta, rows: together(theta, rows % self.count)

    def together(self) -> "_Together | None":
        """All rows as one batch of kernels, or None where that does not give the same.

        A kernel of one's own may not follow the batch shape of its parameters. So both ways are
        compared once, on two starts.
        """
        if not self._looked:
            self._looked = True
            if not any(_entry(name)[1] is not None for name, *_ in named_parameters(self.model)):
                trial, theta = _Together(self), self.fixed_starts()[:2].flatten(0, 1)
                rows = torch.arange(len(theta), device=theta.device)
                value, slope = self.one_by_one(theta, rows)
                try:
                    mine, own = trial(theta, rows % self.count)
                except Exception:  # any failure of foreign code on a batch means: it does not batch
                    return None
                close = {"rtol": 1e3 * _AGREE, "atol": _AGREE, "equal_nan": True}
                if torch.allclose(mine, value, **close) and torch.allclose(  # type: ignore[arg-type]
                    own, slope, rtol=1e-4, atol=1e-6, equal_nan=True
                ):
                    self._together = trial
        return self._together

    def one_by_one(
        self, theta: Float[Tensor, "k p"], rows: Int[Tensor, "k"]
    ) -> tuple[Float[Tensor, "k"], Float[Tensor, "k p"]]:
        """The objective through autograd alone, all data sets at once, one start after another.

        The reference of `_Together`, and the way of kernels that know only the model's own batch
        shape.
        """
        value, gradient = theta.new_empty(len(rows)), torch.empty_like(theta)
        template = self.read(self.model)
        for s in torch.unique(rows // self.count).tolist():
            mine = (rows // self.count == s).nonzero().squeeze(-1)
            b = rows[mine] % self.count
            full = template.index_copy(0, b, theta[mine]).requires_grad_(True)
            with torch.enable_grad():
                tensors = {f"model.{k}": v for k, v in self._tensors(full).items()}
                each = torch.func.functional_call(_LogPosterior(self.template), tensors, ())
                (slope,) = torch.autograd.grad(each.sum(), full)
            value[mine], gradient[mine] = -each.detach()[b], -slope[b]
        return value, gradient


class _Together:
    """The objective of any rows as one batch of k kernels, each on its own data."""

    def __init__(self, rows: GeneralRows) -> None:
        model, lead = rows.model, len(rows.lead)
        self.rows, parts = rows, rows.template
        self.parts = nn.ModuleDict(
            {name: getattr(parts, name) for name in ("kernel", "mean", "likelihood")
             if getattr(parts, name) is not None}
        )  # fmt: skip

        def flat(v: Tensor, own: int) -> Tensor:
            return v.expand(*rows.lead, *v.shape[v.ndim - own :]).flatten(0, lead - 1)

        self.X = flat(model.training_inputs(), 2)
        self.y = flat(model.training_outputs(), 1)
        self.observed = flat(model.observed.unsqueeze(-2), 1)
        self.all_observed = bool(self.observed.all())
        self.noise = None if model.noise is None else flat(model.noise, 1)
        self.n = self.observed.sum(-1)
        # frozen parameters, as raw values of each data set
        self.held = {
            name: p.detach().reshape(rows.count, *p.shape[lead:])
            for name, p, _ in named_parameters(model)
            if name in rows.frozen
        }
        # parts with a batch shape, and what of it is their own
        self.shaped = [(part, own[lead:]) for part, own in batch_shapes(self.parts)]

    def __call__(
        self, theta: Float[Tensor, "k p"], b: Int[Tensor, "k"]
    ) -> tuple[Float[Tensor, "k"], Float[Tensor, "k p"]]:
        """Minus log posterior per observation and its gradient, for rows of data sets b."""
        k = len(theta)
        for part, own in self.shaped:
            set_batch_shape(part, torch.Size((k, *own)))
        leaf = theta.detach().requires_grad_(True)
        observed = self.observed[b]
        with torch.enable_grad():
            tensors = self.rows._split(leaf) | {name: v[b] for name, v in self.held.items()}
            tensors = {f"parts.{name}": v for name, v in tensors.items()}
            call = _Pieces(self.parts)
            K, mean, noise, prior = torch.func.functional_call(call, tensors, (self.X[b],))
            if self.noise is not None:
                noise = self.noise[b]
            A = mask_covariance(K, noise.expand(observed.shape), observed)
            residual = torch.where(observed, self.y[b] - mean, 0.0)
            value, W, a = _likelihood(A.detach(), residual.detach())
            a, W = a.detach(), W.detach()
            # <W, A> - a.r has the gradient of the log likelihood
            stand_in = (W * A).sum() - (a * residual).sum() + prior.sum()
            (slope,) = torch.autograd.grad(stand_in, leaf)
        n = self.n[b]
        value = value - 0.5 * n * _LOG_2PI + prior.detach()
        return -value / n, -slope / n.unsqueeze(-1)


def _likelihood(A: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """-r^T A^-1 r / 2 - log det A / 2, (a a^T - A^-1) / 2 and a; NaN where A is not definite."""
    L = _nan_cholesky(A, A)
    A_inv = torch.cholesky_inverse(L)
    a = (A_inv @ r.unsqueeze(-1)).squeeze(-1)
    value = -0.5 * (r * a).sum(-1) - L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return value, 0.5 * (a.unsqueeze(-1) * a.unsqueeze(-2) - A_inv), a


class _Pieces(nn.Module):
    """Covariance, mean, noise and log priors of k rows, as a module without state."""

    def __init__(self, parts: nn.ModuleDict) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, X: Float[Tensor, "k n d"]) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
        """K without noise ``k n n``, mean ``k n``, learned noise ``k 1`` or None, priors ``k``."""
        k, n = X.shape[:2]
        parts: dict[str, Any] = dict(self.parts.items())
        noise = parts["likelihood"].noise if "likelihood" in parts else None
        density = X.new_zeros(k)
        for part in parts.values():
            for _, module, prior, closure, _ in part.named_priors():
                density = density + priors.log_density(prior, closure(module), k)
        K = gram(parts["kernel"], X).expand(k, n, n)
        return K, parts["mean"](X).expand(k, n), noise, density


class _LogPosterior(nn.Module):
    """Log likelihood plus log priors of each row, per observation, as a module without state."""

    def __init__(self, model: ExactGP) -> None:
        super().__init__()
        self.model = model

    def forward(self) -> Float[Tensor, "b"]:
        """The value of each data set."""
        model = self.model
        lead = (*model.batch_shape, model.num_outputs)
        value = log_likelihood_by_output(model, _nan_cholesky).reshape(-1)
        for path in ("kernel", "mean", "likelihood"):
            part = getattr(model, path)
            if part is None:
                continue
            for name, module, prior, closure, _ in part.named_priors():
                _, entry = _entry(f"{path}.{name}")
                if entry is None:
                    value = value + priors.log_density(prior, closure(module), math.prod(lead))
                else:
                    density = priors.log_density(prior, closure(module), 1)
                    value = value.index_add(0, torch.tensor([entry], device=value.device), density)
        n = model.observed.sum(-1, keepdim=True).expand(lead).reshape(-1)
        return value / n


def _entry(name: str) -> tuple[str, int | None]:
    """Split ``kernel.copies.3.raw_x`` into ("kernel.raw_x", 3); other names belong to all rows."""
    part, _, rest = name.partition(".copies.")
    if part not in ("kernel", "mean") or not rest:
        return name, None
    index, _, leaf = rest.partition(".")
    return f"{part}.{leaf}", int(index)


def _nan_cholesky(A: Tensor, X: Tensor) -> Tensor:
    """Cholesky factors, NaN where a matrix is not positive definite."""
    L, info = torch.linalg.cholesky_ex(A)
    return torch.where((info > 0)[..., None, None], torch.nan, L)
