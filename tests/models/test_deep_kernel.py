"""DeepKernel: the base kernel on features, weights of its own in every entry, a fit that helps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gpytorch.kernels import MaternKernel, RBFKernel
from oracles import F64, assert_close, box, correlation, dataset, draw
from scipy import stats
from torch import nn

import bolearn as bl
from bolearn.linalg import gram


def numpy_net(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A network 2 -> 3 -> 2 with tanh, from its weights in order."""
    W1, b1, W2, b2 = np.split(weights, [6, 9, 15])
    return np.tanh(x @ W1.reshape(3, 2).T + b1) @ W2.reshape(2, 3).T + b2


def test_the_belief_is_that_of_a_gp_on_the_features() -> None:
    X, Y, bounds = dataset(7, 2)
    net = bl.perceptron(2, 3, 2, seed=1)
    model = bl.ExactGP(X, Y, bounds, kernel=bl.DeepKernel(net, MaternKernel(nu=2.5)))
    assert isinstance(model.kernel, bl.DeepKernel), "batched as it is, not entry by entry"
    values = {k: v.numpy() for k, v in model.hyperparameters().items()}
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert_close(values["kernel.weights"][0], weights)
    probes = draw((4, 2), "probes")
    A, B = (numpy_net(weights.numpy(), x.numpy()) for x in (X, probes))
    length = values["kernel.base_kernel.lengthscale"].item()

    def k(P: np.ndarray, Q: np.ndarray) -> np.ndarray:
        gaps = np.sqrt(((P[:, None] - Q[None]) ** 2).sum(-1)) / length
        return correlation("matern52", gaps)

    K = k(A, A) + values["noise_var"].item() * np.eye(7)
    y = ((Y - Y.mean()) / Y.std()).numpy()
    c = values["mean"].item()
    mean = c + k(B, A) @ np.linalg.solve(K, y - c)
    covariance = k(B, B) - k(B, A) @ np.linalg.solve(K, k(A, B))
    posterior = model.posterior(probes)
    assert_close(posterior.mean, Y.mean() + Y.std() * torch.as_tensor(mean))
    assert_close(posterior.covariance, covariance * Y.var().item())
    assert_close(posterior.variance[:, 0], posterior.covariance.diagonal())
    exact = stats.multivariate_normal(np.full(7, c), K).logpdf(y[:, 0])
    assert_close(bl.log_marginal_likelihood(model), exact)
    assert torch.autograd.gradcheck(lambda x: model.posterior(x).mean, probes.requires_grad_(True))


def test_every_replicate_and_output_has_weights_of_its_own() -> None:
    X, Y, bounds = dataset(6, 2, 2, (3,))
    kernel = bl.DeepKernel(bl.perceptron(2, 3, 2, seed=1), RBFKernel(ard_num_dims=2))
    model = bl.ExactGP(X, Y, bounds, kernel=kernel)
    values = model.hyperparameters()
    assert values["kernel.weights"].shape == (3, 2, 17)
    values["kernel.weights"] = values["kernel.weights"] + 0.3 * draw((3, 2, 17), "weights")
    values["noise_var"] = 0.01 + 0.1 * draw((3, 2), "noise")
    model = model.with_hyperparameters(**values)
    probes = draw((4, 3, 5, 2), "probes")
    posterior = model.posterior(probes)
    for r in range(3):
        for m in range(2):
            alone = bl.ExactGP(X[r], Y[r][:, m : m + 1], bounds, kernel=kernel)
            alone = alone.with_hyperparameters(**{k: v[r, m : m + 1] for k, v in values.items()})
            own = alone.posterior(probes[:, r])
            assert_close(posterior.mean[:, r, :, m], own.mean[..., 0])
            assert_close(posterior.variance[:, r, :, m], own.variance[..., 0])


def test_the_network_given_is_neither_shared_nor_changed() -> None:
    net = bl.perceptron(1, 3, 1, seed=0)
    before = [p.detach().clone() for p in net.parameters()]
    X, Y, bounds = dataset(6, 1)
    kernel = bl.DeepKernel(net, MaternKernel(nu=2.5))
    model = bl.ExactGP(X, Y, bounds, kernel=kernel)
    value = bl.log_marginal_likelihood(model).item()
    value_of = model.with_hyperparameters(**{"kernel.weights": torch.zeros(1, 10, dtype=F64)})
    assert bl.log_marginal_likelihood(value_of).item() != value
    assert_close(bl.log_marginal_likelihood(model), value)
    for p, q in zip(net.parameters(), before, strict=True):
        assert torch.equal(p, q) and p.requires_grad
    assert_close(kernel.weights, torch.cat([p.flatten() for p in before]))
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(7.0)
    assert_close(bl.log_marginal_likelihood(bl.ExactGP(X, Y, bounds, kernel=kernel)), value)


def test_a_fit_finds_what_a_stationary_kernel_cannot_say() -> None:
    X = torch.linspace(0, 1, 10, dtype=F64).unsqueeze(-1)
    step = (X > 0.5).double()
    net = bl.perceptron(1, 2, 1, seed=0)
    deep = bl.DeepKernel(net, MaternKernel(nu=2.5))
    model = bl.fit_mll(bl.ExactGP(X, step, box(1), kernel=deep))
    plain = bl.fit_mll(bl.ExactGP(X, step, box(1), kernel=MaternKernel(nu=2.5)))
    assert bl.log_marginal_likelihood(model) > bl.log_marginal_likelihood(plain) + 3
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    assert torch.equal(weights, deep.weights), "the network given is as it was"
    assert not torch.equal(weights, model.kernel.weights[0])
    # The value of the fit is the log posterior per observation, prior of the weights included.
    values = model.hyperparameters()
    prior = stats.norm.logpdf(values["kernel.weights"].numpy()).sum()
    noise = values["noise_var"].item()
    prior += stats.lognorm(1.0, scale=math.exp(-4)).logpdf(noise)
    total = (bl.log_marginal_likelihood(model).item() + prior) / 10
    assert_close(model.fit_report.value, [total], 1e-6)
    acq = bl.LogExpectedImprovement(model, best_f=bl.incumbent(model, X).value)
    _, value = bl.optimize_acqf(acq, box(1), seed=0, raw_samples=64, num_restarts=4)
    assert bool((value >= acq(draw((50, 1, 1), "rivals")).max() - 1e-6).all())


def test_perceptrons_come_from_their_seed_alone() -> None:
    before = torch.get_rng_state()
    nets = [bl.perceptron(50, 400, 300, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (net[0].weight for net in nets)
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert first.dtype == F64 and [type(layer) for layer in nets[0]] == [
        nn.Linear,
        nn.Tanh,
        nn.Linear,
    ]
    for layer in (nets[0][0], nets[0][2]):
        scaled = layer.weight.detach() * layer.in_features**0.5
        assert stats.kstest(scaled.flatten().numpy(), "norm").pvalue > 1e-4
        assert not layer.bias.any()


def test_bad_networks() -> None:
    base = RBFKernel()
    with pytest.raises(bl.DataError, match=r"net.double\(\)"):
        bl.DeepKernel(bl.perceptron(2, 3, seed=0).float(), base)
    with pytest.raises(bl.DataError, match="without"):
        bl.DeepKernel(nn.Tanh(), base)
    for layer in (nn.Dropout(), nn.BatchNorm1d(3).double()):
        net = nn.Sequential(*bl.perceptron(2, 3, seed=0), layer)
        with pytest.raises(bl.UnsupportedError, match=type(layer).__name__):
            bl.DeepKernel(net, base)
    with pytest.raises(bl.DataError, match="weight_std"):
        bl.DeepKernel(bl.perceptron(2, 3, seed=0), base, weight_std=-1.0)
    with pytest.raises(bl.DataError, match="widths"):
        bl.perceptron(2, seed=0)
    X, Y, bounds = dataset(5, 3)
    with pytest.raises(bl.ShapeError, match="kernel: expected a kernel for 3 inputs"):
        bl.ExactGP(X, Y, bounds, kernel=bl.DeepKernel(bl.perceptron(2, 3, seed=0), base))


def test_other_architectures_and_buffers() -> None:
    class Waves(nn.Module):
        """Fixed frequencies in a buffer, learnt phases."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("frequency", torch.tensor([1.0, 5.0], dtype=F64))
            self.phase = nn.Parameter(torch.zeros(2, dtype=F64))
            self.norm = nn.LayerNorm(2, dtype=F64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(torch.sin(self.frequency * x + self.phase))

    X, Y, bounds = dataset(5, 1, 1, (2,))
    net = Waves()
    model = bl.ExactGP(X, Y, bounds, kernel=bl.DeepKernel(net, RBFKernel(), weight_std=None))
    x = draw((2, 1, 4, 1), "x")
    assert_close(model.kernel.features(x), net(x))
    assert_close(gram(model.kernel, x), gram(RBFKernel().double(), net(x)))
