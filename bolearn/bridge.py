r"""The bridge to BoTorch and Ax: models, beliefs and acquisition functions, both ways.

`to_botorch` makes BoTorch's kind of object from one of bolearn's, `from_botorch` the reverse. The
numbers stay: an object on the other side asks the original, so that with the same base samples
values and gradients agree to rounding errors. What crosses, and how:

    =====================================  ====================================================
    bolearn                                BoTorch
    =====================================  ====================================================
    any surrogate                          `BotorchModel`, a `Model`
    a mixture of Gaussians (`SAASGP`)      the same, with an axis for the members before q, over
                                           which BoTorch averages acquisition values ("ensemble")
    `GaussianPosterior`                    `GPyTorchPosterior`
    `MixturePosterior`                     `GaussianMixturePosterior`
    any other belief                       `NormalsPosterior`, for every sampler of normals
    any acquisition, a lambda included     `BotorchAcquisition`
    `BotorchSurrogate`                     any `Model` with a posterior
    a belief like those above              any posterior that is a function of base samples
    `BotorchFunction`                      any acquisition function that is not one-shot
    =====================================  ====================================================

`single_task_gp` and `exact_gp` copy a Gaussian process instead of asking it: data, units, kernel
and hyperparameters. That is for what needs the other library's own class (fits, paths, entropy).

This file is optional: it needs ``pip install "bolearn[bridge]"``, and nothing imports it.

Taught in part_4/tutorial_06.
"""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

try:
    from botorch.acquisition.acquisition import AcquisitionFunction, OneShotAcquisitionFunction
    from botorch.models import SingleTaskGP
    from botorch.models.model import Model
    from botorch.models.transforms import Normalize
    from botorch.models.transforms import Standardize as BotorchStandardize
    from botorch.posteriors.ensemble import EnsemblePosterior
    from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
    from botorch.posteriors.gpytorch import GPyTorchPosterior
    from botorch.posteriors.posterior import Posterior as BotorchPosterior
    from botorch.posteriors.posterior_list import PosteriorList
    from botorch.sampling.get_sampler import GetSampler
    from botorch.sampling.normal import SobolQMCNormalSampler
    from botorch.utils.transforms import is_ensemble, t_batch_mode_transform
except ImportError as missing:
    raise ModuleNotFoundError(
        "bolearn.bridge needs BoTorch, which is not part of bolearn: install the optional group "
        'with pip install "bolearn[bridge]" (or -r requirements-bridge.txt, the tested versions)',
        name="botorch",
    ) from missing

from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from linear_operator import to_linear_operator

from .errors import DataError, ShapeError, UnsupportedError
from .linalg import psd_cholesky
from .models.exact import ExactGP
from .models.model_list import ModelList
from .models.priors import NOISE_FLOOR
from .models.saas import SAASGP
from .posteriors import (
    GaussianPosterior,
    IndependentPosterior,
    MixturePosterior,
    SamplesPosterior,
    check_base_samples,
)
from .protocols import (
    Acquisition,
    Posterior,
    SupportsConditioning,
    SupportsPending,
    Surrogate,
    has_training_data,
)
from .shapes import check_points, check_rank, check_tensor
from .space.parameters import Categorical
from .space.space import Space


def to_botorch(thing: Any) -> Any:
    """BoTorch's kind of object that answers as the given one of bolearn's does.

    Args:
        thing: a surrogate, a posterior, or an acquisition (any function of X).

    Returns:
        A `Model`, a posterior or an `AcquisitionFunction`; of what came from BoTorch with
        `from_botorch`, BoTorch's own.

    Raises:
        DataError: none of these.
        UnsupportedError: BoTorch has no counterpart.

    Example:
        >>> from botorch.acquisition import LogExpectedImprovement
        >>> from bolearn import ExactGP
        >>> X = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> theirs = to_botorch(ExactGP(X, X.sin(), box))
        >>> LogExpectedImprovement(theirs, best_f=0.8)(X.unsqueeze(-2)).shape
        torch.Size([5])
    """
    if isinstance(thing, BotorchSurrogate | BotorchFunction):
        return thing.original
    if isinstance(thing, Model | AcquisitionFunction | BotorchPosterior):
        raise DataError(f"to_botorch: {type(thing).__name__} is BoTorch's already; use it as it is")
    if isinstance(thing, Surrogate):
        return BotorchModel(thing)
    if all(hasattr(thing, name) for name in ("mean", "variance", "rsample", "event_shape")):
        return _to_botorch_posterior(thing)
    if callable(thing):
        return BotorchAcquisition(thing)
    raise DataError(
        "to_botorch: expected a surrogate (num_outputs, batch_shape, posterior), a posterior or a "
        f"function of X, got {type(thing).__name__}"
    )


def from_botorch(thing: Any) -> Any:
    """bolearn's kind of object that answers as the given one of BoTorch's does.

    The original is asked, not copied: fit it first, and leave it alone then. No derivatives flow to
    its parameters. All is in the units of BoTorch's ``posterior``, and ``output_scale`` is 1 there,
    so that smoothing is BoTorch's.

    Args:
        thing: a `Model`, a posterior, or an `AcquisitionFunction`.

    Returns:
        A surrogate, a posterior or an acquisition; of what was made by `to_botorch`, the original.

    Raises:
        DataError: none of these.
        UnsupportedError: a one-shot acquisition, or a belief that is no function of base samples.

    Example:
        >>> from botorch.models import SingleTaskGP
        >>> X = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(-1)
        >>> from_botorch(SingleTaskGP(X, X.sin())).posterior(X[:2]).mean.shape
        torch.Size([2, 1])
    """
    if isinstance(thing, BotorchModel | BotorchAcquisition) and thing.original is not None:
        return thing.original
    if isinstance(thing, Model):
        return BotorchSurrogate(thing)
    if isinstance(thing, AcquisitionFunction):
        return BotorchFunction(thing)
    if isinstance(thing, BotorchPosterior):
        return _from_botorch_posterior(thing)
    raise DataError(
        "from_botorch: expected a botorch Model, Posterior or AcquisitionFunction, got "
        f"{type(thing).__name__}"
    )


# -- beliefs of bolearn in BoTorch ---------------------------------------------------------------


def _distribution(belief: GaussianPosterior) -> MultivariateNormal:
    """A Gaussian belief as gpytorch's distribution, outputs independent of each other."""
    mean, covariance = belief.joint_moments
    if mean.shape[-1] == 1:
        return MultivariateNormal(mean[..., 0], to_linear_operator(covariance[..., 0, :, :]))
    each = MultivariateNormal(mean.mT, to_linear_operator(covariance))
    return MultitaskMultivariateNormal.from_batch_mvn(each, task_dim=-1)


def _drawn(belief: Posterior, sample_shape: torch.Size, base_samples: Tensor) -> Tensor:
    """Samples ``*sample *batch q m`` of a belief from base samples ``*sample *batch *event``."""
    event = tuple(belief.event_shape)
    lead = base_samples.shape[len(sample_shape) :]
    lead = (
        lead[: len(lead) - len(event)] if base_samples.shape[-len(event) :] == event else lead[:-1]
    )
    z = base_samples.reshape(sample_shape.numel(), *lead, *event)
    y = belief.rsample(z)
    return y.reshape(*sample_shape, *y.shape[1:])


class _Gaussian(GPyTorchPosterior):
    """A Gaussian belief of bolearn: its moments, and its samples."""

    def __init__(self, belief: GaussianPosterior) -> None:
        super().__init__(_distribution(belief))
        self.belief = belief

    @property
    def mean(self) -> Tensor:
        return self.belief.mean

    @property
    def variance(self) -> Tensor:
        return self.belief.variance

    def rsample_from_base_samples(self, sample_shape: torch.Size, base_samples: Tensor) -> Tensor:
        return _drawn(self.belief, sample_shape, base_samples)


class _Mixture(GaussianMixturePosterior):
    """The members of a mixture, on the axis before q."""

    def __init__(self, belief: GaussianPosterior) -> None:
        super().__init__(_distribution(belief))
        self.belief = belief

    def rsample_from_base_samples(self, sample_shape: torch.Size, base_samples: Tensor) -> Tensor:
        return _drawn(self.belief, sample_shape, base_samples)


class NormalsPosterior(BotorchPosterior):
    """Any belief whose samples are a function of standard normals, for BoTorch's normal samplers.

    Args:
        belief: a posterior of bolearn, or anything with its members.
    """

    def __init__(self, belief: Posterior) -> None:
        self.belief = belief
        self._batch = torch.Size(belief.mean.shape[:-2])

    @property
    def device(self) -> torch.device:
        return self.belief.mean.device

    @property
    def dtype(self) -> torch.dtype:
        return self.belief.mean.dtype

    @property
    def mean(self) -> Tensor:
        return self.belief.mean

    @property
    def variance(self) -> Tensor:
        return self.belief.variance

    @property
    def base_sample_shape(self) -> torch.Size:
        return torch.Size((*self._batch, *self.belief.event_shape))

    @property
    def batch_shape(self) -> torch.Size:
        return self._batch

    @property
    def batch_range(self) -> tuple[int, int]:
        return (0, -len(self.belief.event_shape))

    def _extended_shape(self, sample_shape: torch.Size = torch.Size()) -> torch.Size:  # noqa: B008
        return torch.Size((*sample_shape, *self.belief.mean.shape))

    def rsample_from_base_samples(self, sample_shape: torch.Size, base_samples: Tensor) -> Tensor:
        return _drawn(self.belief, sample_shape, base_samples)

    def rsample(self, sample_shape: torch.Size | None = None) -> Tensor:
        """Samples from torch's global generator, as those of BoTorch's posteriors are."""
        shape = torch.Size([1]) if sample_shape is None else sample_shape
        z = torch.randn(*shape, *self.base_sample_shape, dtype=self.dtype, device=self.device)
        return self.rsample_from_base_samples(shape, z)


@GetSampler.register(NormalsPosterior)  # type: ignore[untyped-decorator]
def _sampler_of(
    posterior: NormalsPosterior, sample_shape: torch.Size, *, seed: int | None = None
) -> SobolQMCNormalSampler:
    """What BoTorch's acquisitions use unless they are given a sampler."""
    return SobolQMCNormalSampler(sample_shape, seed=seed)


def _to_botorch_posterior(belief: Any) -> BotorchPosterior:
    if isinstance(belief, GaussianPosterior):
        return _Gaussian(belief)
    if isinstance(belief, MixturePosterior):
        if isinstance(belief.members, GaussianPosterior):
            return _Mixture(belief.members)
        each = to_gaussian(belief.members)
        return NormalsPosterior(belief) if each is None else _Mixture(each)
    return NormalsPosterior(belief)


def to_gaussian(belief: Posterior) -> GaussianPosterior | None:
    """The Gaussian that a stack of Gaussians (`MixturePosterior.of`) is, else None."""
    parts = getattr(belief, "parts", None)
    if not parts or isinstance(belief, IndependentPosterior):
        return None
    if not all(isinstance(part, GaussianPosterior) for part in parts):
        return None
    moments = zip(*(part.joint_moments for part in parts), strict=True)
    mean, covariance = (torch.stack(m, dim=-3 - i) for i, m in enumerate(moments))
    return GaussianPosterior.from_moments(mean, covariance)


# -- models of bolearn in BoTorch ----------------------------------------------------------------


def _paired(belief: IndependentPosterior) -> MixturePosterior:
    """Mixtures about different outputs as one: member i of one together with member i of others."""
    moments = []
    for part in belief.parts:
        mixed = isinstance(part, MixturePosterior)
        inner: Any = part.members if isinstance(part, MixturePosterior) else part
        inner = to_gaussian(inner) or inner
        mean, cov = _as_gaussian(inner).joint_moments
        moments.append((mean, cov) if mixed else (mean.unsqueeze(-3), cov.unsqueeze(-4)))
    k = math.lcm(*(mean.shape[-3] for mean, _ in moments))
    means = [torch.cat([mean] * (k // mean.shape[-3]), dim=-3) for mean, _ in moments]
    covs = [torch.cat([cov] * (k // cov.shape[-4]), dim=-4) for _, cov in moments]
    both = GaussianPosterior.from_moments(torch.cat(means, dim=-1), torch.cat(covs, dim=-3))
    return MixturePosterior(both)


class Conditioned:
    r"""A Gaussian surrogate that has seen Y at X, differentiable in X and Y.

    From the joint belief at (x, X), with A = cov(X, X) + noise,

        mean(x) + cov(x, X) A^-1 (Y - mean(X)),    cov(x, x) - cov(x, X) A^-1 cov(X, x).

    `ExactGP.condition` is faster and gives the same numbers, but it is a constant. One-shot
    acquisitions (knowledge gradient) climb through the points at which data are imagined.

    Args:
        base: a surrogate whose posterior is Gaussian.
        X: new inputs ``*batch p d``, *batch ending in the replicates of the base.
        Y: their values ``*f *batch p m``.
        noise: variances of the new values, like Y.
    """

    def __init__(self, base: Surrogate, X: Tensor, Y: Tensor, noise: Tensor) -> None:
        self.base, self.X_new, self.Y_new, self.noise = base, X, Y, noise
        self.num_outputs = base.num_outputs
        self.batch_shape = torch.broadcast_shapes(X.shape[:-2], Y.shape[:-2])

    def posterior(self, X: Tensor, *, observation_noise: bool = False) -> GaussianPosterior:
        """Belief at X, ``*batch q d``."""
        q, p = X.shape[-2], self.X_new.shape[-2]
        lead = torch.broadcast_shapes(X.shape[:-2], self.batch_shape)
        both = torch.cat([v.expand(*lead, *v.shape[-2:]) for v in (X, self.X_new)], dim=-2)
        mean, cov = _as_gaussian(self.base.posterior(both)).joint_moments
        noise = self.noise.expand(*lead, p, self.num_outputs).mT
        L = psd_cholesky(cov[..., q:, q:] + torch.diag_embed(noise)).L  # *lead m p p
        V = torch.linalg.solve_triangular(L, cov[..., q:, :q], upper=False)  # L^-1 cov(X, x)
        gap = (self.Y_new - mean[..., q:, :]).mT.unsqueeze(-1)
        w = torch.linalg.solve_triangular(L, gap, upper=False)
        new_mean = mean[..., :q, :] + (V.mT @ w).squeeze(-1).mT
        new_cov = cov[..., :q, :q] - V.mT @ V
        if observation_noise:
            new_cov = new_cov + torch.diag_embed(_noise_at(self.base, both[..., :q, :]).mT)
        variance = new_cov.diagonal(dim1=-2, dim2=-1).mT.clamp_min(0.0)
        return GaussianPosterior(
            new_mean.shape, partial(_pair, new_mean, variance), partial(_pair, new_mean, new_cov)
        )


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return a, b


def _as_gaussian(belief: Posterior) -> GaussianPosterior:
    if isinstance(belief, GaussianPosterior):
        return belief
    raise UnsupportedError(
        "conditioning and fantasies: BoTorch asks for a belief that can be updated in closed form, "
        f"a Gaussian or a mixture of Gaussians, got {type(belief).__name__}; make the model anew "
        "with all data"
    )


def _noise_at(model: Surrogate, X: Tensor) -> Tensor:
    """Noise variance of a new observation at X."""
    return model.posterior(X, observation_noise=True).variance - model.posterior(X).variance


def _members_of(model: Any) -> int | None:
    """How many members a surrogate's mixture has; None for a single belief, or nothing to ask."""
    if isinstance(model, SAASGP):
        return model.members.batch_shape[-1]
    if isinstance(model, ModelList):
        counts = [k for k in map(_members_of, model) if k is not None]
        return math.lcm(*counts) if counts else None
    if isinstance(model, ExactGP) or not has_training_data(model):
        return None
    with torch.no_grad():
        belief = model.posterior(model.X[..., :1, :])  # type: ignore[attr-defined]
    return belief.num_members if isinstance(belief, MixturePosterior) else None


class BotorchModel(Model):
    """A surrogate of bolearn as a BoTorch model.

    ``posterior``, ``subset_output``, ``condition_on_observations`` and ``fantasize`` are there;
    ``train_inputs`` and ``train_targets`` for models that know their data. Replicates are BoTorch's
    model batch. There is nothing to train, and no kernel to take apart: what asks for those
    (``fit_gpytorch_mll``, ``draw_matheron_paths``, ``cache_root=True``) gets `single_task_gp`.

    Args:
        surrogate: any surrogate.
        members: for a belief that is a mixture, the number of its members. Only needed for models
            that are not bolearn's own and do not hold their data.

    Raises:
        DataError: no surrogate.
    """

    _supports_cache_root = False

    def __init__(self, surrogate: Surrogate, *, members: int | None = None) -> None:
        super().__init__()
        if not isinstance(surrogate, Surrogate):
            raise DataError(
                "BotorchModel: expected a surrogate (num_outputs, batch_shape, posterior), got "
                f"{type(surrogate).__name__}"
            )
        # in a tuple, a module is not taken for a part whose mode and device may be changed
        self._held: tuple[Any, ...] = (surrogate,)
        self._split = False  # whether the surrogate has the members as its last replicate axis
        if isinstance(surrogate, SAASGP):
            self._held, self._split = (surrogate.members, surrogate), True
        self._members = _members_of(surrogate) if members is None else members
        members = self._members
        self._is_ensemble = self._is_fully_bayesian = members is not None

    @property
    def original(self) -> Any:
        """The surrogate that this was made of; None for one made by conditioning a mixture."""
        return self._held[-1]

    @property
    def num_outputs(self) -> int:
        """m."""
        return self._held[0].num_outputs  # type: ignore[no-any-return]

    @property
    def batch_shape(self) -> torch.Size:
        """The replicates, and the members of a mixture."""
        r = torch.Size(self._held[0].batch_shape)
        return r if self._split or self._members is None else torch.Size((*r, self._members))

    def __getattr__(self, name: str) -> Any:
        """Data in user units, for the models that know them."""
        if name in ("train_inputs", "train_targets"):
            source = self.__dict__["_held"][-1]
            if has_training_data(source) and bool(source.observed.all()):
                Y = source.Y
                return (
                    (source.X,)
                    if name == "train_inputs"
                    else Y.mT
                    if Y.shape[-1] > 1
                    else Y[..., 0]
                )
        return super().__getattr__(name)

    def _belief(self, X: Tensor, noisy: bool) -> Posterior:
        r = self._held[0].batch_shape
        X = X.unsqueeze(-3) if self._split else X
        lead = torch.broadcast_shapes(X.shape[:-2], r)
        belief: Posterior = self._held[0].posterior(
            X.expand(*lead, *X.shape[-2:]), observation_noise=noisy
        )
        return MixturePosterior(belief) if self._split else belief

    def posterior(
        self,
        X: Tensor,
        output_indices: Sequence[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Callable[..., BotorchPosterior] | None = None,
        **options: Any,
    ) -> BotorchPosterior:
        """The belief at X, ``*batch q d``.

        Args:
            X: points in user units; batch axes broadcast to the replicates, as BoTorch has it.
            output_indices: which outputs; default all.
            observation_noise: whether to add noise, or variances ``... m`` in user units.
            posterior_transform: applied to the result.
            options: none is known.

        Raises:
            DataError: points that are not finite float64 numbers, or an unknown option.
            UnsupportedError: a mixture of a model that was not known to be one.
        """
        if options:
            raise DataError(f"posterior: unknown options {sorted(options)}")
        check_rank("X", check_tensor("X", X), 2, "*batch q d")
        belief = self._belief(X, observation_noise is True)
        if isinstance(belief, IndependentPosterior) and self._members is not None:
            belief = _paired(belief)
        if isinstance(belief, MixturePosterior) and self._members is None:
            raise UnsupportedError(
                f"posterior: a mixture of {belief.num_members} members from a model that was taken "
                f"for a single belief; use BotorchModel(model, members={belief.num_members})"
            )
        if isinstance(observation_noise, Tensor):
            belief = _with_noise(belief, observation_noise)
        if output_indices is not None:
            belief = _picked(belief, [i % self.num_outputs for i in output_indices])
        found = _to_botorch_posterior(belief)
        return found if posterior_transform is None else posterior_transform(posterior=found, X=X)

    def subset_output(self, idcs: Sequence[int]) -> "BotorchModel":
        """The model of some of the outputs."""
        return BotorchModel(_Outputs(self, idcs), members=self._members)

    def condition_on_observations(
        self, X: Tensor, Y: Tensor, noise: Tensor | None = None, **options: Any
    ) -> "BotorchModel":
        """The belief after Y at X, with the same hyperparameters; differentiable in X and Y.

        Args:
            X: ``*batch p d``.
            Y: ``*f *batch p m``; of a mixture with the members' axis behind *batch, or without.
            noise: variances like Y in user units; default the model's own.
            options: ``propagate_grads`` and the like, which change nothing here.

        Raises:
            ShapeError: shapes that do not belong together.
            UnsupportedError: the belief is not Gaussian.
        """
        base = self._held[0]
        if self._members is not None and not self._split:
            raise UnsupportedError(
                "condition_on_observations: the members of this mixture cannot be asked one by "
                "one; make the model anew with all data (a SAASGP can be conditioned)"
            )
        if self._split:
            X = X.unsqueeze(-3)
            known = Y.ndim > X.ndim - 1 and Y.shape[-3] == base.batch_shape[-1]
            Y = Y if known else Y.unsqueeze(-3)
        lead = torch.broadcast_shapes(X.shape[:-2], base.batch_shape)
        X = X.expand(*lead, *X.shape[-2:])
        if Y.shape[-2:] != (X.shape[-2], self.num_outputs):
            raise ShapeError(
                f"Y: expected shape *batch {X.shape[-2]} {self.num_outputs}, got {tuple(Y.shape)}"
            )
        Y = Y.expand(*torch.broadcast_shapes(Y.shape[:-2], lead), *Y.shape[-2:])
        climbs = torch.is_grad_enabled() and (X.requires_grad or Y.requires_grad)
        grown: Any
        if isinstance(base, SupportsConditioning) and noise is None and not climbs:
            grown = base.condition(X.detach(), Y.detach())
        else:
            var = _noise_at(base, X) if noise is None else noise
            var = var.unsqueeze(-3) if self._split and noise is not None else var
            grown = Conditioned(base, X, Y, var)
        twin = BotorchModel(grown, members=self._members)
        if self._split:
            twin._split, twin._held = True, (grown, None)
        return twin

    def fantasize(
        self, X: Tensor, sampler: Any, observation_noise: Tensor | None = None, **options: Any
    ) -> "BotorchModel":
        """One belief for each sampled outcome at X, noise included; batch shape ``f *batch``."""
        noisy: bool | Tensor = True if observation_noise is None else observation_noise
        Y = sampler(self.posterior(X, observation_noise=noisy))
        return self.condition_on_observations(X, Y, noise=observation_noise)


class _Outputs:
    """Some outputs of a model."""

    def __init__(self, model: BotorchModel, index: Sequence[int]) -> None:
        self.model, self.index = model, [i % model.num_outputs for i in index]
        self.num_outputs = len(self.index)
        r = model.batch_shape
        self.batch_shape = r if model._members is None else r[:-1]

    def posterior(self, X: Tensor, *, observation_noise: bool = False) -> Posterior:
        """Belief about these outputs."""
        return _picked(self.model._belief(X, observation_noise), self.index)


class _PickedPosterior:
    """Some outputs of a belief that is sampled."""

    def __init__(self, belief: Posterior, index: list[int]) -> None:
        self.belief, self.index, self.event_shape = belief, index, belief.event_shape

    @property
    def mean(self) -> Tensor:
        return self.belief.mean[..., self.index]

    @property
    def variance(self) -> Tensor:
        return self.belief.variance[..., self.index]

    def rsample(self, z: Tensor) -> Tensor:
        """Samples of all outputs, of which these are kept."""
        return self.belief.rsample(z)[..., self.index]


def _picked(belief: Posterior, index: list[int]) -> Posterior:
    """The belief about some outputs."""
    if isinstance(belief, MixturePosterior):
        return MixturePosterior(_picked(to_gaussian(belief.members) or belief.members, index))
    if isinstance(belief, SamplesPosterior):
        return SamplesPosterior(belief.samples[..., index])
    if not isinstance(belief, GaussianPosterior):
        return _PickedPosterior(belief, index)
    shape = torch.Size((*belief.batch_shape, belief.event_shape[0], len(index)))
    return GaussianPosterior(
        shape, partial(_columns, belief, index), partial(_blocks, belief, index)
    )


def _columns(belief: GaussianPosterior, index: list[int]) -> tuple[Tensor, Tensor]:
    return belief.mean[..., index], belief.variance[..., index]


def _blocks(belief: GaussianPosterior, index: list[int]) -> tuple[Tensor, Tensor]:
    mean, covariance = belief.joint_moments
    return mean[..., index], covariance[..., index, :, :]


def _with_noise(belief: Posterior, noise: Tensor) -> Posterior:
    """A belief about observations with given noise variances."""
    if isinstance(belief, MixturePosterior):
        return MixturePosterior(_with_noise(belief.members, noise.unsqueeze(-3)))
    mean, covariance = _as_gaussian(belief).joint_moments
    added = torch.diag_embed(noise.expand(mean.shape).mT)
    return GaussianPosterior.from_moments(mean, covariance + added)


# -- beliefs and models of BoTorch in bolearn ----------------------------------------------------


class BotorchBelief:
    """A BoTorch posterior that is none of bolearn's kinds: its moments, and its samples.

    Correlated outputs and transformed outputs are such. Closed forms take it for the Gaussian with
    its moments, as BoTorch's do.

    Args:
        posterior: BoTorch's, a function of base samples.
    """

    def __init__(self, posterior: BotorchPosterior) -> None:
        self.posterior = posterior
        base = tuple(posterior.base_sample_shape)
        end = posterior.batch_range[1]
        end = end + len(base) if end < 0 else end
        self._lead, self.event_shape = base[:end], base[end:]
        self.batch_shape = torch.Size(posterior._extended_shape()[:-2])

    @property
    def mean(self) -> Tensor:
        """Expected values ``*batch q m``."""
        return self._moment("mean")

    @property
    def variance(self) -> Tensor:
        """Marginal variances ``*batch q m``."""
        return self._moment("variance")

    def _moment(self, name: str) -> Tensor:
        try:
            return getattr(self.posterior, name)  # type: ignore[no-any-return]
        except NotImplementedError as error:
            raise UnsupportedError(
                f"{name}: BoTorch has none for this {type(self.posterior).__name__}; use a "
                "Monte-Carlo acquisition such as qLogExpectedImprovement"
            ) from error

    def rsample(self, z: Tensor) -> Tensor:
        """Joint samples ``s *batch q m`` from normals ``s *b *event``."""
        check_base_samples(z, self.event_shape)
        missing = len(self._lead) + len(self.event_shape) + 1 - z.ndim
        z = z.reshape(len(z), *(1,) * missing, *z.shape[1:])
        z = z.expand(len(z), *self._lead, *self.event_shape)
        return self.posterior.rsample_from_base_samples(torch.Size([len(z)]), base_samples=z)


class _WeightedSamples(SamplesPosterior):
    """A set of functions that do not count the same."""

    def __init__(self, samples: Tensor, weights: Tensor) -> None:
        super().__init__(samples)
        self.weights = weights

    @property
    def mean(self) -> Tensor:
        return torch.einsum("s,s...->...", self.weights, self.samples)

    @property
    def variance(self) -> Tensor:
        return torch.einsum("s,s...->...", self.weights, (self.samples - self.mean).square())

    def rsample(self, z: Tensor) -> Tensor:
        """Function i where Phi(z) falls into the i-th of intervals as long as the weights."""
        check_base_samples(z, self.event_shape)
        edges = self.weights.cumsum(0)[:-1]
        pick = torch.searchsorted(edges, torch.special.ndtr(z.squeeze(-1)).contiguous())
        batch, (q, m) = self.batch_shape, self.samples.shape[-2:]
        pick = pick.reshape(len(z), *(1,) * (len(batch) + 1 - pick.ndim), *pick.shape[1:], 1, 1)
        return self.samples.gather(0, pick.expand(len(z), *batch, q, m))


def _from_botorch_posterior(theirs: Any) -> Any:  # Any: whoever checks a Posterior asks its mean
    if isinstance(theirs, _Gaussian | NormalsPosterior):
        return theirs.belief
    if isinstance(theirs, PosteriorList):
        return IndependentPosterior([_from_botorch_posterior(p) for p in theirs.posteriors])
    if isinstance(theirs, EnsemblePosterior):
        samples = theirs.values.movedim(-3, 0)
        equal = bool((theirs.weights == theirs.weights[0]).all())
        return SamplesPosterior(samples) if equal else _WeightedSamples(samples, theirs.weights)
    # a subclass that samples in its own way (Kronecker, high order) keeps it
    if type(theirs) in (GPyTorchPosterior, GaussianMixturePosterior, _Mixture):
        gaussian = _gaussian(theirs)
        if isinstance(theirs, GaussianMixturePosterior):
            if gaussian is None:
                raise UnsupportedError(
                    "from_botorch: a mixture whose members have correlated outputs; subset the "
                    "model to one output first (model.subset_output([0]))"
                )
            return MixturePosterior(gaussian)
        if gaussian is not None:
            return gaussian
    try:
        return BotorchBelief(theirs)
    except (NotImplementedError, AttributeError) as error:
        raise UnsupportedError(
            f"from_botorch: the samples of {type(theirs).__name__} are no function of base samples "
            "(it has no rsample_from_base_samples); draw some and use bolearn.SamplesPosterior"
        ) from error


def _gaussian(theirs: GPyTorchPosterior) -> GaussianPosterior | None:
    """A Gaussian over outputs that are independent of each other, else None."""
    d = theirs.distribution
    if not isinstance(d, MultitaskMultivariateNormal):
        shape = torch.Size((*d.loc.shape, 1))
        grad = torch.is_grad_enabled()
        return GaussianPosterior(
            shape, partial(_marginal_of, theirs, grad), partial(_joint_of, theirs, grad)
        )
    q, m = d.event_shape
    full = d.covariance_matrix
    if d._interleaved:
        full = full.reshape(*full.shape[:-2], q, m, q, m)
    else:
        full = full.reshape(*full.shape[:-2], m, q, m, q)
        full = full.transpose(-4, -3).transpose(-2, -1)  # q m q m
    blocks = full.diagonal(dim1=-3, dim2=-1)  # q q m
    apart = full.detach().clone()
    apart.diagonal(dim1=-3, dim2=-1).zero_()
    if bool((apart != 0).any()):
        return None
    return GaussianPosterior.from_moments(theirs.mean, blocks.movedim(-1, -3))


def _marginal_of(theirs: GPyTorchPosterior, grad: bool) -> tuple[Tensor, Tensor]:
    with torch.set_grad_enabled(grad):
        return theirs.mean, theirs.variance


def _joint_of(theirs: GPyTorchPosterior, grad: bool) -> tuple[Tensor, Tensor]:
    with torch.set_grad_enabled(grad):
        return theirs.mean, theirs.distribution.covariance_matrix.unsqueeze(-3)


def _twin(module: Any) -> Any:
    """A second module with the same parts: setting an attribute leaves the first one as it is.

    No deep copy, because some models do not survive one (a `PairwiseGP` forgets its utilities).
    """
    twin = copy.copy(module)
    for name in ("_parameters", "_buffers", "_modules"):
        twin.__dict__[name] = module.__dict__[name].copy()
    return twin


def _size(model: Model, name: str, otherwise: Any) -> Any:
    try:
        value = getattr(model, name)
    except NotImplementedError:
        return otherwise
    return otherwise if value is None else value


class BotorchSurrogate:
    """A BoTorch model as a surrogate of bolearn.

    Asks the model, with its input and outcome transforms. A fully Bayesian model or an ensemble of
    Gaussian processes is a mixture. ``condition`` and ``fantasize`` are there if BoTorch has them.

    Args:
        model: any BoTorch model whose posterior is a function of base samples.

    Raises:
        DataError: parameters that are not float64.
    """

    def __init__(self, model: Model) -> None:
        kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
        if kinds - {torch.float64}:
            raise DataError(
                f"from_botorch: expected a model in float64, got {type(model).__name__} with "
                f"{', '.join(sorted(map(str, kinds)))}; make it of double data, or use "
                "model.double()"
            )
        self.original = model
        self._model: Model = model
        shape = torch.Size(_size(model, "batch_shape", ()))
        self._mixture = is_ensemble(model)
        self.batch_shape = shape[:-1] if self._mixture and len(shape) else shape
        self.num_outputs = int(_size(model, "num_outputs", 1))

    @property
    def output_scale(self) -> Tensor:
        """1: what is smooth for BoTorch is smooth in the units of its posterior."""
        return torch.ones(*self.batch_shape, self.num_outputs, dtype=torch.float64)

    def posterior(self, X: Tensor, *, observation_noise: bool = False) -> Any:
        """Belief about f, or about a new observation, at X, ``*batch q d``.

        Raises:
            DataError: points that are not finite float64 numbers.
            ShapeError: batch axes that do not end in the replicates.
            UnsupportedError: a belief of which no samples can be had.
        """
        check_rank("X", check_tensor("X", X), 2, "*batch q d")
        r = self.batch_shape
        X = check_points(X, X.shape[-1], r)
        if len(r):
            X = X.expand(*X.shape[: -2 - len(r)], *r, *X.shape[-2:])
        with torch.set_grad_enabled(torch.is_grad_enabled() and X.requires_grad):
            theirs = self._model.posterior(X, observation_noise=observation_noise)
            shape = torch.Size(theirs._extended_shape())
            if shape[-2:] != (X.shape[-2], self.num_outputs):
                raise UnsupportedError(
                    f"posterior: expected {self.num_outputs} numbers for each of {X.shape[-2]} "
                    f"points, got shape {tuple(shape)} from {type(self.original).__name__}; "
                    "outputs that are tensors, and perturbed inputs, do not cross"
                )
            return _from_botorch_posterior(theirs)

    def condition(self, X: Tensor, Y: Tensor) -> "BotorchSurrogate":
        """The belief after Y (``*b p m``) at X (``*b p d``), as BoTorch computes it.

        Raises:
            UnsupportedError: BoTorch's model cannot.
        """
        lead = torch.broadcast_shapes(X.shape[:-2], Y.shape[:-2])
        try:
            with torch.no_grad():
                self._model.posterior(X)  # fills the caches that conditioning extends
                grown = self._model.condition_on_observations(
                    X=X.expand(*lead, *X.shape[-2:]), Y=Y.expand(*lead, *Y.shape[-2:])
                )
        except NotImplementedError as error:
            raise UnsupportedError(
                f"condition: BoTorch's {type(self.original).__name__} cannot; make the model anew "
                "with all data"
            ) from error
        return BotorchSurrogate(grown)

    def fantasize(self, X: Tensor, z: Tensor) -> "BotorchSurrogate":
        """One belief for each outcome imagined at X, noise included, from normals ``s *b q m``."""
        with torch.no_grad():
            belief = self.posterior(X, observation_noise=True)
            z = z.reshape(*z.shape[: z.ndim - 2], *belief.event_shape)
            return self.condition(X, belief.rsample(z))


# -- acquisitions --------------------------------------------------------------------------------


class BotorchAcquisition(AcquisitionFunction):
    """An acquisition of bolearn, or any function of X, for BoTorch's ``optimize_acqf``.

    Args:
        acquisition: maps ``*batch q d`` to ``*batch``.
    """

    def __init__(self, acquisition: Acquisition) -> None:
        model = getattr(acquisition, "model", None)
        own: Any = to_botorch(model) if isinstance(model, Surrogate) else None
        super().__init__(own)
        self.original, self._current = acquisition, acquisition
        self._replicates = len(getattr(model, "batch_shape", ()))
        self._log = "Log" in type(acquisition).__name__
        self.X_pending: Any = None

    def set_X_pending(self, X_pending: Tensor | None = None) -> None:
        """Points under evaluation ``p d``, beside those that the acquisition has itself.

        Raises:
            UnsupportedError: a function that cannot take any.
        """
        super().set_X_pending(X_pending)
        original: Any = self.original
        if X_pending is None or X_pending.shape[-2] == 0:
            self._current = original
        elif isinstance(original, SupportsPending):
            self._current = original.with_pending(X_pending.detach())
        else:
            raise UnsupportedError(
                f"set_X_pending: {type(self.original).__name__} has no with_pending(X); choose the "
                "points jointly (sequential=False)"
            )

    @t_batch_mode_transform(assert_output_shape=False)  # type: ignore[arg-type]
    def forward(self, X: Tensor) -> Tensor:
        """Values ``*batch``.

        Raises:
            ShapeError: an acquisition with replicates and nothing but restarts in X.
        """
        if X.ndim < 3 + self._replicates:
            raise ShapeError(
                f"X: the acquisition has replicates, so expected shape b *r q d, got "
                f"{tuple(X.shape)}; BoTorch's optimisers maximise one acquisition at a time: use "
                "bolearn.optimize_acqf, which maximises all, or a model of one replicate"
            )
        return self._current(X)


class BotorchFunction:
    """A BoTorch acquisition function as an acquisition of bolearn.

    Args:
        acquisition: any but a one-shot acquisition.

    Raises:
        UnsupportedError: one-shot: X would hold imagined solutions too.
    """

    def __init__(self, acquisition: AcquisitionFunction) -> None:
        if isinstance(acquisition, OneShotAcquisitionFunction):
            raise UnsupportedError(
                f"from_botorch: {type(acquisition).__name__} is one-shot, its X holds the "
                "solutions of all fantasies beside the candidates; use "
                "botorch.optim.optimize_acqf, or bolearn.qKnowledgeGradient"
            )
        self.original, self._function = acquisition, acquisition
        model = getattr(acquisition, "model", None)
        if isinstance(model, Model):
            self.model = from_botorch(model)

    def __call__(self, X: Tensor) -> Tensor:
        """Values ``*batch`` of ``*batch q d``."""
        check_rank("X", check_tensor("X", X), 2, "*batch q d")
        r = len(getattr(getattr(self, "model", None), "batch_shape", ()))
        with torch.set_grad_enabled(torch.is_grad_enabled() and X.requires_grad):
            value: Tensor = self._function(X if r else X.reshape(-1, *X.shape[-2:]))
        if r:
            return value
        return value.reshape(X.shape[:-2])

    def with_pending(self, X: Tensor) -> "BotorchFunction":
        """The same with further points under evaluation.

        Raises:
            UnsupportedError: BoTorch's acquisition function takes none.
        """
        twin = copy.copy(self)
        twin._function = _twin(self._function)
        before = getattr(self._function, "X_pending", None)
        pending = X if before is None else torch.cat([before, X], dim=-2)
        try:
            twin._function.set_X_pending(pending)
        except Exception as error:
            raise UnsupportedError(
                f"with_pending: BoTorch's {type(self.original).__name__} takes no pending points "
                f"({error}); use a Monte-Carlo acquisition"
            ) from error
        return twin


# -- Gaussian processes, copied ------------------------------------------------------------------


def single_task_gp(model: Any) -> SingleTaskGP:
    """BoTorch's Gaussian process with the data, units, kernel and hyperparameters of bolearn's.

    Args:
        model: without replicates; masked rows are left out.

    Returns:
        A model in evaluation mode whose posterior is the same to rounding errors.

    Raises:
        UnsupportedError: replicates, or a model that is no `ExactGP`.
    """
    if not isinstance(model, ExactGP) or len(model.batch_shape):
        what = type(model).__name__ if not isinstance(model, ExactGP) else "replicates"
        raise UnsupportedError(
            f"single_task_gp: expected an ExactGP without replicates, got {what}; use to_botorch, "
            "which takes any surrogate, or a model of one replicate"
        )
    gp: Any = model
    keep, m = gp.observed, gp.num_outputs
    X, Y = gp.X[keep], gp.Y[keep]
    scale2 = gp.outcome.scale.square()
    known = None if gp.noise is None else gp.noise[..., keep].mT * scale2
    shape = torch.Size() if m == 1 else torch.Size([m])
    outcome: Any = BotorchStandardize(m)
    theirs: Any = SingleTaskGP(
        X,
        Y,
        train_Yvar=known,
        covar_module=_reshaped(gp.kernel, shape),
        mean_module=_reshaped(gp.mean, shape),
        input_transform=Normalize(X.shape[-1], bounds=gp.bounds),
        outcome_transform=outcome,
    )
    # standardisation as the model has it, which need not be that of its present data
    outcome.means, outcome.stdvs = gp.outcome.shift.clone(), gp.outcome.scale.clone()
    outcome._stdvs_sq = scale2.clone()
    targets = gp.outcome.encode(Y).mT
    theirs.set_train_data(targets=targets[0] if m == 1 else targets, strict=False)
    if known is None:
        noise = theirs.likelihood.noise_covar
        noise.raw_noise_constraint = copy.deepcopy(gp.likelihood.noise_covar.raw_noise_constraint)
        value = gp.noise_variance()[..., :1]
        noise.initialize(noise=value.reshape(noise.raw_noise.shape).detach().clone())
    else:
        variances = gp.noise[..., keep].detach().clone()
        theirs.likelihood.noise_covar.noise = variances[0] if m == 1 else variances
    return cast(SingleTaskGP, theirs.to(X).eval())


def _reshaped(module: Any, shape: torch.Size) -> Any:
    """A copy of a kernel or mean with batch shape ``m``, without its axis for m = 1."""
    twin = copy.deepcopy(module)
    if shape:
        return twin
    for part in twin.modules():
        for name, value in part._parameters.items():
            if value is not None and value.ndim:
                part._parameters[name] = nn.Parameter(
                    value.detach().squeeze(0), value.requires_grad
                )
        if hasattr(part, "_batch_shape"):
            part._batch_shape = torch.Size()
        if isinstance(getattr(part, "batch_shape", None), torch.Size) and "batch_shape" in vars(
            part
        ):
            part.batch_shape = torch.Size()
    return twin


def exact_gp(model: Any) -> ExactGP:
    """bolearn's Gaussian process with the data, units, kernel and hyperparameters of BoTorch's.

    Args:
        model: one set of data; its input transform none or a `Normalize` of all inputs, its outcome
            transform none or a `Standardize`. Without an input transform the box is the unit cube.

    Returns:
        A model whose posterior is the same to rounding errors.

    Raises:
        UnsupportedError: another class, other transforms, or a posterior that differs.
    """
    advice = "; use from_botorch, which takes any model"
    if type(model) is not SingleTaskGP or len(model.batch_shape):
        raise UnsupportedError(
            f"exact_gp: expected a SingleTaskGP of one set of data, got {type(model).__name__}"
            + advice
        )
    into, out = (getattr(model, f"{name}_transform", None) for name in ("input", "outcome"))
    for given, kind in ((into, Normalize), (out, BotorchStandardize)):
        if given is not None and type(given) is not kind:
            raise UnsupportedError(
                f"exact_gp: expected {kind.__name__} or no transform, got {type(given).__name__}"
                + advice
            )
    model = cast(Any, model).eval()
    X = model._original_train_inputs if into is not None else model.train_inputs[0]
    m = model.num_outputs
    X = X[0] if m > 1 else X
    box = torch.stack([torch.zeros_like(X[0]), torch.ones_like(X[0])])
    if into is not None:
        low = into.offset.detach().reshape(1, -1).expand(1, X.shape[-1])
        box = torch.cat([low, low + into.coefficient.detach().reshape(1, -1)])
    targets = model.train_targets.mT if m > 1 else model.train_targets.unsqueeze(-1)
    Y = targets if out is None else targets * out.stdvs + out.means
    var = model.likelihood.noise.detach().reshape(m, -1).mT  # n or 1, m
    known = "Fixed" in type(model.likelihood).__name__ or bool((var < NOISE_FLOOR).any())
    kernel, mean = copy.deepcopy(model.covar_module), copy.deepcopy(model.mean_module)
    ours = ExactGP(
        X.detach(), Y.detach(), box, kernel=kernel, mean=mean, standardize=out is not None,
        noise_var=(var if out is None else var * out.stdvs**2).expand(Y.shape) if known else None,
    )  # fmt: skip
    if not known:
        ours = ours.with_hyperparameters(noise_var=var[0])
    with torch.no_grad():
        a, b = ours.posterior(ours.X), model.posterior(ours.X)
        scale = ours.output_scale
        gap = ((a.mean - b.mean) / scale).abs().max() + (
            (a.variance - b.variance) / scale**2
        ).abs().max()
    if not float(gap) < 1e-6:
        raise UnsupportedError(
            f"exact_gp: the copy differs from BoTorch's model by {float(gap):.1e} standard "
            "deviations at the data (outputs standardised by other data?)" + advice
        )
    return ours


# -- Ax ------------------------------------------------------------------------------------------


def ax_parameters(space: Space) -> list[Any]:
    """The parameters of a space as Ax's configurations, for ``Client.configure_experiment``.

    Args:
        space: real, whole and categorical parameters, in the units of the user.

    Raises:
        UnsupportedError: a step together with a logarithmic axis, which Ax does not have.

    Example:
        >>> from bolearn import Real, Space
        >>> ax_parameters(Space([Real("time", 1, 600, log=True)]))[0].scaling
        'log'
    """
    from ax.api import configs

    found: list[Any] = []
    for p in space.parameters:
        if isinstance(p, Categorical):
            kinds = {type(v) for v in p.values}
            names = {str: "str", int: "int", bool: "bool", float: "float"}
            kind: Any = names.get(kinds.pop(), "str") if len(kinds) == 1 else "str"
            values: Any = [str(v) for v in p.values] if kind == "str" else list(p.values)
            found.append(configs.ChoiceParameterConfig(p.name, values, kind, is_ordered=p.ordered))
            continue
        whole = type(p).__name__ == "Integer"
        step = None if whole and p.step == 1 else p.step
        if step is not None and p.log:
            raise UnsupportedError(
                f"ax_parameters: {p.name!r} has a step and a logarithmic axis, which Ax does not "
                "take together; leave one of them out"
            )
        found.append(
            configs.RangeParameterConfig(
                p.name,
                (p.low, p.high),
                "int" if whole else "float",
                step_size=step,
                scaling="log" if p.log else None,
            )
        )
    return found
