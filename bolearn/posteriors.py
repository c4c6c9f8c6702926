"""What a model says about f at some points: moments, and joint samples from given normals.

A sample is a *function* of standard normals z: mean + L z. With z fixed, an average over samples
is a smooth deterministic function of the points, and its gradient passes through mean and L.

A Gaussian is one kind of belief. Two more need nothing but other beliefs, or samples:
`MixturePosterior` (hyperparameter samples, several models) and `SamplesPosterior` (function values
from an ensemble or from any other library).

Taught in part_1/tutorial_06 (reparameterisation) and part_4/tutorial_01; mixtures in
part_4/tutorial_04.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import DataError, ShapeError, UnsupportedError
from .linalg import psd_cholesky
from .protocols import Posterior
from .shapes import check_rank, check_tensor


class GaussianPosterior:
    """A Gaussian belief over q points and m independent outputs for each batch entry.

    Nothing is computed before it is asked for: marginal moments never build a q x q matrix, and a
    joint draw computes mean and covariance together.

    Args:
        shape: ``(*batch, q, m)``.
        marginal: gives mean and variance, each ``*batch q m``.
        joint: gives mean ``*batch q m`` and the covariances ``*batch m q q`` of each output.
        scale: variance that rounding errors of the covariances are relative to, ``*b m``; for a
            model, the variance of its outputs. Only joint draws at points that are (almost) known
            or equal need it.

    Example:
        >>> mean = torch.zeros(2, 1, dtype=torch.float64)
        >>> belief = GaussianPosterior.from_moments(mean, torch.eye(2, dtype=torch.float64)[None])
        >>> belief.rsample(torch.ones(5, 2, 1, dtype=torch.float64)).shape
        torch.Size([5, 2, 1])
    """

    def __init__(
        self,
        shape: torch.Size,
        marginal: Callable[[], tuple[Tensor, Tensor]],
        joint: Callable[[], tuple[Tensor, Tensor]],
        scale: Tensor | None = None,
    ) -> None:
        self._shape = shape
        self._marginal_moments = marginal
        self._joint_moments = joint
        self._scale = scale

    @staticmethod
    def from_moments(
        mean: Float[Tensor, "*batch q m"], covariance: Float[Tensor, "*batch m q q"]
    ) -> "GaussianPosterior":
        """A posterior with the given mean and covariance of each output.

        Raises:
            DataError: not float64 tensors.
            ShapeError: shapes that do not belong together.
        """
        check_rank("mean", check_tensor("mean", mean, finite=False), 2, "*batch q m")
        check_tensor("covariance", covariance, finite=False)
        q, m = mean.shape[-2:]
        try:
            known = torch.broadcast_shapes(covariance.shape, (*mean.shape[:-2], m, q, q))
        except RuntimeError:
            known = torch.Size()
        if known != covariance.shape:
            raise ShapeError(
                f"covariance: expected shape *batch m q q = {(*mean.shape[:-2], m, q, q)} for a "
                f"mean of shape {tuple(mean.shape)}, got {tuple(covariance.shape)}"
            )
        variance = covariance.diagonal(dim1=-2, dim2=-1).mT
        return GaussianPosterior(
            mean.shape, partial(_both, mean, variance), partial(_both, mean, covariance)
        )

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle or a deep copy keeps: a constant, without a graph back to the points."""
        return {name: _constant(value) for name, value in self.__dict__.items()}

    @cached_property
    def _marginal(self) -> tuple[Tensor, Tensor]:
        return self._marginal_moments()

    @cached_property
    def joint_moments(self) -> tuple[Tensor, Tensor]:
        """Mean ``*batch q m`` and the covariance of each output, ``*batch m q q``."""
        return self._joint_moments()

    @property
    def mean(self) -> Float[Tensor, "*batch q m"]:
        """Expected values, in user units."""
        return self._marginal[0]

    @property
    def variance(self) -> Float[Tensor, "*batch q m"]:
        """Marginal variances, in squared user units; never negative."""
        return self._marginal[1]

    @property
    def covariance(self) -> Float[Tensor, "*batch qm qm"]:
        """Joint covariance of all q m values, points outermost (for m = 1 simply ``q q``)."""
        blocks = self.joint_moments[1]
        m, q = blocks.shape[-3], blocks.shape[-1]
        if m == 1:
            return blocks.squeeze(-3)
        full = blocks.new_zeros(*blocks.shape[:-3], q, m, q, m)
        for i in range(m):
            full[..., :, i, :, i] = blocks[..., i, :, :]
        return full.reshape(*blocks.shape[:-3], q * m, q * m)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """``(q, m)``: one standard normal for each value drawn jointly."""
        return tuple(self._shape[-2:])

    @property
    def batch_shape(self) -> torch.Size:
        """``*batch``."""
        return self._shape[:-2]

    def rsample(self, z: Float[Tensor, "s ..."]) -> Float[Tensor, "s ..."]:
        """Joint samples mean + L z, differentiable in the points and in z.

        Args:
            z: standard normals ``s *b q m``; batch axes of size 1 (or missing) are shared.

        Returns:
            Samples ``s *batch q m``.

        Raises:
            ShapeError: z does not end in ``q m``.
        """
        q, _ = self.event_shape
        check_base_samples(z, self.event_shape)
        _check_axes(z, self.event_shape, self.batch_shape)
        missing = len(self._shape) + 1 - z.ndim
        base = z.reshape(z.shape[0], *(1,) * missing, *z.shape[1:])
        if q == 1:
            return self.mean + self.variance.sqrt() * base
        mean, covariance = self.joint_moments
        L = psd_cholesky(covariance, floor=self._scale).L  # *batch m q q
        # f_i = mean_i + sum_j L_ij z_j for each output
        return mean + torch.einsum("...mij,...jm->...im", L, base)


def _both(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two moments that are known already."""
    return a, b


def _constant(value: Any) -> Any:
    """A value with all its tensors detached, so that it can be copied and sent elsewhere."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, partial):
        return partial(value.func, *map(_constant, value.args))
    return type(value)(map(_constant, value)) if type(value) in (tuple, list) else value


class MixturePosterior:
    r"""k beliefs, equally credible: "the truth is one of these, and I do not know which".

    With member means mu_j and variances s_j^2,

        mean = avg_j mu_j,    variance = avg_j s_j^2 + avg_j (mu_j - mean)^2:

    what the members doubt, plus how much they disagree. A joint draw belongs to one member.
    Sample i of s comes from member floor(i k / s), each member with base samples of its own.
    Neighbouring Sobol points fill space evenly, and i / s is one more even coordinate (the two
    together are a Hammersley set). Taking turns, i mod k, would give every member its own slice of
    the normal distribution instead: Sobol points with equal last digits of i lie close together.

    Args:
        members: one posterior with a member axis before q: moments ``*batch k q m``, as a model
            with replicates ``*r k`` gives at ``X.unsqueeze(-3)``. `MixturePosterior.of` stacks
            separate posteriors.

    Raises:
        ShapeError: the members have no such axis.

    Example:
        >>> mean = torch.tensor([[[-1.0]], [[1.0]]], dtype=torch.float64)
        >>> two = GaussianPosterior.from_moments(mean, torch.ones(2, 1, 1, 1, dtype=torch.float64))
        >>> MixturePosterior(two).variance.item()
        2.0
    """

    def __init__(self, members: Posterior) -> None:
        shape = _batch_shape(members)
        if len(shape) == 0:
            raise ShapeError(
                "members: expected moments *batch k q m with a member axis k before q, got a "
                "posterior without batch axes; use MixturePosterior.of(first, second, ...)"
            )
        self.members = members
        self.num_members = shape[-1]
        self._batch = shape[:-1]

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle or a deep copy keeps: a constant."""
        return {name: _constant(value) for name, value in self.__dict__.items()}

    @staticmethod
    def of(*posteriors: Posterior) -> "MixturePosterior":
        """A mixture of separate posteriors about the same points, each counted once.

        Raises:
            DataError: none given.
            ShapeError: they differ in their shape or in the normals they consume.
        """
        return MixturePosterior(_Stack(posteriors))

    @cached_property
    def mean(self) -> Float[Tensor, "*batch q m"]:
        """Average of the members' means."""
        return self.members.mean.mean(-3)

    @cached_property
    def variance(self) -> Float[Tensor, "*batch q m"]:
        """Average of the members' variances plus the variance of their means."""
        apart = self.members.mean - self.mean.unsqueeze(-3)
        return self.members.variance.mean(-3) + apart.square().mean(-3)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The event shape of a member."""
        return self.members.event_shape

    @property
    def batch_shape(self) -> torch.Size:
        """``*batch``."""
        return self._batch

    def rsample(self, z: Float[Tensor, "s ..."]) -> Float[Tensor, "s ..."]:
        """Joint samples, each of one member; differentiable in the points and in z.

        Args:
            z: standard normals ``s *b *event``. With s < k, s of the members take part, spread
                evenly over all.

        Returns:
            Samples ``s *batch q m``.

        Raises:
            ShapeError: z does not end in the event shape.
        """
        event, k = self.event_shape, self.num_members
        check_base_samples(z, event)
        s = len(z)
        i = torch.arange(s, device=z.device)
        member = i * k // s
        # Member j has the samples from ceil(j s / k) on; short blocks are filled up, then dropped.
        first = (torch.arange(k, device=z.device) * s + k - 1) // k
        place = torch.arange(-(-s // k), device=z.device)
        blocks = z[(first + place.unsqueeze(-1)).clamp(max=s - 1)]  # place k *b *event
        y = self.members.rsample(blocks.movedim(1, -1 - len(event)))  # place *batch k q m
        return y[i - first[member], ..., member, :, :]


class SamplesPosterior:
    """A belief that *is* a finite set of functions, known by their values at the points.

    The functions may come from anywhere: the members of an ensemble, a Pyro posterior, a physical
    simulator with uncertain constants. Each counts the same; moments are those of the set (the
    variance with 1/S, so that they are the moments of what `rsample` draws).

    Args:
        samples: function values ``S *batch q m``: entry i holds function i at all points.

    Raises:
        DataError: not finite float64 numbers, or no function at all.
        ShapeError: fewer than three axes.

    Example:
        >>> slopes = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        >>> x = torch.tensor([[0.5], [1.0]], dtype=torch.float64)
        >>> SamplesPosterior(slopes.view(3, 1, 1) * x).mean.flatten().tolist()
        [1.0, 2.0]
    """

    def __init__(self, samples: Float[Tensor, "S ..."]) -> None:
        check_rank("samples", check_tensor("samples", samples), 3, "S *batch q m")
        if len(samples) == 0:
            raise DataError("samples: expected at least one function, got S = 0")
        self.samples = samples

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle or a deep copy keeps: a constant."""
        return {name: _constant(value) for name, value in self.__dict__.items()}

    @cached_property
    def mean(self) -> Float[Tensor, "*batch q m"]:
        """Average of the functions."""
        return self.samples.mean(0)

    @cached_property
    def variance(self) -> Float[Tensor, "*batch q m"]:
        """Spread of the functions around their average."""
        return (self.samples - self.mean).square().mean(0)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """``(1,)``: one standard normal picks a function for all points and outputs."""
        return (1,)

    @property
    def batch_shape(self) -> torch.Size:
        """``*batch``."""
        return self.samples.shape[1:-2]

    def rsample(self, z: Float[Tensor, "s ..."]) -> Float[Tensor, "s ..."]:
        """Functions floor(S Phi(z)): each equally likely, and the same one at every point.

        Args:
            z: standard normals ``s *b 1``; batch axes of size 1 (or missing) are shared. s Sobol
                normals pick each function s / S times, up to one.

        Returns:
            Samples ``s *batch q m``, differentiable in the function values.

        Raises:
            ShapeError: z does not end in 1.
        """
        check_base_samples(z, self.event_shape)
        _check_axes(z, self.event_shape, self.batch_shape)
        S, (q, m) = len(self.samples), self.samples.shape[-2:]
        pick = (torch.special.ndtr(z.squeeze(-1)) * S).long().clamp(max=S - 1)  # s *b
        missing = len(self.batch_shape) + 1 - pick.ndim
        pick = pick.reshape(len(z), *(1,) * missing, *pick.shape[1:], 1, 1)
        return self.samples.gather(0, pick.expand(len(z), *self.batch_shape, q, m))


class IndependentPosterior:
    """Beliefs of any kind about different outputs, side by side.

    A joint draw consumes the normals of all parts, flattened one after the other.
    """

    def __init__(self, parts: Sequence[Posterior]) -> None:
        self.parts = tuple(parts)

    @property
    def batch_shape(self) -> torch.Size:
        """``*batch``."""
        return _batch_shape(self.parts[0])

    @property
    def mean(self) -> Float[Tensor, "*batch q m"]:
        """Expected values."""
        return torch.cat([part.mean for part in self.parts], dim=-1)

    @property
    def variance(self) -> Float[Tensor, "*batch q m"]:
        """Marginal variances."""
        return torch.cat([part.variance for part in self.parts], dim=-1)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """``(k,)``: the standard normals of all parts."""
        return (sum(torch.Size(part.event_shape).numel() for part in self.parts),)

    def rsample(self, z: Float[Tensor, "s ..."]) -> Float[Tensor, "s ..."]:
        """Joint samples ``s *batch q m`` from normals ``s *b k``.

        Raises:
            ShapeError: z does not end in ``k``.
        """
        check_base_samples(z, self.event_shape)
        sizes = [torch.Size(part.event_shape).numel() for part in self.parts]
        own = zip(self.parts, z.split(sizes, dim=-1), strict=True)
        return torch.cat(
            [p.rsample(u.reshape(*u.shape[:-1], *p.event_shape)) for p, u in own], dim=-1
        )


class _Stack:
    """Separate posteriors as one with a member axis before q."""

    def __init__(self, parts: tuple[Posterior, ...]) -> None:
        if not parts:
            raise DataError("posteriors: expected at least one, got none")
        shapes = {(*_batch_shape(p), *p.mean.shape[-2:], p.event_shape) for p in parts}
        if len(shapes) > 1:
            raise ShapeError(
                "posteriors: expected one shape (*batch, q, m, event shape) for all, got "
                f"{sorted(shapes, key=str)}; ask all models about the same points"
            )
        self.parts = parts
        self.event_shape = parts[0].event_shape
        self.batch_shape = torch.Size((*_batch_shape(parts[0]), len(parts)))

    @property
    def mean(self) -> Float[Tensor, "*batch k q m"]:
        return torch.stack([part.mean for part in self.parts], dim=-3)

    @property
    def variance(self) -> Float[Tensor, "*batch k q m"]:
        return torch.stack([part.variance for part in self.parts], dim=-3)

    def rsample(self, z: Float[Tensor, "s ..."]) -> Float[Tensor, "s ..."]:
        each = z.unbind(-1 - len(self.event_shape))
        draws = [part.rsample(own) for part, own in zip(self.parts, each, strict=True)]
        return torch.stack(draws, dim=-3)


def gaussian_members(
    posterior: Posterior,
) -> tuple[Float[Tensor, "k *batch q m"], Float[Tensor, "k *batch q m"]]:
    """Means and variances of the equally credible Gaussians that a belief consists of.

    What a closed form needs: an expectation under the belief is the average over k. A single
    Gaussian is the case k = 1. Independent beliefs about different outputs combine every member of
    one with every member of the other. A posterior of a class that is not known here counts as the
    Gaussian with its moments.

    Raises:
        UnsupportedError: a belief made of samples, which is no mixture of Gaussians, or more
            combinations than are worth it.
    """
    if isinstance(posterior, SamplesPosterior):
        raise UnsupportedError(
            "closed forms need a Gaussian posterior or a mixture of Gaussians, got a "
            "SamplesPosterior; use a Monte-Carlo acquisition such as qLogExpectedImprovement"
        )
    if isinstance(posterior, MixturePosterior):
        mean, variance = gaussian_members(posterior.members)  # j *batch k q m
        return mean.movedim(-3, 1).flatten(0, 1), variance.movedim(-3, 1).flatten(0, 1)
    if isinstance(posterior, _Stack):
        parts = [gaussian_members(part) for part in posterior.parts]
        j = math.lcm(*(len(mean) for mean, _ in parts))  # every part counts the same
        mean, variance = (
            torch.stack([torch.cat([v] * (j // len(v))) for v in moments], dim=-3)
            for moments in zip(*parts, strict=True)
        )
        return mean, variance
    if isinstance(posterior, IndependentPosterior):
        return _combinations([gaussian_members(part) for part in posterior.parts])
    return posterior.mean.unsqueeze(0), posterior.variance.unsqueeze(0)


_MANY_COMBINATIONS = 4096


def _combinations(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Members of independent beliefs about different outputs, each with each, side by side."""
    counts = [len(mean) for mean, _ in parts]
    if math.prod(counts) > _MANY_COMBINATIONS:
        raise UnsupportedError(
            f"closed forms need every combination of the members of independent mixtures, here "
            f"{' x '.join(map(str, counts))}, more than {_MANY_COMBINATIONS}; use "
            "qLogExpectedImprovement, which samples, or fewer members (SAASGP.thinned(16))"
        )
    axes = torch.cartesian_prod(*(torch.arange(k) for k in counts)).reshape(-1, len(counts))
    mean, variance = (
        torch.cat([v[pick.to(v.device)] for v, pick in zip(kind, axes.unbind(-1), strict=True)], -1)
        for kind in zip(*parts, strict=True)
    )
    return mean, variance


def check_base_samples(z: Tensor, event: tuple[int, ...]) -> None:
    """Check that base samples are a float64 tensor of shape ``s *b *event``.

    Raises:
        DataError: not float64.
        ShapeError: another shape.
    """
    check_tensor("z", z, finite=False)
    if z.ndim < 1 + len(event) or tuple(z.shape[z.ndim - len(event) :]) != tuple(event):
        sizes = " ".join(map(str, event))
        raise ShapeError(f"z: expected shape s *b {sizes}, got {tuple(z.shape)}")


def _check_axes(z: Tensor, event: tuple[int, ...], batch: torch.Size) -> None:
    """Check that the axes of z between samples and event meet those of the posterior."""
    own = z.shape[1 : z.ndim - len(event)]
    try:
        torch.broadcast_shapes(own, batch)
    except RuntimeError:
        raise ShapeError(
            f"z: expected shape s *b {' '.join(map(str, event))} with *b equal to (or 1 in place "
            f"of) the posterior's {tuple(batch)}, got {tuple(z.shape)}"
        ) from None


def _batch_shape(posterior: Posterior) -> torch.Size:
    """``*batch``, without computing moments where the posterior knows its shape."""
    known = getattr(posterior, "batch_shape", None)
    if known is not None:
        return torch.Size(known)
    if not isinstance(getattr(posterior, "mean", None), Tensor):
        raise DataError(
            f"members: expected a posterior (mean, variance, rsample), got "
            f"{type(posterior).__name__}"
        )
    return posterior.mean.shape[:-2]
