"""A kernel on learnt features: points are similar if a network says the same of both.

k(x, x') = base(net(x), net(x')), and the network's weights are hyperparameters like any other,
fitted by `fit_mll` together with the rest. They are one long vector, so they get replicate axes,
priors and starts as a lengthscale does; the network is only ever called as a function of them.

Many weights and few data overfit even with a marginal likelihood: keep the network small and its
weights under a prior.

Taught in part_4/tutorial_04.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from gpytorch.kernels import Kernel
from gpytorch.priors import NormalPrior
from jaxtyping import Float
from torch import Tensor, nn

from .. import seeds
from ..errors import DataError, UnsupportedError
from ..linalg import gram
from ..shapes import check_count

# Layers whose answer at a point depends on other points or on hidden random state.
_IMPURE = (
    nn.modules.batchnorm._NormBase,
    nn.modules.dropout._DropoutNd,
    nn.RNNBase,
)


# Functions that can be pickled, unlike those that gpytorch makes for a name.
def _weights(kernel: "DeepKernel") -> Tensor:
    return kernel.weights


def _set_weights(kernel: "DeepKernel", value: Tensor) -> None:
    kernel.initialize(weights=value)


class DeepKernel(Kernel):  # type: ignore[misc]
    """A base kernel on the features that a network makes of the inputs.

    The network is copied: neither fitting nor replicates ever change yours, and each replicate and
    output has weights of its own. They all start from the network's present weights.

    Args:
        net: maps ``... d`` (points of the unit cube) to ``... features``; float64. `perceptron`
            makes one without touching the global random state.
        base_kernel: a gpytorch kernel on the features.
        weight_std: standard deviation of a normal prior on all weights; None for none.

    Raises:
        DataError: no network, one without parameters or not float64; a base that is no kernel or
            has batch axes already; a weight_std that is not positive.
        UnsupportedError: layers that mix points or draw random numbers (batch norm, dropout).

    Example:
        >>> from bolearn import ExactGP
        >>> from gpytorch.kernels import MaternKernel
        >>> X = torch.linspace(0, 1, 8, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> kernel = DeepKernel(perceptron(1, 4, 2, seed=0), MaternKernel(nu=2.5))
        >>> model = ExactGP(X, (X > 0.5).double(), box, kernel=kernel)  # then fit_mll(model)
        >>> model.kernel.features(X).shape  # a set for the one output
        torch.Size([1, 8, 2])

    Source: Wilson, Hu, Salakhutdinov & Xing, "Deep kernel learning", AISTATS 2016,
    arXiv:1511.02222, equation 5. On overfitting: Ober, Rasmussen & van der Wilk, "The promises and
    pitfalls of deep kernel learning", UAI 2021, arXiv:2102.12108.
    """

    weights: Tensor

    def __init__(
        self, net: nn.Module, base_kernel: Kernel, *, weight_std: float | None = 1.0
    ) -> None:
        if not isinstance(net, nn.Module):
            raise DataError(
                f"net: expected a torch network such as bolearn.perceptron(d, 16, 2, seed=0), "
                f"got {net!r}"
            )
        if not isinstance(base_kernel, Kernel) or len(base_kernel.batch_shape):
            raise DataError(
                "base_kernel: expected a gpytorch kernel without batch shape (the model adds its "
                f"own), got {base_kernel!r}"
            )
        super().__init__()
        parameters = dict(net.named_parameters())
        if not parameters:
            raise DataError("net: expected a network with parameters, got one without")
        for name, parameter in parameters.items():
            if parameter.dtype != torch.float64:
                raise DataError(
                    f"net: expected float64, got {parameter.dtype} in {name}; use net.double()"
                )
        for layer in net.modules():
            if isinstance(layer, _IMPURE):
                raise UnsupportedError(
                    f"net: a kernel needs a pure function of one point, got {type(layer).__name__};"
                    " leave it out (nn.LayerNorm is fine)"
                )
        # In a tuple, so that its parameters are not registered: `weights` are the only ones.
        self._net = (copy.deepcopy(net).requires_grad_(False),)
        flat = torch.cat([p.detach().reshape(-1) for p in parameters.values()])
        self.register_parameter("weights", nn.Parameter(flat))
        self.base_kernel = base_kernel
        if weight_std is not None:
            if not 0 < weight_std < math.inf:
                raise DataError(f"weight_std: expected a positive number or None, got {weight_std}")
            prior = NormalPrior(0.0, weight_std)
            self.register_prior("weight_prior", prior, _weights, _set_weights)

    def features(self, x: Float[Tensor, "*b n d"]) -> Float[Tensor, "*e n f"]:
        """What the network makes of points of the unit cube; one set for each copy of weights."""
        own = self.weights.shape[:-1]  # of a kernel in a model: *r m
        if not len(own):
            return self._call(self.weights, x)
        lead = torch.broadcast_shapes(x.shape[:-2], own)
        rows = x.expand(*lead, *x.shape[-2:]).reshape(-1, own.numel(), *x.shape[-2:])
        each = torch.func.vmap(self._call, in_dims=(0, 1), out_dims=1)
        out = each(self.weights.reshape(own.numel(), -1), rows)
        return out.reshape(*lead, *out.shape[-2:])

    def _call(self, weights: Tensor, x: Tensor) -> Tensor:
        """The network as a function of one vector of weights."""
        net, values, at = self._net[0], {}, 0
        for name, parameter in net.named_parameters():
            values[name] = weights[at : at + parameter.numel()].view(parameter.shape)
            at += parameter.numel()
        values |= {name: buffer.to(x.device) for name, buffer in net.named_buffers()}
        return torch.func.functional_call(net, values, (x,))  # type: ignore[no-any-return]

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Kernel values of the features."""
        a = self.features(x1)
        b = a if x1 is x2 else self.features(x2)
        if diag:
            return self.base_kernel(a, b, diag=True)  # type: ignore[no-any-return]
        return gram(self.base_kernel, a, b)


def perceptron(
    d: int, *widths: int, seed: int, activation: type[nn.Module] = nn.Tanh
) -> nn.Sequential:
    """A fully connected network in float64 with weights from an explicit seed.

    Args:
        d: number of inputs.
        widths: widths of the layers; the last is the number of outputs, without activation.
        seed: for the weights, normal with variance 1 / (inputs of the layer); biases are zero.
        activation: between the layers; a smooth one keeps acquisitions smooth.

    Raises:
        DataError: sizes below 1, no layer, a bad seed, an activation that is no class.

    Example:
        >>> perceptron(3, 16, 2, seed=0)(torch.zeros(5, 3, dtype=torch.float64)).shape
        torch.Size([5, 2])
    """
    if not widths:
        raise DataError("widths: expected at least one layer, got none")
    for size in (d, *widths):
        check_count("sizes", size)
    seeds.check_seed(seed)
    if not callable(activation):
        raise DataError(f"activation: expected a class such as torch.nn.Tanh, got {activation!r}")
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(zip((d, *widths[:-1]), widths, strict=True)):
        # nn.Linear draws from the global generator; an empty one does not
        layer = nn.utils.skip_init(nn.Linear, inputs, outputs, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.copy_(initial_weights([seeds.derive(seed, i)], inputs, outputs)[0])
            layer.bias.zero_()
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


def initial_weights(
    streams: Sequence[int], inputs: int, outputs: int
) -> Float[Tensor, "k outputs inputs"]:
    """Weights of a layer for each seed, which keep the size of what passes through.

    Source: LeCun, Bottou, Orr & Mueller, "Efficient backprop", 1998, section 4.6.
    """
    return seeds.normal(streams, (outputs, inputs)) / math.sqrt(inputs)
