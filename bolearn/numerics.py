r"""Log-space primitives: the formulas that floating point breaks when they are typed from a book.

Expected improvement underflows to 0 (and its gradient with it) a few standard deviations below the
incumbent. Everything here returns *logarithms* with relative accuracy kept, together with slopes
that an optimiser can follow.

Taught in part_4/tutorial_02.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .errors import DataError

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_SQRT_HALF_PI = math.sqrt(math.pi / 2)
_SQRT_HALF = math.sqrt(0.5)
_SQRT_THIRD = math.sqrt(1 / 3)

# h / phi = 1 + u Phi/phi is exact enough between these places. Below the first it has lost 60**2
# ulps, and five terms of its asymptotic series have not; above the second h(u) = u to 24 digits.
_LOWER, _UPPER = -60.0, 10.0

# Below this width a difference of log Phi has lost more digits than three Gauss points have.
_NARROW = 0.05

TAU_RELU = 1e-6
"""Smoothing of max(0, y) in standardised units: far below any improvement that matters."""
TAU_MAX = 1e-2
"""Smoothing of the maximum over q, on the log scale: one per cent of a factor e."""
TAU_FEASIBLE = 1e-3
"""Smoothing of a constraint's step, in standardised units of the constrained outcome."""


def log_h_reference(u: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    r"""log h(u), h(u) = phi(u) + u Phi(u), as the book writes it; right only for u > -5 or so."""
    phi = torch.exp(-0.5 * u.square() - _LOG_SQRT_2PI)
    return torch.log(phi + u * torch.special.ndtr(u))


def log_h_and_slope(u: Tensor) -> tuple[Tensor, Tensor]:
    """log h(u) and its derivative Phi(u) / h(u)."""
    low, high = (v.item() for v in torch.aminmax(u)) if u.numel() else (math.nan, math.nan)
    if low >= _LOWER and high <= _UPPER:
        # The usual case, in a third of the operations: nothing is far out (and nothing is NaN)
        ratio = torch.special.erfcx(u * -_SQRT_HALF).mul_(_SQRT_HALF_PI)
        h_over_phi = (u * ratio).add_(1)
        value = h_over_phi.log().addcmul_(u, u, value=-0.5).sub_(_LOG_SQRT_2PI)
        return value, ratio.div_(h_over_phi)
    v = u.clamp(max=_UPPER)
    ratio = _SQRT_HALF_PI * torch.special.erfcx(-_SQRT_HALF * v)  # Phi(v) / phi(v)
    # h / phi for v -> -inf:  1/v^2 - 3/v^4 + 15/v^6 - 105/v^8 + 945/v^10
    w = v.clamp(max=_LOWER).square().reciprocal()
    series = w * (1 + w * (-3 + w * (15 + w * (-105 + w * 945))))
    h_over_phi = torch.where(v < _LOWER, series, 1 + v * ratio)
    value = h_over_phi.log() - 0.5 * v * v - _LOG_SQRT_2PI
    linear = u.clamp(min=_UPPER)
    above = u > _UPPER
    value = torch.where(above, linear.log(), value)
    return value, torch.where(above, linear.reciprocal(), ratio / h_over_phi)


def curvature_of_log_h(u: Tensor, value: Tensor, slope: Tensor) -> Tensor:
    """The second derivative of log h, phi/h - r^2, from u, log h(u) and its slope r."""
    phi_over_h = torch.exp(-0.5 * u.clamp(min=_LOWER).square() - _LOG_SQRT_2PI - value)
    # Far down the two terms cancel: r = v + 2/v - 6/v^3 + 44/v^5 - ... with v = -u
    w = u.clamp(max=_LOWER).square().reciprocal()
    series = -1 + w * (2 + w * (-18 + w * 220))
    return torch.where(u < _LOWER, series, phi_over_h - slope.square())


class _SlopeOfLogH(torch.autograd.Function):
    """Phi(u) / h(u) =: r; its derivative is phi/h - r^2."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        value, slope = log_h_and_slope(u)
        ctx.save_for_backward(u, value, slope)
        return slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0] * curvature_of_log_h(*ctx.saved_tensors)


class _LogH(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        value, slope = log_h_and_slope(u)
        ctx.save_for_backward(u, slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        u, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted
            slope = _SlopeOfLogH.apply(u)  # type: ignore[no-untyped-call]
        return grads[0] * slope  # type: ignore[no-any-return]


def log_h(u: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    r"""log of h(u) = phi(u) + u Phi(u): expected improvement is sigma h((mu - best) / sigma).

    Value and slope Phi/h keep their relative accuracy from u = +1e3 down to u = -1e8 and beyond.

    Args:
        u: standardised improvement.

    Returns:
        log h(u), differentiable twice.

    Example:
        >>> round(log_h(torch.tensor(-40.0, dtype=torch.float64)).item(), 3)
        -808.299

    Source: Ament et al., "Unexpected improvements to expected improvement", NeurIPS 2023, section
    4.1, arXiv:2310.20708; below -60 the asymptotic series of Mills' ratio (Abramowitz & Stegun
    26.2.12) replaces their form, which loses u**2 ulps there.
    """
    return _LogH.apply(u)  # type: ignore[no-any-return, no-untyped-call]


class _SlopeOfLogNdtr(torch.autograd.Function):
    """phi(u) / Phi(u) =: r; its derivative is -r (u + r)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        # erfcx overflows to infinity for u > 37, where r < 1e-300 is rightly 0
        slope: Tensor = 1 / (_SQRT_HALF_PI * torch.special.erfcx(-_SQRT_HALF * u))
        ctx.save_for_backward(u, slope)
        return slope

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        u, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # one more derivative is wanted
            slope = _SlopeOfLogNdtr.apply(u)  # type: ignore[no-untyped-call]
        # Far down u + r cancels: r = v + 1/v - 2/v^3 + 10/v^5 - 74/v^7 + ... with v = -u
        w = u.clamp(max=_LOWER).square().reciprocal()
        series = -1 + w * (1 + w * (-6 + w * 50))
        return grads[0] * torch.where(u < _LOWER, series, -slope * (u + slope))


class _LogNdtr(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        value: Tensor = torch.special.log_ndtr(u)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        slope = _SlopeOfLogNdtr.apply(ctx.saved_tensors[0])  # type: ignore[no-untyped-call]
        return grads[0] * slope  # type: ignore[no-any-return]


def log_ndtr(u: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    r"""log Phi(u), Phi the standard normal distribution function: the log of a probability.

    The value is torch's. Its derivative is phi/Phi = 1 / (sqrt(pi/2) erfcx(-u/sqrt(2))): torch's
    own is wrong by a factor of two at u = -1e8, and its second derivative at u = -1e4.

    Args:
        u: standardised distance to the threshold.

    Returns:
        log Phi(u), differentiable twice.

    Example:
        >>> round(log_ndtr(torch.tensor(-40.0, dtype=torch.float64)).item(), 3)
        -804.608

    Source: Abramowitz & Stegun 7.1.2 and 26.2.12 (series of the second derivative below -60).
    """
    return _LogNdtr.apply(u)  # type: ignore[no-any-return, no-untyped-call]


def log_ndtr_between(
    low: Float[Tensor, "*s"], high: Float[Tensor, "*s"], width: Float[Tensor, "*s"] | None = None
) -> Float[Tensor, "*s"]:
    """log(Phi(high) - Phi(low)) for low < high: the log probability of an interval.

    Evaluated in the lower tail, where probabilities keep their digits. For a single limit use
    `log_ndtr`, whose derivatives stay finite.

    Args:
        low: lower limit, standardised.
        high: upper limit, standardised.
        width: high - low, where it is known to more digits than the difference of the two has:
            with it, value and derivatives are right however narrow the interval is.

    Raises:
        DataError: an empty interval somewhere.

    Example:
        >>> zero, one = torch.tensor([0.0, 1.0], dtype=torch.float64)
        >>> round(log_ndtr_between(zero, one).exp().item(), 6)
        0.341345
    """
    width = high - low if width is None else width
    wide = width >= _NARROW
    flip = low + high > 0
    a, b = torch.where(flip, -high, low), torch.where(flip, -low, high)
    top = log_ndtr(b)
    gap = top - log_ndtr(a)
    if not wide.all():
        if not (width > 0).all():
            raise DataError("log_ndtr_between: expected low < high everywhere; swap the limits")
        gap = torch.where(wide, gap, _narrow_gap((a + b) / 2, width.clamp(max=_NARROW)))
    return top + log1mexp(-gap)


def _narrow_gap(middle: Tensor, width: Tensor) -> Tensor:
    """log Phi(high) - log Phi(low) as the integral of phi / Phi, by three Gauss points.

    The difference has lost eps / width; the integral is right to 1e-14 up to `_NARROW`.
    """
    shift = math.sqrt(0.15) * width
    centre, left, right = (
        _SlopeOfLogNdtr.apply(u)  # type: ignore[no-untyped-call]
        for u in (middle, middle - shift, middle + shift)
    )
    gap: Tensor = width * (8 * centre + 5 * (left + right)) / 18
    return gap


def log1mexp(x: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """log(1 - exp(x)) for x < 0, accurate at both ends.

    Source: Maechler, "Accurately computing log(1 - exp(-|a|))", R package Rmpfr, 2012.
    """
    near = x > -math.log(2)
    a, b = torch.where(near, x, -1.0), torch.where(near, -1.0, x)
    return torch.where(near, torch.log(-torch.expm1(a)), torch.log1p(-torch.exp(b)))


def logmeanexp(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """log of the mean of exp(x) along ``dim``."""
    if x.shape[dim] == 1:
        return x.squeeze(dim)
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def log_fatplus(y: Float[Tensor, "*s"], tau: float = TAU_RELU) -> Float[Tensor, "*s"]:
    r"""log of a smooth max(0, y) whose tail falls like 1/y^2 instead of exponentially.

    tau (softplus(y / tau) + 0.1 / (1 + (y / tau)^2)): within tau of max(0, y), and for y << 0 its
    logarithm still has a slope, -2 / y, that an optimiser can follow home.

    Source: Ament et al. 2023, appendix A.4, arXiv:2310.20708.
    """
    z = y / tau
    # Above 40, softplus(z) = z to 17 digits; exp(z) must not get the chance to overflow.
    plus = torch.nn.functional.softplus(z, threshold=40.0)
    return torch.log(plus + 0.1 / (1 + z * z)) + math.log(tau)


def fatmax(x: Float[Tensor, "..."], dim: int, tau: float = TAU_MAX) -> Float[Tensor, "..."]:
    r"""Smooth maximum along ``dim``: M + tau log sum_j p((M - x_j) / tau), p(z) = 2/(1 + (1+z)^2).

    p falls like 2/z^2, so points that are not the best keep a gradient. Exact for one element,
    and at most tau log(number of elements) above the maximum.

    Source: Ament et al. 2023, appendix A.4, arXiv:2310.20708.
    """
    top = x.amax(dim, keepdim=True)
    shift = torch.where(torch.isfinite(top), top, 0.0)
    p = 2 / (1 + (1 + (shift - x) / tau).square())
    return shift.squeeze(dim) + tau * p.sum(dim).log()


def log_fatstep(y: Float[Tensor, "*s"], tau: float = TAU_FEASIBLE) -> Float[Tensor, "*s"]:
    r"""log of a smooth step from 0 to 1 at y = 0 whose tails fall like 1/y^2.

    With z = y / tau and g = 1/sqrt(3): (2/3) / (1 + (z - g)^2) below 0 and 1 minus its mirror image
    above: twice continuously differentiable, 1/2 at 0. Its logarithm keeps a slope, -2 / y, far on
    the wrong side, so that an optimiser finds its way to feasible points.

    Source: Ament et al. 2023, appendix A.4, arXiv:2310.20708.
    """
    z = y / tau
    # Each branch sees only its own side: the other's logarithm may be of something negative.
    below = math.log(2 / 3) - torch.log1p((z.clamp(max=0.0) - _SQRT_THIRD).square())
    above = torch.log1p(-(2 / 3) / (1 + (z.clamp(min=0.0) + _SQRT_THIRD).square()))
    return torch.where(z < 0, below, above)
