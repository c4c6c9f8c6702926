"""Noise: priors by name and of one's own, exact values; what a model is told it keeps."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from botorch.models.utils.gpytorch_modules import get_gaussian_likelihood_with_lognormal_prior
from gpytorch.kernels import MaternKernel, RQKernel, ScaleKernel
from gpytorch.priors import (
    GammaPrior,
    HalfCauchyPrior,
    LogNormalPrior,
    MultivariateNormalPrior,
    NormalPrior,
    UniformPrior,
)
from oracles import T, assert_close, box, dataset, draw, surface
from scipy import stats

import bolearn as bl
from bolearn import seeds, strategies
from bolearn.models.noise import NoiseBelief
from bolearn.strategies import StudyData

KERNELS: dict[str, Any] = {
    "rbf": lambda: None,
    "scaled matern": lambda: ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=2)),
    "rational quadratic": lambda: RQKernel(),
}
BELIEFS: dict[str, dict[str, Any]] = {
    "default": {},
    "botorch": {"noise_prior": "botorch"},
    "noisy": {"noise_prior": "noisy"},
    "wide": {"noise_prior": LogNormalPrior(-4.0, 3.0)},
    "half-Cauchy": {"noise_prior": HalfCauchyPrior(0.1)},
    "noise-free": {"noise_free": True},
}
every_belief = pytest.mark.parametrize("name", BELIEFS)


def exact_data(n: int, d: int = 2, r: tuple[int, ...] = ()) -> tuple[torch.Tensor, ...]:
    X = draw((*r, n, d), "exact")
    return X, surface(X), box(d)


def log_prior(model: bl.ExactGP, noise_var: float) -> float:
    """The fit's objective at a noise variance, less the likelihood's part: priors alone."""
    at = model.with_hyperparameters(noise_var=noise_var)
    prior = at.likelihood.noise_covar.noise_prior
    return float(prior.log_prob(T(noise_var)))


# --- the densities ------------------------------------------------------------------------------


def test_the_named_prior_is_botorchs() -> None:
    X, Y, bounds = dataset(8, 2)
    theirs = get_gaussian_likelihood_with_lognormal_prior().double()
    for model in (bl.ExactGP(X, Y, bounds, noise_prior="botorch"), bl.ExactGP(X, Y, bounds)):
        ours = model.likelihood
        assert ours is not None
        for v in (1e-4, 3e-3, 0.2, 5.0):
            assert log_prior(model, v) == float(theirs.noise_covar.noise_prior.log_prob(T(v)))
            # of the variance: the log-normal density itself, without a Jacobian
            known = stats.lognorm(s=1.0, scale=torch.tensor(-4.0).exp().item()).logpdf(v)
            assert log_prior(model, v) == pytest.approx(known, rel=1e-6)
        floor, known_floor = (
            part.noise_covar.raw_noise_constraint.lower_bound.item() for part in (ours, theirs)
        )
        assert floor == known_floor
        assert_close(ours.noise.squeeze(), theirs.noise.squeeze(), 1e-12)


def test_the_default_is_botorchs_to_the_last_bit() -> None:
    X, Y, bounds = dataset(12, 3, r=(2,))
    fits = [bl.fit_mll(bl.ExactGP(X, Y, bounds, **kw)) for kw in ({}, BELIEFS["botorch"])]
    for key, value in fits[0].hyperparameters().items():
        assert torch.equal(value, fits[1].hyperparameters()[key]), key


@pytest.mark.parametrize("kernel", KERNELS)
@every_belief
def test_the_fit_climbs_the_posterior_density_of_this_prior(name: str, kernel: str) -> None:
    X, Y, bounds = dataset(14, 2, r=(2,))
    model = bl.ExactGP(X, Y, bounds, kernel=KERNELS[kernel](), **BELIEFS[name])
    fitted = bl.fit_mll(model)

    def density(m: bl.ExactGP) -> torch.Tensor:
        total = bl.log_marginal_likelihood(m).detach()
        for part in (m.kernel, m.likelihood):
            for _, module, prior, closure, _ in part.named_priors():
                total = total + prior.log_prob(closure(module)).reshape(2, -1).sum(-1).detach()
        return total

    assert_close(density(fitted) / 14, fitted.fit_report.value[:, 0], 1e-8)
    assert (density(fitted) >= density(model) - 1e-9).all()
    noise = fitted.hyperparameters()["noise_var"]
    for factor in (0.8, 1.25):  # no better along the noise, inside its limits
        floor = fitted.likelihood.noise_covar.raw_noise_constraint.lower_bound
        moved = fitted.with_hyperparameters(noise_var=(noise * factor).clamp(min=floor))
        assert (density(moved) <= density(fitted) + 1e-4).all()


def test_a_prior_of_ones_own_is_copied_and_decides() -> None:
    X, Y, bounds = dataset(20, 2)
    own = LogNormalPrior(-1.0, 0.01)
    model = bl.ExactGP(X, Y, bounds, noise_prior=own)
    own.loc.fill_(5.0)
    noise = bl.fit_mll(model).hyperparameters()["noise_var"]
    assert_close(noise.log(), T([-1.0]), 0.01)
    uniform = bl.ExactGP(X, Y, bounds, noise_prior=UniformPrior(0.3, 0.5))
    found = bl.fit_mll(uniform).hyperparameters()["noise_var"]
    assert 0.3 <= uniform.hyperparameters()["noise_var"].item() <= 0.5
    assert 0.3 <= found.item() <= 0.5


def test_the_noisy_prior_finds_noise_where_the_default_takes_it_for_structure() -> None:
    X, bounds = draw((8, 30, 6), "noisy"), box(6)
    chance = seeds.normal([seeds.derive(3, i) for i in range(8)], (30, 1))
    Y = X[..., :1] + 0.3 * chance  # half of the variance is noise
    noise = {
        name: bl.fit_mll(bl.ExactGP(X, Y, bounds, noise_prior=name)).hyperparameters()["noise_var"]
        for name in ("botorch", "noisy")
    }
    assert noise["botorch"].max() < 0.01 < 0.05 < noise["noisy"].median()
    density = bl.ExactGP(X, Y, bounds, noise_prior="noisy")
    for v in (1e-3, 0.4):
        known = stats.lognorm(s=1.0, scale=T(-1.0).exp().item()).logpdf(v)
        assert log_prior(density, v) == pytest.approx(known, rel=1e-6)


def test_a_belief_with_a_floor_of_its_own() -> None:
    X, Y, bounds = exact_data(20)
    for floor in (1e-3, 1e-6):
        belief = NoiseBelief(LogNormalPrior(-12.0, 3.0), floor, 0.01)
        model = bl.ExactGP(X, Y, bounds, noise_prior=belief)
        assert model.hyperparameters()["noise_var"].item() == pytest.approx(0.01)
        assert_close(bl.fit_mll(model).hyperparameters()["noise_var"], T([floor]), 1e-6)


# --- exact values -------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
def test_noise_free_fits_interpolate(kernel: str) -> None:
    X, Y, bounds = exact_data(24, r=(2,))
    exact, usual = (
        bl.fit_mll(bl.ExactGP(X, Y, bounds, kernel=KERNELS[kernel](), noise_free=free))
        for free in (True, False)
    )
    error = [(m.posterior(X).mean - Y).abs().max() / Y.std() for m in (exact, usual)]
    assert error[0] < 1e-4 and error[0] < error[1] / 30
    assert (exact.posterior(X).variance < 1e-6 * Y.var()).all()
    assert exact.noise_free and not usual.noise_free


@pytest.mark.parametrize("scale,shift", [(1e-9, 0.0), (1e6, -3e7), (-1.0, 2.0)])
def test_noise_free_fits_do_not_depend_on_the_unit(scale: float, shift: float) -> None:
    X, Y, bounds = exact_data(15)
    first = bl.fit_mll(bl.ExactGP(X, Y, bounds, noise_free=True))
    second = bl.fit_mll(bl.ExactGP(4 * X - 1, scale * Y + shift, 4 * bounds - 1, noise_free=True))
    P = draw((5, 2), "P")
    mean = scale * first.posterior(P).mean + shift
    assert_close(second.posterior(4 * P - 1).mean, mean, 1e-5 * abs(scale))


def test_noise_that_is_there_is_found_even_where_none_was_expected() -> None:
    X = draw((30, 1), "X").repeat(2, 1)  # each twice, with other values
    Y = torch.sin(6 * X) + 0.5 * torch.where(torch.arange(60)[:, None] < 30, 1.0, -1.0)
    model = bl.fit_mll(bl.ExactGP(X, Y, box(1), noise_free=True))
    assert model.noise_variance().mean() * model.output_scale.square() > 0.1
    assert bool(model.fit_report.converged)


def test_hard_data_are_fitted_as_if_exact() -> None:
    X, Y, bounds = exact_data(12)
    twice = (torch.cat([X, X]), torch.cat([Y, Y]))  # equal values: no contradiction
    for x, y in ((X, torch.zeros_like(Y)), (X[:1], Y[:1]), twice):
        model = bl.fit_mll(bl.ExactGP(x, y, bounds, noise_free=True))
        assert_close(model.posterior(x).mean, y, 1e-4)


# --- what a model is told it keeps ----------------------------------------------------------------


def told(model: bl.ExactGP) -> tuple[object, ...]:
    """What a model was told of its noise."""
    part = model.likelihood.noise_covar
    density = part.noise_prior.log_prob(T([1e-5, 1e-2, 0.3]))
    floor = part.raw_noise_constraint.lower_bound.item()
    return (model.noise_free, floor, *density.tolist())


@every_belief
def test_copies_and_new_models_keep_it(name: str) -> None:
    X, Y, bounds = dataset(8, 2, r=(2,))
    model = bl.ExactGP(X, Y, bounds, **BELIEFS[name])
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    new = {
        "pickle": pickle.loads(pickle.dumps(model)),
        "deep copy": copy.deepcopy(model),
        "file": torch.load(stored, weights_only=False),
        "fit": bl.fit_mll(model),
        "hyperparameters": model.with_hyperparameters(noise_var=0.01),
        "condition": model.condition(X[:, :1] + 0.01, Y[:, :1]),
        "fantasize": model.fantasize(X[:, :1] + 0.01, torch.zeros(3, 2, 1, 1, dtype=X.dtype)),
        "to": model.to("cpu"),
    }
    for how, other in new.items():
        assert told(other) == told(model), how
    assert_close(
        bl.fit_mll(new["pickle"]).hyperparameters()["noise_var"],
        new["fit"].hyperparameters()["noise_var"],
        0,
    )


@every_belief
def test_replicates_and_outputs_equal_those_alone(name: str) -> None:
    X, Y, bounds = dataset(14, 2, 2, (3,))
    P = draw((4, 2), "P")
    batch = bl.fit_mll(bl.ExactGP(X, Y, bounds, **BELIEFS[name]))
    mean = batch.posterior(P.expand(3, 4, 2)).mean
    for i in range(3):
        for k in range(2):
            alone = bl.fit_mll(bl.ExactGP(X[i], Y[i, :, k : k + 1], bounds, **BELIEFS[name]))
            assert_close(alone.posterior(P).mean[:, 0], mean[i, :, k], 1e-4)


def test_what_was_said_cannot_be_changed() -> None:
    X, Y, bounds = dataset(6, 1)
    model = bl.ExactGP(X, Y, bounds)
    with pytest.raises(bl.UnsupportedError, match="noise_free was to be set"):
        model.noise_free = True


# --- contradictions ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong,words",
    [
        ({"noise_free": True, "noise_var": 1e-6}, "leave out noise_var"),
        ({"noise_free": True, "noise_prior": "botorch"}, "leave out one"),
        ({"noise_prior": "botorch", "noise_var": 1e-6}, "not learnt"),
        ({"noise_prior": "BoTorch"}, "'botorch'"),
        ({"noise_prior": UniformPrior(-2.0, -1.0)}, "change the prior"),
        ({"noise_prior": LogNormalPrior(torch.zeros(2), torch.ones(2))}, "ModelList"),
        ({"noise_prior": MultivariateNormalPrior(torch.zeros(2), torch.eye(2))}, "ModelList"),
    ],
)
def test_contradictions_say_how_to_mend_them(wrong: dict[str, Any], words: str) -> None:
    X, Y, bounds = dataset(6, 1)
    with pytest.raises(bl.DataError, match="noise_") as caught:
        bl.ExactGP(X, Y, bounds, **wrong)
    assert words in str(caught.value)


@pytest.mark.parametrize("prior", [GammaPrior(1.1, 0.05), NormalPrior(0.0, 0.1)])
def test_other_priors_of_one_number_are_taken(prior: Any) -> None:
    X, Y, bounds = dataset(10, 2, r=(2,))
    fitted = bl.fit_mll(bl.ExactGP(X, Y, bounds, noise_prior=prior))
    assert (fitted.hyperparameters()["noise_var"] >= 1e-8 * (1 - 1e-6)).all()


# --- problems and strategies ----------------------------------------------------------------------


def test_problems_know_whether_their_values_are_exact() -> None:
    P = bl.problems
    assert P.Branin().noise_free is True and P.Branin(noise_std=1.0).noise_free is False
    assert P.DigitsSVM().noise_free is False and P.DiabetesSVR().noise_free is False

    def f(X: torch.Tensor) -> torch.Tensor:
        return -X.square().sum(-1)

    assert bl.Problem(f, box(2), noise_free=True).noise_free is True
    assert bl.Problem(f, box(2), noise_free=False).noise_free is False
    assert P.Budget(bl.Problem(f, box(2)), 3).noise_free is True
    noisy = bl.Problem(f, box(2), noise_std=0.1)
    assert replace(noisy, noise_std=0.2).noise_free is False
    with pytest.raises(bl.DataError, match="leave out one of them"):
        bl.Problem(f, box(2), noise_std=0.1, noise_free=True)
    assert replace(bl.Problem(f, box(2)), noise_std=0.1, noise_free=None).noise_free is False


def seen_by(strategy: Any, problem: bl.Problem) -> list[bool]:
    """Whether each model that a strategy makes in a study is one of exact values."""
    made: list[bool] = []

    def build(X, Y, bounds, observed=None, *, noise_free=False):  # type: ignore[no-untyped-def]
        made.append(noise_free)
        return strategies.matern_gp(X, Y, bounds, observed, noise_free=noise_free)

    arm = replace(strategy, model=build)
    bl.study(problem, {"arm": arm}, n_init=4, n_iter=1, replicates=2)
    return made


SMALL: dict[str, Any] = {
    "log_ei": replace(strategies.log_ei, num_restarts=2, raw_samples=16),
    "thompson": strategies.Thompson(num_restarts=2, raw_samples=16, num_features=16),
    "turbo": strategies.TuRBO(candidates=16, num_features=16),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("said,exact,noisy", [(False, False, False), (True, True, True),
                                              (None, True, False)])  # fmt: skip
def test_strategies_tell_their_models(
    name: str, said: bool | None, exact: bool, noisy: bool
) -> None:
    arm = replace(SMALL[name], noise_free=said)
    for sd, expected in ((0.0, exact), (1.0, noisy)):
        made = seen_by(arm, bl.problems.Branin(noise_std=sd))
        assert made and set(made) == {expected}


def test_a_model_that_cannot_be_told_is_refused() -> None:
    X = draw((2, 5, 2), "X")
    seen = torch.ones(2, 5, dtype=torch.bool)
    data = StudyData(X, surface(X), seen, box(2), None, round=0, n_init=5, noise_free=True)

    def deaf(X, Y, bounds, observed=None):  # type: ignore[no-untyped-def]
        return bl.ExactGP(X, Y, bounds, observed=observed)

    arm = replace(SMALL["log_ei"], model=deaf, noise_free=None)
    with pytest.raises(bl.DataError, match="deaf"):
        arm(data, box(2), 1, (0, 1))
    x, _ = replace(arm, noise_free=False)(data, box(2), 1, (0, 1))
    assert x.shape == (2, 1, 2)
