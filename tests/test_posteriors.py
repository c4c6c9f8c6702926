"""Beliefs: moments, layout of the covariance, joint draws, mixtures, sets of functions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, T, assert_close, box, draw, few, gp
from scipy import integrate, stats

import bolearn as bl
from bolearn.posteriors import GaussianPosterior, IndependentPosterior, gaussian_members
from bolearn.sampling import Sampler


def belief(batch: tuple[int, ...], q: int, m: int) -> tuple[bl.GaussianPosterior, torch.Tensor]:
    A = draw((*batch, m, q, q), "A") - 0.5
    C = A @ A.mT + 0.1 * torch.eye(q, dtype=F64)
    return bl.GaussianPosterior.from_moments(draw((*batch, q, m), "mean"), C), C


@few
@given(st.lists(st.integers(1, 3), max_size=2), st.integers(1, 4), st.integers(1, 3))
def test_the_covariance_is_laid_out_points_outermost(batch: list[int], q: int, m: int) -> None:
    posterior, C = belief(tuple(batch), q, m)
    full = posterior.covariance.reshape(*batch, q, m, q, m)
    for i in range(m):
        for j in range(m):
            block = full[..., :, i, :, j]
            assert_close(block, C[..., i, :, :] if i == j else 0 * block)
    assert_close(
        posterior.variance,
        full.flatten(-4, -3).flatten(-2).diagonal(dim1=-2, dim2=-1).unflatten(-1, (q, m)),
    )
    assert posterior.event_shape == (q, m) and posterior.batch_shape == torch.Size(batch)


@few
@given(st.lists(st.integers(1, 3), max_size=2), st.integers(1, 4), st.integers(1, 3))
def test_draws_are_the_mean_plus_a_factor_times_z(batch: list[int], q: int, m: int) -> None:
    posterior, _ = belief(tuple(batch), q, m)
    unit = torch.eye(q * m, dtype=F64).reshape(q * m, *(1,) * len(batch), q, m)
    steps = posterior.rsample(unit) - posterior.mean  # the columns of the factor
    L = steps.flatten(-2).movedim(0, -1)
    assert_close(L @ L.mT, posterior.covariance, 1e-10)
    assert_close(posterior.rsample(0 * unit)[0], posterior.mean, 1e-14)


def test_sobol_draws_have_the_posteriors_moments() -> None:
    posterior, _ = belief((2,), 3, 2)
    s = 1 << 14
    y = posterior.rsample(Sampler(s, seed=0).base_samples((3, 2), (2,))).flatten(-2)
    centred = y - y.mean(0)
    moments = torch.einsum("sbi,sbj->bij", centred, centred) / s
    error = posterior.variance.flatten(-2).sqrt() / s**0.5
    assert bool(((y.mean(0) - posterior.mean.flatten(-2)).abs() < 4 * error).all())
    sd = posterior.variance.flatten(-2).sqrt()
    spread = 4 * 2**0.5 * sd.unsqueeze(-1) * sd.unsqueeze(-2) / s**0.5
    assert bool(((moments - posterior.covariance).abs() < spread).all())


def test_base_samples_of_the_wrong_shape() -> None:
    posterior, _ = belief((), 3, 2)
    with pytest.raises(bl.ShapeError, match=r"z: expected shape s \*b 3 2, got \(5, 2, 3\)"):
        posterior.rsample(torch.zeros(5, 2, 3, dtype=F64))


@pytest.mark.parametrize("noise_var", [1e-4, 1e-8, 1e-12, 1e-18])
def test_joint_draws_at_known_and_equal_points(noise_var: float) -> None:
    model = gp(8, 2, noise_var=noise_var)
    X = model.X[:4].unsqueeze(-2).repeat(1, 3, 1).requires_grad_(True)
    y = model.posterior(X).rsample(Sampler(64, seed=0).base_samples((3, 1)))
    assert torch.isfinite(y).all()
    sd = model.output_scale.item() * max(noise_var**0.5, 1e-4)
    spread = (y - model.posterior(X).mean).abs().amax()
    assert spread < 6 * sd, "jitter must not drown a belief that is certain"
    (slope,) = torch.autograd.grad(y.sum(), X)
    assert torch.isfinite(slope).all()


# -- mixtures ------------------------------------------------------------------------------------

batches = st.lists(st.integers(1, 3), max_size=2).map(tuple)


@few
@given(batches, st.integers(1, 5), st.integers(1, 3), st.integers(1, 2))
def test_moments_of_a_mixture_are_those_of_its_density(
    batch: tuple[int, ...], k: int, q: int, m: int
) -> None:
    members, _ = belief((*batch, k), q, m)
    mixture = bl.MixturePosterior(members)
    assert isinstance(mixture, bl.Posterior)
    assert mixture.event_shape == (q, m) and mixture.batch_shape == torch.Size(batch)
    mean, variance = (v.numpy() for v in (members.mean, members.variance))
    first, second = mean.mean(-3), (variance + mean**2).mean(-3)  # E f, E f^2
    assert_close(mixture.mean, first)
    assert_close(mixture.variance, second - first**2, 1e-12)


@few
@given(batches, st.integers(1, 7), st.integers(1, 20), st.integers(1, 3))
def test_each_draw_of_a_mixture_belongs_to_one_member(
    batch: tuple[int, ...], k: int, s: int, q: int
) -> None:
    members, _ = belief((*batch, k), q, 1)
    for given_batch in ((), batch):  # base samples shared, or one for each entry
        z = draw((s, *given_batch, q, 1), "z")
        y = bl.MixturePosterior(members).rsample(z)
        assert y.shape == (s, *batch, q, 1)
        all_members = members.rsample(z.unsqueeze(-3))  # s *batch k q m
        for i in range(s):
            assert_close(y[i], all_members[i, ..., math.floor(i * k / s), :, :], 1e-14)


@pytest.mark.parametrize(("k", "s"), [(4, 512), (8, 512), (5, 500)])
def test_every_member_of_a_mixture_gets_even_base_samples(k: int, s: int) -> None:
    # Members far apart: the error of a member's average is that of its own base samples.
    mean = 100.0 * torch.arange(k, dtype=F64).view(k, 1, 1).expand(k, 2, 1)
    members = bl.GaussianPosterior.from_moments(mean, torch.eye(2, dtype=F64).expand(k, 1, 2, 2))
    for seed in range(5):
        y = bl.MixturePosterior(members).rsample(Sampler(s, seed=seed).base_samples((2, 1)))
        for j in range(k):
            mine = y[((y - mean[j]).abs() < 50).flatten(1).all(1)]
            assert len(mine) == s // k
            error = (mine.mean(0) - mean[j]).abs().max().item()
            assert error < 1.5 / math.sqrt(len(mine)), "no worse than independent normals"
            assert mine[:, 0, 0].std() > 0.8


def test_separate_posteriors_as_a_mixture() -> None:
    models = [gp(8, 2, r=(3,), seed=seed) for seed in range(3)]
    X = draw((5, 3, 2, 2), "X")
    parts = [model.posterior(X) for model in models]
    mixture = bl.MixturePosterior.of(*parts)
    blocks = [torch.stack([p.joint_moments[i] for p in parts], dim=2) for i in range(2)]
    stacked = bl.MixturePosterior(bl.GaussianPosterior.from_moments(*blocks))
    z = Sampler(16, seed=0).base_samples((2, 1), (3,))
    assert_close(mixture.mean, stacked.mean)
    assert_close(mixture.variance, stacked.variance)
    assert_close(mixture.rsample(z), stacked.rsample(z), 1e-6)
    with pytest.raises(bl.ShapeError, match="same points"):
        bl.MixturePosterior.of(parts[0], models[1].posterior(X[:, :, :1]))
    with pytest.raises(bl.DataError, match="at least one"):
        bl.MixturePosterior.of()
    with pytest.raises(bl.ShapeError, match=r"MixturePosterior.of\("):
        bl.MixturePosterior(belief((), 2, 1)[0])


def test_members_of_nested_mixtures_count_as_they_should() -> None:
    pair, _ = belief((2, 2), 1, 1)
    lone, _ = belief((2,), 1, 1)
    nested = bl.MixturePosterior.of(bl.MixturePosterior(pair), lone)
    mean, variance = gaussian_members(nested)
    assert_close(mean.mean(0), nested.mean)
    assert_close(variance.mean(0) + mean.var(0, correction=0), nested.variance)
    assert_close(mean.mean(0), (pair.mean.mean(1) + lone.mean) / 2)
    outer = bl.MixturePosterior(nested)  # the remaining batch axis as members
    mean, variance = gaussian_members(outer)
    assert mean.shape == (8, 1, 1)
    assert_close(mean.mean(0), outer.mean)
    assert_close(variance.mean(0) + mean.var(0, correction=0), outer.variance)


# -- finite sets of functions --------------------------------------------------------------------


@few
@given(batches, st.integers(1, 6), st.integers(1, 3), st.integers(1, 2))
def test_draws_of_a_set_of_functions_are_its_functions(
    batch: tuple[int, ...], S: int, q: int, m: int
) -> None:
    values = draw((S, *batch, q, m), "values").requires_grad_(True)
    posterior = bl.SamplesPosterior(values)
    assert isinstance(posterior, bl.Posterior) and posterior.batch_shape == torch.Size(batch)
    assert_close(posterior.mean, values.detach().numpy().mean(0))
    assert_close(posterior.variance, values.detach().numpy().var(0))
    # The middle of the j-th of S equally likely slices of the normal picks function j.
    z = torch.special.ndtri((torch.arange(S, dtype=F64) + 0.5) / S)
    z = z.view(S, *(1,) * len(batch), 1).expand(S, *batch, 1)
    y = posterior.rsample(z)
    assert torch.equal(y, values)
    (slope,) = torch.autograd.grad((y * values.detach()).sum(), values)
    assert torch.equal(slope, values)
    y = posterior.rsample(Sampler(8 * S, seed=1).base_samples(posterior.event_shape, batch))
    for index in np.ndindex(*batch):
        at = (slice(None), *index)
        same = (y[at].unsqueeze(1) == values[at]).flatten(2).all(2)  # the whole function
        assert bool((same.sum(1) == 1).all()), "one function at all points and outputs"
        assert bool(((same.sum(0) - 8).abs() <= 1).all()), "each equally often, up to one"


def test_sets_of_functions_at_the_border() -> None:
    with pytest.raises(bl.DataError, match=r"samples\.double\(\)"):
        bl.SamplesPosterior(torch.zeros(3, 2, 1))
    with pytest.raises(bl.ShapeError, match=r"S \*batch q m"):
        bl.SamplesPosterior(torch.zeros(3, 2, dtype=F64))
    with pytest.raises(bl.DataError, match="at least one function"):
        bl.SamplesPosterior(torch.zeros(0, 2, 1, dtype=F64))
    posterior = bl.SamplesPosterior(draw((4, 2, 1), "f"))
    with pytest.raises(bl.ShapeError, match=r"z: expected shape s \*b 1, got \(5, 2\)"):
        posterior.rsample(torch.zeros(5, 2, dtype=F64))
    assert torch.isfinite(posterior.rsample(T([[-1e9], [1e9]]))).all()


# -- what acquisitions make of them --------------------------------------------------------------


class Members:
    """The k last replicates of a Gaussian process as one mixture model."""

    num_outputs = 1

    def __init__(self, k: int, r: tuple[int, ...] = (), n: int = 8, scale: float = 1.0) -> None:
        self.gp = gp(n, 2, r=(*r, k))
        self.batch_shape = torch.Size(r)

    def posterior(self, X: torch.Tensor, *, observation_noise: bool = False) -> bl.MixturePosterior:
        return bl.MixturePosterior(
            self.gp.posterior(X.unsqueeze(-3), observation_noise=observation_noise)
        )


class Curves:
    """Random sums of waves: a model known by samples alone."""

    num_outputs = 1

    def __init__(self, r: tuple[int, ...] = ()) -> None:
        self.batch_shape = torch.Size(r)
        self.weights = 2 * draw((32, *r, 2, 1), "weights") - 1

    def posterior(self, X: torch.Tensor, *, observation_noise: bool = False) -> bl.SamplesPosterior:
        weights = self.weights.reshape(
            32, *(1,) * (X.ndim - 2 - len(self.batch_shape)), *self.weights.shape[1:]
        )
        return bl.SamplesPosterior(torch.sin(4 * X @ weights))


@pytest.mark.filterwarnings("error")
def test_beliefs_about_an_empty_batch_have_empty_moments() -> None:
    X = torch.zeros(0, 1, 2, dtype=F64)
    x, y, bounds = draw((5, 2), "x"), draw((5, 1), "y"), box(2)
    ensemble = bl.DeepEnsemble(x, y, bounds, hidden=(4,), steps=2, seed=0)
    for belief in (
        ensemble.posterior(X),
        bl.SamplesPosterior(torch.zeros(3, 0, 1, 1, dtype=F64)),
        bl.MixturePosterior(bl.SamplesPosterior(torch.zeros(3, 0, 2, 1, 1, dtype=F64))),
    ):
        assert belief.mean.shape == belief.variance.shape == (0, 1, 1)


def test_improvement_under_a_mixture_is_the_integral_over_its_density() -> None:
    model, X, best = Members(3), draw((4, 1, 2), "X"), 0.9
    mean, variance = gaussian_members(model.posterior(X))
    ei = bl.ExpectedImprovement(model, best)(X)
    assert_close(bl.LogExpectedImprovement(model, best)(X), ei.log())
    for i in range(4):
        parts = [stats.norm(mean[j, i].item(), variance[j, i].sqrt().item()).pdf for j in range(3)]

        def integrand(f: float, parts: list = parts) -> float:
            return (f - best) * np.mean([density(f) for density in parts])

        exact = integrate.quad(integrand, best, best + 12, limit=200, epsabs=1e-12)[0]
        assert_close(ei[i], exact, 1e-7)
        total = bl.GaussianPosterior.from_moments(
            model.posterior(X).mean, model.posterior(X).variance.unsqueeze(-1)
        )
        single = stats.norm(total.mean[i].item(), total.variance[i].sqrt().item())
        matched = single.expect(lambda f: f - best, lb=best)
        assert abs(matched - exact) > 1e-4 * exact, "not the EI of the matched Gaussian"


def test_improvement_under_a_mixture_far_below_the_incumbent() -> None:
    model, best = Members(3), 1e6
    X = draw((4, 1, 2), "X").requires_grad_(True)
    value = bl.LogExpectedImprovement(model, best)(X)
    assert torch.isfinite(value).all() and bool((value < -1e9).all())
    (slope,) = torch.autograd.grad(value.sum(), X)
    assert torch.isfinite(slope).all() and bool((slope.abs().amax(-1) > 1).all())
    assert torch.autograd.gradcheck(bl.LogExpectedImprovement(model, 0.9), X, atol=1e-5)


@pytest.mark.parametrize("r", [(), (3,)])
def test_the_closed_form_and_the_average_over_draws_agree(r: tuple[int, ...]) -> None:
    model, X = Members(4, r), draw((5, *r, 1, 2), "X")
    best = torch.full(r, 0.5, dtype=F64)
    exact = bl.ExpectedImprovement(model, best)(X)
    errors = []
    for seed in range(8):
        sampled = bl.qLogExpectedImprovement(model, best, sampler=bl.Sampler(1024, seed=seed))
        errors.append(sampled(X).exp() - exact)
    error = torch.stack(errors)
    assert bool((error.mean(0).abs() < 5 * error.std(0) / math.sqrt(8) + 1e-6).all())
    assert bool((error.abs() < 0.05 * exact + 1e-3).all())


@pytest.mark.parametrize("r", [(), (3,)])
@pytest.mark.parametrize("build", [lambda r: Members(4, r), Curves])
def test_loops_with_models_that_are_not_gaussian(build: object, r: tuple[int, ...]) -> None:
    model = build(r)
    X = draw((*r, 6, 2), "design")
    best = bl.incumbent(model, X)
    assert_close(best.value, model.posterior(X).mean[..., 0].amax(-1))
    acq = bl.qLogExpectedImprovement(model, best.value)
    box = T([[0.0, 0.0], [1.0, 1.0]])
    x, value = bl.optimize_acqf(acq, box, q=2, sequential=True, seed=0, raw_samples=64)
    assert x.shape == (*r, 2, 2) and value.shape == r
    x, value = bl.optimize_acqf(acq, box, seed=0, raw_samples=64)
    assert bool((value >= acq(draw((200, *r, 1, 2), "rivals")).amax(0) - 1e-3).all())
    ucb = bl.UpperConfidenceBound(model, beta=4.0)(x)
    moments = model.posterior(x)
    assert_close(ucb, (moments.mean + 2 * moments.variance.sqrt())[..., 0, 0])


def test_improvement_under_a_set_of_functions() -> None:
    model, X = Curves(), draw((5, 1, 2), "X")
    values = model.posterior(X).samples[..., 0, 0]
    exact = (values - 0.2).clamp(min=0).mean(0)
    acq = bl.qLogExpectedImprovement(model, 0.2, sampler=bl.Sampler(32, seed=0))
    assert_close(acq(X).exp(), exact, 1e-5)  # 32 Sobol normals pick each of 32 functions once
    for closed_form in (bl.LogExpectedImprovement, bl.ExpectedImprovement):
        with pytest.raises(bl.UnsupportedError, match="qLogExpectedImprovement"):
            closed_form(model, 0.2)(X)


def test_members_of_independent_mixtures_are_combined_each_with_each() -> None:
    means = [draw((k, 3, 1, 1), f"m{k}") for k in (2, 3, 1)]
    parts = [
        bl.MixturePosterior(
            GaussianPosterior.from_moments(
                m.movedim(0, 1), (1 + m.movedim(0, 1).square()).unsqueeze(-1)
            )
        )
        for m in means
    ]
    mean, variance = gaussian_members(IndependentPosterior(parts))
    assert mean.shape == variance.shape == (6, 3, 1, 3)
    expected = [(a, b) for a in means[0] for b in means[1]]
    for own, (a, b) in zip(mean, expected, strict=True):
        assert_close(own, torch.cat([a, b, means[2][0]], dim=-1), 0.0)
    assert_close(variance, 1 + mean.square(), 1e-15)
    many = bl.MixturePosterior(
        GaussianPosterior.from_moments(draw((65, 1, 1), "m"), torch.ones(65, 1, 1, 1, dtype=F64))
    )
    with pytest.raises(bl.UnsupportedError, match=r"65 x 65.*qLogExpectedImprovement"):
        gaussian_members(IndependentPosterior([many, many]))
    samples = bl.SamplesPosterior(draw((4, 3, 1, 1), "s"))
    with pytest.raises(bl.UnsupportedError, match="qLogExpectedImprovement"):
        gaussian_members(IndependentPosterior([parts[0], samples]))
