r"""Maximum a posteriori hyperparameters: every start of every replicate and output in one batch.

The objective of a row (one start of one data set) is its log marginal likelihood plus the log
densities of the hyperparameters' priors, per observation. For plain kernels its gradient comes in
closed form. With r = y - c, a = K^-1 r, W = a a^T - K^-1 and M = W o H (H = -2 dk/dr^2, o =
entrywise),

    d/d log l_k = l_k^-2 [ (x_k o x_k)^T M 1 - x_k^T M x_k ],
    d/d noise   = trace(W) / 2,     d/d c = 1^T a,     d/d log scale = <W, scale k> / 2,

one (n, n) x (n, d) product instead of an n x n x d tensor. Other kernels go through autograd.

Taught in part_3/tutorial_03 (the gradient) and part_4/tutorial_01 (priors, starts).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import ScaleKernel
from gpytorch.means import ConstantMean
from gpytorch.priors import Prior
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from .. import seeds
from ..errors import DataError, FitError
from ..linalg import correlation
from ..optim import lbfgs
from ..optim.lbfgs import Array, array, namespace, tensor
from . import priors
from .exact import ExactGP, log_likelihood_by_output, named_parameters, within
from .model_list import ModelList

_RETRIES = 5
# The tolerances of SciPy's L-BFGS-B, which BoTorch's fit uses.
_GTOL, _FTOL = 1e-5, 2.220446049250313e-09
_LOG_2PI = math.log(2 * math.pi)


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
        evaluations: calls of the batched objective.
        attempts: 1, or more when the first starts all failed and others were drawn.
    """

    value: Float[Tensor, "*r m"]
    start: Int[Tensor, "*r m"]
    spread: Float[Tensor, "*r m"]
    iterations: Int[Tensor, "*r m"]
    converged: Bool[Tensor, "*r m"]
    evaluations: int
    attempts: int

    def __str__(self) -> str:
        done, total = int(self.converged.sum()), self.converged.numel()
        return (
            f"fit: {done} of {total} data sets converged, {self.evaluations} batched evaluations, "
            f"log posterior per observation {self.value.min().item():.4f} to "
            f"{self.value.max().item():.4f}, attempts {self.attempts}"
        )


_Start = dict[str, Tensor] | None
_Model = TypeVar("_Model", ExactGP, ModelList)


def fit_mll(
    model: _Model, *, start: _Start | Sequence[_Start] = None, seed: seeds.Seed = 0
) -> _Model:
    """Fit the hyperparameters of a model by maximum a posteriori, in place, from several starts.

    The starts are fixed (smooth and rough functions, with little noise and with much) and equal
    for all replicates; only if all of them fail are others drawn: from log-normal priors, where
    the closed form applies, and otherwise round the first start. Frozen parameters
    (``requires_grad`` is False) stay as they are.

    Args:
        model: the model; its hyperparameters are replaced by the best found. Of a `ModelList`,
            every model is fitted.
        start: `ExactGP.hyperparameters` of an earlier fit (a warm start): tried beside the first
            fixed start instead of the others. For a `ModelList`, one (or None) for each model.
        seed: for the starts that are drawn when the fixed ones fail.

    Returns:
        The same model, with ``fit_report`` (for a `ModelList`, a tuple of them).

    Raises:
        DataError: a start with unknown names, or a model that is no Gaussian process.
        FitError: no start of some replicate gave a finite value; the model is as it was.

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
        _fit_each(model, start, seed)
    elif not isinstance(model, ExactGP):
        raise DataError(_no_gp(model))
    elif start is not None and not isinstance(start, dict):
        raise DataError(
            f"start: expected a dict of hyperparameters for one model, got {type(start).__name__}"
        )
    else:
        _fit(model, start, seed)
    return model


def _no_gp(model: object) -> str:
    return (
        f"model: expected an ExactGP or a ModelList of them, got {type(model).__name__}; other "
        "surrogates fit themselves"
    )


def _fit_each(models: ModelList, start: _Start | Sequence[_Start], seed: seeds.Seed) -> None:
    """Fit every model of a list; if one fails, all are as they were."""
    parts = [part for part in models if isinstance(part, ExactGP)]
    if len(parts) < len(models):
        raise DataError(_no_gp(next(part for part in models if not isinstance(part, ExactGP))))
    starts = [start] * len(parts) if start is None else start
    if isinstance(starts, dict) or len(starts) != len(parts):
        raise DataError(
            f"start: expected a sequence of {len(parts)} starts (dicts or None), one for each "
            f"model, got {type(starts).__name__} of length {len(starts)}"
        )
    before = [([p.detach().clone() for p in part.parameters()], part.fit_report) for part in parts]
    try:
        for i, (part, own) in enumerate(zip(parts, starts, strict=True)):
            _fit(part, own, seeds.derive_each(seed, "model", i))
    except BaseException:  # an interrupt, too
        for part, (values, report) in zip(parts, before, strict=True):
            part.renew()
            with torch.no_grad():
                for parameter, value in zip(part.parameters(), values, strict=True):
                    parameter.copy_(value)
            part.fit_report = report
        raise
    models.fit_report = tuple(part.fit_report for part in parts)


def _fit(model: ExactGP, start: _Start, seed: seeds.Seed) -> None:
    """Fit one Gaussian process in place."""
    rows: _PlainRows | _AutogradRows
    rows = _PlainRows(model) if _is_plain(model) else _AutogradRows(model)
    theta, ended = _starts(rows, model, start), []
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
        lost = int((~torch.isfinite(best.value)).sum())
        raise FitError(
            f"fit_mll: no start gave a finite likelihood for {lost} of {rows.count} "
            f"data sets after {_RETRIES + 1} attempts; the model is unchanged. Look for duplicated "
            "inputs with different values and a tiny fixed noise_var, or pass a kernel with wider "
            "constraints"
        )
    shape = (*model.batch_shape, model.num_outputs)
    rows.write(best.theta)
    model.fit_report = FitReport(
        value=-best.value.view(shape),
        start=best.start.view(shape),
        spread=best.spread.view(shape),
        iterations=best.iterations.view(shape),
        converged=best.converged.view(shape),
        evaluations=sum(end.evaluations for end in ended),
        attempts=len(ended),
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

    def filled_by(self, other: "_Best") -> "_Best":
        """This one, with the other's entries where this one has none."""
        have = torch.isfinite(self.value)
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return _Best(*(torch.where(have.view(-1, *(1,) * (x.ndim - 1)), x, y) for x, y in pairs))


def _best_start(end: lbfgs.Minimum, S: int) -> _Best:
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


# Where a fit starts, as factors of the modes of the lengthscale and the noise prior: some noise,
# much noise, rough, smooth, smooth and noisy. The likelihood of few or wiggly data has several
# maxima, and no single start finds the best one reliably. These were chosen on 672 data sets; on
# 336 others no fit ended below BoTorch's. With more than _MANY data, where an evaluation is dear
# and maxima are fewer, the first two do: chosen on 40 data sets, never below on 36 others.
_STARTS = ((1, 10), (1, 50), (0.25, 0.1), (4, 0.1), (4, 50))
_MANY = 128
# The same for kernels without the closed form, as factors of the parameters as they are.
_FACTORS: tuple[dict[str, float], ...] = (
    {},
    {"raw_lengthscale": 0.25, "raw_noise": 0.1},
    {"raw_lengthscale": 4.0},
    {"raw_lengthscale": 4.0, "raw_noise": 50.0},
)


def _starts(
    rows: "_PlainRows | _AutogradRows", model: ExactGP, start: _Start
) -> Float[Tensor, "S b p"]:
    """The fixed starts, or a warm start and the first of them."""
    fixed = rows.fixed_starts()
    if start is None:
        return fixed
    warm = rows.read(model.with_hyperparameters(**start))
    return torch.stack([warm, fixed[0]])


def _normals(model: ExactGP, p: int, seed: seeds.Seed) -> Float[Tensor, "S b p"]:
    """Standard normals for four starts of p parameters; each replicate has a stream of its own."""
    r, m = model.batch_shape, model.num_outputs
    z = seeds.normal(seeds.replicate_seeds(seed, r), (m, 4, p), model.X.device)
    return z.reshape(r.numel() * m, 4, p).transpose(0, 1)


class _PlainRows:
    """Plain kernel, constant mean: closed-form gradient in (log l_1..d, log noise, c, log scale).

    Rows b are replicates x outputs. The parameters of a row: d log lengthscales (one if the kernel
    is isotropic), the mean in units of the outputs' spread, log noise if it is learned and log
    output scale if there is one.
    """

    def __init__(self, model: ExactGP) -> None:
        self.model = model
        lead, n = (*model.batch_shape, model.num_outputs), model.X.shape[-2]
        kernel = model.kernel
        self.base: Any = kernel.base_kernel if type(kernel) is ScaleKernel else kernel
        self.scaled = self.base is not kernel
        plain = model.stationary()
        assert plain is not None
        self.kind = plain.kind
        self.count = math.prod(lead)
        d = model.X.shape[-1]
        X = model.training_inputs().expand(*lead, n, d).reshape(self.count, n, d)
        self.mask = model.observed.unsqueeze(-2).expand(*lead, n).reshape(self.count, n)
        y = model.training_outputs().reshape(self.count, n)
        weight = self.mask.to(y)
        self.n = weight.sum(-1)
        # The kernel does not move with its inputs: centring them keeps squares small.
        self.X = X - (X * weight[..., None]).sum(-2, keepdim=True) / self.n[:, None, None]
        self.X = self.X * weight[..., None]
        self.shift = (y * weight).sum(-1) / self.n
        spread = ((y - self.shift[:, None]).square() * weight).sum(-1) / self.n
        self.unit = torch.where(spread > 0, spread.sqrt(), 1.0)
        self.y = torch.where(self.mask, y, 0.0)
        self._space: _Space | None = None
        self.all_observed = bool(self.mask.all())
        self.fixed_noise = (
            None if model.noise is None else model.noise.expand(*lead, n).reshape(self.count, n)
        )
        self.num_scales: int = self.base.lengthscale.shape[-1]
        self.lower, self.upper = self._limits()
        self.priors = _LogPriors(self._prior_columns(), self.lower)

    def _prior_columns(self) -> list[tuple[slice, Prior | None]]:
        """Which columns of theta are logarithms of values with which prior."""
        k = self.num_scales
        columns = [(slice(0, k), getattr(self.base, "lengthscale_prior", None))]
        if self.model.likelihood is not None:
            prior = getattr(self.model.likelihood.noise_covar, "noise_prior", None)
            columns.append((slice(k + 1, k + 2), prior))
        if self.scaled:
            last = self.num_parameters - 1
            prior = getattr(self.model.kernel, "outputscale_prior", None)
            columns.append((slice(last, last + 1), prior))
        return columns

    @property
    def num_parameters(self) -> int:
        return self.num_scales + 1 + (self.fixed_noise is None) + self.scaled

    def _split(self, theta: Array) -> tuple[Array, Array, Array | None, Array | None]:
        """Views of log lengthscales ``k d``, mean, log noise and log scale, each ``k`` or None."""
        k = self.num_scales
        noise = theta[..., k + 1] if self.fixed_noise is None else None
        scale = theta[..., -1] if self.scaled else None
        return theta[..., :k], theta[..., k], noise, scale

    def _join(
        self, log_l: Tensor, mean: Tensor, log_noise: Tensor | None, log_scale: Tensor | None
    ) -> Tensor:
        """Undoes `_split`."""
        parts = [log_l, mean.unsqueeze(-1)]
        parts += [p.unsqueeze(-1) for p in (log_noise, log_scale) if p is not None]
        return torch.cat(parts, dim=-1)

    def _limits(self) -> tuple[Tensor, Tensor]:
        """Box in theta: gpytorch's constraints, within the support of other than default priors.

        A log scale needs a positive floor.
        """
        model, like = self.model, self.X

        def logs(module: Any, name: str, size: int) -> tuple[Tensor, Tensor]:
            constraint = module.constraint_for_parameter_name(name)
            low = torch.as_tensor(constraint.lower_bound).to(like).clamp(min=1e-10)
            high = torch.as_tensor(constraint.upper_bound).to(like).clamp(max=1e10)
            prior = priors.prior_of(module, name)
            if type(prior) is not priors.LogNormalPrior:
                low, high = priors.common_range(name, (low, high), priors.support(prior, like))
            return low.log().expand(size), high.log().expand(size)

        free = torch.full((1,), torch.inf, dtype=like.dtype, device=like.device)
        bounds = [logs(self.base, "raw_lengthscale", self.num_scales), (-free, free)]
        if self.fixed_noise is None:
            assert model.likelihood is not None
            bounds.append(logs(model.likelihood.noise_covar, "raw_noise", 1))
        if self.scaled:
            bounds.append(logs(model.kernel, "raw_outputscale", 1))
        low, high = (torch.cat(side) for side in zip(*bounds, strict=True))
        return low, high

    def read(self, model: ExactGP) -> Float[Tensor, "b p"]:
        """The hyperparameters of a model as rows."""
        values = model.hyperparameters()
        log_l = values["lengthscale"][..., : self.num_scales].log()
        log_l = log_l.reshape(self.count, self.num_scales)
        mean = (values["mean"].reshape(self.count) - self.shift) / self.unit
        noise = values["noise_var"].log().reshape(self.count) if "noise_var" in values else None
        scale = values["outputscale"].log().reshape(self.count) if self.scaled else None
        return self._join(log_l, mean, noise, scale)

    def write(self, theta: Float[Tensor, "b p"]) -> None:
        """Give the model the hyperparameters of some rows."""
        shape = (*self.model.batch_shape, self.model.num_outputs)
        log_l, mean, noise, scale = self._split(theta)
        values = {
            "lengthscale": log_l.exp().view(*shape, self.num_scales),
            "mean": (self.shift + self.unit * mean).view(shape),
        }
        if noise is not None:
            values["noise_var"] = noise.exp().view(shape)
        if scale is not None:
            values["outputscale"] = scale.exp().view(shape)
        self.model._put(values)

    def _lengthscale_mode(self) -> float:
        """The mode of the lengthscale's prior, or of the default one where it has another."""
        prior = getattr(self.base, "lengthscale_prior", None)
        if isinstance(prior, priors.LogNormalPrior) and prior.loc.numel() == 1:
            return priors.mode(prior)
        return priors.lengthscale_mode(self.model.X.shape[-1])

    def fixed_starts(self) -> Float[Tensor, "S b p"]:
        """Multiples of the priors' modes: see `_STARTS`."""
        starts = _STARTS if self.X.shape[-2] <= _MANY else _STARTS[:2]
        modes = [math.log(self._lengthscale_mode()), math.log(priors.NOISE_MODE)]
        logs = self.X.new_tensor(starts).log() + self.X.new_tensor(modes)
        ell, noise = logs.T[..., None]  # S 1 each
        theta = self.X.new_zeros(len(starts), self.count, self.num_parameters)
        log_l, mean, log_noise, _ = self._split(theta)
        log_l.copy_(ell[..., None])
        mean.copy_((-self.shift / self.unit).clamp(-1, 1))
        if log_noise is not None:
            log_noise.copy_(noise)
        return torch.clamp(theta, self.lower, self.upper)

    def draw(self, seed: seeds.Seed) -> Float[Tensor, "S b p"]:
        """Four starts from the log-normal priors; what has none, round the first fixed start."""
        z = _normals(self.model, self.num_parameters, seed)
        centre = self.fixed_starts()[0]
        width = torch.full_like(centre, 1.5)
        for where, prior in self._prior_columns():
            if prior is not None and type(prior) is priors.LogNormalPrior:
                centre[:, where], width[:, where] = prior.loc, prior.scale
        return torch.clamp(centre + width * z, self.lower, self.upper)

    def objective(self, S: int) -> lbfgs.Objective:
        """Minus log posterior per observation and its gradient, for rows of ``S * b``."""
        last: list[Any] = [None, None]  # rows, and their data

        def fun(theta: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            if last[0] is not rows:
                last[:] = [rows, self.take(rows % self.count)]
            return self.value_and_gradient(theta, last[1])

        return fun

    def take(self, b: Int[Tensor, "k"]) -> "_Rows":
        """The data of some rows."""
        space = self._workspace(len(b))
        return _Rows(
            X=array(self.X[b]),
            y=array(self.y[b] - self.shift[b].unsqueeze(-1)),
            n=array(self.n[b].unsqueeze(-1)),
            unit=array(self.unit[b].unsqueeze(-1)),
            noise=None if self.fixed_noise is None else array(self.fixed_noise[b]),
            weight=None if self.all_observed else array(self.mask[b].to(self.y)),
            space=space,
            views=_Space(*map(array, space)),
        )

    def _workspace(self, k: int) -> "_Space":
        """Memory for k rows.

        Fresh memory of this size would come from the operating system, page by page, each time:
        at n = 200 that costs as much as the arithmetic.
        """
        if self._space is None or len(self._space.info) < k:
            n = self.X.shape[-2]
            info = torch.empty(k, dtype=torch.int32, device=self.X.device)
            r2, product, L, K_inv = (self.X.new_empty(k, n, n) for _ in range(4))
            self._space = _Space(r2, product, L, K_inv, info)
        return _Space(*(part[:k] for part in self._space))

    def value_and_gradient(
        self, theta: Float[Tensor, "k p"], data: "_Rows"
    ) -> tuple[Float[Tensor, "k"], Float[Tensor, "k p"]]:
        """The objective at parameters theta for k data sets; NaN where K is not definite.

        Like `optim.lbfgs` it computes on torch tensors, and for tensors on the CPU on NumPy views
        of them: for ten observations the starting of operations is all that it costs.
        """
        at = array(theta)
        xp, product = namespace(at), data.views.product
        log_l, mean, log_noise, log_scale = self._split(at)
        ell = xp.exp(log_l)
        noise = data.noise if log_noise is None else xp.exp(log_noise)[:, None]
        assert noise is not None
        residual = data.y - data.unit * mean[:, None]
        K, H = self._kernel(ell, log_scale, data)
        if data.weight is not None:  # a masked row becomes a row of the identity
            K *= data.weight[:, :, None]
            K *= data.weight[:, None]
            residual = residual * data.weight
            noise = xp.where(data.weight > 0, noise, 1.0)
        # An RBF kernel's H is the same matrix, and gets the noise on its diagonal too. So does the
        # diagonal of M then, which cancels in diag(M 1) - M.
        diagonal = _diagonal(K)
        diagonal += noise
        K_inv, log_det = _inverse(K, data.space, data.views)
        a = xp.multiply(K_inv, residual[:, None], out=product).sum(-1)
        fit, n = (residual * a).sum(-1), data.n[:, 0]
        value = -0.5 * (fit + log_det + n * _LOG_2PI)
        W_diagonal = a * a - _diagonal(K_inv)
        if data.weight is not None:
            W_diagonal = W_diagonal * data.weight
        W_noise = (W_diagonal * noise).sum(-1)
        # M = (a a^T - K^-1) o H
        M = xp.multiply(a[:, :, None], a[:, None], out=product)
        M -= K_inv
        M *= H
        # x_k^T diag(M 1) x_k - x_k^T M x_k, for every input k at once
        g_l = (data.X * (M.sum(-1)[..., None] * data.X - xp.matmul(M, data.X))).sum(-2)
        g_l = g_l / (ell * ell)
        density, gradient = self.priors(at)
        g_log_l, g_mean, g_noise, g_scale = self._split(gradient)
        g_log_l += g_l.sum(-1)[:, None] if self.num_scales == 1 else g_l
        g_mean += a.sum(-1) * data.unit[:, 0]
        if g_noise is not None:
            g_noise += 0.5 * W_noise
        if g_scale is not None:  # <W, scale k> = <W, K> - <W, noise>, and <W, K> = a.K a - n
            g_scale += 0.5 * (fit - n - W_noise)
        return tensor((value + density) / -n), tensor(gradient / -data.n)

    def _kernel(self, ell: Array, log_scale: Array | None, data: "_Rows") -> tuple[Array, Array]:
        """The kernel matrices without noise, and H, ``k n n``; they may share memory."""
        Z = data.X / ell[:, None]
        xp, z2 = namespace(Z), (Z * Z).sum(-1)
        r2 = xp.matmul(Z, Z.swapaxes(-1, -2), out=data.views.r2)
        r2 *= -2
        r2 += z2[:, :, None]
        r2 += z2[:, None]
        r2 *= r2 > 0  # rounding
        _diagonal(r2)[:] = 0
        K, H = correlation(self.kind, data.space.r2)
        # asked of the tensors: two views of one of them are two objects
        parts = [array(K)] if H is K else [array(K), array(H)]
        if log_scale is not None:
            for part in parts:
                part *= xp.exp(log_scale)[:, None, None]
        return parts[0], parts[-1]


def _inverse(K: Array, space: "_Space", views: "_Space") -> tuple[Array, Array]:
    """K^-1 ``k n n`` and log det K ``k``, by Cholesky; NaN where K is not positive definite."""
    # LAPACK writes by columns: into a transposed view it writes without a copy
    torch.linalg.cholesky_ex(tensor(K), out=(space.L.mT, space.info))
    xp, diagonal = namespace(K), _diagonal(views.L)
    diagonal += xp.where(views.info > 0, xp.nan, 0.0)[:, None]
    torch.cholesky_inverse(space.L.mT, out=space.K_inv.mT)
    return views.K_inv, 2 * xp.log(diagonal).sum(-1)


def _diagonal(A: Array) -> Array:
    """The diagonals of k matrices ``k n n``, as a view ``k n``."""
    return A.reshape(len(A), -1)[:, :: A.shape[-1] + 1]


@dataclass(frozen=True, eq=False)
class _Rows:
    """The data of k rows, outputs standardised, inputs centred in the unit cube."""

    X: Array  # k n d
    y: Array  # k n: minus its mean
    n: Array  # k 1: number of observations
    unit: Array  # k 1: spread of y, the unit of the mean parameter
    noise: Array | None  # k n: known noise variances
    weight: Array | None  # k n: 1 where observed, 0 elsewhere; None if all are
    space: "_Space"  # tensors
    views: "_Space"  # the same memory as arrays: to make a view costs as much as a small operation


class _Space(NamedTuple):
    """Memory to compute in, written anew by every evaluation."""

    r2: Array  # k n n: squared distances; for an RBF kernel the kernel matrices, too
    product: Array  # k n n: the products of K^-1 with the residual, then M
    L: Array  # k n n
    K_inv: Array  # k n n
    info: Array  # k: 0 where the factorisation succeeded


class _LogPriors:
    """Log prior densities of hyperparameters given by their logarithms, and the slopes in those.

    The densities are of the values, not of their logarithms: no Jacobian. Log-normal priors, the
    default, are one expression for all columns; any other prior takes autograd.
    """

    def __init__(self, columns: list[tuple[slice, Prior | None]], like: Tensor) -> None:
        location, scale = torch.zeros_like(like), torch.ones_like(like)
        weight = torch.zeros_like(like)
        self.others: list[tuple[slice, Prior]] = []
        for where, prior in columns:
            if prior is None:
                continue
            if type(prior) is priors.LogNormalPrior:
                location[where], scale[where], weight[where] = prior.loc, prior.scale, 1.0
            else:
                self.others.append((where, prior))
        # -theta - (theta - location)^2 / (2 scale^2) - log(scale sqrt(2 pi)), a parabola in theta
        curvature = -weight / scale.square()
        slope = -weight - curvature * location
        constant = 0.5 * curvature * location.square() - weight * scale.log()
        constant = constant - 0.5 * _LOG_2PI * weight
        self.curvature, self.slope, self.constant = map(array, (curvature, slope, constant))

    def __call__(self, theta: Array) -> tuple[Array, Array]:
        """Sum of the log densities ``k``, and its gradient ``k p``."""
        slope = self.slope + self.curvature * theta
        value = (self.constant + 0.5 * theta * (slope + self.slope)).sum(-1)
        for where, prior in self.others:
            x = tensor(theta[:, where]).exp()
            density, derivative = priors.log_density_and_slope(prior, x)
            value += array(density)
            slope[:, where] += array(derivative * x)
        return value, slope


class _AutogradRows:
    """Any kernel and mean: the same objective through autograd, one start at a time.

    A row holds every free parameter of one replicate and output. Parameters that gpytorch
    constrains by a transform are optimised untransformed ("raw"); the others within their bounds,
    and all of them within the support of their prior.
    """

    def __init__(self, model: ExactGP) -> None:
        self.model = model
        self.lead = (*model.batch_shape, model.num_outputs)
        self.count = math.prod(self.lead)
        self.sizes: dict[str, torch.Size] = {}  # name -> shape within one row
        low: list[Tensor] = []
        high: list[Tensor] = []
        parameters = named_parameters(model)
        self.frozen = {_entry(name)[0] for name, p, _ in parameters if not p.requires_grad}
        for name, parameter, constraint in parameters:
            key, entry = _entry(name)
            if key in self.sizes or key in self.frozen:
                continue
            shape = parameter.shape if entry is not None else parameter.shape[len(self.lead) :]
            self.sizes[key] = shape
            pair = _raw_limits(model, name, constraint)
            for side, bound in zip((low, high), pair, strict=True):
                side.append(bound.expand(shape).reshape(-1))
        if not self.sizes:
            raise DataError(
                "fit_mll: expected a parameter to fit, got a model with all of them frozen; set "
                "requires_grad of some to True, or do not fit it"
            )
        self.lower, self.upper = torch.cat(low), torch.cat(high)

    def read(
        self, model: ExactGP, factors: Mapping[str, float] | None = None
    ) -> Float[Tensor, "b p"]:
        """The raw parameters of a model as rows, some of the positive ones times a factor."""
        columns: dict[str, list[Tensor]] = {}
        for name, parameter, constraint in named_parameters(model):
            key, entry = _entry(name)
            if key in self.frozen:
                continue
            size = self.sizes[key].numel()
            rows = parameter.detach()
            factor = (factors or {}).get(name.rpartition(".")[2], 1.0)
            if factor != 1 and isinstance(constraint, GreaterThan):
                value = constraint.transform(rows) if constraint.enforced else rows
                value = torch.maximum(value * factor, constraint.lower_bound + 1e-3 * value)
                rows = constraint.inverse_transform(value) if constraint.enforced else value
            rows = rows.reshape(1 if entry is not None else self.count, size)
            columns.setdefault(key, []).append(rows)
        return torch.cat([torch.cat(columns[key]) for key in self.sizes], dim=-1)

    def _tensors(self, theta: Float[Tensor, "b p"]) -> dict[str, Tensor]:
        """Rows as a value for each free parameter of the model."""
        parts = theta.split([size.numel() for size in self.sizes.values()], dim=-1)
        by_key = dict(zip(self.sizes, parts, strict=True))
        values = {}
        for name, parameter, _ in named_parameters(self.model):
            key, entry = _entry(name)
            if key in self.frozen:
                continue
            part = by_key[key] if entry is None else by_key[key][entry]
            values[name] = part.reshape(parameter.shape)
        return values

    def write(self, theta: Float[Tensor, "b p"]) -> None:
        """Give the model the parameters of some rows."""
        self.model.renew()
        with torch.no_grad():
            for name, value in self._tensors(theta).items():
                self.model.get_parameter(name).copy_(value)

    def fixed_starts(self) -> Float[Tensor, "S b p"]:
        """The parameters as they are, rough, smooth, and with much noise: see `_FACTORS`."""
        starts = torch.stack([self.read(self.model, factors) for factors in _FACTORS])
        return torch.clamp(starts, self.lower, self.upper)

    def draw(self, seed: seeds.Seed) -> Float[Tensor, "S b p"]:
        """Four starts from a normal around the parameters as they are."""
        z = _normals(self.model, len(self.lower), seed)
        return torch.clamp(self.read(self.model) + z, self.lower, self.upper)

    def objective(self, S: int) -> lbfgs.Objective:
        """Minus log posterior per observation and its gradient, for rows of ``S * b``."""
        template = self.read(self.model)

        def fun(theta: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            value = theta.new_empty(len(rows))
            gradient = torch.empty_like(theta)
            for s in range(S):
                mine = (rows // self.count == s).nonzero().squeeze(-1)
                if not len(mine):
                    continue
                b = rows[mine] % self.count
                full = template.index_copy(0, b, theta[mine]).requires_grad_(True)
                with torch.enable_grad():
                    each = self._log_posterior(full)
                    (slope,) = torch.autograd.grad(each.sum(), full)
                value[mine], gradient[mine] = -each.detach()[b], -slope[b]
            return value, gradient

        return fun

    def _log_posterior(self, theta: Float[Tensor, "b p"]) -> Float[Tensor, "b"]:
        tensors = {f"model.{name}": value for name, value in self._tensors(theta).items()}
        return torch.func.functional_call(_LogPosterior(self.model), tensors, ())  # type: ignore[no-any-return]


class _LogPosterior(nn.Module):
    """Log likelihood plus log priors of each row, per observation, as a module without state."""

    def __init__(self, model: ExactGP) -> None:
        super().__init__()
        self.model = model

    def forward(self) -> Float[Tensor, "b"]:
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


def _raw_limits(model: ExactGP, name: str, constraint: Any) -> tuple[Tensor, Tensor]:
    """Between what a parameter is optimised: its bounds and, as raw values, its prior's support."""
    like = model.X
    path, _, leaf = name.rpartition(".")
    low, high = priors.support(priors.prior_of(model.get_submodule(path), leaf), like)
    if constraint is None:
        return low, high
    ends = tuple(x.to(like) for x in (constraint.lower_bound, constraint.upper_bound))
    if not constraint.enforced:
        return priors.common_range(name, ends, (low, high))
    free = (like.new_tensor(-torch.inf), like.new_tensor(torch.inf))
    inner = priors.common_range(name, ends, (low, high))
    return tuple(  # type: ignore[return-value]
        torch.where(at == end, limit, constraint.inverse_transform(within(constraint, at)))
        for at, end, limit in zip(inner, ends, free, strict=True)
    )


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
