"""Models are values: nothing that is made from one changes, and what is copied is the same."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from gpytorch.kernels import (
    Kernel,
    LinearKernel,
    MaternKernel,
    PeriodicKernel,
    RBFKernel,
    RQKernel,
    ScaleKernel,
)
from gpytorch.means import LinearMean
from jaxtyping import TypeCheckError
from oracles import T, assert_close, box, dataset, draw, gp

import bolearn as bl

KERNELS = {
    "rbf": lambda: None,
    "scaled matern": lambda: ScaleKernel(MaternKernel(nu=2.5, ard_num_dims=2)),
    "rough": lambda: MaternKernel(nu=0.5),
    "rational quadratic": lambda: RQKernel(),
    "periodic x linear": lambda: PeriodicKernel() * LinearKernel(),
    "sum": lambda: RBFKernel(active_dims=[0]) + ScaleKernel(RBFKernel(active_dims=[1])),
}


def model_of(name: str, **options: object) -> bl.ExactGP:
    return gp(8, 2, r=(2,), kernel=KERNELS[name](), **options)


def made_from(model: bl.ExactGP) -> dict[str, object]:
    """Functions of points made from a model, with all that they keep of it."""
    X = model.X
    found: dict[str, object] = {
        "LogEI": bl.LogExpectedImprovement(model, 0.3),
        "qLogEI": bl.qLogExpectedImprovement(model, 0.3, sampler=bl.Sampler(16, seed=0)),
        "qLogNEI": bl.qLogNoisyExpectedImprovement(
            model, X_baseline=X, sampler=bl.Sampler(16, seed=0)
        ),
        "mean": lambda P: model.posterior(P).mean,
        "covariance": lambda P: model.posterior(P).covariance,
        "conditioned": lambda P: model.condition(X[:, :2] + 0.1, model.Y[:, :2]).posterior(P).mean,
    }
    if model.stationary() is not None:
        found["paths"] = bl.draw_paths(model, 3, seed=0)
    return found


P = draw((2, 1, 2), "P")


@pytest.mark.parametrize("name", ["rbf", "scaled matern", "rational quadratic"])
def test_what_is_made_from_a_model_stays_true_when_it_is_fitted(name: str) -> None:
    model = model_of(name)
    made = made_from(model)
    asked, belief = {k: f(P) for k, f in made.items()}, model.posterior(P)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    values = model.hyperparameters()
    fitted = bl.fit_mll(model)
    assert fitted is not model and type(fitted) is type(model)
    assert model.fit_report is None and fitted.fit_report is not None
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    for key, f in made.items():
        assert torch.equal(f(P), asked[key]), key
    assert torch.equal(belief.mean, asked["mean"])
    # and anew from the model as it still is
    for key, f in made_from(model).items():
        assert torch.equal(f(P), asked[key]), key
    for key, f in made_from(fitted).items():
        assert not torch.equal(f(P), asked[key]), key
    # they share data, and no parameter
    assert fitted.X.data_ptr() == model.X.data_ptr()
    mine = {p.data_ptr() for p in model.parameters()}
    assert not mine & {p.data_ptr() for p in fitted.parameters()}
    back = fitted.with_hyperparameters(**values)
    assert_close(back.posterior(P).mean, asked["mean"], 1e-10)


WRITERS = {
    "setter": lambda m: setattr(m.kernel, "lengthscale", 0.33),
    "noise": lambda m: setattr(m.likelihood, "noise", 0.2),
    "mean": lambda m: m.mean.initialize(constant=0.7),
    "data of a parameter": lambda m: next(m.kernel.parameters()).data.mul_(1.5),
    "optimiser": lambda m: next(m.kernel.parameters()).detach().add_(0.5),
    "exchanged parameter": lambda m: setattr(
        m.kernel, "raw_lengthscale", torch.nn.Parameter(m.kernel.raw_lengthscale.detach() + 1)
    ),
    "kernel's state": lambda m: m.kernel.load_state_dict(
        {k: v + 0.5 for k, v in m.kernel.state_dict().items()}, strict=False
    ),
    "inputs": lambda m: m.X.mul_(0.5),
    "outputs": lambda m: m.Y.add_(1.0),
    "mask": lambda m: m.observed.logical_not_(),
    "bounds": lambda m: m.bounds[1].add_(1.0),
}


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("name", ["rbf", "rational quadratic"])
@pytest.mark.parametrize("how", WRITERS)
def test_who_writes_into_a_model_is_told(how: str, name: str, asked: bool) -> None:
    model = model_of(name)
    made = made_from(model)
    true = {k: f(P) for k, f in made_from(copy.deepcopy(model)).items()}
    if asked:
        assert all(torch.equal(f(P), true[k]) for k, f in made.items())
    WRITERS[how](model)
    for key, f in made.items():
        try:
            assert torch.equal(f(P), true[key]), key
        except bl.UnsupportedError as error:
            assert "with_hyperparameters" in str(error)
    for ask in (
        lambda: bl.qLogNoisyExpectedImprovement(model, X_baseline=draw((2, 3, 2), "B"))(P),
        lambda: bl.fit_mll(model),
        lambda: model.hyperparameters(),
        lambda: model.with_hyperparameters(mean=0.0),
        lambda: bl.log_marginal_likelihood(model),
        lambda: copy.deepcopy(model),
        lambda: pickle.dumps(model),
        lambda: model.fantasize(P, torch.zeros(1, 1, 1, 1, dtype=torch.float64)),
    ):
        with pytest.raises(bl.UnsupportedError, match="model as it was made"):
            ask()


def test_parts_are_set_once() -> None:
    model = gp(6, 2)
    for name, value in (
        ("kernel", RBFKernel()),
        ("mean", LinearMean(2)),
        ("likelihood", None),
        ("X", model.X + 1),
        ("Y", model.Y + 1),
        ("noise", torch.ones(1, 6, dtype=torch.float64)),
    ):
        with pytest.raises(bl.UnsupportedError, match=f"model.{name} was to be set"):
            setattr(model, name, value)


def test_a_state_dict_is_refused() -> None:
    X, Y, bounds = dataset(6, 2)
    ensemble = bl.DeepEnsemble(X, Y, bounds, hidden=(4,), steps=2, seed=0)
    saas = bl.SAASGP(X, Y, bounds, num_samples=16, warmup=20, max_depth=2, seed=0)
    for model in (gp(6, 2), bl.ModelList([gp(6, 2)]), ensemble, saas):
        Q = P[0]
        before = model.posterior(Q).mean
        state = {k: v + 1 if v.is_floating_point() else v for k, v in model.state_dict().items()}
        with pytest.raises(bl.UnsupportedError, match=r"load_state_dict: .*torch.save\(model"):
            model.load_state_dict(state)
        assert torch.equal(model.posterior(Q).mean, before)


def saved(x: object) -> object:
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "torch.save": saved,
    "to": lambda x: x.to("cpu") if hasattr(x, "to") else copy.deepcopy(x),
}


@pytest.mark.parametrize("name", ["rbf", "rational quadratic"])
def test_copies_of_a_model_predict_the_same_and_go_on(name: str) -> None:
    fresh = bl.fit_mll(model_of(name))
    asked = fresh.with_hyperparameters()
    expected = {k: f(P) for k, f in made_from(asked).items()}
    own = bl.fit_mll(asked, start=asked.hyperparameters()).fit_report.value
    for how, copied in COPIES.items():
        assert str(copied(fresh).fit_report) == str(fresh.fit_report)
        for model in (fresh.with_hyperparameters(), asked):
            twin = copied(model)
            for key, f in made_from(twin).items():
                assert torch.equal(f(P), expected[key]), (how, key)
        again = bl.fit_mll(twin, start=twin.hyperparameters())
        assert torch.equal(again.fit_report.value, own), how


def everything() -> dict[str, object]:
    model, plain = model_of("rational quadratic"), model_of("rbf", noise_var=0.01)
    X, Y, bounds = dataset(6, 2)
    ensemble = bl.DeepEnsemble(X, Y, bounds, hidden=(4,), steps=2, seed=0)
    saas = bl.SAASGP(X, Y, bounds, num_samples=16, warmup=20, max_depth=2, seed=0)
    both = bl.ModelList([model, plain])
    Q = draw((2, 3, 2), "Q")
    return {
        "plain": plain.posterior(Q),
        "general": model.posterior(Q, observation_noise=True),
        "list": both.posterior(Q),
        "ensemble": ensemble.posterior(Q[0]),
        "noisy ensemble": ensemble.posterior(Q[0], observation_noise=True),
        "saas": saas.posterior(Q[0]),
        "mixture": bl.MixturePosterior.of(model.posterior(Q), plain.posterior(Q)),
        "side by side": bl.ModelList([saas, ensemble]).posterior(Q[0]),
        "moments": bl.GaussianPosterior.from_moments(
            torch.zeros(2, 1, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[None]
        ),
        "with a graph": plain.posterior(Q.clone().requires_grad_(True) * 1.0),
    }


@pytest.mark.parametrize("asked", [False, True])
def test_copies_of_posteriors_say_the_same(asked: bool) -> None:
    for name, belief in everything().items():
        z = draw((4, *belief.batch_shape, *belief.event_shape), "z")
        if asked:
            belief.mean, belief.variance, belief.rsample(z)
        for how in ("deepcopy", "pickle", "torch.save"):
            twin = COPIES[how](belief)
            assert type(twin) is type(belief)
            assert torch.equal(twin.mean, belief.mean), name
            assert torch.equal(twin.variance, belief.variance), name
            assert torch.equal(twin.rsample(z), belief.rsample(z)), name


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_copies_of_lists_surrogates_paths_and_acquisitions(how: str) -> None:
    X, Y, bounds = dataset(6, 2)
    Q = draw((3, 2), "Q")
    listed = bl.fit_mll(bl.ModelList([bl.ExactGP(X, Y, bounds), bl.ExactGP(X, Y, bounds)]))
    ensemble = bl.DeepEnsemble(X, Y, bounds, hidden=(4,), steps=2, seed=0)
    saas = bl.SAASGP(X, Y, bounds, num_samples=16, warmup=20, max_depth=2, seed=0)
    for model in (listed, ensemble, saas, saas.thinned(4)):
        twin = COPIES[how](model)
        assert torch.equal(twin.posterior(Q).mean, model.posterior(Q).mean)
        assert torch.equal(twin.to("cpu").posterior(Q).mean, model.posterior(Q).mean)
    for asked in (False, True):
        for name, f in made_from(model_of("rbf")).items():
            if name in ("mean", "covariance", "conditioned"):
                continue
            value = f(P) if asked else None
            twin = COPIES[how](f)
            assert torch.equal(twin(P), f(P) if value is None else value), name


def test_other_types_of_numbers_are_refused_and_moving_leaves_the_model() -> None:
    model = gp(6, 2, m=2, r=(3,))
    mean, acq = model.posterior(model.X).mean, bl.UpperConfidenceBound(gp(6, 2), 1.0)
    for change in (lambda m: m.float(), lambda m: m.to(torch.float32), lambda m: m.half()):
        with pytest.raises(bl.DataError, match=r"model\.to: expected float64"):
            change(model)
    moved = model.to("meta")
    assert moved.X.device.type == "meta" and model.X.device.type == "cpu"
    assert torch.equal(model.posterior(model.X).mean, mean)
    assert model.to("cpu").to(torch.float64).double() is not model
    there = bl.ModelList([model]).to("meta")
    assert there.models[0].X.device.type == "meta"
    assert acq(draw((1, 2), "x")).device.type == "cpu"


def test_what_a_model_is_made_of_is_its_own() -> None:
    X, Y, bounds = dataset(6, 2, 1, (2,))
    noise, observed = 0.01 + draw((2, 6, 1), "v"), torch.ones(2, 6, dtype=torch.bool)
    kernel, mean = ScaleKernel(RQKernel()), LinearMean(2)
    given = (X, Y, bounds, noise, observed)
    model = bl.ExactGP(X, Y, bounds, kernel=kernel, mean=mean, noise_var=noise, observed=observed)
    belief = model.posterior(P)  # asked after all the changes
    expected = model.posterior(P).mean.clone()
    for tensor in given:
        tensor.copy_(torch.zeros_like(tensor) if tensor is not bounds else bounds * 3)
    kernel.outputscale, kernel.base_kernel.alpha = 9.0, 7.0
    mean.initialize(bias=T([3.0]))
    assert torch.equal(belief.mean, expected) and torch.equal(model.posterior(P).mean, expected)
    Q = P.clone()
    belief = model.posterior(Q)
    Q.zero_()
    assert torch.equal(belief.mean, expected)


@pytest.mark.parametrize("name", KERNELS)
def test_moments_carry_a_gradient_only_if_the_points_do(name: str) -> None:
    model = model_of(name)
    for belief in (model.posterior(P), model.posterior(P, observation_noise=True)):
        for moment in (belief.mean, belief.variance, belief.covariance):
            assert not moment.requires_grad and moment.numpy().shape == tuple(moment.shape)
    leaf = P.clone().requires_grad_(True)
    for moment in ("mean", "variance", "covariance"):
        value = getattr(model.posterior(leaf), moment)
        assert value.requires_grad
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        assert torch.isfinite(slope).all()
    if model.stationary() is not None:
        for mean in (None, LinearMean(2)):
            again = gp(8, 2, r=(2,), kernel=KERNELS[name](), mean=mean)
            assert not bl.draw_paths(again, 2, seed=0)(P).requires_grad


def test_numpys_numbers_are_numbers() -> None:
    X, Y, bounds = dataset(6, 2)
    for kind in (np.float64, np.float32, np.int64):
        number, plain = kind(1), 1.0
        model, same = (bl.ExactGP(X, Y, bounds, noise_var=v) for v in (number, plain))
        model = model.with_hyperparameters(lengthscale=number, mean=number)
        same = same.with_hyperparameters(lengthscale=plain, mean=plain)
        assert torch.equal(model.posterior(X).mean, same.posterior(X).mean)
        start = {"lengthscale": number}
        assert bl.fit_mll(bl.ExactGP(X, Y, bounds), start=start).fit_report.attempts == 1
        model.condition(X[:1], Y[:1], noise_var=number)
    for bad in (True, np.bool_(True), "1", None, 1j):
        with pytest.raises(bl.DataError, match="lengthscale: expected a number"):
            bl.fit_mll(model, start={"lengthscale": bad})
    for bad in ("no", 1, None):
        with pytest.raises((bl.DataError, TypeCheckError), match="standardize"):
            bl.ExactGP(X, Y, bounds, standardize=bad)


# -- covariances that are none -------------------------------------------------------------------


class Custom(Kernel):
    """k(x, x') = f(x, x') for points of one input; `scale` is a parameter, as fits need one."""

    has_lengthscale = True

    def __init__(self, f, diagonal=None) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.f, self.diagonal = f, diagonal

    def forward(self, x1, x2, diag=False, **params):  # type: ignore[no-untyped-def]
        a, b = x1[..., 0] / self.lengthscale[..., 0], x2[..., 0] / self.lengthscale[..., 0]
        K = self.f(a.unsqueeze(-1), b.unsqueeze(-2))
        if diag:
            own = K.diagonal(dim1=-2, dim2=-1)
            return own if self.diagonal is None else self.diagonal * own
        return K


NONE = {
    "distance": (Custom(lambda a, b: (a - b).abs()), "not positive semi-definite"),
    "quadratic": (Custom(lambda a, b: 1 - (a - b) ** 2), "not positive semi-definite"),
    "box": (Custom(lambda a, b: ((a - b).abs() < 0.7).double()), "not positive semi-definite"),
    "minus": (Custom(lambda a, b: -torch.exp(-((a - b) ** 2))), "not positive semi-definite"),
    "lopsided": (
        Custom(lambda a, b: torch.exp(-((a - b) ** 2)) + 0.2 * (a - b)),
        "differs from its transpose",
    ),
    "not a number": (Custom(lambda a, b: torch.nan * a * b), "NaN or infinite"),
    "half a number": (
        Custom(lambda a, b: torch.where(b > a + 0.5, torch.nan, torch.exp(-((a - b) ** 2)))),
        "NaN or infinite",
    ),
    "other diagonal": (
        Custom(lambda a, b: torch.exp(-((a - b) ** 2)), diagonal=2.0),
        "with diag=True",
    ),
}


@pytest.mark.parametrize("noise_var", [None, 2.0])
@pytest.mark.parametrize("name", NONE)
def test_a_covariance_that_is_none_is_an_error_that_says_so(
    name: str, noise_var: float | None
) -> None:
    kernel, text = NONE[name]
    X = torch.linspace(0, 1, 12, dtype=torch.float64).unsqueeze(-1)
    model = bl.ExactGP(X, (6 * X).sin(), box(1), kernel=kernel, noise_var=noise_var)
    for ask in (
        lambda: model.posterior(X),
        lambda: bl.LogExpectedImprovement(model, 0.0)(X[:1] + 0.01),
        lambda: bl.fit_mll(model),
        lambda: model.condition(X[:1], X[:1]),
    ):
        with pytest.raises((bl.NumericsError, bl.FitError), match=f"kernel: expected.*{text}"):
            ask()


def test_a_kernel_that_fails_between_the_data_is_noticed_there() -> None:
    """k is one where x = x' and 0.9 elsewhere apart from one pair: definite at the data."""
    jump = Custom(lambda a, b: torch.exp(-((a - b) ** 2)) + 3.0 * (a > 0.9) * (b > 0.9) * (a != b))
    X = torch.linspace(0, 0.5, 5, dtype=torch.float64).unsqueeze(-1)
    model = bl.ExactGP(X, X.sin(), box(1), kernel=jump).with_hyperparameters(
        **{"kernel.lengthscale": 1.0}
    )
    model.posterior(X).mean  # noqa: B018
    with pytest.raises(bl.NumericsError):
        model.posterior(T([[0.95], [0.97], [0.99]])).rsample(
            torch.zeros(1, 3, 1, dtype=torch.float64)
        )


def test_valid_kernels_are_not_accused() -> None:
    X = torch.cat([torch.zeros(3, 2), torch.rand(4, 2).repeat(3, 1), torch.ones(2, 2)]).double()
    Y = X.sum(-1, keepdim=True)
    for make in KERNELS.values():
        for scale in (1e-8, 1.0, 1e8):
            kernel = make()
            kernel = RQKernel() if kernel is None else kernel
            model = bl.ExactGP(X, scale * Y, box(2), kernel=kernel, noise_var=1e-12 * scale**2)
            assert torch.isfinite(model.posterior(X).variance).all()
    model = bl.ExactGP(X[:1], Y[:1], box(2), kernel=LinearKernel())  # K = 0
    assert torch.isfinite(model.posterior(X).variance).all()


# -- fits that stop at their limit ---------------------------------------------------------------


def test_a_fit_that_stopped_at_its_limit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from bolearn.models import fit

    X, Y, bounds = dataset(12, 2, 1, (3,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = bl.fit_mll(bl.ExactGP(X, Y, bounds)).fit_report
    assert not done.limited.any() and "limit" not in str(done)
    monkeypatch.setattr(fit, "_LIMIT", 2)
    with pytest.warns(bl.FitWarning, match=r"3 of 3 data sets were stopped by the limit of 2"):
        stopped = bl.fit_mll(bl.ExactGP(X, Y, bounds)).fit_report
    assert stopped.limited.all() and not stopped.converged.any()
    assert "3 stopped at the limit of iterations" in str(stopped)
    assert issubclass(bl.FitWarning, bl.BolearnWarning)


def test_a_report_can_be_copied() -> None:
    report = bl.fit_mll(gp(6, 2)).fit_report
    for how in ("deepcopy", "pickle", "torch.save"):
        assert str(COPIES[how](report)) == str(report)
