"""Hypervolume improvement in closed form: against quadrature, sampling, mpmath, one objective."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from oracles import F64, T, assert_close, box, draw, gp, gradient, surface
from scipy.integrate import quad
from torch import Tensor

import bolearn as bl
from bolearn.acquisition.hypervolume_analytic import Edges, log_expected_improvement
from bolearn.errors import UnsupportedError

EHVI = bl.LogExpectedHypervolumeImprovement
NEHVI = bl.LogNoisyExpectedHypervolumeImprovement


def middle(model: bl.ExactGP, m: int) -> Tensor:
    Y = model.Y[..., :m]
    return Y.mean(-2) - 0.7 * Y.std(-2)


def by_quadrature(mean: Tensor, std: Tensor, front: Tensor, ref: Tensor) -> float:
    """The sum over boxes of products of integrals, each by SciPy between its kinks."""

    def side(mu: float, sigma: float, low: float, high: float) -> float:
        def density(y: float) -> float:
            return math.exp(-0.5 * ((y - mu) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))

        top = mu + 12 * sigma
        inside = quad(lambda y: (y - low) * density(y), low, min(high, max(top, low)))[0]
        beyond = quad(density, high, max(top, high))[0] if high < top else 0.0
        return inside + (beyond * (high - low) if high < math.inf else 0.0)

    lower, upper = bl.box_decomposition(front, ref)
    total = 0.0
    for low, high in zip(lower.tolist(), upper.tolist(), strict=True):
        sides = zip(mean.tolist(), std.tolist(), low, high, strict=True)
        total += math.prod(side(*part) for part in sides)
    return total


@pytest.mark.parametrize("m", [1, 2, 3])
def test_it_is_the_integral(m: int) -> None:
    model = gp(7, 2, m=m)
    ref = middle(model, m)
    acq = EHVI(model, ref, model.Y)
    for x in draw((4, 1, 2), "X"):
        p = model.posterior(x)
        expected = by_quadrature(p.mean[0], p.variance[0].sqrt(), model.Y, ref)
        if expected > 1e-9:
            assert acq(x).item() == pytest.approx(math.log(expected), abs=1e-6)


@pytest.mark.parametrize("m", [2, 3, 4, 5, 6])
def test_it_is_the_average_of_added_volumes(m: int) -> None:
    model = gp(7, 2, m=m)
    ref = middle(model, m)
    X = draw((5, 1, 2), "X")
    y = model.posterior(X).rsample(bl.Sampler(2048, seed=0).base_samples((1, m)))
    both = torch.cat([model.Y.expand(*y.shape[:-2], 7, m), y], dim=-2)
    gain = bl.hypervolume(both, ref.expand(*y.shape[:-2], m)) - bl.hypervolume(model.Y, ref)
    error = 4 * gain.std(0) / math.sqrt(2048) + 1e-4  # rare events are in no sample
    assert bool(((EHVI(model, ref, model.Y)(X).exp() - gain.mean(0)).abs() < error).all())
    assert float(EHVI(model, ref, model.Y)(X).max()) > math.log(0.01)


def test_one_objective_is_log_expected_improvement() -> None:
    model = gp(8, 2, m=1, r=(3,))
    best = bl.incumbent(model, model.X).value
    ei = bl.LogExpectedImprovement(model, best)
    for ref, front in (
        (best.unsqueeze(-1), torch.zeros(3, 0, 1, dtype=F64)),
        (best.unsqueeze(-1) - 1, best[:, None, None]),
    ):
        acq = EHVI(model, ref, front)
        X = 3 * draw((30, 3, 1, 2), "X") - 1
        assert_close(acq(X), ei(X), 1e-11, "value")
        assert_close(gradient(acq, X), gradient(ei, X), 1e-8, "gradient")


def test_tails_against_mpmath() -> None:
    """log of products of differences of h, hundreds of standard deviations below the front."""
    lower, upper = bl.box_decomposition(T([[1.0, 2.0], [3.0, 0.5]]), T(0.0, 0.0))
    edges = Edges.of(
        bl.boxes.Boxes(lower[None, None], upper[None, None]), torch.ones(1, 2).double()
    )
    mpmath.mp.dps = 60

    def h(z: float) -> mpmath.mpf:
        z = mpmath.mpf(z)
        return mpmath.npdf(z) + z * mpmath.ncdf(z)

    for mean, std in (
        ((-3.0, -2.0), (0.01, 0.02)),
        ((0.5, 1.0), (1e-3, 5.0)),
        ((9.0, 9.0), (1, 1)),
    ):
        total = mpmath.mpf(0)
        for low, high in zip(lower.tolist(), upper.tolist(), strict=True):
            part = mpmath.mpf(1)
            for mu, sigma, a, b in zip(mean, std, low, high, strict=True):
                part *= sigma * (h((mu - a) / sigma) - (h((mu - b) / sigma) if b < math.inf else 0))
            total += part
        m, s = T(mean).view(1, 2, 1, 1), T(std).view(1, 2, 1)
        value, slope, _ = log_expected_improvement(m, s, edges, True)
        assert value.item() == pytest.approx(float(mpmath.log(total)), rel=1e-11)
        assert torch.isfinite(slope).all() and bool(slope.abs().sum() > 0)


@pytest.mark.parametrize("limited", [False, True])
def test_noisy_improvement_has_the_expectation_of_the_sampled_one(limited: bool) -> None:
    model = gp(7, 2, m=3)
    limits = (bl.at_most(2, 0.4), bl.at_least(2, -2.0)) if limited else ()
    options = {"outcome_constraints": limits, "prune": False}
    ref, X = middle(model, 2), draw((10, 1, 2), "X")
    ours = NEHVI(model, ref, model.X, sampler=bl.Sampler(512, seed=1), **options)(X).exp()
    many = bl.qLogNoisyExpectedHypervolumeImprovement(
        model, ref, model.X, sampler=bl.Sampler(8192, seed=2), **options
    )(X).exp()
    assert bool(((ours - many).abs() < 0.05 * many + 2e-3).all())


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_a_replicate_in_a_batch_is_the_replicate_alone(m: int) -> None:
    R, n = 3, 8
    X = draw((R, n, 2), "X")
    Y = surface(X, m + 1)
    observed = torch.arange(n) < torch.tensor([[8], [5], [2]])
    refs = Y[..., :m].mean(-2) - 0.5
    refs[1] = Y[1, :, :m].amax(-2) + 1.0  # nothing exceeds it
    seeds, limits = (11, 12, 13), (bl.at_most(m, 1.0),)
    probe, extra = draw((4, R, 1, 2), "probe"), draw((R, 2, 2), "pending")
    options = {"outcome_constraints": limits}
    together = bl.ExactGP(X, Y, box(2), observed=observed).with_hyperparameters(noise_var=0.01)
    acq = NEHVI(together, refs, together.X, sampler=bl.Sampler(16, seed=seeds), **options)
    acq = acq.with_pending(extra)
    value, slope = acq(probe), gradient(acq, probe)
    both = acq.value_and_gradient(probe)
    assert both is not None
    assert_close(both[0], value, 1e-9, "in one piece")
    assert_close(both[1], slope, 1e-6, "in one piece: gradient")
    for i in range(R):
        rows = observed[i]
        model = bl.ExactGP(X[i][rows], Y[i][rows], box(2)).with_hyperparameters(noise_var=0.01)
        alone = NEHVI(model, refs[i], model.X, sampler=bl.Sampler(16, seed=seeds[i]), **options)
        alone = alone.with_pending(extra[i])
        assert_close(value[:, i], alone(probe[:, i]), 1e-8, f"replicate {i}")
        assert_close(slope[:, i], gradient(alone, probe[:, i]), 1e-5, f"replicate {i}")


def test_gradients_by_differences() -> None:
    model = gp(6, 2, m=3, r=(2,))
    ref, X = middle(model, 2), draw((3, 2, 1, 2), "X").requires_grad_(True)
    limits = (bl.at_most(2, 0.4),)
    front = model.Y[..., :2]
    for acq in (
        EHVI(model, ref, front, outcome_constraints=limits),
        NEHVI(model, ref, model.X, outcome_constraints=limits),
        EHVI(model, ref[..., :1], front[..., :1], objectives=(bl.output(1),)),
    ):
        assert torch.autograd.gradcheck(acq, X, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_and_far_fronts(scale: float) -> None:
    X = draw((8, 2), "X")
    values = []
    for u in (1.0, scale):
        Y = surface(X, 2) * u
        model = bl.ExactGP(X, Y, box(2))
        acq = NEHVI(model, middle(model, 2), X)
        far = EHVI(model, middle(model, 2), Y.amax(0, keepdim=True) + 1e3 * u)
        probe = draw((6, 1, 2), "probe")
        assert torch.isfinite(far(probe)).all()
        slope = gradient(far, probe)
        assert torch.isfinite(slope).all() and bool((slope.abs().amax(-1) > 0).all())
        values.append(acq(probe) - 2 * math.log(u))
    assert_close(values[1], values[0], 1e-6)


def test_pending_points_add_nothing_a_second_time() -> None:
    model = gp(8, 2, m=2)
    acq = NEHVI(model, middle(model, 2), model.X)
    x, _ = bl.optimize_acqf(
        acq, box(2), q=2, sequential=True, num_restarts=4, raw_samples=64, seed=0
    )
    assert x.shape == (2, 2)
    assert float(acq.with_pending(x[:1])(x[:1])) < float(acq(x[:1])) - 2
    grid = draw((300, 1, 2), "grid")
    assert float(acq(x[:1])) >= float(acq(grid).max()) - 1e-3


def test_what_has_no_closed_form_is_refused() -> None:
    model = gp(6, 2, m=2)
    ref = middle(model, 2)
    with pytest.raises(UnsupportedError, match="qLogExpectedHypervolumeImprovement"):
        EHVI(model, ref, model.Y, objectives=(bl.weighted_sum(1.0, -1.0), bl.output(1)))
    with pytest.raises(UnsupportedError, match="one point at a time"):
        EHVI(model, ref, model.Y)(draw((3, 2, 2), "X"))
