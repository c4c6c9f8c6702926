"""Entropy search: the information that its definition gives, its bounds, limits and invariances."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mpmath as mp
import numpy as np
import pytest
import torch
from botorch.acquisition.max_value_entropy_search import qLowerBoundMaxValueEntropy
from gpytorch.kernels import RQKernel
from oracles import F64, T, assert_close, dataset, draw, entry, gp, gradient, hyperparameters
from scipy.special import log_ndtr
from test_botorch_agreement import twin
from torch import Tensor

import bolearn as bl
from bolearn.acquisition.information import (
    gibbon_information,
    gibbon_information_reference,
    log_max_value_information,
    log_max_value_information_reference,
    normal_below,
)
from bolearn.seeds import derive

GAMMAS = (-30.0, -6.0, -0.5, 0.0, 0.7, 3.0)
SNRS = (1e-2, 0.1, 1.0, 16.0, 1e6, math.inf)


def entropy_fall(gamma: float, snr: float) -> float:
    """H(y) - H(y | f <= f*) in standard units, by integrating -p log p on a grid."""
    if snr == math.inf:  # f itself is cut off: a truncated normal
        ratio = math.exp(-0.5 * gamma**2 - log_ndtr(gamma)) / math.sqrt(2 * math.pi)
        return ratio * gamma / 2 - log_ndtr(gamma)
    rho, c = math.sqrt(snr / (1 + snr)), 1 / math.sqrt(1 + snr)
    lam = math.exp(-0.5 * gamma**2 - log_ndtr(gamma)) / math.sqrt(2 * math.pi)
    middle, width = -rho * lam, math.sqrt(max(1 - rho**2 * lam * (gamma + lam), c**2))
    v = np.linspace(middle - 40 * width, middle + 40 * width, 400_001)
    log_p = log_ndtr((gamma - rho * v) / c) - log_ndtr(gamma) - 0.5 * v**2
    log_p -= 0.5 * math.log(2 * math.pi)
    left = -np.trapezoid(np.exp(log_p) * log_p, v)
    return float(0.5 * math.log(2 * math.pi * math.e) - left)


def log_mes_by_formula(gamma: float, snr: float) -> mp.mpf:
    """The one-dimensional integral with 60 digits; for gammas too extreme for a direct one."""
    g, s = mp.mpf(gamma), mp.mpf(snr)
    rho, c = mp.sqrt(s / (1 + s)), 1 / mp.sqrt(1 + s)
    L = mp.log(2 * mp.pi) / 2

    def R(w: mp.mpf) -> mp.mpf:
        if w < -100:  # Mills' ratio by its continued fraction: ncdf would be 0
            m = mp.mpf(1)
            for k in range(60, 0, -1):
                m = -w + k / m if k < 60 else -w
            m = 1 / m
            log_Phi = mp.log(m) - w * w / 2 - L
            return w / 2 - m * log_Phi
        if w > 12:
            Q = mp.ncdf(-w)
            return w / 2 - (1 - Q) * mp.log1p(-Q) / mp.npdf(w)
        return w / 2 - mp.ncdf(w) * mp.log(mp.ncdf(w)) / mp.npdf(w)

    places = [mp.mpf(k) for k in (-14, -7, -3, 0, 3, 7, 14)]
    mean = mp.quad(lambda v: mp.npdf(v) * R(c * g - rho * v), places)
    bracket = R(g) - c * mean
    if g < -100:
        m = mp.mpf(-g)
        for k in range(60, 0, -1):
            m = -g + k / m
        return mp.log(m) + mp.log(bracket)  # log lambda = -log m^-1
    return mp.log(bracket) - g * g / 2 - L - mp.log(mp.ncdf(g))


@pytest.mark.parametrize("snr", SNRS)
def test_max_value_information_is_the_fall_of_entropy(snr: float) -> None:
    ours = log_max_value_information(T(GAMMAS), snr)
    assert_close(ours.exp(), T([entropy_fall(g, snr) for g in GAMMAS]), 1e-10, f"snr {snr}")
    bound = gibbon_information(T(GAMMAS), snr)
    assert (bound <= ours.exp() * (1 + 1e-9)).all()
    assert (bound > 0.9 * ours.exp()).all() or snr > 1
    assert (ours.exp() <= 0.5 * math.log1p(snr) * (1 + 1e-12)).all()


@pytest.mark.parametrize("gamma, snr", [(-1e4, 1.0), (-1e4, 1e-6), (-300.0, 100.0), (6.0, 1e-2),
                                        (12.0, 16.0), (40.0, 1e-3), (1e3, 1.0)])  # fmt: skip
def test_extreme_gammas(gamma: float, snr: float) -> None:
    with mp.workdps(40):
        true = float(log_mes_by_formula(gamma, snr))
    ours = log_max_value_information(T([gamma]), snr)
    assert_close(ours, T([true]), 1e-8)
    if gamma == -1e4:  # f is all but known, and with it nearly all that y could tell
        assert_close(ours.exp() / math.log1p(snr) * 2, T([1.0]), 1e-3)


def test_known_values() -> None:
    """At gamma = 0 and equal variances of f and noise; and without noise."""
    zero = T([0.0])
    assert_close(log_max_value_information(zero, 1.0).exp(), T([0.193147]), 5e-6)
    assert_close(gibbon_information(zero, 1.0), T([-0.5 * math.log(1 - 1 / math.pi)]), 1e-12)
    assert_close(log_max_value_information(zero, math.inf).exp(), T([math.log(2.0)]), 1e-12)
    assert_close(gibbon_information(zero, math.inf), T([-0.5 * math.log(1 - 2 / math.pi)]), 1e-12)


@pytest.mark.parametrize("snr", [1e-14, 1e-6, 9e-5, 1.1e-4, 0.3, 50.0, 1e8, math.inf])
def test_slopes_of_the_information(snr: float) -> None:
    """Against differences of the values, and the fast forms against the references."""
    gamma = T([-20.0, -3.0, 0.2, 2.0, 5.0])
    for fast, slow, log in (
        (log_max_value_information, log_max_value_information_reference, False),
        (gibbon_information, gibbon_information_reference, True),
    ):

        def f(g: Tensor, s: Tensor, fast=fast, log=log) -> Tensor:  # type: ignore[no-untyped-def]
            return fast(g, s).log() if log else fast(g, s)

        g, s = gamma.clone().requires_grad_(True), torch.full_like(gamma, snr).requires_grad_(True)
        d_g, d_s = torch.autograd.grad(f(g, s).sum(), (g, s))
        # Differences of fourth order may be wide: on the edge of a form values keep 7 digits only.
        h, tol = 1e-2, 1e-4 if snr == 1.1e-4 else 1e-6
        step = 8 * (f(gamma + h, s) - f(gamma - h, s)) - f(gamma + 2 * h, s) + f(gamma - 2 * h, s)
        assert_close(d_g, step / (12 * h), tol, f"{fast.__name__}")
        if snr < math.inf:
            one, two = (f(g, s * (1 + k * h)) - f(g, s * (1 - k * h)) for k in (1, 2))
            step = (8 * one - two) / (12 * h)
            assert_close(d_s * snr, step, tol, f"{fast.__name__}, snr")
        if 1e-3 < snr < math.inf:
            assert_close(f(g, s), slow(g, s).log() if log else slow(g, s), 1e-9)
            assert torch.autograd.gradgradcheck(f, (g[1:4], s[1:4]), atol=1e-5)


def test_variance_below_a_cut() -> None:
    with mp.workdps(60):
        lam = [mp.npdf(g) / mp.ncdf(g) for g in (-25.0, -3.0, 0.0, 4.0)]
        true = [1 - a * (mp.mpf(g) + a) for a, g in zip(lam, (-25, -3, 0, 4), strict=True)]
    assert_close(normal_below(T([-25.0, -3.0, 0.0, 4.0])), T([float(x) for x in true]), 1e-12)
    assert_close(normal_below(T([-1e6])) * 1e12, T([1.0]), 1e-9)
    g = T([-70.0, -3.0, 0.5]).requires_grad_(True)
    assert torch.autograd.gradcheck(normal_below, (g,))
    assert torch.autograd.gradgradcheck(normal_below, (g[1:],), atol=1e-6)


# -- acquisitions --------------------------------------------------------------------------------


def all_four(model: bl.ExactGP, k: int = 6, seed: object = 0) -> list:
    optima = bl.sample_optima(model, model.bounds, k, raw_samples=32, seed=seed)
    return [
        bl.MaxValueEntropySearch(model, optima.value),
        bl.GIBBON(model, optima.value),
        bl.JointEntropySearch(model, optima.x, optima.value),
        bl.BALD(model),
    ]


def test_max_value_entropy_search_by_integration_over_y() -> None:
    """The average over samples of f* of H(y) - H(y | f <= f*), densities on a grid."""
    model = gp(7, 2)
    f = bl.sample_optima(model, model.bounds, 5, seed=1).value
    X = draw((3, 1, 2), "P")
    p = model.posterior(X)
    noise = (model.posterior(X, observation_noise=True).variance - p.variance)[..., 0, 0]
    for i in range(len(X)):
        mu, var, n = p.mean[i].item(), p.variance[i].item(), noise[i].item()
        s = math.sqrt(var + n)
        y = torch.linspace(mu - 12 * s, mu + 12 * s, 40001, dtype=F64)
        falls = []
        for top in f.tolist():
            m, v = mu + var / (var + n) * (y - mu), var * n / (var + n)  # f given y
            log_p = -0.5 * (y - mu).square() / s**2 - math.log(s * math.sqrt(2 * math.pi))
            log_p = log_p + torch.special.log_ndtr((top - m) / math.sqrt(v))
            log_p = log_p - torch.special.log_ndtr(T((top - mu) / math.sqrt(var)))
            left = -torch.trapezoid(log_p.exp() * log_p, y)
            falls.append(0.5 * math.log(2 * math.pi * math.e * s * s) - left.item())
        ours = bl.MaxValueEntropySearch(model, f)(X[i])
        assert_close(ours, T(float(np.mean(falls))), 1e-8)


def test_gibbon_is_botorchs() -> None:
    model = gp(9, 2)
    f = bl.sample_optima(model, model.bounds, 6, seed=0).value
    theirs = qLowerBoundMaxValueEntropy(
        twin(model), torch.rand(8, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    )
    theirs.posterior_max_values = f.unsqueeze(-1)
    X = draw((8, 1, 2), "P")
    assert_close(bl.GIBBON(model, f)(X), theirs(X), 1e-7)
    assert_close(gradient(bl.GIBBON(model, f), X), gradient(theirs, X), 1e-6)


def test_joint_entropy_search_by_conditioning_on_each_optimum() -> None:
    model = gp(7, 2)
    x, f = bl.sample_optima(model, model.bounds, 4, seed=0)
    X = draw((6, 1, 2), "P")
    noise = model.new_noise().item()
    total = torch.zeros(6, dtype=F64)
    for place, top in zip(x, f, strict=True):
        told = model.condition(
            place.unsqueeze(0), top.reshape(1, 1), noise_var=1e-12 * model.output_scale.item() ** 2
        )
        p = told.posterior(X)
        mean, variance = p.mean[..., 0, 0], p.variance[..., 0, 0]
        rest = variance * normal_below((top - mean) / variance.sqrt()) + noise
        total += 0.5 * (model.posterior(X).variance[..., 0, 0] + noise).log() - 0.5 * rest.log()
    assert_close(bl.JointEntropySearch(model, x, f)(X), total / len(f), 1e-7)


def test_bald_is_the_log_determinant_of_what_is_observed() -> None:
    model = gp(7, 2)
    X, noise = draw((5, 3, 2), "P"), model.new_noise().item()
    S = model.posterior(X).covariance / noise + torch.eye(3, dtype=F64)
    bald = bl.BALD(model)
    assert_close(bald(X), 0.5 * torch.logdet(S), 1e-9)
    # chain rule: what two tell is what one tells and the other given the first
    second = bald.with_pending(X[0, :1])(X[0, 1:2])
    assert_close(bald(X[0, :1]) + second, bald(X[0, :2]), 1e-9)


@pytest.mark.parametrize("r", [(), (3,), (2, 2)])
@pytest.mark.parametrize("plain", [True, False])
def test_gradients_shapes_and_pending_points(r: tuple[int, ...], plain: bool) -> None:
    model = gp(8, 2, 1, r)
    acqs, general = all_four(model), gp(8, 2, 1, r, kernel=None if plain else RQKernel())
    X, pending = draw((4, *r, 1, 2), "P"), draw((*r, 2, 2), "pending")
    for acq in acqs:
        own = [getattr(acq, n) for n in ("max_values", "optimal_inputs") if hasattr(acq, n)]
        own += [acq.optimal_outputs] if hasattr(acq, "optimal_outputs") else []
        acq = type(acq)(general, *own)
        for a in (acq, acq.with_pending(pending)):
            assert a(X).shape == (4, *r) and (a(X) >= 0).all()
            slope, h = gradient(a, X), 1e-6
            for j in range(2):
                e = h * torch.eye(2, dtype=F64)[j]
                assert_close(slope[..., 0, j], (a(X + e) - a(X - e)) / (2 * h), 1e-6)
            if r:
                assert_close(a(X[0].expand(5, *X.shape[1:]))[3], a(X)[0], 1e-12)
        assert acq.with_pending(X[0])(X[0]).max() < acq(X[0]).max()
        step = acq.with_pending(pending[..., :1, :]).with_pending(pending[..., 1:, :])
        assert_close(step(X), acq.with_pending(pending)(X), 1e-9)


def test_second_derivatives_come_from_the_reference() -> None:
    model = gp(6, 2)
    X = draw((1, 2), "P").requires_grad_(True)
    for acq in all_four(model):
        assert torch.autograd.gradgradcheck(acq, (X,), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_units_of_y_do_not_matter(scale: float, shift: float) -> None:
    model = gp(8, 2)
    other = bl.ExactGP(model.X, scale * (model.Y + shift), model.bounds)
    other = other.with_hyperparameters(**model.hyperparameters())
    X = 1.4 * draw((6, 1, 2), "P") - 0.2
    for a, b in zip(all_four(model), all_four(other), strict=True):
        for mine, theirs in ((a, b), (a.with_pending(X[0]), b.with_pending(X[0]))):
            assert_close(theirs(X), mine(X), 1e-6, type(a).__name__)
            assert_close(gradient(theirs, X), gradient(mine, X), 1e-5, type(a).__name__)


def test_a_replicate_in_a_batch_is_that_replicate_alone() -> None:
    X, Y, bounds = dataset(8, 2, 1, (3,))
    observed = torch.arange(8) < T([[8], [4], [1]])
    model = bl.ExactGP(X, Y, bounds, observed=observed)
    model = model.with_hyperparameters(**hyperparameters(model))
    seeds = [derive(3, i) for i in range(3)]
    together, P = all_four(model, seed=seeds), draw((5, 3, 1, 2), "P")
    pending = draw((3, 2, 2), "pending")
    for i in range(3):
        # masked rows take part in the draw of paths: the samples are those of the batch
        x, f = together[2].optimal_inputs[:, i], together[2].optimal_outputs[:, i]
        alone = entry(model, (i,))
        own = [bl.MaxValueEntropySearch(alone, f), bl.GIBBON(alone, f)]
        own += [bl.JointEntropySearch(alone, x, f), bl.BALD(alone)]
        for a, b in zip(together, own, strict=True):
            assert_close(a(P)[:, i], b(P[:, i]), 1e-9, type(a).__name__)
            told, also = a.with_pending(pending), b.with_pending(pending[i])
            assert_close(told(P)[:, i], also(P[:, i]), 1e-9, type(a).__name__)
    whole = all_four(entry(model, (0,)), seed=seeds[0])
    assert_close(together[0].max_values[:, 0], whole[0].max_values, 1e-6)


@pytest.mark.parametrize("noise", [1e-10, 1e-4, 1.0, 1e8, 1e16])
def test_noise_from_nothing_to_everything(noise: float) -> None:
    X, Y, bounds = dataset(6, 2)
    model = bl.ExactGP(X, Y, bounds, noise_var=noise)
    P = torch.cat([draw((20, 1, 2), "P"), X[:2].unsqueeze(-2), T([[[50.0, -50.0]]])])
    most = 0.5 * torch.log1p(model.posterior(P).variance / noise)[..., 0, 0]
    for acq in all_four(model):
        value, slope = acq(P), gradient(acq, P)
        assert torch.isfinite(value).all() and torch.isfinite(slope).all()
        assert (value >= 0).all() and (value <= most * (1 + 1e-9)).all(), type(acq).__name__
    mes, gibbon = (acq(P) for acq in all_four(model)[:2])
    assert (gibbon <= mes * (1 + 1e-9)).all()


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
    for acq in all_four(model):
        x, value = bl.optimize_acqf(acq, bounds, num_restarts=4, raw_samples=32, seed=0)
        assert value > 0 and ((x >= 0) & (x <= 1)).all()


def test_samples_of_the_optimum() -> None:
    model = gp(8, 2, 1, (2,))
    x, f = bl.sample_optima(model, model.bounds, 6, seed=4)
    assert x.shape == (6, 2, 2) and f.shape == (6, 2)
    assert (f > bl.incumbent(model, model.X).value).all()
    again = bl.sample_optima(model, model.bounds, 6, seed=4)
    assert torch.equal(again.x, x) and torch.equal(again.value, f)


def test_what_cannot_be_is_refused() -> None:
    model, two = gp(6, 2), gp(6, 2, 2)
    f, x = T([1.0, 2.0]), T([[0.1, 0.2], [0.3, 0.4]])
    for make in (bl.MaxValueEntropySearch, bl.GIBBON):
        with pytest.raises(bl.UnsupportedError, match="one output"):
            make(two, f)
        with pytest.raises(bl.ShapeError, match="sample_optima"):
            make(model, f.reshape(2, 1))
        with pytest.raises(bl.DataError, match="finite"):
            make(model, T([1.0, math.nan]))
        with pytest.raises(bl.DataError, match="float64"):
            make(model, f.float())
        with pytest.raises(bl.UnsupportedError, match="one point at a time"):
            make(model, f)(draw((3, 2, 2), "P"))
    with pytest.raises(bl.ShapeError, match="as many samples"):
        bl.JointEntropySearch(model, x[:1], f)
    with pytest.raises(bl.ShapeError):
        bl.JointEntropySearch(model, x[:, :1], f)
    with pytest.raises(bl.ShapeError):
        bl.BALD(model).with_pending(draw((2, 3), "pending"))


@dataclass
class Mixed:
    """A model whose belief is a mixture of two Gaussians, or samples."""

    sampled: bool
    num_outputs: int = 1
    batch_shape: tuple[int, ...] = ()

    def posterior(self, X: Tensor, *, observation_noise: bool = False) -> object:
        if self.sampled:
            return bl.SamplesPosterior(X.sin().sum(-1, keepdim=True).expand(5, *X.shape[:-1], 1))
        return bl.MixturePosterior.of(gp(6, 2).posterior(X), gp(6, 2, seed=1).posterior(X))


@pytest.mark.parametrize("sampled", [True, False])
def test_beliefs_that_are_not_gaussian_are_refused(sampled: bool) -> None:
    model, X = Mixed(sampled), draw((3, 1, 2), "P")
    f, x = T([1.0, 2.0]), T([[0.1, 0.2], [0.3, 0.4]])
    for acq in (bl.MaxValueEntropySearch(model, f), bl.JointEntropySearch(model, x, f),
                bl.BALD(model)):  # fmt: skip
        with pytest.raises(bl.UnsupportedError, match=r"Gaussian"):
            acq(X)
        with pytest.raises(bl.UnsupportedError, match="condition"):
            acq.with_pending(X[0])
