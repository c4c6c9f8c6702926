r"""The fit of any kernel: the likelihood's gradient in closed form, the kernel's by autograd.

With r = y - c, a = K^-1 r and W = (a a^T - K^-1) / 2, the log likelihood changes by <W, dK> + a.dc:
autograd has to walk through the kernel and the mean only, not through a factorisation. All rows
that still climb, whatever start of whatever data set they belong to, are one batch of k kernels.

What must be positive climbs by its logarithm. gpytorch's own parameters are inverse softplus values
there, which take a hundred steps from 1 to 1,000 and cannot leave small values at all.

Taught in part_4/tutorial_01.
"""

import copy
import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from gpytorch.constraints import GreaterThan
from jaxtyping import Float, Int
from torch import Tensor, nn

from .. import seeds
from ..errors import DataError
from ..linalg import gram
from ..optim.minimum import ValueAndGradient
from . import priors
from .evidence import log_likelihood_by_output
from .exact import ExactGP
from .factor import mask_covariance
from .fit_plain import normals_of_rows
from .hyperparameters import fresh_copy, named_parameters, within
from .replicated import batch_shapes, set_batch_shape

# Where a fit starts, as factors of the parameters as they are: so, rough, smooth, noisy, smooth and
# noisy, very rough, with long tails, and with shorter and longer periods, of which the likelihood
# has many maxima. Chosen on 100 data sets, where four alone missed up to 0.8 per observation.
_FACTORS: tuple[dict[str, float], ...] = (
    {},
    {"raw_lengthscale": 0.25, "raw_noise": 0.1},
    {"raw_lengthscale": 4.0},
    {"raw_noise": 50.0},
    {"raw_lengthscale": 4.0, "raw_noise": 50.0},
    {"raw_lengthscale": 0.03, "raw_noise": 0.1},
    {"raw_lengthscale": 0.25, "raw_alpha": 0.1},
    {"raw_period_length": 0.15},
    {"raw_period_length": 0.3},
    {"raw_period_length": 0.6},
    {"raw_period_length": 3.0, "raw_lengthscale": 0.5},
)
_USUAL = {"raw_lengthscale", "raw_noise"}  # starts with others are for kernels that have them
_PARTS = ("kernel", "mean", "likelihood")
_LOG_2PI = math.log(2 * math.pi)
_AGREE = 1e-10  # how closely rows together and data sets one by one have to give the same


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
        ends = list(itertools.accumulate(own.shape.numel() for own in self.coordinates.values()))
        self.columns = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
        self.template = model.unsealed(fresh_copy)  # whose parameters are exchanged
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
        pairs = zip(self.coordinates.items(), self.columns, strict=True)
        return {
            key: own.to_raw(theta[:, columns].reshape(-1, *own.shape))
            for (key, own), columns in pairs
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
        starts: list[Tensor] = []
        leaves = {name.rpartition(".")[2] for name in self.coordinates} | _USUAL
        for factors in _FACTORS:
            if not factors.keys() <= leaves:
                continue
            theta = here.clone()
            for (name, own), columns in zip(self.coordinates.items(), self.columns, strict=True):
                if own.positive:
                    theta[:, columns] += math.log(factors.get(name.rpartition(".")[2], 1.0))
            theta = torch.clamp(theta, self.lower, self.upper)
            if not any(torch.equal(theta, other) for other in starts):
                starts.append(theta)
        return torch.stack(starts)

    def draw(self, seed: seeds.Seed) -> Float[Tensor, "S b p"]:
        """Four starts from a normal around the parameters as they are."""
        z = normals_of_rows(self.model, len(self.lower), seed)
        return torch.clamp(self.read(self.model) + z, self.lower, self.upper)

    def objective(self, S: int) -> ValueAndGradient:
        """Minus log posterior per observation and its gradient, for rows of ``S * b``."""
        together = self.together()
        if together is None:
            return lambda theta, rows: self.one_by_one(theta, rows)
        last: list[Any] = [None, None]  # rows, and their data sets

        def fun(theta: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            if last[0] is not rows:
                last[:] = [rows, rows % self.count]
            return together(theta, last[1])

        return fun

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
    """The objective of any rows as one batch of k kernels, each on its own data.

    The kernels are private, so parameters are simply put into them; what climbs by its logarithm
    is put in as the value itself, and the chain rule is one product.
    """

    def __init__(self, rows: GeneralRows) -> None:
        model, lead = rows.model, len(rows.lead)
        self.coordinates, self.columns = list(rows.coordinates.items()), rows.columns
        parts: dict[str, Any] = {
            name: copy.deepcopy(part) for name, part in model._modules.items() if part is not None
        }
        self.kernel, self.mean = parts["kernel"], parts["mean"]
        self.likelihood = parts.get("likelihood")
        modules = nn.ModuleDict({name: parts[name] for name in _PARTS if name in parts})
        self.owners: dict[str, tuple[Any, str]] = {}
        self.held: dict[str, Tensor] = {}  # frozen parameters of each data set
        for name, p, _ in named_parameters(modules):
            path, _, leaf = name.rpartition(".")
            owner: Any = modules.get_submodule(path)
            self.owners[name] = (owner, leaf)
            if name in rows.frozen:
                self.held[name] = p.detach().reshape(rows.count, *p.shape[lead:])
            elif rows.coordinates[name].positive:
                owner.register_constraint(leaf, GreaterThan(0.0, transform=None))
        # parts with a batch shape, and what of it is their own
        self.shaped = [(part, own[lead:]) for part, own in batch_shapes(modules)]
        self.priors = [
            (prior, closure, module)
            for part in parts.values()
            for _, module, prior, closure, _ in part.named_priors()
        ]

        def flat(v: Tensor, own: int) -> Tensor:
            return v.expand(*rows.lead, *v.shape[v.ndim - own :]).flatten(0, lead - 1)

        self.X = flat(model.training_inputs(), 2)
        self.y = flat(model.training_outputs(), 1)
        self.observed = flat(model.observed.unsqueeze(-2), 1)
        self.all_observed = bool(self.observed.all())
        self.noise = None if model.noise is None else flat(model.noise, 1)
        self.last: Any = (None, None)

    def take(self, b: Int[Tensor, "k"]) -> dict[str, Tensor]:
        """The data of some rows; the kernels get as many."""
        for part, own in self.shaped:
            set_batch_shape(part, torch.Size((len(b), *own)))
        for name, value in self.held.items():
            owner, leaf = self.owners[name]
            owner._parameters[leaf] = value[b]
        data = {"X": self.X[b], "y": self.y[b], "observed": self.observed[b]}
        data["n"] = data["observed"].sum(-1).to(self.y)
        return data if self.noise is None else data | {"noise": self.noise[b]}

    def __call__(
        self, theta: Float[Tensor, "k p"], b: Int[Tensor, "k"]
    ) -> tuple[Float[Tensor, "k"], Float[Tensor, "k p"]]:
        """Minus log posterior per observation and its gradient, for rows of data sets b."""
        if self.last[0] is not b:
            self.last = (b, self.take(b))
        data, leaves = self.last[1], []
        for (name, own), columns in zip(self.coordinates, self.columns, strict=True):
            value = theta[:, columns].detach().reshape(-1, *own.shape)
            value = value.exp() if own.positive else value.clone()
            owner, leaf = self.owners[name]
            owner._parameters[leaf] = value.requires_grad_(True)
            leaves.append(value)
        with torch.enable_grad():
            A, residual, prior = self._pieces(data)
            value, W, a = _likelihood(A.detach(), residual.detach())
            # <W, A> - a.r has the gradient of the log likelihood
            stand_in = (W * A).sum() - (a * residual).sum() + prior.sum()
            slopes = torch.autograd.grad(stand_in, leaves, allow_unused=True)
        found = [
            torch.zeros_like(leaf) if g is None else g * leaf if own.positive else g
            for g, leaf, (_, own) in zip(slopes, leaves, self.coordinates, strict=True)
        ]
        gradient = torch.cat([g.detach().reshape(len(theta), -1) for g in found], dim=-1)
        n = data["n"]
        value = value - 0.5 * n * _LOG_2PI + prior.detach()
        return -value / n, -gradient / n.unsqueeze(-1)

    def _pieces(self, data: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Covariances ``k n n`` with noise, residuals ``k n`` and log prior densities ``k``."""
        X, k = data["X"], len(data["X"])
        prior = X.new_zeros(k)
        for own, closure, module in self.priors:
            prior = prior + priors.log_density(own, closure(module), k)
        noise = data["noise"] if self.likelihood is None else self.likelihood.noise
        noise = noise.expand(X.shape[:-1])
        A, residual = gram(self.kernel, X).expand(k, -1, -1), data["y"] - self.mean(X)
        if self.all_observed:
            return A + torch.diag_embed(noise), residual, prior
        observed = data["observed"]
        return mask_covariance(A, noise, observed), torch.where(observed, residual, 0.0), prior


def _likelihood(A: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """-r^T A^-1 r / 2 - log det A / 2, (a a^T - A^-1) / 2 and a; NaN where A is not definite."""
    L = _nan_cholesky(A, A)
    A_inv = torch.cholesky_inverse(L)
    a = (A_inv @ r.unsqueeze(-1)).squeeze(-1)
    value = -0.5 * (r * a).sum(-1) - L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return value, 0.5 * (a.unsqueeze(-1) * a.unsqueeze(-2) - A_inv), a


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
        for path in _PARTS:
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
