"""The Gaussian process against the textbook, and what surrounds it: names, masks, kernels."""

from __future__ import annotations

import copy
import itertools
import math

import gpytorch
import numpy as np
import pytest
import torch
from gpytorch.kernels import Kernel, MaternKernel, PeriodicKernel, RBFKernel, ScaleKernel
from gpytorch.means import ConstantMean, LinearMean, Mean, ZeroMean
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    F64,
    T,
    assert_close,
    box,
    build,
    cases,
    dataset,
    draw,
    entry,
    few,
    gp,
    hyperparameters,
    probes,
    surface,
    textbook_posterior,
    tolerance,
)
from scipy.stats import multivariate_normal

import bolearn as bl


@few
@given(cases())
def test_every_replicate_and_output_is_the_textbooks(case: dict) -> None:
    model, X = build(case), probes(case)
    posterior, fit = model.posterior(X), bl.log_marginal_likelihood(model)
    blocks = posterior.joint_moments[1]
    for index in np.ndindex(*case["r"]):
        total = 0.0
        for i in range(case["m"]):
            alone = entry(model, index, i)
            mean, covariance, value, cond = textbook_posterior(alone, X[index])
            tol = tolerance(cond)
            assert_close(posterior.mean[index][:, i], mean, tol, "mean")
            assert_close(blocks[index][i], covariance, tol, "covariance")
            assert_close(posterior.variance[index][:, i], covariance.diagonal(), tol, "variance")
            total += value
        assert_close(fit[index] / case["n"], total / case["n"], tol, "likelihood")


@pytest.mark.parametrize("nu, kind", [(0.5, "matern12"), (1.5, "matern32"), (2.5, "matern52")])
@pytest.mark.parametrize("scaled", [False, True])
def test_kernels_are_the_textbooks(nu: float, kind: str, scaled: bool) -> None:
    kernel: Kernel = MaternKernel(nu=nu, ard_num_dims=2)
    X, Y, bounds = dataset(9, 2, bounds=T([[-3.0, 1.0], [5.0, 1.5]]))
    model = bl.ExactGP(X, Y, bounds, kernel=ScaleKernel(kernel) if scaled else kernel)
    # textbook names for kernels that have none of their own
    public = {"lengthscale": T([0.4, 0.9])} | ({"outputscale": T(1.7)} if scaled else {})
    names = list(model.hyperparameters())
    values = {name: v for name in names for key, v in public.items() if name.endswith(key)}
    model = model.with_hyperparameters(**values, noise_var=0.02, mean=0.3)

    class Plain:
        """What the textbook reads."""

        X, Y, bounds, observed = model.X, model.Y, model.bounds, model.observed

        @staticmethod
        def hyperparameters() -> dict[str, torch.Tensor]:
            named = {k: v.reshape(1, -1) for k, v in public.items()}
            if scaled:
                named["outputscale"] = named["outputscale"][0]
            return {**named, "noise_var": T([0.02]), "mean": T([0.3])}

    P = bounds[0] + (bounds[1] - bounds[0]) * draw((4, 2), "P")
    mean, covariance, value, _ = textbook_posterior(Plain, P, kind)  # type: ignore[arg-type]
    posterior = model.posterior(P)
    assert_close(posterior.mean[:, 0], mean)
    assert_close(posterior.covariance, covariance)
    assert_close(bl.log_marginal_likelihood(model), value)


def test_likelihood_is_scipys_density() -> None:
    model = gp(7, 2)
    h = {k: v.numpy() for k, v in model.hyperparameters().items()}
    gaps = (model.X[:, None] - model.X[None]).numpy() / h["lengthscale"][0]
    K = np.exp(-0.5 * (gaps**2).sum(-1)) + h["noise_var"][0] * np.eye(7)
    y = model.Y[:, 0].numpy()
    z = (y - y.mean()) / y.std(ddof=1)
    density = multivariate_normal(np.full(7, h["mean"][0]), K).logpdf(z)
    assert_close(bl.log_marginal_likelihood(model), density)


def test_sums_products_and_active_dims_are_what_they_say() -> None:
    X, Y, bounds = dataset(8, 2)
    one, two = RBFKernel(active_dims=[0]).double(), MaternKernel(nu=1.5, active_dims=[1]).double()
    one.lengthscale, two.lengthscale = T(0.3), T(0.8)
    P = draw((3, 2), "P")
    for kernel, op in ((one + two, torch.add), (one * two, torch.mul)):
        model = bl.ExactGP(X, Y, bounds, kernel=kernel).with_hyperparameters(noise_var=0.1)

        def k(A: torch.Tensor, B: torch.Tensor, op: object = op) -> torch.Tensor:
            r0 = (A[:, None, 0] - B[None, :, 0]) / 0.3
            r1 = math.sqrt(3) * (A[:, None, 1] - B[None, :, 1]).abs() / 0.8
            return op((-0.5 * r0**2).exp(), (1 + r1) * (-r1).exp())

        z = (Y - Y.mean()) / Y.std()
        K = k(X, X) + 0.1 * torch.eye(8, dtype=F64)
        mean = k(P, X) @ torch.linalg.solve(K, z)
        covariance = k(P, P) - k(P, X) @ torch.linalg.solve(K, k(X, P))
        assert_close(model.posterior(P).mean, Y.mean() + Y.std() * mean)
        assert_close(model.posterior(P).covariance, Y.var() * covariance)
        assert_close(model.posterior(P).variance[:, 0], Y.var() * covariance.diagonal())


class Sharing(RBFKernel):
    """Written for one data set: whatever the batch, it uses the first lengthscale."""

    def forward(self, x1, x2, diag=False, **params):  # type: ignore[no-untyped-def]
        ell = self.lengthscale.reshape(-1)[0]
        if diag:
            return torch.ones(x1.shape[:-1], dtype=x1.dtype)
        return torch.exp(-0.5 * ((x1.unsqueeze(-2) - x2.unsqueeze(-3)) / ell).square().sum(-1))


@pytest.mark.parametrize("kernel", [Sharing(), ScaleKernel(MaternKernel(nu=0.5))])
def test_a_kernel_that_ignores_the_batch_never_shares_its_parameters(kernel: Kernel) -> None:
    R = 3
    X, Y, bounds = dataset(10, 2, r=(R,))
    Y = torch.stack([surface(X[i] * (1 + i)) for i in range(R)])
    together = bl.fit_mll(bl.ExactGP(X, Y, bounds, kernel=copy.deepcopy(kernel)))
    P = draw((R, 4, 2), "P")
    means = together.posterior(P).mean
    values = []
    for i in range(R):
        alone = bl.fit_mll(bl.ExactGP(X[i], Y[i], bounds, kernel=copy.deepcopy(kernel)))
        assert_close(together.fit_report.value[i], alone.fit_report.value, 1e-5)
        assert_close(means[i], alone.posterior(P[i]).mean, 2e-2)
        values.append(next(v for k, v in alone.hyperparameters().items() if "lengthscale" in k))
    assert len({round(v.flatten()[0].item(), 4) for v in values}) == R


# -- hyperparameters -----------------------------------------------------------------------------

KERNELS = [
    None,
    ScaleKernel(MaternKernel(nu=2.5)),
    RBFKernel(active_dims=[0]) + ScaleKernel(PeriodicKernel()),
    Sharing(),
]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("r, m", [((), 1), ((2,), 2), ((2, 2), 1)])
def test_hyperparameters_go_round(kernel: Kernel | None, r: tuple[int, ...], m: int) -> None:
    X, Y, bounds = dataset(5, 2, m, r)
    model = bl.ExactGP(X, Y, bounds, kernel=kernel)
    values = hyperparameters(model, 3)
    before = model.hyperparameters()
    twin = model.with_hyperparameters(**values)
    for name, value in twin.hyperparameters().items():
        assert_close(value, values[name], 1e-12, name)
        assert not value.requires_grad
    P = draw((*r, 3, 2), "P")
    again = bl.ExactGP(X, Y, bounds, kernel=kernel).with_hyperparameters(**values)
    assert_close(twin.posterior(P).mean, again.posterior(P).mean, 1e-12)
    for name, value in model.hyperparameters().items():
        assert torch.equal(value, before[name]), "the original has changed"
    assert (twin.posterior(P).mean - model.posterior(P).mean).abs().max() > 1e-6


def test_shapes_and_names_of_hyperparameters() -> None:
    X, Y, bounds = dataset(5, 3, 2, (4,))
    model = bl.ExactGP(X, Y, bounds, kernel=ScaleKernel(RBFKernel(ard_num_dims=3)))
    shapes = {name: tuple(v.shape) for name, v in model.hyperparameters().items()}
    assert shapes == {
        "lengthscale": (4, 2, 3),
        "outputscale": (4, 2),
        "mean": (4, 2),
        "noise_var": (4, 2),
    }
    fixed = bl.ExactGP(X, Y, bounds, noise_var=0.1)
    assert "noise_var" not in fixed.hyperparameters()


def test_defaults_are_the_priors_modes_and_floors() -> None:
    d = 3
    model = bl.ExactGP(*dataset(5, d))
    values = model.hyperparameters()
    assert_close(values["lengthscale"], T([[d**0.5 * math.exp(2**0.5 - 3)] * d]), 1e-6)
    assert_close(values["noise_var"], T([math.exp(-5)]), 1e-6)
    for name, low in (("lengthscale", 0.02), ("noise_var", 1e-5)):
        with pytest.raises(bl.DataError, match=f"{name}: .*got .*outside its constraint"):
            model.with_hyperparameters(**{name: low})


def test_the_model_owns_its_data() -> None:
    X, Y, bounds = dataset(6, 2)
    observed = torch.ones(6, dtype=torch.bool)
    model = bl.ExactGP(X, Y, bounds, observed=observed)
    P = draw((3, 2), "P")
    before = model.posterior(P).mean
    for data in (X, Y, bounds):
        data.mul_(2.0)
    observed[0] = False
    clone = copy.deepcopy(model)
    clone.kernel.lengthscale = 0.1
    assert torch.equal(model.posterior(P).mean, before)


# -- masks, noise, means -------------------------------------------------------------------------


@few
@given(cases(max_n=12), st.integers(1, 4))
def test_masked_rows_never_matter(case: dict, extra: int) -> None:
    r, n, m = case["r"], case["n"], case["m"]
    model = build(case)
    rows = torch.cat([torch.arange(n), torch.zeros(extra, dtype=torch.long)])
    order = draw((n + extra,), "order", case["seed"]).argsort()
    X, Y = model.X[..., rows, :], model.Y[..., rows, :]
    X[..., n:, :] = torch.nan
    Y[..., n:, :] = T([torch.inf, -torch.inf, torch.nan])[:m]
    observed = (torch.arange(n + extra) < n).expand(*r, n + extra)
    padded = bl.ExactGP(
        X[..., order, :], Y[..., order, :], model.bounds, observed=observed[..., order]
    ).with_hyperparameters(**model.hyperparameters())
    P = probes(case)
    assert_close(padded.posterior(P).mean, model.posterior(P).mean, 1e-8)
    assert_close(padded.posterior(P).variance, model.posterior(P).variance, 1e-8)
    assert_close(padded.posterior(P).covariance, model.posterior(P).covariance, 1e-8)
    assert_close(bl.log_marginal_likelihood(padded), bl.log_marginal_likelihood(model), 1e-7)
    objective = bl.weighted_sum(*(1.0 + i for i in range(m)))
    best = bl.incumbent(model, model.X, objective)
    other = bl.incumbent(padded, X[..., order, :], objective)
    assert_close(other.value, best.value, 1e-8)
    assert torch.isfinite(other.x).all()


def test_fixed_noise_scalar_outputs_and_points() -> None:
    X, Y, bounds = dataset(6, 2, 2, (3,))
    P = draw((3, 4, 2), "P")
    s = bl.ExactGP(X, Y, bounds, noise_var=0.04)
    same = [bl.ExactGP(X, Y, bounds, noise_var=v) for v in (T([0.04, 0.04]), 0.04 + 0 * Y)]
    for other in same:
        assert_close(other.posterior(P).mean, s.posterior(P).mean, 1e-12)
    learned = bl.ExactGP(X, Y, bounds)
    learned = learned.with_hyperparameters(noise_var=0.04 / s.output_scale**2)
    assert_close(learned.posterior(P).variance, s.posterior(P).variance, 1e-10)
    assert_close(
        s.posterior(P, observation_noise=True).variance - s.posterior(P).variance,
        torch.full((3, 4, 2), 0.04, dtype=F64),
        1e-10,
    )
    extra = s.posterior(P, observation_noise=True).covariance - s.posterior(P).covariance
    assert_close(extra, 0.04 * torch.eye(8, dtype=F64).expand(3, 8, 8), 1e-10)


def test_noise_known_per_point_in_masked_rows_does_not_count() -> None:
    X, Y, bounds = dataset(6, 2)
    noise = T([0.01, 0.02, 0.03, 0.04, 7.0, 9.0]).unsqueeze(-1)
    ragged = bl.ExactGP(X, Y, bounds, noise_var=noise, observed=torch.arange(6) < 4)
    alone = bl.ExactGP(X[:4], Y[:4], bounds, noise_var=noise[:4])
    P = draw((3, 2), "P")
    for noisy in (False, True):
        a, b = (m.posterior(P, observation_noise=noisy) for m in (ragged, alone))
        assert_close(a.variance, b.variance, 1e-10)
        assert_close(a.mean, b.mean, 1e-10)


@pytest.mark.parametrize("mean", [ZeroMean(), LinearMean(2)])
def test_other_means(mean: gpytorch.means.Mean) -> None:
    X, Y, bounds = dataset(6, 2, 2, (3,))
    model = bl.ExactGP(X, Y, bounds, mean=mean)
    if isinstance(mean, LinearMean):
        model = model.with_hyperparameters(
            **{"mean.weights": draw((3, 2, 2, 1), "w"), "mean.bias": draw((3, 2, 1), "b")}
        )
    far = 1e3 + torch.zeros(3, 2, 2, dtype=F64)  # nothing but the mean is left there
    scale, shift = Y.std(-2, keepdim=True), Y.mean(-2, keepdim=True)
    expected = torch.zeros(3, 2, 2, dtype=F64)
    if isinstance(mean, LinearMean):
        w = model.hyperparameters()["mean.weights"].squeeze(-1)
        expected = far @ w.mT + model.hyperparameters()["mean.bias"].mT
    assert_close(model.posterior(far).mean, shift + scale * expected, 1e-10)


def test_prediction_returns_to_the_prior_and_to_the_data() -> None:
    model = gp(8, 2, noise_var=1e-10)
    at = model.posterior(model.X)
    assert_close(at.mean, model.Y, 1e-5)
    assert at.variance.max() < 1e-8
    far = model.posterior(model.X + 100)
    assert_close(far.variance, model.output_scale.square().expand(8, 1), 1e-10)


def test_standardize_false_uses_user_units() -> None:
    X, Y, bounds = dataset(6, 2)
    z = (Y - Y.mean()) / Y.std()
    a = bl.ExactGP(X, z, bounds, standardize=False)
    b = bl.ExactGP(X, Y, bounds)
    P = draw((3, 2), "P")
    assert_close(a.posterior(P).mean * Y.std() + Y.mean(), b.posterior(P).mean, 1e-10)


# -- incumbents ----------------------------------------------------------------------------------


def test_the_incumbent_is_the_point_with_the_best_mean() -> None:
    model = gp(7, 2, r=(2, 2))
    best = bl.incumbent(model, model.X)
    means = model.posterior(model.X).mean.squeeze(-1)
    assert torch.equal(best.value, means.amax(-1))
    assert_close(model.posterior(best.x.unsqueeze(-2)).mean[..., 0, 0], best.value, 1e-10)
    shared = draw((1, 1, 5, 2), "shared")
    assert_close(
        bl.incumbent(model, shared).x, bl.incumbent(model, shared.expand(2, 2, 5, 2)).x, 0.0
    )


def test_the_incumbent_of_several_outputs_needs_an_objective() -> None:
    model = gp(7, 2, m=2)
    with pytest.raises(bl.UnsupportedError, match=r"objective=bolearn\.output"):
        bl.incumbent(model, model.X)
    value = bl.incumbent(model, model.X, bl.weighted_sum(1.0, -2.0)).value
    mean = model.posterior(model.X).mean
    assert_close(value, (mean[:, 0] - 2 * mean[:, 1]).max())


@few
@given(cases(max_m=2), st.integers(0, 3))
def test_the_same_points_can_be_asked_of_every_replicate(case: dict, t: int) -> None:
    model = build(case)
    shared = draw((t + 1, *(1,) * len(case["r"]), case["q"], case["d"]), "shared")
    spread = shared.expand(t + 1, *case["r"], case["q"], case["d"])
    a, b = model.posterior(shared), model.posterior(spread)
    assert_close(a.mean, b.mean, 1e-12)
    assert_close(a.covariance, b.covariance, 1e-12)


def test_kernels_for_another_number_of_inputs_are_refused() -> None:
    X, Y, bounds = dataset(5, 2)
    for kernel, word in (
        (RBFKernel(ard_num_dims=3), "ard_num_dims"),
        (ScaleKernel(RBFKernel(active_dims=[0, 4])), r"\[0, 4\]"),
        (RBFKernel(batch_shape=torch.Size([7])), r"got \(7,\)"),
    ):
        with pytest.raises(bl.ShapeError, match=f"kernel: .*{word}"):
            bl.ExactGP(X, Y, bounds, kernel=kernel)
    assert box(2).shape == bounds.shape


def test_moving_a_model_moves_all_of_it() -> None:
    model = gp(n=6, d=2, m=2, r=(3,), seed=1)
    X = model.X[:, :2]
    before = model.posterior(X).mean
    moved = model.to("meta")
    assert model.X.device.type == "cpu"
    assert moved.cube.bounds.device.type == "meta"
    assert moved.outcome.scale.device.type == "meta"
    assert moved.X.device.type == "meta"
    same = gp(n=6, d=2, m=2, r=(3,), seed=1).to("cpu")
    torch.testing.assert_close(same.posterior(X).mean, before, rtol=0, atol=0)


@pytest.mark.parametrize("plain", [True, False])
def test_a_posterior_does_not_follow_a_later_fit(plain: bool) -> None:
    kernel = None if plain else RBFKernel() + RBFKernel(active_dims=(0,))
    model = gp(n=9, d=2, seed=2, kernel=kernel)
    X = model.X[:4] + 0.05
    expected = model.posterior(X)
    mean, covariance = expected.mean.clone(), expected.covariance.clone()
    asked_later = model.posterior(X)
    fitted = bl.fit_mll(model)
    torch.testing.assert_close(asked_later.mean, mean, rtol=0, atol=0)
    torch.testing.assert_close(asked_later.covariance, covariance, rtol=0, atol=0)
    torch.testing.assert_close(model.posterior(X).mean, mean, rtol=0, atol=0)
    assert not torch.allclose(fitted.posterior(X).mean, mean)


class Slope(Mean):
    """Linear in the first input; with one number as parameter, it cannot batch."""

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.full(shape, 2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w * x[..., 0] if self.w.numel() == 1 else (self.w * x).sum(-1)


@pytest.mark.parametrize("shape", [(), (1,), (2,)])
@pytest.mark.parametrize("r, n, m", [((), 4, 1), ((), 2, 2), ((3,), 3, 1), ((2,), 2, 2)])
def test_a_mean_of_ones_own_has_parameters_for_every_replicate_and_output(
    shape: tuple[int, ...], r: tuple[int, ...], n: int, m: int
) -> None:
    X, Y, bounds = dataset(n, 2, m, r)
    model = bl.fit_mll(bl.ExactGP(X, Y, bounds, mean=Slope(shape)))
    have = model.hyperparameters()
    w = [v for name, v in have.items() if name.startswith("mean.")]
    w = (torch.stack(w) if len(w) > 1 else w[0]).reshape(*r, m, *shape)
    P, Z = draw((*r, 3, 2), "P"), draw((4, *r, 1, m), "Z")
    grown = model.condition(P[..., :1, :], Z).posterior(P.expand(4, *P.shape)).mean
    for k in itertools.product(*map(range, r)):
        for i in range(m):
            alone = bl.ExactGP(X[k], Y[k][:, i : i + 1], bounds, mean=Slope(shape))
            values = {"noise_var": have["noise_var"][(*k, i)]}
            values["lengthscale"] = have["lengthscale"][(*k, i)]
            values |= {name: w[(*k, i)] for name in alone.hyperparameters() if "mean" in name}
            alone = alone.with_hyperparameters(**values)
            assert_close(model.posterior(P).mean[k][:, i], alone.posterior(P[k]).mean[:, 0], 1e-8)
            own = alone.condition(P[k][:1], Z[(slice(None), *k)][..., i : i + 1])
            own = own.posterior(P[k].expand(4, 3, 2)).mean[..., 0]
            assert_close(grown[(slice(None), *k)][..., i], own, 1e-8)


class Itself(Mean):
    """Gives a vector for each point."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_means_that_do_not_fit_are_refused() -> None:
    X, Y, bounds = dataset(5, 2)
    bad = {
        "expected a mean for 2 inputs, but LinearMean": LinearMean(5),
        r"expected batch shape \(\) or \(1,\)": ConstantMean(batch_shape=torch.Size([4])),
        r"with values \.\.\. n, here \(3, 2\) -> \(3,\), got \(3, 2\)": Itself(),
    }
    for text, mean in bad.items():
        with pytest.raises(bl.ShapeError, match=text):
            bl.ExactGP(X, Y, bounds, mean=mean)
