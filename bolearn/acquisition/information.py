r"""How much an observation tells about the maximum: the mathematics of entropy search.

Let f ~ N(mu, sigma^2) and y = f + noise. To know the maximum f* of the whole function is to know
f <= f*: the belief at x is cut off at gamma = (f* - mu) / sigma. With lambda = phi / Phi and
rho^2 = sigma^2 / (sigma^2 + noise) = 1 - c^2, the entropy of y falls by

    MES(gamma) = lambda(gamma) [ R(gamma) - c E_v R(c gamma - rho v) ],    v ~ N(0, 1),
    R(w) = w / 2 - Phi(w) log Phi(w) / phi(w),

exactly: the density of y given f <= f* is phi(v) Phi((gamma - rho v) / c) / Phi(gamma) in standard
units, an extended skew normal. One smooth integral remains. Without noise, c = 0 and what is left
is Wang & Jegelka's lambda gamma / 2 - log Phi. A Gaussian of the same variance has more entropy, so

    GIBBON(gamma) = -1/2 log(1 - rho^2 t),    t = lambda (gamma + lambda),

is a lower bound; 1 - t is the variance of a standard normal that is cut off at gamma.

Noise enters as ``snr`` = sigma^2 / noise. All in nats; MES <= 1/2 log(1 + snr), whatever gamma.

Taught in part_4/tutorial_05.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..numerics import log_ndtr

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_SQRT_HALF_PI = math.sqrt(math.pi / 2)
_SQRT_HALF = math.sqrt(0.5)
_FAR = 60.0  # 1 - x Q(x) / phi(x) has lost x^2 ulps; beyond this place its series has not
_LOWER, _UPPER = -6.0, 8.0  # between them R loses no digits as its formula stands
_NEAR = -8.0  # above it gamma + lambda has lost two digits at most
_NODES = 16
# Below this rho^2 MES and GIBBON agree to rho^4 / 80 and better, and the difference of the two R's
# has lost 1 / rho^2 ulps.
_FAINT = 1e-4


@lru_cache(maxsize=4)
def _gauss_hermite(device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights of an average over v ~ N(0, 1)."""
    v, weight = np.polynomial.hermite_e.hermegauss(_NODES)
    with torch.inference_mode(False):
        return torch.tensor(v, device=device), torch.tensor(weight / weight.sum(), device=device)


def _one_minus_x_mills(x: Tensor, ratio: Tensor) -> Tensor:
    """1 - x Q(x) / phi(x) for x >= 0, from ratio = Q / phi.

    Source: Abramowitz & Stegun 26.2.12.
    """
    w = x.clamp(min=_FAR).square().reciprocal()
    series = w * (1 + w * (-3 + w * (15 + w * (-105 + w * 945))))
    return torch.where(x > _FAR, series, 1 - x * ratio)


def _r_and_slope(w: Tensor) -> tuple[Tensor, Tensor]:
    """R(w) = w / 2 - Phi log Phi / phi and its derivative, accurate in both tails."""
    low, high = (v.item() for v in torch.aminmax(w)) if w.numel() else (math.nan, math.nan)
    if low >= _LOWER and high <= _UPPER:
        return _r_as_it_stands(w)
    value, slope = _r_as_it_stands(w.clamp(_LOWER, _UPPER))
    out = (~((w >= _LOWER) & (w <= _UPPER))).nonzero(as_tuple=True)  # NaN among them
    value[out], slope[out] = _r_in_the_tails(w[out])
    return value, slope


def _r_as_it_stands(w: Tensor) -> tuple[Tensor, Tensor]:
    """The same where nothing cancels much: half of the operations."""
    log_phi = torch.special.log_ndtr(w)
    G = (log_phi + _LOG_SQRT_2PI).addcmul_(w, w, value=0.5).exp_().mul_(log_phi)
    return torch.sub(0.5 * w, G), G.mul_(w).add_(log_phi).add_(0.5).neg_()


def _r_in_the_tails(w: Tensor) -> tuple[Tensor, Tensor]:
    """The same, by Mills' ratio on either side."""
    x = w.abs()
    ratio = torch.special.erfcx(x * _SQRT_HALF).mul_(_SQRT_HALF_PI)  # Q(|w|) / phi(w)
    # below 0, with m = Phi / phi = ratio:  R = (w / 2)(1 + w m) + m (log sqrt(2 pi) - log m)
    deficit = _LOG_SQRT_2PI - ratio.log()
    below = ratio * deficit - 0.5 * x * _one_minus_x_mills(x, ratio)
    # above:  R = w / 2 + g,  g = -Phi log Phi / phi
    upper = torch.exp(-0.5 * x.square() - _LOG_SQRT_2PI) * ratio  # Q(|w|)
    log_phi = torch.log1p(-upper)
    g = ratio * (1 - upper) * torch.where(upper > 1e-300, -log_phi / upper, 1.0)
    left = w < 0
    value = torch.where(left, below, 0.5 * x + g)
    slope = torch.where(left, deficit - x * below, x * g - log_phi) - 0.5
    return value, slope


class _SlopeOfR(torch.autograd.Function):
    """R'; its derivative is R + w R' - (w + lambda)."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        value, slope = _r_and_slope(w)
        ctx.save_for_backward(w, value, slope)
        return slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        w, value, slope = ctx.saved_tensors
        curvature: Tensor = value + w * slope - _cut(w)[1]
        return grads[0] * curvature


class _R(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        value, slope = _r_and_slope(w)
        ctx.save_for_backward(w, slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        w, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            slope = _SlopeOfR.apply(w)  # type: ignore[no-untyped-call]
        return grads[0] * slope  # type: ignore[no-any-return]


def _cut(gamma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log lambda, gamma + lambda, and the variance 1 - t of a standard normal below gamma."""
    if gamma.numel() and gamma.min().item() >= _NEAR:  # the usual case, in half of the operations
        log_lambda = -0.5 * gamma.square() - _LOG_SQRT_2PI - torch.special.log_ndtr(gamma)
        lam = log_lambda.exp()
        above = gamma + lam
        return log_lambda, above, torch.addcmul(torch.ones_like(lam), lam, above, value=-1)
    x = -gamma
    log_lambda = -0.5 * x.square() - _LOG_SQRT_2PI - torch.special.log_ndtr(gamma)
    ratio = _SQRT_HALF_PI * torch.special.erfcx(x.clamp(min=0.0) * _SQRT_HALF)
    lam = log_lambda.exp()
    # far down lambda = x + 1/x - ...: the sum cancels, (1 - x m) / m does not
    above = torch.where(x > 0, _one_minus_x_mills(x.clamp(min=0.0), ratio) / ratio, gamma + lam)
    w = x.clamp(min=_FAR).square().reciprocal()
    left = torch.where(x > _FAR, w * (1 + w * (-6 + w * 50)), 1 - lam * above)
    return log_lambda, above, left


def normal_below(gamma: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Variance of a standard normal that is cut off at gamma: 1 - lambda (gamma + lambda)."""
    return _NormalBelow.apply(gamma)  # type: ignore[no-any-return, no-untyped-call]


def normal_below_and_slope(
    gamma: Float[Tensor, "*b"],
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """`normal_below` and its derivative, lambda ((gamma + lambda)^2 - variance)."""
    log_lambda, above, left = _cut(gamma)
    return left, log_lambda.exp() * (above.square() - left)


class _NormalBelow(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gamma: Tensor) -> Tensor:
        value, slope = normal_below_and_slope(gamma)
        ctx.save_for_backward(gamma, slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        gamma, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: the formula as it stands
            lam = torch.exp(-0.5 * gamma.square() - _LOG_SQRT_2PI - log_ndtr(gamma))
            above = gamma + lam
            slope = lam * (above.square() - 1 + lam * above)
        return grads[0] * slope  # type: ignore[no-any-return]


def _shares(snr: Tensor) -> tuple[Tensor, Tensor]:
    """rho^2 and c^2: the shares of signal and noise in the variance of y."""
    return 1 / (1 + 1 / snr), 1 / (1 + snr)


# -- max-value entropy search --------------------------------------------------------------------


def log_max_value_information_reference(
    gamma: Float[Tensor, "*b"], snr: Float[Tensor, "*b"]
) -> Float[Tensor, "*b"]:
    """`log_max_value_information` by its formula; differentiable twice, for rho^2 >> 1e-10."""
    rho2, c2 = _shares(snr)
    rho, c = rho2.sqrt(), c2.sqrt()
    v, weight = _gauss_hermite(gamma.device)
    w = (c * gamma).unsqueeze(-1) - rho.unsqueeze(-1) * v
    R: Tensor = _R.apply(gamma)  # type: ignore[no-untyped-call]
    bracket: Tensor = R - c * (_R.apply(w) @ weight)  # type: ignore[no-untyped-call]
    return bracket.log() - 0.5 * gamma.square() - _LOG_SQRT_2PI - log_ndtr(gamma)


def max_value_slopes(
    gamma: Float[Tensor, "*b"], snr: Float[Tensor, "*b"]
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """log MES and its derivatives with respect to gamma and snr, in one pass."""
    rho2, c2 = _shares(snr)
    rho, c = rho2.sqrt(), c2.sqrt()
    v, weight = _gauss_hermite(gamma.device)
    R, slope = _r_and_slope(gamma)
    Rw, slope_w = _r_and_slope((c * gamma).unsqueeze(-1) - rho.unsqueeze(-1) * v)
    mean_R, mean_slope, tilted = Rw @ weight, slope_w @ weight, slope_w @ (v * weight)
    bracket = (R - c * mean_R).clamp(min=1e-300)
    log_lambda, above, _ = _cut(gamma)
    value = log_lambda + bracket.log()
    d_gamma = (slope - c2 * mean_slope) / bracket - above  # d log lambda = -(gamma + lambda)
    # d bracket / dc, with d rho / dc = -c / rho;  dc / dsnr = -c^3 / 2
    d_c = -mean_R - c * (gamma * mean_slope + (c / rho) * tilted)
    d_snr = -0.5 * c * c2 * d_c / bracket
    faint = rho2 < _FAINT
    if faint.any():
        series = _log_gibbon_slopes(gamma, snr)
        value, d_gamma, d_snr = (
            torch.where(faint, a, b) for a, b in zip(series, (value, d_gamma, d_snr), strict=True)
        )
    return value, d_gamma, d_snr


class _LogMES(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gamma: Tensor, snr: Tensor) -> Tensor:
        value, *slopes = max_value_slopes(gamma, snr)
        ctx.save_for_backward(gamma, snr, *slopes)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gamma, snr, d_gamma, d_snr = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            value = log_max_value_information_reference(gamma, snr)
            slow = torch.autograd.grad(value, (gamma, snr), grads, create_graph=True)
            return slow[0], slow[1]
        return grads[0] * d_gamma, grads[0] * d_snr


def log_max_value_information(
    gamma: Float[Tensor, "*b"], snr: Float[Tensor, "*b"] | float
) -> Float[Tensor, "*b"]:
    """log of the information, in nats, that a noisy observation gives about the maximum.

    The logarithm keeps its digits, and its slope, from gamma = -1e4 up to 1e3 and beyond, where the
    information itself is exp(-5e5).

    Args:
        gamma: (f* - mean) / std, f* a sample of the maximum.
        snr: variance of f over that of the noise; infinite without noise.

    Returns:
        log MES, differentiable twice.

    Example:
        >>> zero = torch.zeros((), dtype=torch.float64)
        >>> round(log_max_value_information(zero, 1.0).exp().item(), 4)
        0.1931

    Source: Wang & Jegelka, "Max-value entropy search for efficient Bayesian optimization", ICML
    2017, arXiv:1703.01968, equation 6, for f without noise; with noise Takeno et al.,
    "Multi-fidelity Bayesian optimization with max-value entropy search and its parallelization",
    ICML 2020, arXiv:1901.08275, whose one-dimensional integral is taken in closed pieces here.
    """
    level = torch.as_tensor(snr, dtype=gamma.dtype, device=gamma.device).expand(gamma.shape)
    return _LogMES.apply(gamma, level)  # type: ignore[no-any-return, no-untyped-call]


# -- the lower bound by moments ------------------------------------------------------------------


def gibbon_information_reference(
    gamma: Float[Tensor, "*b"], snr: Float[Tensor, "*b"]
) -> Float[Tensor, "*b"]:
    """GIBBON's bound by its formula; differentiable twice, right for gamma > -1e3 or so."""
    lam = torch.exp(-0.5 * gamma.square() - _LOG_SQRT_2PI - log_ndtr(gamma))
    return -0.5 * torch.log1p(-lam * (gamma + lam) / (1 + 1 / snr))


def gibbon_slopes(
    gamma: Float[Tensor, "*b"], snr: Float[Tensor, "*b"]
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """GIBBON's bound -1/2 log(1 - rho^2 t), and its derivatives with respect to gamma and snr.

    Source: Moss, Leslie, Gonzalez & Rayson, "GIBBON: General-purpose information-based Bayesian
    optimisation", JMLR 22, 2021, arXiv:2102.03324, for one point.
    """
    rho2, c2 = _shares(snr)
    log_lambda, above, left = _cut(gamma)
    lam = log_lambda.exp()
    t = lam * above
    rest = c2 + rho2 * left  # 1 - rho^2 t, the variance of y that is left
    u = rho2 * t
    value = -0.5 * torch.where(u < 0.5, torch.log1p(-u.clamp(max=0.5)), rest.log())
    d_gamma = 0.5 * rho2 * lam * (left - above.square()) / rest
    return value, d_gamma, 0.5 * c2.square() * t / rest


def _log_gibbon_slopes(gamma: Tensor, snr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The logarithm of GIBBON's bound for small rho^2, and its derivatives."""
    rho2, c2 = _shares(snr)
    log_lambda, above, left = _cut(gamma)
    u = rho2 * log_lambda.exp() * above
    relative = torch.where(u > 0, -torch.log1p(-u) / u, 1.0)  # -log(1 - u) / u
    value = rho2.log() + log_lambda + above.log() + (0.5 * relative).log()
    rest = (1 - u) * relative
    return value, (left - above.square()) / above / rest, c2 / (snr * rest)


class _Gibbon(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gamma: Tensor, snr: Tensor) -> Tensor:
        value, *slopes = gibbon_slopes(gamma, snr)
        ctx.save_for_backward(gamma, snr, *slopes)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gamma, snr, d_gamma, d_snr = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            value = gibbon_information_reference(gamma, snr)
            slow = torch.autograd.grad(value, (gamma, snr), grads, create_graph=True)
            return slow[0], slow[1]
        return grads[0] * d_gamma, grads[0] * d_snr


def gibbon_information(
    gamma: Float[Tensor, "*b"], snr: Float[Tensor, "*b"] | float
) -> Float[Tensor, "*b"]:
    """GIBBON's lower bound of the information about the maximum, in nats.

    Args:
        gamma, snr: as in `log_max_value_information`.

    Returns:
        -1/2 log(1 - rho^2 lambda (gamma + lambda)), differentiable twice.

    Example:
        >>> zero = torch.zeros((), dtype=torch.float64)
        >>> round(gibbon_information(zero, 1.0).item(), 4)
        0.1916

    Source: Moss et al. 2021, arXiv:2102.03324.
    """
    level = torch.as_tensor(snr, dtype=gamma.dtype, device=gamma.device).expand(gamma.shape)
    return _Gibbon.apply(gamma, level)  # type: ignore[no-any-return, no-untyped-call]
