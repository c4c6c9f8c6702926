"""Independent models side by side: each output is the model's own."""

from __future__ import annotations

import inspect

import pytest
import torch
from gpytorch.kernels import Kernel, MaternKernel
from oracles import F64, assert_close, dataset, draw, gp, gradient, surface

import bolearn as bl
from bolearn.posteriors import SamplesPosterior
from bolearn.protocols import has_training_data


def two(r: tuple[int, ...] = ()) -> tuple[bl.ModelList, list[bl.ExactGP]]:
    """Models with different data, kernels and numbers of outputs."""
    parts = [
        gp(6, 2, m=2, r=r, seed=1),
        gp(9, 2, m=1, r=r, seed=2, kernel=MaternKernel(nu=2.5, ard_num_dims=2)),
    ]
    return bl.ModelList(parts), parts


class Ensemble:
    """A surrogate that is no Gaussian process: six parabolas."""

    num_outputs, batch_shape = 1, torch.Size()

    def posterior(self, X: torch.Tensor, *, observation_noise: bool = False) -> SamplesPosterior:
        a = torch.linspace(0.5, 2, 6, dtype=F64).reshape(6, *(1,) * X.ndim)
        return SamplesPosterior(a * X.square().sum(-1, keepdim=True))


@pytest.mark.parametrize("r, t", [((), ()), ((3,), (4,)), ((2, 2), ())])
@pytest.mark.parametrize("noisy", [False, True])
def test_every_output_is_its_models(r: tuple[int, ...], t: tuple[int, ...], noisy: bool) -> None:
    both, parts = two(r)
    assert both.num_outputs == 3 and both.batch_shape == torch.Size(r)
    X = draw((*t, *r, 4, 2), "X")
    whole = both.posterior(X, observation_noise=noisy)
    own = [part.posterior(X, observation_noise=noisy) for part in parts]
    assert_close(whole.mean, torch.cat([p.mean for p in own], -1), 0.0)
    assert_close(whole.variance, torch.cat([p.variance for p in own], -1), 0.0)
    full = whole.covariance.unflatten(-1, (4, 3)).unflatten(-3, (4, 3))
    assert_close(full[..., :, :2, :, :2].flatten(-2).flatten(-3, -2), own[0].covariance, 1e-14)
    assert_close(full[..., :, 2, :, 2], own[1].covariance, 1e-14)
    assert not full[..., :, :2, :, 2].any()
    z = (
        bl.Sampler(7, seed=0)
        .base_samples(whole.event_shape, r)
        .reshape(7, *(1,) * len(t), *r, 4, 3)
    )
    draws = torch.cat([own[0].rsample(z[..., :2]), own[1].rsample(z[..., 2:])], -1)
    assert_close(whole.rsample(z), draws, 1e-12)
    assert_close(both.output_scale, torch.cat([p.output_scale for p in parts], -1), 0.0)


def test_equal_data_and_kernels_are_one_model_with_several_outputs() -> None:
    model = gp(8, 3, m=2, r=(2,))
    values = model.hyperparameters()
    parts = [
        bl.ExactGP(model.X, model.Y[..., i : i + 1], model.bounds).with_hyperparameters(
            **{k: v[:, i : i + 1] for k, v in values.items()}
        )
        for i in range(2)
    ]
    both, X = bl.ModelList(parts), draw((5, 2, 3, 3), "X")
    assert_close(both.posterior(X).covariance, model.posterior(X).covariance, 1e-12)
    mixed = bl.weighted_sum(1.0, -0.5)
    acquisitions = [
        bl.qLogExpectedImprovement(m, 0.1, objective=mixed, sampler=bl.Sampler(32, seed=1))
        for m in (both, model)
    ]
    assert_close(*(acq(X) for acq in acquisitions), 1e-9)
    assert_close(*(gradient(acq, X) for acq in acquisitions), 1e-8)


def test_a_fit_fits_each() -> None:
    X, Y, bounds = dataset(9, 2, 2, (2,))
    parts = [bl.ExactGP(X, Y[..., :1], bounds), bl.ExactGP(X[:, :6], Y[:, :6, 1:], bounds)]
    both = bl.fit_mll(bl.ModelList(parts))
    assert len(both.fit_report) == 2
    for part, report in zip((X, Y[..., :1]), both.fit_report, strict=False):
        assert report.value.shape == (2, 1) and part.shape[0] == 2
    alone = bl.fit_mll(bl.ExactGP(X[:, :6], Y[:, :6, 1:], bounds))
    assert_close(both.fit_report[1].value, alone.fit_report.value, 1e-10)
    assert all(part.fit_report is None for part in parts)
    starts = [part.hyperparameters() for part in both]
    again = bl.fit_mll(both, start=starts)
    assert_close(again.fit_report[0].value, both.fit_report[0].value, 1e-8)
    with pytest.raises(bl.DataError, match="start: expected a sequence of 2 starts"):
        bl.fit_mll(both, start=starts[:1])


class Broken(Kernel):
    """Never a number."""

    has_lengthscale = True

    def forward(self, x1, x2, diag=False, **params):  # type: ignore[no-untyped-def]
        K = torch.nan * self.lengthscale[..., 0:1] * (x1[..., :, None, 0] - x2[..., None, :, 0])
        return K.diagonal(dim1=-2, dim2=-1) if diag else K


def test_a_failed_fit_leaves_all_models_as_they_were() -> None:
    X, Y, bounds = dataset(6, 2)
    first = bl.ExactGP(X, Y, bounds)
    before = first.hyperparameters()
    both = bl.ModelList([first, bl.ExactGP(X, Y, bounds, kernel=Broken())])
    with pytest.raises(bl.FitError):
        bl.fit_mll(both)
    for name, value in first.hyperparameters().items():
        assert_close(value, before[name], 1e-14, name)
    assert first.fit_report is None and both.fit_report is None


@pytest.mark.parametrize("r", [(), (2,)])
def test_new_and_imagined_data_go_to_each(r: tuple[int, ...]) -> None:
    both, parts = two(r)
    X, P = draw((*r, 2, 2), "new"), draw((*r, 3, 2), "P")
    Y = surface(X, 3)
    grown = both.condition(X, Y)
    own = [parts[0].condition(X, Y[..., :2]), parts[1].condition(X, Y[..., 2:])]
    assert_close(grown.posterior(P).mean, torch.cat([p.posterior(P).mean for p in own], -1), 1e-12)
    z = bl.Sampler(4, seed=0).base_samples((2, 3), r)
    fantasies = both.fantasize(X, z)
    assert fantasies.batch_shape == torch.Size((4, *r))
    other = parts[1].fantasize(X, z[..., 2:])
    far = P.unsqueeze(0)
    assert_close(fantasies.posterior(far).mean[..., 2:], other.posterior(far).mean, 1e-12)
    with pytest.raises(bl.ShapeError, match="expected 3 outputs"):
        both.condition(X, Y[..., :2])


def test_models_of_any_kind_side_by_side() -> None:
    model, ensemble = gp(6, 2, m=2), Ensemble()
    both, X = bl.ModelList([model, ensemble]), draw((5, 3, 2), "X")
    belief = both.posterior(X)
    own = model.posterior(X), ensemble.posterior(X)
    assert_close(belief.mean, torch.cat([p.mean for p in own], -1), 0.0)
    assert_close(belief.variance, torch.cat([p.variance for p in own], -1), 0.0)
    s = 1 << 12
    y = belief.rsample(bl.Sampler(s, seed=0).base_samples(belief.event_shape))
    assert y.shape == (s, 5, 3, 3)
    error = belief.variance.sqrt() / s**0.5
    assert bool(((y.mean(0) - belief.mean).abs() < 5 * error + 1e-12).all())
    with pytest.raises(AttributeError):
        both.output_scale  # noqa: B018
    with pytest.raises(bl.DataError, match="Ensemble; other surrogates fit themselves"):
        bl.fit_mll(both)
    with pytest.raises(bl.DataError, match="Ensemble has no method fantasize"):
        both.fantasize(X, torch.zeros(1, 3, 3, dtype=F64))


def test_bad_lists_are_refused() -> None:
    with pytest.raises(bl.DataError, match="at least one"):
        bl.ModelList([])
    with pytest.raises(bl.DataError, match="got int at position 1"):
        bl.ModelList([gp(5, 2), 3])  # type: ignore[list-item]
    with pytest.raises(bl.ShapeError, match="same replicate shape"):
        bl.ModelList([gp(5, 2), gp(5, 2, r=(2,))])


def test_masked_rows_of_a_list_are_no_competitors() -> None:
    # A failed evaluation is neither the incumbent nor a point to improve on, as in an ExactGP.
    X, Y, bounds = dataset(7, 2, 2, (3,))
    observed = draw((3, 7), "observed") > 0.4
    observed[:, 0] = True
    one = bl.ExactGP(X, Y, bounds, observed=observed)
    each = [bl.ExactGP(X, Y[..., i : i + 1], bounds, observed=observed) for i in range(2)]
    both = bl.ModelList(each)
    assert has_training_data(one) and has_training_data(both)
    assert torch.equal(both.Y, one.Y)
    failed = torch.where(observed.unsqueeze(-1), X, torch.nan)
    ours, known = (bl.incumbent(m, failed, objective=bl.output(0)) for m in (both, one))
    assert torch.equal(ours.x, known.x)
    points = draw((4, 3, 2, 2), "points")
    noisy = [bl.qLogNoisyExpectedImprovement(m, failed)(points) for m in (both, one)]
    assert_close(*noisy, 1e-9)
    apart = bl.ModelList([each[0], bl.ExactGP(X, Y[..., 1:], bounds)])
    assert not has_training_data(apart)
    for at, own in ((X + 0.01, "X"), (each[0].X, "observed")):
        apart = bl.ModelList([each[0], bl.ExactGP(at, Y[..., 1:], bounds)])
        assert not has_training_data(apart)
        for name in ("X", "Y", "observed"):
            text = f"the models of this list differ in {own}; ask each: .model.{name} for model"
            with pytest.raises(AttributeError, match=text):
                getattr(apart, name)
    with pytest.raises(AttributeError, match="'ModelList' object has no attribute 'Z'"):
        apart.Z  # noqa: B018


def test_models_say_where_they_were_observed_in_every_python() -> None:
    # isinstance with a protocol of attributes finds no buffers of a module from Python 3.12 on.
    model = gp(4, 2)
    with pytest.raises(AttributeError):
        inspect.getattr_static(model, "X")
    assert has_training_data(model)
    assert not has_training_data(Ensemble())
