r"""Entropy search: what does an observation tell, about f, its maximum, or where that is?

| acquisition | information about |
|---|---|
| `BALD` | f itself: learn the function, wherever it is high or low |
| `MaxValueEntropySearch` | the maximum f*, exactly, noise included |
| `GIBBON` | the same, a lower bound in closed form |
| `JointEntropySearch` | the pair (x*, f*), a lower bound |

f* and x* are not known: each acquisition averages over samples of them, from `sample_optima`.
All are in nats and >= 0, whatever the units of the outputs.

    optima = sample_optima(model, bounds, 32, seed=0)
    acq = MaxValueEntropySearch(model, optima.value)

**Pending points** count as if they had returned their expectation: the mean stays and the variance
shrinks, as it will whatever comes back. The samples of the optimum stay too.

Taught in part_4/tutorial_05.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError, UnsupportedError
from ..models.cross import FixedPoints, joint_moments, observation_noise
from ..models.exact import algebra_of
from ..posteriors import gaussian_members
from ..protocols import SupportsConditioning, Surrogate
from ..shapes import check_points, check_same_device, check_tensor
from .checks import check_single_output, check_single_point
from .information import (
    gibbon_information,
    gibbon_slopes,
    log_max_value_information,
    max_value_slopes,
    normal_below,
    normal_below_and_slope,
)
from .pullback import ValueWithGradient
from .templates import join_pending

Slopes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Maps gamma and snr to a value and its derivatives with respect to both."""

# Variance of the observation by which a sampled optimum enters the belief, in squared output
# scales: far above the rounding of variances, far below any that matters.
_NUGGET = 1e-12
# Of the variance at x, what knowing f elsewhere leaves at least.
_LEFT = 1e-10


@dataclass(frozen=True, eq=False)
class _Information:
    """What all have in common: a model with one output, and points that are pending."""

    model: Surrogate
    _: KW_ONLY
    X_pending: Tensor | None = None

    def __post_init__(self) -> None:
        check_single_output(self.model, type(self).__name__)
        if self.X_pending is not None:
            _check_conditions(self.model, type(self).__name__)
            d = _inputs_of(self.model, self.X_pending.shape[-1])
            check_points(self.X_pending, d, self.model.batch_shape, name="X_pending")
            object.__setattr__(self, "X_pending", self.X_pending.detach().clone())

    def with_pending(self: "_Any", X: Float[Tensor, "*r p d"]) -> "_Any":
        """The same acquisition that counts X as already chosen, beside earlier pending points.

        Raises:
            UnsupportedError: a model that cannot be conditioned.
        """
        _check_conditions(self.model, type(self).__name__)
        check_points(X, _inputs_of(self.model, X.shape[-1]), self.model.batch_shape, "X_pending")
        return replace(self, X_pending=join_pending(X, self.X_pending, self.model.batch_shape))

    @cached_property
    def belief(self) -> Any:
        """The model, told of the expected outcomes at pending points."""
        if self.X_pending is None:
            return self.model
        model: Any = self.model
        with torch.inference_mode(False), torch.no_grad():
            r = tuple(model.batch_shape)
            X = self.X_pending.expand(*r, *self.X_pending.shape[-2:])
            return model.condition(X, model.posterior(X).mean)


_Any = TypeVar("_Any", bound=_Information)


class BALD(_Information):
    """Information about f itself in observations at q points: 1/2 log det(I + cov / noise).

    For one point 1/2 log(1 + variance / noise): the most uncertain point, relative to noise. Active
    learning of the whole function, no search for its maximum.

    Args:
        model: a surrogate with one output and Gaussian posteriors.
        X_pending: points under evaluation ``*r p d``, whose information does not count again.

    Raises:
        UnsupportedError: several outputs; a posterior that is not Gaussian.

    Example:
        >>> from bolearn import ExactGP, optimize_acqf
        >>> X = torch.tensor([[0.0], [0.2], [0.4]], dtype=torch.float64)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> optimize_acqf(BALD(ExactGP(X, X.sin(), box)), box, seed=0).x.item()
        1.0

    Source: MacKay, "Information-based objective functions for active data selection", Neural
    Computation 4, 1992; Houlsby, Huszar, Ghahramani & Lengyel, "Bayesian active learning for
    classification and preference learning", 2011, arXiv:1112.5745 (whose hyperparameters are known
    here).
    """

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The information in observations at each set of q points, in nats."""
        check_tensor("X", X, finite=False)
        if X.ndim >= 2 and X.shape[-2] == 1:
            variance = _gaussian(self.belief, X, type(self).__name__)[1]
            return 0.5 * torch.log1p(variance / _noise(self.belief, X))
        at = joint_moments(self.belief, X, X[..., :0, :], type(self).__name__)
        eye = torch.eye(X.shape[-2], dtype=X.dtype, device=X.device)
        ratio = eye + at.covariance / at.noise.unsqueeze(-1)
        L: Tensor = torch.linalg.cholesky(ratio)
        return L.diagonal(dim1=-2, dim2=-1).log().sum(-1)


@dataclass(frozen=True, eq=False)
class _AboutMaximum(_Information):
    """What the two have in common that look at f* alone."""

    max_values: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        values = _check_samples("max_values", self.max_values, self.model, ())
        object.__setattr__(self, "max_values", values)


class MaxValueEntropySearch(_AboutMaximum):
    """Information about the maximum f* in one noisy observation, averaged over samples of f*.

    Args:
        model: a surrogate with one output and Gaussian posteriors.
        max_values: samples of f*, ``k *r``, in user units: ``sample_optima(...).value``.
        X_pending: points under evaluation ``*r p d``.

    Raises:
        DataError, ShapeError: samples that are not finite or do not fit the replicates.
        UnsupportedError: several outputs; a posterior that is not Gaussian; q > 1.

    Source: Wang & Jegelka 2017, arXiv:1703.01968, equation 6; noise as in Takeno et al. 2020,
    arXiv:1901.08275 (see `information`).
    """

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The information in an observation at each point, in nats."""

        def slopes(gamma: Tensor, snr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            value, d_gamma, d_snr = max_value_slopes(gamma, snr)
            value = value.exp()
            return value, d_gamma * value, d_snr * value

        def reference(gamma: Tensor, snr: Tensor) -> Tensor:
            return log_max_value_information(gamma, snr).exp()

        return _about_maximum(self, X, slopes, reference)


class GIBBON(_AboutMaximum):
    """Lower bound of the information about f*, in closed form.

    The belief about y given f* is replaced by a Gaussian of the same variance. Cheaper than
    `MaxValueEntropySearch`, and within a few per cent of it.

    Args:
        model: a surrogate with one output and Gaussian posteriors.
        max_values: samples of f*, ``k *r``, in user units: ``sample_optima(...).value``.
        X_pending: points under evaluation ``*r p d``.

    Raises:
        DataError, ShapeError: samples that are not finite or do not fit the replicates.
        UnsupportedError: several outputs; a posterior that is not Gaussian; q > 1.

    Source: Moss, Leslie, Gonzalez & Rayson, JMLR 22, 2021, arXiv:2102.03324.
    """

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The bound of the information in an observation at each point, in nats."""
        return _about_maximum(self, X, gibbon_slopes, gibbon_information)


@dataclass(frozen=True, eq=False)
class JointEntropySearch(_Information):
    """Lower bound of the information about the pair (x*, f*) in one noisy observation.

    For each sample the belief is told f(x*) = f*, and cut off there: f(x) <= f*. What is left is
    taken for a Gaussian with the moments that it then has.

    Args:
        model: a surrogate with one output and Gaussian posteriors that have a covariance.
        optimal_inputs: samples of x*, ``k *r d``: ``sample_optima(...).x``.
        optimal_outputs: the values f* there, ``k *r``, in user units: ``sample_optima(...).value``.
        X_pending: points under evaluation ``*r p d``.

    Raises:
        DataError, ShapeError: samples that are not finite or do not fit model and replicates.
        UnsupportedError: several outputs; a posterior that is not Gaussian; q > 1.

    Source: Hvarfner, Hutter & Nardi, "Joint entropy search for maximally-informed Bayesian
    optimization", NeurIPS 2022, arXiv:2206.04771; Tu, Gandy, Kantas & Shafei, "Joint entropy search
    for multi-objective Bayesian optimization", NeurIPS 2022, arXiv:2210.02905.
    """

    optimal_inputs: Tensor
    optimal_outputs: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        values = _check_samples("optimal_outputs", self.optimal_outputs, self.model, ())
        d = self.optimal_inputs.shape[-1:]
        inputs = _check_samples("optimal_inputs", self.optimal_inputs, self.model, d)
        if len(inputs) != len(values):
            raise ShapeError(
                f"optimal_inputs and optimal_outputs: expected as many samples of one as of the "
                f"other, got {len(inputs)} and {len(values)}"
            )
        check_points(inputs.unsqueeze(-2), _inputs_of(self.model, d[0]), self.model.batch_shape)
        object.__setattr__(self, "optimal_outputs", values)
        object.__setattr__(self, "optimal_inputs", inputs)

    @cached_property
    def _fixed(self) -> tuple[FixedPoints, Tensor, Tensor, Tensor] | None:
        """The sampled optima as the closed form sees them, f* ``R 1 k``; ``R 1 1``: the variance
        of the noise, and what the outputs' variance counts."""
        algebra = algebra_of(self.belief)
        if algebra is None:
            return None
        with torch.inference_mode(False), torch.no_grad():
            f = self.optimal_outputs.reshape(len(self.optimal_outputs), -1).T.unsqueeze(1)
            noise = self.belief.new_noise().detach().reshape(-1, 1, 1)
            scale2 = self.belief.output_scale.square().reshape(-1, 1, 1)
            return FixedPoints.of(algebra, self.optimal_inputs.movedim(0, -2)), f, noise, scale2

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The bound of the information in an observation at each point, in nats."""
        check_single_point(X, type(self).__name__)
        fixed = self._fixed
        if fixed is None:
            return self.reference(X)
        algebra = fixed[0].algebra
        X = algebra.check(X)
        return ValueWithGradient.apply(X, self._fused, self.reference)  # type: ignore[no-any-return, no-untyped-call]

    def reference(self, X: Float[Tensor, "*#batch 1 d"]) -> Float[Tensor, "*batch"]:
        """The same through autograd, for any model with a covariance."""
        at = joint_moments(self.belief, X, self.optimal_inputs.movedim(0, -2), type(self).__name__)
        scale = getattr(self.belief, "output_scale", None)
        unit = at.spread.mean(-1) if scale is None else scale.squeeze(-1).square()
        variance, f = at.covariance[..., 0], self.optimal_outputs.movedim(0, -1)
        gain = at.cross.squeeze(-2) / (at.spread + _NUGGET * unit.unsqueeze(-1))
        left = variance - gain * at.cross.squeeze(-2)
        left = torch.maximum(left, _LEFT * variance)
        mean = at.mean + gain * (f - at.others)
        share = normal_below((f - mean) / left.sqrt())
        rest = left * share + at.noise
        return 0.5 * ((variance + at.noise).log() - rest.log()).mean(-1)

    def _fused(self, X: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        """Value and gradient in closed form; rows R, points t, samples k."""
        assert self._fixed is not None
        fixed, f, noise, scale2 = self._fixed
        at = fixed.algebra.moments(X)
        mean, variance = at.mean, at.second  # R t 1
        cross, h = fixed.covariance(at)
        spread = fixed.variance.unsqueeze(1) + _NUGGET * scale2
        residual = f - fixed.mean.unsqueeze(1)
        gain = cross / spread
        raw = variance - gain * cross
        left = torch.maximum(raw, _LEFT * variance)
        std = left.sqrt()
        gamma = (f - mean - gain * residual) / std
        share, d_share = normal_below_and_slope(gamma)
        rest = left * share + noise
        value = 0.5 * ((variance + noise).log() - rest.log()).mean(-1)
        value = value.mT.reshape(X.shape[:-2])
        if not wanted:
            return value, None
        g_rest = -0.5 / (f.shape[-1] * rest)
        g_gamma = g_rest * left * d_share
        g_left = g_rest * share - g_gamma * gamma / (2 * left)
        floored = raw < _LEFT * variance
        g_raw = g_left.masked_fill(floored, 0.0)
        g_mean = -(g_gamma / std).sum(-1)
        g_cross = -g_gamma / std * residual / spread - 2 * g_raw * gain
        g_variance = 0.5 / (variance + noise).squeeze(-1) + g_raw.sum(-1)
        g_variance = g_variance + (_LEFT * (g_left - g_raw)).sum(-1)
        return value, fixed.pull(at, h, g_mean, g_variance, g_cross)


# -- what they share -----------------------------------------------------------------------------


def _about_maximum(
    acq: _AboutMaximum,
    X: Tensor,
    slopes: Slopes,
    information: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The average over samples of f* of an information that depends on gamma and snr."""
    who, model = type(acq).__name__, acq.belief
    check_single_point(X, who)
    maxima: Tensor = acq.max_values
    algebra = algebra_of(model)

    def reference(X: Tensor) -> Tensor:
        mean, variance = _gaussian(model, X, who)
        f = maxima.reshape(len(maxima), *(1,) * (mean.ndim + 1 - maxima.ndim), *maxima.shape[1:])
        gamma = (f - mean) / variance.sqrt()
        snr = (variance / _noise(model, X)).expand(gamma.shape)
        return information(gamma, snr).mean(0)

    if algebra is None:
        return reference(X)
    X = algebra.check(X)
    f = maxima.reshape(len(maxima), -1).T.unsqueeze(1)  # R 1 k
    noise = model.new_noise().detach().reshape(-1, 1)

    def fused(X: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        at = algebra.moments(X)
        mean, variance = at.mean, at.second  # R t 1
        std = variance.sqrt()
        gamma = (f - mean) / std
        snr = (variance / noise.unsqueeze(-1)).expand_as(gamma)
        value, d_gamma, d_snr = slopes(gamma, snr)
        value = value.mean(-1).mT.reshape(X.shape[:-2])
        if not wanted:
            return value, None
        g_mean = -d_gamma.mean(-1, keepdim=True) / std
        g_variance = (d_gamma * gamma).mean(-1, keepdim=True) / (-2 * variance)
        g_variance += d_snr.mean(-1, keepdim=True) / noise.unsqueeze(-1)
        return value, at.pull(g_mean, g_variance)

    return ValueWithGradient.apply(X, fused, reference)  # type: ignore[no-any-return, no-untyped-call]


def _gaussian(model: Surrogate, X: Tensor, who: str) -> tuple[Tensor, Tensor]:
    """Mean and variance ``*batch`` at single points.

    Raises:
        UnsupportedError: a belief that is not Gaussian.
    """
    mean, variance = gaussian_members(model.posterior(X))
    if len(mean) > 1:
        raise UnsupportedError(
            f"{who}: expected a model with Gaussian posteriors, got a mixture of {len(mean)} from "
            f"{type(model).__name__}, of whose entropy there is no closed form; use an ExactGP, or "
            "qLogNoisyExpectedImprovement"
        )
    return mean[0, ..., 0, 0], variance[0, ..., 0, 0]


def _noise(model: Surrogate, X: Tensor) -> Tensor:
    """Noise variance of an observation at single points, ``*#batch``."""
    return observation_noise(model, X)[..., 0]


def _inputs_of(model: Any, d: int) -> int:
    """d of a model that says where it was observed."""
    return int(model.X.shape[-1]) if hasattr(model, "X") else d


def _check_conditions(model: object, who: str) -> None:
    """Check that a model can be told of pending points.

    Raises:
        UnsupportedError: it cannot.
    """
    if not isinstance(model, SupportsConditioning):
        raise UnsupportedError(
            f"{who}: expected a model with condition(X, Y) to take pending points into account, "
            f"got {type(model).__name__}; use an ExactGP, or q = 1"
        )


def _check_samples(name: str, value: object, model: Surrogate, own: tuple[int, ...]) -> Tensor:
    """Check samples ``k *r *own``, one set for each replicate.

    Raises:
        DataError: no finite float64 tensor.
        ShapeError: another shape.
    """
    samples = check_tensor(name, value)
    r = tuple(model.batch_shape)
    if samples.ndim < 1 or tuple(samples.shape[1:]) != (*r, *own) or not len(samples):
        layout = " ".join(map(str, ("k", *r, *("d" for _ in own))))
        raise ShapeError(
            f"{name}: expected shape {layout} (k samples for each replicate), got "
            f"{tuple(samples.shape)}; use bolearn.sample_optima(model, bounds, seed=0)"
        )
    if hasattr(model, "X"):
        check_same_device(**{name: samples, "model": model.X})
    return samples.detach().clone()
