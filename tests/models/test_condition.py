"""New data without a new fit: the same as building the model again, and as BoTorch's."""

from __future__ import annotations

import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.means import LinearMean
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import (
    F64,
    T,
    assert_close,
    box,
    build,
    cases,
    condition,
    draw,
    few,
    gp,
    hyperparameters,
    probes,
    surface,
    tolerance,
)

import bolearn as bl
from bolearn.linalg import gram
from bolearn.protocols import SupportsConditioning, SupportsFantasies


def afresh(model: bl.ExactGP, noise_var: object = None, **options: object) -> bl.ExactGP:
    """The same data and hyperparameters in the same scaling, built and factorised anew.

    Data are standardised outside by the frozen scaling; `unscaled` takes the belief back.
    """
    Z = model.outcome.encode(model.Y)
    again = bl.ExactGP(
        model.X,
        Z,
        model.bounds,
        observed=model.observed,
        noise_var=noise_var,
        standardize=False,
        **{"kernel": model.kernel, **options},
    )
    return again.with_hyperparameters(**model.hyperparameters())


def assert_same_belief(
    model: bl.ExactGP, again: bl.ExactGP, P: torch.Tensor, tol: float = 1e-8
) -> None:
    """The belief of ``model`` is that of ``again``, put back into user units."""
    a, b = model.posterior(P), again.posterior(P)
    scale = model.outcome.scale
    assert_close(model.outcome.encode(a.mean), b.mean, tol, "mean")
    assert_close(a.variance / scale.square(), b.variance, tol, "variance")
    blocks = a.joint_moments[1] / scale.square().mT.unsqueeze(-1)
    assert_close(blocks, b.joint_moments[1], tol, "covariance")
    leaf = P.detach().clone().requires_grad_(True)
    one, two = model.posterior(leaf), again.posterior(leaf)
    (slope,) = torch.autograd.grad((one.mean / scale + one.variance / scale**2).sum(), leaf)
    (other,) = torch.autograd.grad((two.mean + two.variance).sum(), leaf)
    assert_close(slope, other, 100 * tol, "gradient")


@settings(few, max_examples=12)
@given(cases(max_n=30), st.integers(1, 5), st.booleans(), st.integers(0, 2))
def test_new_data_are_as_good_as_old(case: dict, p: int, ragged: bool, t: int) -> None:
    model = build(case)
    r, d, m = case["r"], case["d"], case["m"]
    lead = (2, 3)[:t] + r
    X = draw((*lead, p, d), "new X", case["seed"])
    Y = surface(X, m) + (3.0 if case["kind"] == "constant" else 0.0)
    observed = None
    if ragged:
        observed = draw((*lead, p), "seen", case["seed"]) > 0.4
        Y = torch.where(observed.unsqueeze(-1), Y, torch.nan)
    grown = model.condition(X, Y, observed=observed)
    assert grown.batch_shape == torch.Size(lead)
    assert grown.X.shape == (*lead, case["n"] + p, d)
    for name, value in model.hyperparameters().items():
        assert_close(grown.hyperparameters()[name], value.expand(*lead, *value.shape[len(r) :]))
    assert_close(grown.output_scale, model.output_scale.expand(*lead, m), 0.0)
    again = afresh(grown)
    tol = tolerance(10 * condition(model))
    assert_same_belief(grown, again, draw((*lead, 3, d), "P"), tol)
    count = grown.observed.sum(-1)
    value, other = (bl.log_marginal_likelihood(x) / count for x in (grown, again))
    assert_close(value, other, 1e-9)


KERNELS: dict[str, Kernel] = {
    "scaled matern": ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=2)),
    "isotropic": MaternKernel(nu=1.5),
    "rough": ScaleKernel(MaternKernel(nu=0.5)),
    "sum": RBFKernel(active_dims=[0]) + ScaleKernel(RBFKernel(active_dims=[1])),
}


class Sharing(RBFKernel):
    """Ignores its batch shape, so that the model runs it entry by entry."""

    def forward(self, x1, x2, diag=False, **params):  # type: ignore[no-untyped-def]
        ell = self.lengthscale.reshape(-1)[0]
        if diag:
            return torch.ones(x1.shape[:-1], dtype=x1.dtype)
        return torch.exp(-0.5 * ((x1.unsqueeze(-2) - x2.unsqueeze(-3)) / ell).square().sum(-1))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("t", [(), (3,)])
def test_with_other_kernels_and_means(name: str, t: tuple[int, ...]) -> None:
    model = gp(7, 2, m=2, r=(2,), kernel=KERNELS[name], mean=LinearMean(2))
    X = draw((*t, 2, 3, 2), "new")
    grown = model.condition(X, surface(X, 2))
    again = afresh(grown, kernel=KERNELS[name], mean=LinearMean(2))
    assert_same_belief(grown, again, draw((*t, 2, 4, 2), "P"))


def test_a_kernel_that_cannot_batch_keeps_its_own_copies() -> None:
    model = gp(6, 2, m=1, r=(2,), kernel=Sharing())
    X = draw((3, 2, 2, 2), "new")
    grown = model.condition(X, surface(X))
    P = draw((3, 2, 4, 2), "P")
    for i in range(3):
        one = model.condition(X[i], surface(X[i]))
        assert_close(grown.posterior(P).mean[i], one.posterior(P[i]).mean, 1e-10)
        assert_close(grown.posterior(P).variance[i], one.posterior(P[i]).variance, 1e-10)


@pytest.mark.parametrize("old", ["learned", "number", "per point"])
@pytest.mark.parametrize("new", ["default", "number", "per point"])
@pytest.mark.parametrize("t", [(), (2,)])
def test_noise_of_new_points(old: str, new: str, t: tuple[int, ...]) -> None:
    r, n, p, m = (3,), 6, 2, 2
    given_old = {"learned": None, "number": 0.03, "per point": 0.01 + draw((*r, n, m), "old")}[old]
    given_new = {"default": None, "number": 0.2, "per point": 0.1 + draw((*t, *r, p, m), "n")}[new]
    model = gp(n, 2, m, r, noise_var=given_old)
    X = draw((*t, *r, p, 2), "new")
    grown = model.condition(X, surface(X, m), noise_var=given_new)
    scale = model.output_scale.unsqueeze(-2)
    if old == "learned":
        before = (model.hyperparameters()["noise_var"].unsqueeze(-2) * scale**2).expand(*r, n, m)
    else:
        before = torch.as_tensor(given_old, dtype=F64).expand(*r, n, m)
    after = (
        before.mean(-2, keepdim=True) if new == "default" else torch.as_tensor(given_new, dtype=F64)
    )
    full = torch.cat([before.expand(*t, *r, n, m), after.expand(*t, *r, p, m)], dim=-2)
    assert_close(grown.noise_variance().mT * scale**2, full, 1e-10)
    learned = old == "learned" and new == "default"
    again = afresh(grown, None if learned else full / scale**2)
    assert_same_belief(grown, again, draw((*t, *r, 3, 2), "P"))


def test_twice_is_once_with_all() -> None:
    model = gp(9, 3, m=2, r=(2,))
    X = draw((2, 12, 3), "new")
    Y = surface(X, 2)
    once = model.condition(X, Y)
    steps = model
    for i in range(0, 12, 4):
        steps = steps.condition(X[:, i : i + 4], Y[:, i : i + 4])
    P = draw((2, 5, 3), "P")
    assert_close(steps.posterior(P).mean, once.posterior(P).mean, 1e-9)
    assert_close(steps.posterior(P).covariance, once.posterior(P).covariance, 1e-9)


def test_nearly_singular_and_duplicated_points() -> None:
    X = 0.5 + 1e-5 * draw((20, 2), "near")
    model = bl.ExactGP(X, surface(X), box(2), noise_var=1e-9)
    model = model.with_hyperparameters(lengthscale=0.5)
    grown = model.condition(X[:4], surface(X[:4]))
    P = draw((4, 2), "P")
    assert torch.isfinite(grown.posterior(P).covariance).all()
    assert_close(grown.posterior(X[:4]).mean, surface(X[:4]), 1e-4)
    assert (grown.posterior(X[:4]).variance <= model.posterior(X[:4]).variance + 1e-12).all()


def test_a_factor_that_needed_jitter_is_made_afresh() -> None:
    """An extended factor would be that of a matrix with jitter on its old rows only."""
    X = draw((4, 2), "X").repeat(2, 1)
    model = bl.ExactGP(X, surface(X), box(2), noise_var=1e-18)
    assert bool((model.factor().jitter > 0).all())
    new = draw((1, 2), "new")
    grown = model.condition(new, surface(new))
    jitter, n = grown.factor().jitter, len(grown.X)
    assert bool((jitter > 0).all())
    K = gram(grown.kernel, grown.training_inputs())[0].detach()
    K = K + grown.noise_variance()[0].diag() + jitter[0] * K.diagonal().mean() * torch.eye(n)
    unit = grown.factor().inverse[0] / grown.output_scale
    assert_close(unit @ K @ unit.mT, torch.eye(n, dtype=F64), 1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_follows_the_units(scale: float) -> None:
    model, X = gp(6, 2), draw((2, 2), "new")
    other = bl.ExactGP(model.X, scale * model.Y, model.bounds)
    other = other.with_hyperparameters(**model.hyperparameters())
    a, b = model.condition(X, surface(X)), other.condition(X, scale * surface(X))
    P = draw((4, 2), "P")
    assert_close(b.posterior(P).mean / scale, a.posterior(P).mean, 1e-10)
    assert_close(b.posterior(P).covariance / scale**2, a.posterior(P).covariance, 1e-10)


def test_the_original_is_left_alone_and_the_result_can_be_fitted() -> None:
    model, X = gp(8, 2, r=(2,)), draw((2, 3, 2), "new")
    P = draw((2, 4, 2), "P")
    before = model.posterior(P).mean.clone()
    grown = model.condition(X, surface(X))
    value = bl.log_marginal_likelihood(grown)
    assert bool((bl.log_marginal_likelihood(bl.fit_mll(grown)) > value).all())
    grown = bl.fit_mll(grown)
    assert torch.equal(model.posterior(P).mean, before) and model.X.shape[-2] == 8
    assert not torch.allclose(grown.posterior(P).mean, before)


def test_bad_new_data_are_refused() -> None:
    model = gp(5, 2, m=2, r=(3,))
    X = draw((3, 2, 2), "X")
    Y = surface(X, 2)
    with pytest.raises(bl.ShapeError, match=r"Y: expected shape \*t \*r 2 2 .*got \(3, 2, 1\)"):
        model.condition(X, Y[..., :1])
    with pytest.raises(bl.ShapeError, match=r"Y: the model has replicates \(3,\)"):
        model.condition(X, Y[0])
    with pytest.raises(bl.ShapeError, match=r"X: the model has replicates \(3,\)"):
        model.condition(X[0], Y)
    with pytest.raises(bl.DataError, match="Y: expected finite"):
        model.condition(X, Y * torch.nan)
    with pytest.raises(bl.DataError, match="noise_var: expected positive"):
        model.condition(X, Y, noise_var=0.0)
    with pytest.raises(bl.ShapeError, match="batch axes that broadcast"):
        model.condition(X.expand(4, 3, 2, 2), Y.expand(5, 3, 2, 2))


# -- fantasies -----------------------------------------------------------------------------------


def test_capabilities_are_recognised() -> None:
    model = gp(5, 2)
    assert isinstance(model, SupportsConditioning) and isinstance(model, SupportsFantasies)


@pytest.mark.parametrize("r, t", [((), ()), ((3,), ()), ((), (4,)), ((2, 2), (4,))])
@pytest.mark.parametrize("m", [1, 2])
def test_a_fantasy_is_conditioning_on_a_draw(
    r: tuple[int, ...], t: tuple[int, ...], m: int
) -> None:
    model = gp(7, 2, m, r)
    X = draw((*t, *r, 2, 2), "X")
    z = bl.Sampler(5, seed=0).base_samples((2, m), r)
    if t:
        z = z.unsqueeze(1)
    fantasies = model.fantasize(X, z)
    assert fantasies.batch_shape == torch.Size((5, *t, *r))
    Y = model.posterior(X, observation_noise=True).rsample(z)
    assert_close(fantasies.Y[..., -2:, :], Y, 1e-10)
    again = model.condition(X, Y)
    P = draw((*(1,) * (1 + len(t)), *r, 3, 2), "P")
    assert_close(fantasies.posterior(P).mean, again.posterior(P).mean, 1e-10)
    assert_same_belief(fantasies, afresh(fantasies), P.expand(5, *t, *r, 3, 2).clone())


def test_fantasies_are_unbiased() -> None:
    """Law of total expectation and variance, by the closed form of what observing X explains."""
    model = gp(6, 2, m=2)
    X, P, s = draw((2, 2), "X"), draw((3, 2), "P"), 20000
    z = bl.Sampler(s, seed=1, kind="iid").base_samples((2, 2))
    fantasies = model.fantasize(X, z).posterior(P.unsqueeze(0))
    now = model.posterior(P)
    mean, left = fantasies.mean, fantasies.variance
    error = mean.std(0) / s**0.5
    assert bool(((mean.mean(0) - now.mean).abs() < 5 * error).all())
    explained = now.variance - left[0]
    assert bool((explained > 1e-3 * now.variance).all())
    assert_close(left, left[:1].expand_as(left), 1e-10)  # it does not depend on the outcome
    spread = explained * 2**0.5 / s**0.5
    assert bool(((mean.var(0) - explained).abs() < 5 * spread).all())


def test_noise_of_a_fantasy_enters_the_draw_and_the_update() -> None:
    model, X = gp(6, 2, noise_var=0.01), draw((1, 2), "X")
    z = T([1.0]).reshape(1, 1, 1)
    for noise in (1e-6, 0.5):
        fantasy = model.fantasize(X, z, noise_var=noise)
        belief = model.posterior(X)
        y = belief.mean + (belief.variance + noise).sqrt()
        assert_close(fantasy.Y[:, -1], y, 1e-10)
        assert_close(fantasy.noise_variance()[..., -1] * model.output_scale**2, T([[noise]]), 1e-10)


# -- BoTorch -------------------------------------------------------------------------------------


def twin(model: bl.ExactGP) -> SingleTaskGP:
    """BoTorch's model of the same standardised data with the same hyperparameters."""
    d, m = model.X.shape[-1], model.num_outputs
    theirs = SingleTaskGP(
        model.X,
        model.Y,
        input_transform=Normalize(d, bounds=model.bounds),
        outcome_transform=Standardize(m),
    )
    values = model.hyperparameters()
    theirs.covar_module.lengthscale = values["lengthscale"].reshape(
        theirs.covar_module.lengthscale.shape
    )
    constant = theirs.mean_module.constant
    theirs.mean_module.initialize(constant=values["mean"].reshape(constant.shape))
    noise = theirs.likelihood.noise_covar
    noise.initialize(noise=values["noise_var"].reshape(noise.noise.shape))
    theirs.eval()
    return theirs


@pytest.mark.parametrize("p", [1, 3])
@pytest.mark.parametrize("n, d", [(4, 1), (15, 3)])
def test_condition_is_botorchs(n: int, d: int, p: int) -> None:
    model = gp(n, d)
    theirs, P, X = twin(model), draw((4, d), "P"), draw((p, d), "new")
    theirs.posterior(P)  # its caches have to exist
    other = theirs.condition_on_observations(X, surface(X))
    a, b = model.condition(X, surface(X)).posterior(P), other.posterior(P)
    assert_close(a.mean, b.mean, 1e-7)
    assert_close(a.covariance, b.distribution.covariance_matrix, 1e-7)


def test_fantasies_are_botorchs() -> None:
    model, s = gp(8, 2), 8
    theirs, P, X = twin(model), draw((4, 2), "P"), draw((2, 2), "new")
    sampler = SobolQMCNormalSampler(torch.Size([s]), seed=3)
    theirs.posterior(P)
    other = theirs.fantasize(X, sampler)
    z = bl.Sampler(s, seed=3).base_samples((2, 1))
    ours = model.fantasize(X, z)
    a, b = ours.posterior(P.unsqueeze(0)), other.posterior(P)
    assert_close(a.mean, b.mean, 1e-7)
    assert_close(a.variance, b.variance, 1e-7)


def test_probes_and_hyperparameters_are_what_the_tests_mean() -> None:
    case = {"n": 3, "d": 2, "m": 1, "r": (2,), "q": 2, "kind": "plain", "seed": 1}
    assert probes(case).shape == (2, 2, 2)
    assert set(hyperparameters(build(case))) == {"lengthscale", "mean", "noise_var"}
