"""Path samples: the posterior's moments, one function whatever is asked, exact gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.sampling.pathwise import draw_matheron_paths
from gpytorch.kernels import Kernel, MaternKernel, PeriodicKernel, RBFKernel, ScaleKernel
from gpytorch.means import LinearMean
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, T, assert_close, box, dataset, draw, few, gp, gradient, hyperparameters
from torch import Tensor

import bolearn as bl
from bolearn import seeds
from bolearn.paths import draw_paths, paths_reference

KERNELS: dict[str, Callable[[int], Kernel | None]] = {
    "default": lambda d: None,
    "scaled rbf": lambda d: ScaleKernel(RBFKernel(ard_num_dims=d)),
    "matern52": lambda d: MaternKernel(nu=2.5, ard_num_dims=d),
    "scaled matern32": lambda d: ScaleKernel(MaternKernel(nu=1.5, ard_num_dims=d)),
    "matern12": lambda d: MaternKernel(nu=0.5, ard_num_dims=d),
}
kernels = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


def copies(R: int, n: int = 6, d: int = 2, kernel: Kernel | None = None) -> bl.ExactGP:
    """R replicates of one data set and one set of hyperparameters: R independent draws."""
    X, Y, bounds = dataset(n, d)
    one = bl.ExactGP(X, Y, bounds, kernel=kernel)
    many = bl.ExactGP(X.expand(R, n, d), Y.expand(R, n, 1), bounds, kernel=kernel)
    return many.with_hyperparameters(**hyperparameters(one, 3))


def covariances(values: Tensor, mean: Tensor) -> Tensor:
    """``R q q`` estimates of the covariance from paths ``s R q 1`` with a known mean."""
    gap = (values - mean).squeeze(-1)
    return torch.einsum("srq,srp->rqp", gap, gap) / len(gap)


def within(estimates: Tensor, truth: Tensor, errors: float = 5.0) -> None:
    """The mean of R independent estimates is the truth, within some standard errors of its own."""
    R = len(estimates)
    error = (estimates.mean(0) - truth).abs()
    bound = errors * estimates.std(0) / R**0.5
    assert bool((error <= bound).all()), f"{(error / bound).max().item() * errors:.1f} s.e."


# --- the belief they are drawn from -------------------------------------------------------------


@kernels
def test_moments_are_those_of_the_posterior(kernel: Callable[[int], Kernel | None]) -> None:
    R, s = 64, 64
    model = copies(R, kernel=kernel(2))
    X = torch.cat([T([[0.5, 0.5], [3.0, -2.0]]), draw((4, 2), "at")])  # one far from the data
    values = draw_paths(model, s, seed=1)(X.expand(R, 6, 2)).detach()
    posterior = model.posterior(X.expand(R, 6, 2))
    mean = posterior.mean.detach()
    # frequencies are independent over replicates, and the error they make has mean zero
    within(values.mean(0).squeeze(-1), mean[0].squeeze(-1))
    within(covariances(values, mean), posterior.covariance[0].detach())


def test_few_features_leave_the_mean_exact_and_the_covariance_unbiased() -> None:
    R = 256
    model = copies(R)
    X = draw((3, 2), "at").expand(R, 3, 2)
    values = draw_paths(model, 64, seed=1, num_features=4)(X).detach()
    posterior = model.posterior(X)
    mean = posterior.mean.detach()
    within(values.mean(0).squeeze(-1), mean[0].squeeze(-1))
    within(covariances(values, mean), posterior.covariance[0].detach())


def test_covariance_errors_of_one_draw_are_as_stated() -> None:
    """Far from the data, F features miss the prior covariance by about 1 / sqrt(F)."""
    R, F = 32, 256
    model = copies(R)
    X = 20 + 0.2 * draw((8, 2), "far").expand(R, 8, 2)
    values = draw_paths(model, 1000, seed=2, num_features=F)(X).detach()
    posterior = model.posterior(X)
    truth = posterior.covariance.detach()
    error = (covariances(values, posterior.mean.detach()) - truth).square().mean().sqrt()
    sampling = (2 / 1000) ** 0.5
    assert error < truth[0, 0, 0] * (1 / F + sampling**2) ** 0.5


@pytest.mark.parametrize("kernel", ["default", "matern52"])
def test_botorchs_paths_have_the_same_moments(kernel: str) -> None:
    X, Y, bounds = dataset(6, 2)
    R, s, d = 24, 48, 2
    model = copies(R, kernel=KERNELS[kernel](d))
    theirs = SingleTaskGP(
        X,
        Y,
        covar_module=None if kernel == "default" else MaternKernel(nu=2.5, ard_num_dims=d),
        input_transform=Normalize(d, bounds=bounds),
        outcome_transform=Standardize(1),
    ).double()
    own = model.hyperparameters()
    theirs.covar_module.lengthscale = own["lengthscale"][0]
    theirs.likelihood.noise = own["noise_var"][0]
    theirs.mean_module.constant = own["mean"][0, 0]
    theirs.eval()
    at = draw((5, 2), "at")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        drawn = [draw_matheron_paths(theirs, torch.Size([s]))(at) for _ in range(R)]
    other = torch.stack(drawn, dim=1).reshape(s, R, 5, 1)
    ours = draw_paths(model, s, seed=3)(at.expand(R, 5, 2)).detach()
    mean = model.posterior(at.expand(R, 5, 2)).mean.detach()
    for moment in (lambda v: (v - mean).mean(0).squeeze(-1), lambda v: covariances(v, mean)):
        a, b = moment(ours), moment(other)
        spread = ((a.var(0) + b.var(0)) / R).sqrt()
        assert bool(((a.mean(0) - b.mean(0)).abs() <= 5 * spread).all())


def test_paths_go_through_noise_free_data() -> None:
    X, Y, bounds = dataset(7, 2, m=2, r=(3,))
    noise = 1e-8
    model = bl.ExactGP(X, Y, bounds, noise_var=noise)
    values = draw_paths(model, 20, seed=0)(X)
    assert bool(((values - Y).abs() < 6 * noise**0.5).all())
    beyond = draw_paths(model, 20, seed=0)(X + 0.3)
    assert bool((beyond.std(0) > 20 * noise**0.5).all())  # and not everywhere


def test_paths_scatter_around_noisy_data_as_the_posterior_does() -> None:
    model = copies(64).with_hyperparameters(noise_var=0.5)
    values = draw_paths(model, 64, seed=5)(model.X).detach()
    posterior = model.posterior(model.X)
    spread = (values - posterior.mean.detach()).square().mean(0).squeeze(-1)
    within(spread, posterior.variance[0].detach().squeeze(-1))


def test_masked_rows_are_not_seen() -> None:
    X, Y, bounds = dataset(8, 2, r=(2,))
    seen = torch.ones(2, 8, dtype=torch.bool)
    seen[0, 2] = seen[1, 5:] = False
    values = []
    for junk in (0.3, torch.nan):
        x, y = (torch.where(seen.unsqueeze(-1), v, junk) for v in (X, Y))
        model = bl.ExactGP(x, y, bounds, noise_var=1e-8, observed=seen)
        values.append(draw_paths(model, 5, seed=0)(X).detach())
    assert torch.equal(*values)
    gap = (values[0] - Y).squeeze(-1).abs()
    assert bool((gap[:, seen] < 1e-3).all()) and bool((gap[:, ~seen] > 1e-3).any())


def test_masked_rows_take_no_random_numbers() -> None:
    X, Y, bounds = dataset(8, 2, r=(2,))
    seen = torch.ones(2, 8, dtype=torch.bool)
    seen[0, 2] = seen[1, :3] = False
    both = bl.ExactGP(X, Y, bounds, noise_var=0.1, observed=seen)
    values = draw_paths(both, 5, seed=[3, 4])(X).detach()
    for i in range(2):
        alone = bl.ExactGP(X[i, seen[i]], Y[i, seen[i]], bounds, noise_var=0.1)
        assert_close(draw_paths(alone, 5, seed=3 + i)(X[i]), values[:, i])


def test_known_noise_of_each_point_counts() -> None:
    X, Y, bounds = dataset(6, 1)
    noise = torch.full((6, 1), 1e-8, dtype=F64)
    noise[3] = 0.5
    model = bl.ExactGP(X, Y, bounds, noise_var=noise)
    gap = (draw_paths(model, 50, seed=0)(X) - Y).detach().squeeze(-1).abs().amax(0)
    assert (gap > 1e-3).tolist() == [False, False, False, True, False, False]


def test_another_mean_is_followed() -> None:
    X, Y, bounds = dataset(6, 2, r=(64,))
    X, Y = X[:1].expand_as(X), Y[:1].expand_as(Y)
    model = bl.ExactGP(X, Y, bounds, mean=LinearMean(2))
    at = (2 + draw((4, 2), "at")).expand(64, 4, 2)
    values = draw_paths(model, 32, seed=0)(at).detach()
    within(values.mean(0).squeeze(-1), model.posterior(at).mean[0].detach().squeeze(-1))


def test_units_of_inputs_and_outputs_do_not_matter() -> None:
    X, Y, bounds = dataset(6, 2)
    at = draw((4, 2), "at")
    plain = draw_paths(bl.ExactGP(X, Y, bounds), 3, seed=0)(at)
    a, b = T([1e3, 1e-3]), T([-5.0, 7.0])
    other = draw_paths(bl.ExactGP(a * X + b, 1e6 * Y - 3e7, a * bounds + b), 3, seed=0)(a * at + b)
    assert_close((other + 3e7) / 1e6, plain, 1e-7)


@pytest.mark.parametrize("kind", ["duplicated", "constant", "single"])
def test_degenerate_data_have_paths(kind: str) -> None:
    X, Y, bounds = dataset(6, 2)
    if kind == "duplicated":
        X, Y = X[torch.arange(6) // 2], Y[torch.arange(6) // 2]
    if kind == "constant":
        Y = torch.full_like(Y, 3.0)
    if kind == "single":
        X, Y = X[:1], Y[:1]
    model = bl.ExactGP(X, Y, bounds, noise_var=1e-9)
    values = draw_paths(model, 10, seed=0)(X)
    assert bool(((values - Y).abs() < 1e-3).all())


# --- one function -------------------------------------------------------------------------------


@few
@given(
    st.sampled_from(sorted(KERNELS)),
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(1, 3),
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_values_and_gradients_are_the_references(
    kernel: str, r: Sequence[int], m: int, t: Sequence[int], s: int, seed: int
) -> None:
    model = gp(7, 2, m, r, seed, kernel=KERNELS[kernel](2))
    paths = draw_paths(model, s, seed=seed, num_features=32)
    X = 1.3 * draw((*t, *r, 2, 2), "X", seed) - 0.15

    def slow(X: Tensor) -> Tensor:
        values = paths_reference(paths, X.unsqueeze(0))  # rows are replicates x outputs
        k, b = len(r), len(t)
        values = values.reshape(*r, m, s, *t, 2)
        order = (k + 1, *range(k + 2, k + 2 + b), *range(k), k + 2 + b, k)
        return values.permute(order)

    values = paths(X)
    assert values.shape == (s, *t, *r, 2, m)
    assert_close(values, slow(X), 1e-9)
    weight = draw(values.shape, "weight", seed)
    assert_close(
        gradient(lambda X: weight * paths(X), X), gradient(lambda X: weight * slow(X), X), 1e-8
    )
    each = X.expand(s, *X.shape)
    assert_close(paths.at_each(each), values, 1e-9)
    g = gradient(lambda X: weight * paths.at_each(X), each)
    assert_close(g.sum(0), gradient(lambda X: weight * paths(X), X), 1e-8)


def test_derivatives_are_right() -> None:
    model = gp(6, 2, 2, (2,))
    paths = draw_paths(model, 3, seed=0, num_features=16)
    X = draw((2, 3, 2), "X").requires_grad_(True)
    each = draw((3, 2, 1, 2), "each").requires_grad_(True)
    assert torch.autograd.gradcheck(paths, X)
    assert torch.autograd.gradcheck(paths.at_each, each)
    assert torch.autograd.gradgradcheck(paths, X)
    assert torch.autograd.gradgradcheck(paths.at_each, each)


def test_many_points_at_once_are_the_same_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gp(6, 2, 1, (3,))
    paths = draw_paths(model, 5, seed=0, num_features=32)
    X, each = draw((3, 40, 2), "X"), draw((5, 3, 40, 2), "each")
    whole = paths(X), paths.at_each(each)
    monkeypatch.setattr("bolearn.paths._BLOCK", 200)
    assert_close(paths(X), whole[0], 1e-12)
    assert_close(paths.at_each(each), whole[1], 1e-12)
    slope = gradient(paths.at_each, each)
    monkeypatch.undo()
    assert_close(slope, gradient(paths.at_each, each), 1e-12)


def test_the_same_points_for_every_replicate() -> None:
    model = gp(6, 2, 1, (3,))
    paths = draw_paths(model, 4, seed=0)
    X = draw((5, 1, 2, 2), "X")
    assert_close(paths(X), paths(X.expand(5, 3, 2, 2)), 1e-12)
    each = draw((4, 1, 2, 2), "each")
    assert_close(paths.at_each(each), paths.at_each(each.expand(4, 3, 2, 2)), 1e-12)


def test_path_i_is_asked_at_its_own_points() -> None:
    model = gp(6, 2)
    paths = draw_paths(model, 3, seed=0)
    X = draw((3, 4, 2), "X")
    everywhere = paths(X.reshape(12, 2)).reshape(3, 3, 4, 1)
    for i in range(3):
        assert_close(paths.at_each(X)[i], everywhere[i, i], 1e-12)


def test_paths_stay_when_the_model_is_fitted_again() -> None:
    X, Y, bounds = dataset(8, 2)
    for mean in (None, LinearMean(2)):  # closed form, and autograd
        model = bl.ExactGP(X, Y, bounds, mean=mean)
        paths = draw_paths(model, 3, seed=0)
        before = paths(X + 0.05).detach()
        bl.fit_mll(model)
        assert torch.equal(paths(X + 0.05).detach(), before)


# --- streams ------------------------------------------------------------------------------------


def test_one_seed_twice_gives_the_same_paths_and_another_others() -> None:
    model, X = gp(6, 2), draw((3, 2), "X")
    torch.manual_seed(0)
    state = torch.get_rng_state()
    a, b, c = (draw_paths(model, 4, seed=k)(X) for k in (7, 7, 8))
    assert torch.equal(a, b) and not torch.isclose(a, c).any()
    assert torch.equal(torch.get_rng_state(), state)


def test_the_first_paths_do_not_depend_on_how_many_follow() -> None:
    model, X = gp(6, 2, 2, (2,)), draw((2, 3, 2), "X")
    assert_close(draw_paths(model, 9, seed=7)(X)[:4], draw_paths(model, 4, seed=7)(X), 1e-12)


def test_a_replicate_draws_what_it_draws_alone() -> None:
    model = copies(3)
    X = draw((4, 2), "X")
    together = draw_paths(model, 5, seed=7)(X.expand(3, 4, 2))
    Xs, Ys, bounds = dataset(6, 2)
    own = {k: v[0] for k, v in model.hyperparameters().items()}
    alone = bl.ExactGP(Xs, Ys, bounds).with_hyperparameters(**own)
    for i in range(3):
        assert_close(draw_paths(alone, 5, seed=seeds.derive(7, i))(X), together[:, i], 1e-9)


def test_replicates_outputs_and_paths_are_uncorrelated() -> None:
    X, Y, bounds = dataset(4, 1, m=2)
    model = bl.ExactGP(X.expand(400, 4, 1), Y.expand(400, 4, 2), bounds)
    far = T([[50.0]]).expand(400, 1, 1)
    values = draw_paths(model, 2, seed=0)(far).detach().squeeze(-2)  # 2 400 2
    rows = torch.stack(
        [
            *values[:, ::2].reshape(2, 200, 2).permute(0, 2, 1).reshape(4, 200),
            *values[:, 1::2].reshape(2, 200, 2).permute(0, 2, 1).reshape(4, 200),
        ]
    )
    correlation = torch.corrcoef(rows) - torch.eye(8, dtype=F64)
    assert correlation.abs().max() < 4.5 / 200**0.5


# --- what cannot be drawn -----------------------------------------------------------------------


def test_a_kernel_without_spectral_density_says_what_to_do() -> None:
    X, Y, bounds = dataset(5, 2)
    for kernel in (PeriodicKernel(), RBFKernel(active_dims=(0,)), RBFKernel() + RBFKernel()):
        model = bl.ExactGP(X, Y, bounds, kernel=kernel)
        with pytest.raises(bl.UnsupportedError, match=r"spectral density.*rsample\(z\)"):
            draw_paths(model, 3, seed=0)


def test_a_model_may_draw_its_own_paths() -> None:
    class Planes:
        def __init__(self, slope: Tensor) -> None:
            self.slope, self.num_paths = slope, len(slope)

        def __call__(self, X: Tensor) -> Tensor:
            return (X @ self.slope.mT).movedim(-1, 0).unsqueeze(-1)

        def at_each(self, X: Tensor) -> Tensor:
            return (X * self.slope.unsqueeze(1)).sum(-1, keepdim=True)

    class Flat:
        num_outputs, batch_shape = 1, torch.Size()

        def posterior(self, X: Tensor, *, observation_noise: bool = False) -> bl.Posterior:
            raise AssertionError("not needed")

        def draw_paths(self, s: int, *, seed: int, num_features: int) -> Planes:
            return Planes(seeds.normal([seed], (s, num_features))[0])

    X = draw((4, 2), "X")
    values = draw_paths(Flat(), 3, seed=5, num_features=2)(X)
    assert_close(values.squeeze(-1), seeds.normal([5], (3, 2))[0] @ X.mT)


def test_a_model_that_cannot_is_refused() -> None:
    class Silent:
        num_outputs, batch_shape = 1, torch.Size()

        def posterior(self, X: Tensor, *, observation_noise: bool = False) -> bl.Posterior:
            raise AssertionError("not needed")

    with pytest.raises(bl.UnsupportedError, match="a method draw_paths, got Silent"):
        draw_paths(Silent(), 3, seed=0)


def test_wrong_shapes_and_counts_are_refused() -> None:
    model = gp(5, 2, 1, (3,))
    paths = draw_paths(model, 4, seed=0)
    with pytest.raises(bl.ShapeError, match=r"each of 4 paths, shape \(4, \*batch, 3, q, d\)"):
        paths.at_each(draw((3, 2, 2), "X"))
    with pytest.raises(bl.ShapeError, match="the model has replicates"):
        paths(draw((2, 2, 2), "X"))
    with pytest.raises(bl.DataError, match="even number"):
        draw_paths(model, 4, seed=0, num_features=7)
    with pytest.raises(bl.DataError, match="s: expected an integer"):
        draw_paths(model, 0, seed=0)
    with pytest.raises(bl.DataError, match="float64"):
        draw_paths(bl.ExactGP(*dataset(5, 2)), 2, seed=0)(box(2).float())


def test_no_points_have_no_values() -> None:
    paths = bl.draw_paths(gp(6, 2), 3, seed=0)
    X = torch.zeros(0, 1, 2, dtype=F64)
    assert paths(X).shape == (3, 0, 1, 1)
    assert paths.at_each(X.expand(3, 0, 1, 2)).shape == (3, 0, 1, 1)
