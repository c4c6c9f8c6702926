r"""An ensemble of neural networks whose disagreement is the belief: a surrogate that is no GP.

Each member starts from its own random weights z_j, sees its own copy of the data with a little
noise added, and minimises

    sum_i (y_i + s e_ij - f(x_i; z))^2 / (2 s^2)  +  |z - z_j|^2 / 2.

Held back by the second term, members agree where there are data and go their own ways elsewhere.
For a network that is linear in z (``hidden=()``) the minimiser is an exact draw from the Bayesian
posterior with prior z ~ N(0, 1); for others it is an approximation to one. All members of all
replicates are trained as one batch, by matrix products with a leading member axis.

Taught in part_4/tutorial_04.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .. import seeds
from ..errors import DataError
from ..posteriors import GaussianPosterior, MixturePosterior, SamplesPosterior
from ..shapes import check_count, check_points
from .exact import ExactGP
from .sealing import refuse_loading

_STREAMS = ("anchors", "noise")
_INPUT_SCALE = 2 * math.sqrt(3)  # the unit cube's uniform distribution gets variance 1


class DeepEnsemble(nn.Module):
    """A few small networks, trained together; their spread is the uncertainty.

    A layer computes (weight_std / sqrt(inputs)) W h + bias_std b with standard normal prior W, b,
    and tanh between layers. Inputs are scaled to mean 0 and variance 1 over the box, outputs are
    standardised.

    A handful of members is easily overconfident between the data: look at held-out errors in units
    of the predicted standard deviation before relying on the band.

    Args:
        X: observed inputs ``*r n d``.
        Y: observed values ``*r n m``; one network has all m outputs.
        bounds: ``2 d`` or ``*r 2 d``.
        members: k, the number of networks.
        hidden: widths of the hidden layers.
        weight_std: larger means rougher functions.
        bias_std: scale of the biases.
        noise_std: noise of the data in units of the outputs' standard deviation; members fit the
            data to about this.
        observed: which rows count, ``*r n``; default all.
        steps: of gradient descent in training (Adam, all data at once).
        seed: an int, or one for each replicate.

    Attributes:
        loss: training objective for each observation at the end, ``k *r``.

    Raises:
        DataError: bad data (as `ExactGP`), counts below 1, scales that are not positive.
        ShapeError: shapes that do not belong together.

    Example:
        >>> X = torch.linspace(0, 1, 6, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[-1.0], [2.0]], dtype=torch.float64)
        >>> model = DeepEnsemble(X, torch.sin(4 * X), box, hidden=(16,), seed=0)
        >>> posterior = model.posterior(torch.tensor([[0.5], [2.0]], dtype=torch.float64))
        >>> bool(posterior.variance[0] < posterior.variance[1])  # among the data, and far off
        True

    Source: Pearce, Leibfried & Brintrup, "Uncertainty in neural networks: approximately Bayesian
    ensembling", AISTATS 2020, arXiv:1810.05546 (anchors); Lakshminarayanan, Pritzel & Blundell,
    "Simple and scalable predictive uncertainty estimation using deep ensembles", NeurIPS 2017,
    arXiv:1612.01474.
    """

    X: Tensor
    Y: Tensor
    observed: Tensor
    theta: Tensor

    def __init__(
        self,
        X: Float[Tensor, "*r n d"],
        Y: Float[Tensor, "*r n m"],
        bounds: Float[Tensor, "*r2 2 d"],
        *,
        members: int = 5,
        hidden: Sequence[int] = (64, 64),
        weight_std: float = 1.5,
        bias_std: float = 0.5,
        noise_std: float = 0.05,
        observed: Bool[Tensor, "*r n"] | None = None,
        steps: int = 800,
        seed: seeds.Seed,
    ) -> None:
        super().__init__()
        for name, count in (("members", members), ("steps", steps)):
            check_count(name, count)
        scales = {"weight_std": weight_std, "bias_std": bias_std, "noise_std": noise_std}
        for name, scale in scales.items():
            number = isinstance(scale, int | float) and not isinstance(scale, bool)
            if not number or not 0 < scale < math.inf:
                raise DataError(f"{name}: expected a positive number, got {scale!r}")
        if not isinstance(hidden, tuple | list):
            raise DataError(f"hidden: expected widths such as (64, 64), got {hidden!r}")
        self.hidden = tuple(check_count("hidden", width) for width in hidden)
        self.weight_std, self.bias_std, self.noise_std = weight_std, bias_std, noise_std
        data = ExactGP(X, Y, bounds, observed=observed)  # borrows its checks and its units
        for name in ("X", "Y", "observed", "bounds"):
            self.register_buffer(name, getattr(data, name))
        self._data = data
        self.widths = (X.shape[-1], *self.hidden, Y.shape[-1])
        pairs = zip(self.widths[:-1], self.widths[1:], strict=True)
        self.sizes = [size for a, b in pairs for size in (a * b, b)]
        self.register_buffer("theta", torch.empty(0, dtype=X.dtype, device=X.device))
        self._train(members, steps, seeds.replicate_seeds(seed, self.batch_shape))

    def _train(self, k: int, steps: int, streams: list[int]) -> None:
        """Minimise the objective of every member of every replicate; rows are member-major."""
        R, (n, m), p = len(streams), self.Y.shape[-2:], sum(self.sizes)
        device = self.X.device
        of_anchors, of_noise = ([seeds.derive(s, name) for s in streams] for name in _STREAMS)
        anchors = seeds.normal(of_anchors, (k, p), device)
        noise = seeds.normal_of_rows(of_noise, k, self.observed.reshape(R, n), m, device)
        anchor = anchors.transpose(0, 1).reshape(k * R, p)
        inputs = self._encode(self.X).reshape(R, n, -1).repeat(k, 1, 1)
        targets = self._data.training_outputs().mT.reshape(R, n, m)
        targets = (targets + self.noise_std * noise.transpose(0, 1)).reshape(k * R, n, m)
        weight = self.observed.reshape(R, n, 1).repeat(k, 1, 1).to(targets)
        weight = weight / self.noise_std**2
        count = self.observed.reshape(R, n).sum(-1).repeat(k)

        def gradient(theta: Tensor) -> tuple[Tensor, Tensor]:
            leaf = theta.detach().requires_grad_(True)
            with torch.enable_grad():
                error = self._networks(leaf, inputs) - targets
                value = (weight * error.square()).sum((-2, -1))
                value = 0.5 * (value + (leaf - anchor).square().sum(-1)) / count
                (slope,) = torch.autograd.grad(value.sum(), leaf)
            return value.detach(), slope

        theta = _adam(gradient, anchor, steps)
        shape = (k, *self.batch_shape)
        self.theta = theta.view(*shape, p)
        self.loss: Tensor = gradient(theta)[0].view(shape)

    def _encode(self, X: Tensor) -> Tensor:
        """Inputs with mean 0 and variance 1 over the box."""
        return (self._data.cube.encode(X) - 0.5) * _INPUT_SCALE

    def _networks(self, theta: Tensor, x: Tensor) -> Tensor:
        """Outputs ``b q m`` of b networks with parameters ``b p`` at their inputs ``b q d``."""
        parts = theta.split(self.sizes, dim=-1)
        h = x
        for i, (inputs, outputs) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            W = parts[2 * i].view(-1, outputs, inputs) * (self.weight_std / math.sqrt(inputs))
            h = torch.baddbmm(self.bias_std * parts[2 * i + 1].unsqueeze(-2), h, W.mT)
            if i < len(self.hidden):
                h = h.tanh()
        return h

    @property
    def num_outputs(self) -> int:
        """m."""
        return self.Y.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """The replicate shape ``*r``."""
        return self.X.shape[:-2]

    @property
    def output_scale(self) -> Float[Tensor, "*r m"]:
        """Standard deviation by which each output was divided, in user units."""
        return self._data.output_scale

    def posterior(
        self, X: Float[Tensor, "*batch q d"], *, observation_noise: bool = False
    ) -> SamplesPosterior | MixturePosterior:
        """Belief about f (or, with ``observation_noise``, about a new observation) at X.

        Args:
            X: points in user units; see `ExactGP.posterior`.
            observation_noise: adds noise of ``noise_std``: each member becomes a Gaussian.

        Returns:
            The members' functions as a `SamplesPosterior`, differentiable in X; with noise, a
            `MixturePosterior`.

        Raises:
            DataError: points that are not finite float64 numbers.
            ShapeError: shapes that do not fit the model.
        """
        r, R = self.batch_shape, self.batch_shape.numel()
        X = check_points(X, self.X.shape[-1], r)
        X = X.expand(*X.shape[: X.ndim - 2 - len(r)], *r, *X.shape[-2:])
        (q, d), k = X.shape[-2:], len(self.theta)
        rows = self._encode(X).reshape(-1, R, q, d).transpose(0, 1).reshape(R, -1, d)
        y = self._networks(self.theta.reshape(k * R, -1), rows.repeat(k, 1, 1))
        y = y.reshape(k, R, -1, q, self.num_outputs).transpose(1, 2)
        samples = self._data.outcome.decode(y.reshape(k, *X.shape[:-1], self.num_outputs))
        if not observation_noise:
            return SamplesPosterior(samples)
        mean = samples.movedim(0, -3)  # *batch k q m
        noise = (self.noise_std * self.output_scale).square()[..., None, :, None]  # *r 1 m 1
        covariance = torch.diag_embed(noise.expand(*mean.shape[:-2], self.num_outputs, q))
        return MixturePosterior(GaussianPosterior.from_moments(mean, covariance))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "DeepEnsemble":
        """The model on another device, for ``model.to(...)``; this one stays where it is."""
        twin = copy.copy(self)
        twin._modules = {"_data": self._data._apply(fn)}
        twin._buffers = {k: None if v is None else fn(v) for k, v in self._buffers.items()}
        twin.loss = fn(self.loss)
        return twin

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        """Refuse to be loaded into.

        Raises:
            UnsupportedError: always.
        """
        refuse_loading(self)

    def extra_repr(self) -> str:
        """The data's shape and the networks'."""
        n, d = self.X.shape[-2:]
        return (
            f"replicates={tuple(self.batch_shape)}, n={n}, d={d}, m={self.num_outputs}, "
            f"members={len(self.theta)}, hidden={self.hidden}"
        )


def _adam(
    fun: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor, steps: int, rate: float = 0.05
) -> Tensor:
    """Adam with a rate that falls to zero along half a cosine; rows ``b p`` are independent.

    Source: Kingma & Ba, "Adam: a method for stochastic optimization", ICLR 2015, arXiv:1412.6980,
    algorithm 1; Loshchilov & Hutter, "SGDR", ICLR 2017, arXiv:1608.03983, equation 5 (the rate).
    """
    x, mean, square = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for t in range(1, steps + 1):
        _, slope = fun(x)
        mean = torch.lerp(mean, slope, 0.1)
        square = torch.lerp(square, slope.square(), 0.001)
        scale = (square / (1 - 0.999**t)).sqrt_() + 1e-8
        now = 0.5 * rate * (1 + math.cos(math.pi * (t - 1) / steps)) / (1 - 0.9**t)
        x = torch.addcdiv(x, mean, scale, value=-now)
    return x
