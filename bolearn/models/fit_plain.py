r"""The fit of a plain kernel: its objective and the gradient in closed form.

With r = y - c, a = K^-1 r, W = a a^T - K^-1 and M = W o H (H = -2 dk/dr^2, o = entrywise),

    d/d log l_k = l_k^-2 [ (x_k o x_k)^T M 1 - x_k^T M x_k ],
    d/d noise   = trace(W) / 2,     d/d c = 1^T a,     d/d log scale = <W, scale k> / 2,

one (n, n) x (n, d) product instead of an n x n x d tensor.

Taught in part_3/tutorial_03 (the gradient) and part_4/tutorial_01 (priors, starts).
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from gpytorch.kernels import ScaleKernel
from gpytorch.priors import Prior
from jaxtyping import Float, Int
from torch import Tensor

from .. import seeds
from ..linalg import correlation
from ..optim.arrays import Array, array, namespace, tensor
from ..optim.minimum import ValueAndGradient
from . import priors
from .exact import ExactGP

_LOG_2PI = math.log(2 * math.pi)

# Where a fit starts, as factors of the lengthscale prior's mode and of a typical noise: some noise,
# much noise, rough, smooth, smooth and noisy. The likelihood of few or wiggly data has several
# maxima, and no single start finds the best one reliably. These were chosen on 672 data sets; on
# 336 others no fit ended below BoTorch's. With more than _MANY data, where an evaluation is dear
# and maxima are fewer, the first two do: chosen on 40 data sets, never below on 36 others.
_STARTS = ((1, 10), (1, 50), (0.25, 0.1), (4, 0.1), (4, 50))
_MANY = 128


def normals_of_rows(model: ExactGP, p: int, seed: seeds.Seed) -> Float[Tensor, "S b p"]:
    """Standard normals for four starts of p parameters; each replicate has a stream of its own."""
    r, m = model.batch_shape, model.num_outputs
    z = seeds.normal(seeds.replicate_seeds(seed, r), (m, 4, p), model.X.device)
    return z.reshape(r.numel() * m, 4, p).transpose(0, 1)


class PlainRows:
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
        self.priors = LogPriors(self._prior_columns(), self.lower)

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

    def warm_start(self, start: dict[str, Any]) -> Float[Tensor, "b p"]:
        """Rows of given hyperparameters; those that are missing as the model has them.

        Raises:
            DataError, ShapeError: as `ExactGP.with_hyperparameters`.
        """
        values = self.model.hyperparameters() | self.model.check_hyperparameters(start)
        log_l = values["lengthscale"][..., : self.num_scales].log()
        log_l = log_l.reshape(self.count, self.num_scales)
        mean = (values["mean"].reshape(self.count) - self.shift) / self.unit
        noise = values["noise_var"].log().reshape(self.count) if "noise_var" in values else None
        scale = values["outputscale"].log().reshape(self.count) if self.scaled else None
        return self._join(log_l, mean, noise, scale)

    def fitted(self, theta: Float[Tensor, "b p"], report: object) -> ExactGP:
        """The model with the hyperparameters of some rows."""
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
        return self.model.replaced(values, report)

    def _lengthscale_mode(self) -> float:
        """The mode of the lengthscale's prior, or of the default one where it has another."""
        prior = getattr(self.base, "lengthscale_prior", None)
        if isinstance(prior, priors.LogNormalPrior) and prior.loc.numel() == 1:
            return priors.mode(prior)
        return priors.lengthscale_mode(self.model.X.shape[-1])

    def fixed_starts(self) -> Float[Tensor, "S b p"]:
        """Multiples of the lengthscale prior's mode and a typical noise: see `_STARTS`."""
        starts = _STARTS if self.X.shape[-2] <= _MANY else _STARTS[:2]
        typical = priors.EXACT_NOISE if self.model.noise_free else priors.NOISE_MODE
        modes = [math.log(self._lengthscale_mode()), math.log(typical)]
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
        z = normals_of_rows(self.model, self.num_parameters, seed)
        centre = self.fixed_starts()[0]
        width = torch.full_like(centre, 1.5)
        for where, prior in self._prior_columns():
            if prior is not None and type(prior) is priors.LogNormalPrior:
                centre[:, where], width[:, where] = prior.loc, prior.scale
        return torch.clamp(centre + width * z, self.lower, self.upper)

    def objective(self, S: int) -> ValueAndGradient:
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


class LogPriors:
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
