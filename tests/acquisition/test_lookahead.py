"""The knowledge gradient: what its definition gives, its bounds, limits and invariances."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
import torch
from gpytorch.kernels import MaternKernel, RQKernel, ScaleKernel
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, T, assert_close, box, dataset, draw, entry, few, gp, gradient
from oracles import hyperparameters as values_of
from test_entropy import Mixed

import bolearn as bl
from bolearn.acquisition.lookahead import log_knowledge_gradient_reference, upper_envelope

KERNELS = {
    "rbf": lambda: None,
    "matern": lambda: ScaleKernel(MaternKernel(2.5, ard_num_dims=2)),
    "general": RQKernel,
}


def gain(a: np.ndarray, b: np.ndarray) -> mp.mpf:
    """E max_j (a_j + b_j z) - max_j a_j, integrated piece by piece between the crossings."""
    lines = [(mp.mpf(float(x)), mp.mpf(float(y))) for x, y in zip(a, b, strict=True)]
    crossings = {
        -(x - u) / (y - v) for i, (x, y) in enumerate(lines) for u, v in lines[:i] if y != v
    }
    ends = [-mp.inf, *sorted(crossings), mp.inf]
    top, total = max(x for x, _ in lines), mp.mpf(0)
    for low, high in pairwise(ends):
        if low == -mp.inf:
            inside = high - 1 if high < mp.inf else mp.mpf(0)
        else:
            inside = low + 1 if high == mp.inf else (low + high) / 2
        x, y = max(lines, key=lambda line: line[0] + line[1] * inside)
        mass = mp.ncdf(-low) - mp.ncdf(-high) if low > 0 else mp.ncdf(high) - mp.ncdf(low)
        moment = (0 if low == -mp.inf else mp.npdf(low)) - (0 if high == mp.inf else mp.npdf(high))
        total += (x - top) * mass + y * moment
    return total


@few
@given(st.integers(1, 7), st.integers(-9, 9), st.integers(0, 10**6))
def test_lines_against_integration(M: int, exponent: int, seed: int) -> None:
    scale = 10.0**exponent
    a, b = draw((M,), "a", seed) * scale, (2 * draw((M,), "b", seed) - 1) * scale
    if seed % 3 == 0:  # ties and parallels
        a, b = (a / scale * 3).round() * scale, (b / scale * 3).round() * scale
    with mp.workdps(40):
        true = gain(a.numpy(), b.numpy())
        expected = float(mp.log(true)) if true > mp.mpf(10) ** -30 else -math.inf
    ours = bl.log_knowledge_gradient(a, b)
    if expected == -math.inf:
        assert ours == -math.inf or ours < math.log(scale) - 100
    else:
        assert_close(ours, T(expected), 1e-9)
        assert_close(bl.log_knowledge_gradient(a + 2 * scale, b + 5 * scale), ours, 1e-7)


def test_far_lines_keep_their_digits() -> None:
    """Two lines whose crossing lies 1000 standard deviations out; the value is exp(-5e5)."""
    a, b = T([0.0, -1000.0]).requires_grad_(True), T([0.0, 1.0]).requires_grad_(True)
    with mp.workdps(50):
        c = mp.mpf(1000)
        slope = mp.ncdf(-c) / (mp.npdf(c) - c * mp.ncdf(-c))
        h = mp.npdf(c) - c * mp.ncdf(-c)
    value = bl.log_knowledge_gradient(a, b)
    assert_close(value, T(float(mp.log(h))), 1e-10)
    (g,) = torch.autograd.grad(value, a)
    assert_close(g / float(slope), T([-1.0, 1.0]), 1e-7)


def test_derivatives_of_the_lines() -> None:
    a, b = draw((3, 7), "a").requires_grad_(True), draw((3, 7), "b").requires_grad_(True)
    assert torch.autograd.gradcheck(bl.log_knowledge_gradient, (a, b))
    assert torch.autograd.gradgradcheck(bl.log_knowledge_gradient, (a, b), atol=1e-5)
    assert_close(bl.log_knowledge_gradient(a, b), log_knowledge_gradient_reference(a, b), 1e-12)


def test_a_long_envelope_is_walked_to_its_end() -> None:
    """All of 200 tangents of a parabola are on its envelope: no cap on the number of corners."""
    slopes = torch.linspace(-3, 3, 200, dtype=F64)
    a, b = -0.5 * slopes.square(), slopes
    found = upper_envelope(a.unsqueeze(0), b.unsqueeze(0))
    assert int((found.gains(b.unsqueeze(0)) > 0).sum()) == 199
    z = torch.linspace(-10, 10, 200_001, dtype=F64)
    best = torch.full_like(z, -torch.inf)
    for x, y in zip(a, b, strict=True):
        best = torch.maximum(best, x + y * z)
    true = torch.trapezoid((best - a.max()) * torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi), z)
    assert_close(bl.log_knowledge_gradient(a, b).exp(), true, 1e-7)


# -- acquisitions --------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
def test_kg_of_a_model_is_the_gain_of_its_conditioned_means(kernel: str) -> None:
    """Means after conditioning on y = mean + s z at many z, maximised over the set and x."""
    model = gp(6, 2, kernel=KERNELS[kernel]())
    points, X = draw((9, 2), "points"), draw((3, 1, 2), "P")
    z = torch.linspace(-8, 8, 4001, dtype=F64)
    weight = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    ours = bl.qKnowledgeGradient(model, points)(X)
    for i in range(3):
        p = model.posterior(X[i], observation_noise=True)
        y = p.mean.item() + p.variance.sqrt().item() * z
        told = model.condition(X[i], y[:, None, None])
        A = torch.cat([points, X[i]])
        after = told.posterior(A.expand(len(z), *A.shape)).mean.squeeze(-1).amax(-1)
        now = model.posterior(A).mean.max()
        assert_close(ours[i], torch.trapezoid((after - now) * weight, z), 1e-6, kernel)


@pytest.mark.parametrize("r", [(), (3,), (2, 2)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_shapes_and_pending_points(r: tuple[int, ...], kernel: str) -> None:
    model = gp(7, 2, 1, r, kernel=KERNELS[kernel]())
    X, pending = draw((3, *r, 1, 2), "P"), draw((*r, 2, 2), "pending")
    for points in (None, draw((*r, 6, 2), "points")):
        acq = bl.qLogKnowledgeGradient(model, points, fantasies=bl.Sampler(4, seed=0))
        assert_close(acq(X), acq.reference(X), 1e-6)
        for a in (acq, acq.with_pending(pending)):
            assert a(X).shape == (3, *r)
            slope, h = gradient(a, X), 1e-6
            for j in range(2):
                e = h * torch.eye(2, dtype=F64)[j]
                assert_close(slope[..., 0, j], (a(X + e) - a(X - e)) / (2 * h), 1e-5)
        plain = bl.qKnowledgeGradient(model, points)
        assert_close(plain(X).log(), acq(X), 1e-9)
        if r:
            assert_close(acq(X[0].expand(5, *X.shape[1:]))[3], acq(X)[0], 1e-10)


def test_observing_a_pending_point_again_is_worth_less() -> None:
    model = gp(6, 2)
    acq = bl.qKnowledgeGradient(model, draw((20, 2), "points"))
    x, value = bl.optimize_acqf(acq, model.bounds, seed=0)
    again = acq.with_pending(x)(x)
    assert 0 < again < 0.8 * value
    two, _ = bl.optimize_acqf(
        bl.qLogKnowledgeGradient(model), model.bounds, q=2, sequential=True,
        num_restarts=2, raw_samples=32, seed=0,
    )  # fmt: skip
    assert two.shape == (2, 2) and (two[0] - two[1]).abs().max() > 1e-3


def test_several_points_at_once() -> None:
    """q = 2 where the second tells nothing is q = 1; more points are worth more; chain rule."""
    model = gp(6, 2)
    points, X = draw((12, 2), "points"), draw((4, 1, 2), "P")
    sampler = bl.Sampler(4096, seed=0)
    one = bl.qKnowledgeGradient(model, points)
    joint = bl.qKnowledgeGradient(model, points, sampler=sampler)
    far = torch.full((4, 1, 2), 60.0, dtype=F64)
    both = bl.qKnowledgeGradient(model, torch.cat([points, far[0]]), sampler=sampler)
    with_far = bl.qKnowledgeGradient(model, torch.cat([points, far[0]]))
    gap = both(torch.cat([X, far], -2)) - with_far(X)
    assert (gap >= -2e-3 * with_far(X).max()).all()
    twice = joint(torch.cat([X, X], -2))
    seen = one(X) > 1e-3  # what sampling can see
    assert seen.any() and (twice >= one(X) * 0.98)[seen].all()
    pair = draw((2, 2), "pair")
    first = bl.qKnowledgeGradient(model, torch.cat([points, pair]))
    second = bl.qKnowledgeGradient(
        model, torch.cat([points, pair]), fantasies=bl.Sampler(1024, seed=1), X_pending=pair[:1]
    )
    exact = first(pair[:1]) + second(pair[1:])
    sampled = bl.qKnowledgeGradient(model, torch.cat([points, pair]), sampler=sampler)(pair)
    assert_close(sampled / exact, T(1.0), 0.02)


def test_limits() -> None:
    """Never negative, nothing without information, at most what knowing f(x) could give."""
    X, Y, bounds = dataset(6, 2)
    P = torch.cat([draw((20, 1, 2), "P"), X[:2].unsqueeze(-2), T([[[50.0, -50.0]]])])
    last = torch.full((len(P),), math.inf, dtype=F64)
    for noise in (1e-10, 1e-4, 1.0, 1e8, 1e16):
        model = bl.ExactGP(X, Y, bounds, noise_var=noise)
        start = bl.ExactGP(X, Y, bounds, noise_var=1e-4)  # one belief, other noise in what follows
        value = bl.qKnowledgeGradient(model)(P)
        slope = gradient(bl.qLogKnowledgeGradient(model), P)
        assert torch.isfinite(value).all() and torch.isfinite(slope).all()
        assert (value >= 0).all()
        std = model.posterior(P).variance.sqrt()[..., 0, 0]
        assert (value <= 2 * std).all() and start.num_outputs == 1
        if noise >= 1.0:
            assert (value <= last + 1e-12).all()
            last = value
    assert last.max() < 1e-6


@pytest.mark.parametrize("scale", [1e-9, 1e9])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_units_of_y_scale_the_gain(scale: float, shift: float) -> None:
    model = gp(8, 2)
    other = bl.ExactGP(model.X, scale * (model.Y + shift), model.bounds)
    other = other.with_hyperparameters(**model.hyperparameters())
    X = 1.4 * draw((6, 1, 2), "P") - 0.2
    pending = draw((1, 2), "pending")
    for a, b in ((bl.qLogKnowledgeGradient(model), bl.qLogKnowledgeGradient(other)),
                 (bl.qLogKnowledgeGradient(model).with_pending(pending),
                  bl.qLogKnowledgeGradient(other).with_pending(pending))):  # fmt: skip
        assert_close(b(X) - math.log(scale), a(X), 1e-6)
        assert_close(gradient(b, X), gradient(a, X), 1e-6)
    pairs = draw((4, 2, 2), "pairs")
    mine, theirs = (bl.qKnowledgeGradient(m)(pairs) for m in (model, other))
    assert_close(theirs / scale, mine, 1e-8)


def test_a_shift_of_1e9_costs_only_the_digits_of_the_data() -> None:
    model = gp(8, 2)
    other = bl.ExactGP(model.X, model.Y + 1e9, model.bounds)
    other = other.with_hyperparameters(**model.hyperparameters())
    X = draw((6, 1, 2), "P")
    assert_close(bl.qKnowledgeGradient(other)(X), bl.qKnowledgeGradient(model)(X), 1e-6)


def test_a_replicate_in_a_batch_is_that_replicate_alone() -> None:
    X, Y, bounds = dataset(8, 2, 1, (3,))
    observed = torch.arange(8) < T([[8], [4], [1]])
    X = torch.where(observed.unsqueeze(-1), X, torch.nan)
    model = bl.ExactGP(X, Y, bounds, observed=observed)
    model = model.with_hyperparameters(**values_of(model))
    P, pending = draw((5, 3, 1, 2), "P"), draw((3, 1, 2), "pending")
    fantasies = [bl.Sampler(4, seed=s) for s in ((5, 6, 7), 5, 6, 7)]
    together = bl.qLogKnowledgeGradient(model, fantasies=fantasies[0])
    for i in range(3):
        alone = bl.qLogKnowledgeGradient(entry(model, (i,)), fantasies=fantasies[i + 1])
        assert_close(together(P)[:, i], alone(P[:, i]), 1e-8)
        told, own = together.with_pending(pending), alone.with_pending(pending[i])
        assert_close(told(P)[:, i], own(P[:, i]), 1e-8)


@pytest.mark.parametrize("kind", ["one", "constant", "duplicated"])
def test_poor_data(kind: str) -> None:
    X, Y, bounds = dataset(4, 2)
    if kind == "one":
        X, Y = X[:1], Y[:1]
    if kind == "constant":
        Y = torch.full_like(Y, 7.0)
    if kind == "duplicated":
        X = X[:1].expand(4, 2).clone()
    model = bl.fit_mll(bl.ExactGP(X, Y, bounds))
    x, value = bl.optimize_acqf(bl.qKnowledgeGradient(model), bounds, seed=0)
    assert value > 0 and ((x >= 0) & (x <= 1)).all()


def test_what_cannot_be_is_refused() -> None:
    model = gp(6, 2)
    with pytest.raises(bl.UnsupportedError, match="one output"):
        bl.qKnowledgeGradient(gp(6, 2, 2))
    with pytest.raises(bl.ShapeError, match="points"):
        bl.qKnowledgeGradient(model, draw((3, 3), "points"))
    with pytest.raises(bl.DataError, match="float64"):
        bl.qKnowledgeGradient(model, draw((3, 2), "points").float())
    with pytest.raises(bl.DataError, match="float64"):
        bl.qKnowledgeGradient(model)(draw((3, 1, 2), "P").float())
    with pytest.raises(bl.DataError, match="finite"):
        bl.qKnowledgeGradient(model, torch.full((3, 2), torch.nan, dtype=F64))
    with pytest.raises(bl.DataError, match="where it was observed"):
        bl.qKnowledgeGradient(Mixed(False))
    for sampled in (True, False):
        acq = bl.qKnowledgeGradient(Mixed(sampled), draw((3, 2), "points"))
        with pytest.raises(bl.UnsupportedError, match="Gaussian"):
            acq(draw((3, 1, 2), "P"))
        with pytest.raises(bl.UnsupportedError, match="fantasize"):
            acq.with_pending(draw((1, 2), "pending"))
    assert box(2).shape == (2, 2)
