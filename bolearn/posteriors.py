"""What a model says about f at some points: moments, and joint samples from given normals.

A sample is a *function* of standard normals z: mean + L z. With z fixed, an average over samples
is a smooth deterministic function of the points, and its gradient passes through mean and L.

Taught in part_1/tutorial_06 (reparameterisation) and part_4/tutorial_01.
"""

from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError
from .linalg import psd_cholesky


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
        """A posterior with the given mean and covariance of each output."""
        variance = covariance.diagonal(dim1=-2, dim2=-1).mT
        return GaussianPosterior(mean.shape, lambda: (mean, variance), lambda: (mean, covariance))

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
        q, m = self.event_shape
        if z.ndim < 3 or tuple(z.shape[-2:]) != (q, m):
            raise ShapeError(f"z: expected shape s *b {q} {m}, got {tuple(z.shape)}")
        missing = len(self._shape) + 1 - z.ndim
        base = z.reshape(z.shape[0], *(1,) * missing, *z.shape[1:])
        if q == 1:
            return self.mean + self.variance.sqrt() * base
        mean, covariance = self.joint_moments
        L = psd_cholesky(covariance, floor=self._scale).L  # *batch m q q
        # f_i = mean_i + sum_j L_ij z_j for each output
        return mean + torch.einsum("...mij,...jm->...im", L, base)
