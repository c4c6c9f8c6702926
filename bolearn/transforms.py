"""User units outside, unit cube and standardised outputs inside.

A transform is a frozen pair of exact inverses, `encode` and `decode`. Models own `UnitCube` and
`Standardize`: nothing outside a model ever sees encoded numbers.

The warps of outputs, `LogWarp` and `PowerWarp`, are the user's, because a bent scale changes what a
mean means. Warp before the model is built, and take quantiles back:

    warp = LogWarp.fit(Y)
    model = fit_mll(ExactGP(X, warp.encode(Y), bounds))
    belief = model.posterior(x)
    median = warp.decode(belief.mean)
    upper = warp.decode(belief.mean + 1.96 * belief.variance.sqrt())

Both warps increase, so quantiles (the median among them), ranks and the place of the maximum go
through `decode`. A mean does not: decoded it is the median in user units. For a mean, decode
samples and average them. Inputs are warped inside a kernel: `WarpedKernel`.

Taught in part_3/tutorial_05 and part_4/tutorial_01.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .errors import DataError, ShapeError
from .numerics import log1mexp
from .shapes import check_mask, check_rank, check_tensor


@dataclass(frozen=True, eq=False)
class UnitCube:
    """Maps the box ``bounds`` (``*r 2 d``) affinely onto the unit cube; points outside map outside.

    Example:
        >>> cube = UnitCube(torch.tensor([[0.0], [4.0]], dtype=torch.float64))
        >>> cube.encode(torch.tensor([[3.0]], dtype=torch.float64)).item()
        0.75
    """

    bounds: Float[Tensor, "*r 2 d"]

    @cached_property
    def lower(self) -> Float[Tensor, "*r 1 d"]:
        """Lower bounds."""
        return self.bounds[..., :1, :]

    @cached_property
    def width(self) -> Float[Tensor, "*r 1 d"]:
        """Upper minus lower bounds."""
        return self.bounds[..., 1:, :] - self.bounds[..., :1, :]

    def encode(self, X: Float[Tensor, "*b q d"]) -> Float[Tensor, "*b q d"]:
        """User units to the unit cube."""
        return (X - self.lower) / self.width

    def decode(self, U: Float[Tensor, "*b q d"]) -> Float[Tensor, "*b q d"]:
        """The unit cube to user units."""
        return self.lower + U * self.width


@dataclass(frozen=True, eq=False)
class Standardize:
    """Shifts and scales outputs: z = (y - shift) / scale, for each replicate and output."""

    shift: Float[Tensor, "*r 1 m"]
    scale: Float[Tensor, "*r 1 m"]

    @staticmethod
    def fit(Y: Float[Tensor, "*r n m"], observed: Bool[Tensor, "*r n"]) -> "Standardize":
        """Mean 0 and variance 1 (n - 1 in the denominator) over the observed rows.

        A single observation, or a constant output, gets scale 1. "Constant" is judged relative to
        the size of the values, so that outputs of any scale are treated alike.
        """
        mask = observed.unsqueeze(-1)
        y = torch.where(mask, Y, 0.0)
        count = mask.sum(-2, keepdim=True)
        # Dividing by the largest value first keeps the squares of 1e200 finite.
        size = y.abs().amax(-2, keepdim=True)
        unit = torch.where(size > 0, size, 1.0)
        v = y / unit
        shift = v.sum(-2, keepdim=True) / count
        spread = torch.where(mask, v - shift, 0.0).square().sum(-2, keepdim=True)
        scale = (spread / (count - 1).clamp(min=1)).sqrt()
        constant = scale <= 16 * torch.finfo(Y.dtype).eps
        return Standardize(shift * unit, torch.where(constant, 1.0, scale * unit))

    @staticmethod
    def identity(Y: Float[Tensor, "*r n m"]) -> "Standardize":
        """Leaves outputs as they are."""
        one = torch.ones_like(Y[..., :1, :])
        return Standardize(torch.zeros_like(one), one)

    def encode(self, Y: Float[Tensor, "*b q m"]) -> Float[Tensor, "*b q m"]:
        """User units to standardised units."""
        return (Y - self.shift) / self.scale

    def decode(self, Z: Float[Tensor, "*b q m"]) -> Float[Tensor, "*b q m"]:
        """Standardised units to user units."""
        return self.shift + self.scale * Z


@dataclass(frozen=True, eq=False)
class LogWarp:
    """The natural logarithm of positive outputs: for values over orders of magnitude.

    Noise that is a percentage becomes a constant, and ratios become differences.

    Example:
        >>> Y = torch.tensor([[0.01], [1.0], [100.0]], dtype=torch.float64)
        >>> warp = LogWarp.fit(Y)
        >>> torch.allclose(warp.decode(warp.encode(Y)), Y)
        True
    """

    @staticmethod
    def fit(Y: Float[Tensor, "*r n m"], observed: Bool[Tensor, "*r n"] | None = None) -> "LogWarp":
        """Check that the observed outputs have logarithms.

        Raises:
            DataError: some are not positive.
        """
        seen = _observed(Y, observed)
        if (seen <= 0).any():
            raise DataError(
                f"Y: expected positive outputs for a logarithm, got {seen.min().item():g}; use "
                "PowerWarp.fit(Y), which takes any sign"
            )
        return LogWarp()

    def encode(self, Y: Float[Tensor, "*b q m"]) -> Float[Tensor, "*b q m"]:
        """log y; NaN for negative values."""
        return check_tensor("Y", Y, finite=False).log()

    def decode(self, Z: Float[Tensor, "*b q m"]) -> Float[Tensor, "*b q m"]:
        """exp z."""
        return check_tensor("Z", Z, finite=False).exp()


@dataclass(frozen=True, eq=False)
class PowerWarp:
    """Yeo and Johnson's power of standardised outputs, one for each replicate and output.

    With u = (y - shift) / scale and a power p,

        z = ((1 + u)^p - 1) / p  for u >= 0,     z = -((1 - u)^(2 - p) - 1) / (2 - p)  for u < 0

    (logarithms where an exponent vanishes). p = 1 changes nothing; p < 1 pulls in a long upper tail
    and p > 1 a long lower one.

    Attributes:
        power: p, ``*r 1 m``.
        standardize: the affine part.

    Source: Yeo & Johnson, "A new family of power transformations to improve normality or symmetry",
    Biometrika 87, 2000, https://doi.org/10.1093/biomet/87.4.954.
    """

    power: Float[Tensor, "*r 1 m"]
    standardize: Standardize

    @staticmethod
    def fit(
        Y: Float[Tensor, "*r n m"], observed: Bool[Tensor, "*r n"] | None = None
    ) -> "PowerWarp":
        """The power between -1 and 3 with the largest likelihood of normal z.

        Per output, with the sums over the n observed values,

            -n/2 log var(z) + (p - 1) sum sign(u) log(1 + |u|).

        Constant outputs and single observations keep p = 1.

        Raises:
            DataError: observed outputs that are not finite.

        Example:
            >>> Y = torch.linspace(-2, 2, 9, dtype=torch.float64).exp().unsqueeze(-1)
            >>> bool(PowerWarp.fit(Y).power < 0)
            True
        """
        _observed(Y, observed)
        mask = torch.ones_like(Y[..., 0], dtype=torch.bool) if observed is None else observed
        affine = Standardize.fit(Y, mask)
        seen = mask.unsqueeze(-1)
        u = torch.where(seen, affine.encode(Y), 0.0)
        count = seen.sum(-2, keepdim=True).to(Y)
        stretch = (u.sign() * u.abs().log1p()).sum(-2, keepdim=True)

        def likelihood(p: Tensor) -> Tensor:
            z = _yeo_johnson(u, p)
            gap = torch.where(seen, z - (z * seen).sum(-2, keepdim=True) / count, 0.0)
            variance = gap.square().sum(-2, keepdim=True) / count
            return -0.5 * count * variance.log() + (p - 1) * stretch

        # A grid finds the hill, golden sections its top.
        grid = torch.linspace(-1, 3, 41, dtype=Y.dtype, device=Y.device)
        grid = grid.reshape(-1, *(1,) * Y.ndim)
        top = grid[:, 0][likelihood(grid).argmax(0)].reshape(stretch.shape)
        low, high = (top - 0.1).clamp(min=-1), (top + 0.1).clamp(max=3)
        for _ in range(60):
            a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
            left = likelihood(a) > likelihood(b)
            low, high = torch.where(left, low, a), torch.where(left, b, high)
        varies = u.square().sum(-2, keepdim=True) > 1e-12
        return PowerWarp(torch.where(varies, (low + high) / 2, 1.0), affine)

    def encode(self, Y: Float[Tensor, "*b q m"]) -> Float[Tensor, "*b q m"]:
        """User units to warped units, of scale about 1."""
        Y = _values("Y", Y, self.power.shape[-1])
        return _yeo_johnson(self.standardize.encode(Y), self.power)

    def decode(self, Z: Float[Tensor, "*b q m"]) -> Float[Tensor, "*b q m"]:
        """Warped units to user units; infinite beyond the range of a bounded power."""
        Z = _values("Z", Z, self.power.shape[-1])
        # with t = p or 2 - p: 1 + |u| = (1 + t |z|)^(1/t)
        side = torch.where(Z >= 0, 1.0, -1.0)
        t, z = torch.where(Z >= 0, self.power, 2 - self.power), side * Z
        safe = torch.where(t == 0, 1.0, t)  # no 0 / 0, whose gradient would be NaN
        grown = torch.where(t == 0, z, (safe * z).clamp(min=-1).log1p() / safe)
        return self.standardize.decode(side * grown.expm1())


_GOLDEN = (5**0.5 - 1) / 2


def _yeo_johnson(u: Tensor, p: Tensor) -> Tensor:
    # expm1 and log1p keep all digits however small the exponent is
    side = torch.where(u >= 0, 1.0, -1.0)  # unlike sign, never 0: the slope at 0 is 1
    t, grown = torch.where(u >= 0, p, 2 - p), (side * u).log1p()
    safe = torch.where(t == 0, 1.0, t)  # no 0 / 0, whose gradient would be NaN
    return side * torch.where(t == 0, grown, (safe * grown).expm1() / safe)


def _observed(Y: Tensor, observed: Tensor | None) -> Tensor:
    """The observed rows of Y, checked."""
    check_rank("Y", check_tensor("Y", Y, finite=observed is None), 2, "*r n m")
    if observed is not None and check_mask(observed).shape != Y.shape[:-1]:
        raise ShapeError(
            f"observed: expected shape *r n = {tuple(Y.shape[:-1])}, got {tuple(observed.shape)}"
        )
    seen = check_tensor("Y", Y if observed is None else Y[observed])
    if Y.shape[-2] == 0 or (observed is not None and not observed.any(-1).all()):
        raise DataError(f"Y: expected an observation in every replicate, got {tuple(Y.shape)}")
    return seen


def _values(name: str, x: Tensor, m: int) -> Tensor:
    """Values ``*b q m`` to transform, checked."""
    check_rank(name, check_tensor(name, x, finite=False), 2, "*b q m")
    if x.shape[-1] != m:
        raise ShapeError(
            f"{name}: expected {m} outputs in the last axis, as fitted, got {tuple(x.shape)}"
        )
    return x


def kumaraswamy(
    x: Float[Tensor, "..."], a: Float[Tensor, "..."], b: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """1 - (1 - x^a)^b in the unit interval, x itself outside: 0 and 1 stay.

    a < 1 stretches the lower end (the function changes quickly there), b < 1 the upper one. Values
    and slopes are right to rounding from 2.3e-308 (smaller numbers count as that) to the last
    number below 1. At 0 and 1 themselves, where slopes may be infinite, they count as 1.

    Source: Snoek, Swersky, Zemel & Adams, "Input warping for Bayesian optimization of
    non-stationary functions", ICML 2014, arXiv:1402.0929 (there with the Beta distribution);
    Kumaraswamy, "A generalized probability density function for double-bounded random processes",
    J. Hydrology 46, 1980.
    """
    limits = torch.finfo(x.dtype)
    inner = x.clamp(limits.tiny, 1 - limits.eps / 2)  # the first and last number with a logarithm
    y = b * log1mexp(a * inner.log())
    # close to 1 expm1 is as right as the other, but its derivative, taken as expm1 + 1, is not
    w = torch.where(y < -1, 1 - y.exp(), -torch.expm1(y))
    return torch.where((x > 0) & (x < 1), w, x)


def inverse_kumaraswamy(
    w: Float[Tensor, "..."], a: Float[Tensor, "..."], b: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """The x that `kumaraswamy` maps to w: (1 - (1 - w)^(1/b))^(1/a) in the unit interval.

    Right to all digits that w determines. For b > 1 many x close to 1 have one w, and for a > 1
    some close to 0: what rounds to the same w comes back as the same x.
    """
    inside = (w > 0) & (w < 1)
    inner = torch.where(inside, w, 0.5)
    x = torch.exp(log1mexp(torch.log1p(-inner) / b) / a)
    return torch.where(inside, x, w)
