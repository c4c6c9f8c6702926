"""Sampled acquisitions: closed forms for q = 1, brute force beyond, what the templates promise."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from gpytorch.kernels import RQKernel
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    F64,
    T,
    assert_close,
    build,
    cases,
    condition,
    dataset,
    draw,
    few,
    gp,
    gradient,
    hyperparameters,
    probes,
    tolerance,
)
from scipy import stats
from test_noisy_ei import Wrapped, template

import bolearn as bl
from bolearn.acquisition import (
    analytic,
    constrained,
    entropy,
    hypervolume_analytic,
    lookahead,
    monte_carlo,
    multi_objective,
)
from bolearn.acquisition.improvement import Threshold, average_log_improvement
from bolearn.numerics import fatmax, log_fatplus, logmeanexp

MANY = bl.Sampler(1 << 13, seed=2)
LIMITS = (bl.at_most(1, 0.9),)


def acquisitions(model: object, **options: object) -> dict[str, object]:
    """One of each kind, for a model with at least two outputs."""
    limits = options.pop("outcome_constraints", LIMITS)
    X = getattr(model, "X", None)
    own = {"outcome_constraints": limits, **options}
    found = {
        "qLogEI": bl.qLogExpectedImprovement(model, 0.1, **options),
        "qLogEI limited": bl.qLogExpectedImprovement(model, 0.1, **own),
        "qLogPF": bl.qLogProbabilityOfFeasibility(model, **own),
        "qUCB": bl.qUpperConfidenceBound(model, 2.0, **options),
        "qUCB limited": bl.qUpperConfidenceBound(model, 2.0, infeasible_value=-9.0, **own),
        "qSR": bl.qSimpleRegret(model, **options),
    }
    if X is not None:
        found["qLogNEI"] = bl.qLogNoisyExpectedImprovement(model, X, **options)
        found["qLogNEI limited"] = bl.qLogNoisyExpectedImprovement(model, X, **own)
    return found


# -- values --------------------------------------------------------------------------------------


@few
@given(cases(max_m=3), st.floats(0, 9))
def test_closed_forms_for_one_point(case: dict, beta: float) -> None:
    case = {**case, "q": 1, "m": max(case["m"], 2)}
    model, X = build(case), probes(case, (3,))
    p = model.posterior(X)
    mean, std = (v[..., 0, :] for v in (p.mean, p.variance.sqrt()))
    close = 2e-3 * (1 + std.amax().item())
    ucb = bl.qUpperConfidenceBound(model, beta, sampler=MANY)
    assert_close(ucb(X), mean[..., 0] + math.sqrt(beta) * std[..., 0], close * (1 + beta))
    last = bl.qSimpleRegret(model, objective=bl.output(-1), sampler=MANY)
    assert_close(last(X), mean[..., -1], close)
    limits = (bl.at_most(0, 0.5), bl.at_least(1, -0.2))
    feasible = bl.qLogProbabilityOfFeasibility(model, outcome_constraints=limits, sampler=MANY)
    u = (0.5 - mean[..., 0]) / std[..., 0], (mean[..., 1] + 0.2) / std[..., 1]
    chance = stats.norm.cdf(u[0].numpy()) * stats.norm.cdf(u[1].numpy())
    # smoothing moves a limit by a thousandth of the output's scale
    fuzzy = 5e-3 + 5e-3 * (model.output_scale.amax() / std.amin()).clamp(max=200).item()
    assert_close(feasible(X).exp(), chance, fuzzy)


def test_constrained_improvement_of_one_point_is_the_closed_form() -> None:
    model, X = gp(8, 2, m=3, r=(2,)), draw((12, 2, 1, 2), "X")
    limits = (bl.at_most(1, 0.8), bl.at_least(2, 0.1))
    exact = bl.LogConstrainedExpectedImprovement(model, 0.2, outcome_constraints=limits)
    sampled = bl.qLogExpectedImprovement(model, 0.2, outcome_constraints=limits, sampler=MANY)
    assert_close(sampled(X).exp(), exact(X).exp(), 5e-3)
    unbounded = bl.qLogExpectedImprovement(model, 0.2, sampler=MANY)
    assert bool((sampled(X) <= unbounded(X)).all())


@pytest.mark.parametrize("q", [1, 3])
def test_brute_force(q: int) -> None:
    """200,000 draws from another generator, each utility by its definition."""
    model, s, beta = gp(8, 2, m=2), 200_000, 2.0
    acqs = acquisitions(model, sampler=bl.Sampler(4096, seed=1))
    rng = np.random.default_rng(1)
    for X in draw((3, q, 2), "X"):
        p = model.posterior(X)
        f = rng.multivariate_normal(p.mean.flatten().numpy(), p.covariance.numpy(), size=s)
        f = f.reshape(s, q, 2)
        y, inside = f[..., 0], f[..., 1] <= 0.9
        mean = p.mean[:, 0].numpy()
        bound = mean + math.sqrt(beta * math.pi / 2) * np.abs(y - mean)
        for name, sample in {
            "qLogEI": np.maximum(y - 0.1, 0).max(-1),
            "qLogEI limited": (np.maximum(y - 0.1, 0) * inside).max(-1),
            "qLogPF": inside.any(-1).astype(float),
            "qUCB": bound.max(-1),
            "qUCB limited": np.where(inside, bound, -9.0).max(-1),
            "qSR": y.max(-1),
        }.items():
            got = acqs[name](X.unsqueeze(0)).item()
            got = math.exp(got) if "Log" in name else got
            # standard errors of both averages, and the smoothing of limits and of the maximum
            error = 4 * sample.std() * (1 / math.sqrt(s) + 1 / 64) + 2e-3 * (
                10 if "lim" in name else 1
            )
            high = 0.01 * math.log(q) * sample.mean() if "Log" in name else 0.0
            assert sample.mean() - error < got < sample.mean() + error + high, name


# -- the fused path ------------------------------------------------------------------------------


@few
@given(cases(max_m=3, max_n=200), st.integers(1, 8), st.sampled_from([-1.0, 0.5, 50.0]))
def test_fused_path_is_the_template(case: dict, q: int, best: float) -> None:
    case = {**case, "q": q}
    model, X = build(case), probes(case, (3,))
    options = {"objective": bl.output(case["m"] - 1), "sampler": bl.Sampler(16, seed=case["seed"])}
    acq = bl.qLogExpectedImprovement(model, best, **options)
    tol = tolerance(condition(model))
    assert_close(acq(X), template(acq)(X), tol, "value")
    if case["kind"] == "plain":  # elsewhere, jitter decides about gradients
        assert_close(gradient(acq, X), gradient(template(acq), X), max(tol, 1e-6), "gradient")


@pytest.mark.parametrize("q", [1, 2, 5])
def test_derivatives_of_the_average_with_ties(q: int) -> None:
    """The kernel against autograd through the primitives, also where several points are best."""
    mean, A = draw((3, 4, q), "mean") - 0.5, draw((3, 4, q, 6), "A") - 0.5
    mean[..., :3], A[..., :3, :] = mean[..., :1], A[..., :1, :]  # the same draws: ties
    z, scale = 3 * draw((3, 6, 20), "z") - 1.5, 0.5 + draw((3,), "scale")
    for best in (draw((3, 20), "best"), draw((3, 1), "best"), draw((3, 1), "best") + 1e3):
        threshold = Threshold.of(best, scale)
        value, *slopes = average_log_improvement(mean, A, z, threshold, True)
        leaves = [v.clone().requires_grad_(True) for v in (mean, A)]
        y = leaves[0].unsqueeze(-1) + leaves[1] @ z.unsqueeze(1)
        unit = scale[:, None, None, None]
        log_gain = log_fatplus((y - best[:, None, None, :]) / unit) + unit.log()
        expected = logmeanexp(fatmax(log_gain, dim=-2), dim=-1)
        assert_close(value, expected, 1e-12)
        for mine, slope in zip(slopes, torch.autograd.grad(expected.sum(), leaves), strict=True):
            assert_close(mine / slope.abs().max(), slope / slope.abs().max(), 1e-9)
        assert average_log_improvement(mean, A, z, threshold, False)[1:] == (None, None)


@pytest.mark.parametrize("shape", [(1, 3, 2), (5, 700, 9), (40, 16, 2)])
def test_blocks_do_not_matter(shape: tuple[int, ...]) -> None:
    """Several replicates, or parts of one, to a block of memory."""
    R, t, q = shape
    model, X = gp(5, 2, r=(R,)), draw((t, R, q, 2), "X")
    acq = bl.qLogExpectedImprovement(model, 0.3, sampler=bl.Sampler(32, seed=0))
    assert_close(acq(X), template(acq)(X), 1e-9)
    some = X[:3]
    assert_close(acq(some), acq(X)[:3], 1e-10)
    assert_close(gradient(acq, X)[:3], gradient(template(acq), some), 1e-6)


@pytest.mark.parametrize("q", [1, 3])
def test_second_derivatives_are_those_of_the_template(q: int) -> None:
    model = gp(6, 2)
    X = draw((2, q, 2), "X").requires_grad_(True)
    acq = bl.qLogExpectedImprovement(model, -2.0, sampler=bl.Sampler(8, seed=0))
    assert torch.autograd.gradcheck(acq, X)
    assert torch.autograd.gradgradcheck(acq, X, atol=1e-4, rtol=1e-3)


def test_a_subclass_gets_what_it_says() -> None:
    """Overridden hooks are never bypassed."""

    class Doubled(bl.qLogExpectedImprovement):
        def utility(self, y: torch.Tensor) -> torch.Tensor:
            return super().utility(y) + math.log(2.0)

    class Shifted(bl.qLogNoisyExpectedImprovement):
        def draw(self, X: torch.Tensor) -> torch.Tensor:
            return super().draw(X) - 0.25

    model, X = gp(6, 2), draw((4, 2, 2), "X")
    plain = bl.qLogExpectedImprovement(model, 0.2)
    assert_close(Doubled(model, 0.2)(X), plain(X) + math.log(2.0), 1e-9)
    noisy = bl.qLogNoisyExpectedImprovement(model, model.X)
    assert bool((Shifted(model, model.X)(X) < noisy(X)).all())


def test_a_utility_that_may_be_negative_takes_one_line() -> None:
    @dataclass(frozen=True, eq=False)
    class Exponential(bl.MonteCarloAcquisition):
        risk: float

        def utility(self, y: torch.Tensor) -> torch.Tensor:
            return -(-self.risk * y).exp()

    model, X = gp(6, 2), draw((4, 1, 2), "X")
    p = model.posterior(X)
    mean, variance = p.mean[..., 0, 0], p.variance[..., 0, 0]
    expected = -(-0.5 * mean + 0.125 * variance).exp()  # the normal's moment-generating function
    assert_close(Exponential(model, 0.5, sampler=MANY)(X), expected, 1e-3)


def test_the_example_of_the_package_page_runs() -> None:
    text = (Path(bl.__file__).parent / "README.md").read_text(encoding="utf-8")
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "utility" in b]
    scope: dict = {}
    exec(compile(block, "README.md", "exec"), scope)
    model, X = gp(8, 2), draw((5, 1, 2), "X")
    acq = scope["qLogProbabilityAbove"](model, 0.3, sampler=MANY)
    exact = bl.ProbabilityOfImprovement(model, 0.3)
    assert_close(acq(X).exp(), exact(X), 1e-2)
    assert acq.with_pending(X[0])(X).shape == (5,)


def test_the_table_of_acquisitions_is_complete() -> None:
    ours = [analytic, constrained, entropy, lookahead, monte_carlo]
    ours += [hypervolume_analytic, multi_objective]
    shipped = {
        name
        for module in ours
        for name, value in vars(module).items()
        if name in bl.__all__ and isinstance(value, type) and "__call__" in dir(value)
    } - {"LogMonteCarloAcquisition", "MonteCarloAcquisition", "Sampler"}
    rows = re.findall(r"^\| `(\w+)`", bl.acquisition.__doc__, re.MULTILINE)
    assert shipped == set(rows) and len(rows) == len(set(rows)) == 22


def test_independent_models_side_by_side_are_one_model() -> None:
    """The general path for Gaussian beliefs against the closed form."""
    model, X = gp(7, 2, m=2, r=(2,)), draw((4, 2, 3, 2), "X")
    parts = []
    for i in range(2):
        own = {
            name: value[..., i : i + 1, :] if name == "lengthscale" else value[..., i : i + 1]
            for name, value in model.hyperparameters().items()
        }
        part = bl.ExactGP(model.X, model.Y[..., i : i + 1], model.bounds)
        parts.append(part.with_hyperparameters(**own))
    for limits in ((), LIMITS):
        one, two = (
            bl.qLogNoisyExpectedImprovement(f, model.X, outcome_constraints=limits)
            for f in (model, bl.ModelList(parts))
        )
        assert one.baseline.counts == two.baseline.counts
        assert_close(two(X), one(X), 1e-9)
        assert_close(gradient(two, X), gradient(one, X), 1e-8)


# -- what all of them promise --------------------------------------------------------------------


@few
@given(cases(max_m=3), st.integers(1, 8), st.integers(1, 3))
def test_shapes_pending_points_and_finite_gradients(case: dict, q: int, p: int) -> None:
    case = {**case, "q": q, "m": max(case["m"], 2)}
    model = build(case)
    P = draw((*case["r"], p, case["d"]), "pending", case["seed"])
    for t in ((), (2, 3)):
        X = probes(case, t)
        joint = torch.cat([X, P.expand(*X.shape[:-2], p, -1)], dim=-2)
        for name, acq in acquisitions(model, sampler=bl.Sampler(8)).items():
            value = acq(X)
            assert value.shape == X.shape[:-2] and value.dtype == F64, name
            assert torch.isfinite(value).all(), name
            assert_close(acq.with_pending(P)(X), acq(joint), 1e-9, name)
            if not t:
                assert torch.isfinite(gradient(acq.with_pending(P), X)).all(), name


@pytest.mark.parametrize("shift", [0.0, 1e3])
@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e9])
def test_units_of_y(scale: float, shift: float) -> None:
    model, P = gp(8, 2, m=2), draw((5, 2, 2), "P")
    other = bl.ExactGP(model.X, scale * (model.Y + shift), model.bounds)
    other = other.with_hyperparameters(**model.hyperparameters())

    def to(y: float) -> float:
        return scale * (y + shift)

    def pairs(make: object) -> list[object]:
        return [make(f, u) for f, u in ((model, float), (other, to))]

    limits = [(bl.at_most(1, u(0.9)),) for u in (float, to)]
    for name, (a, b) in {
        "ei": pairs(lambda f, u: bl.qLogExpectedImprovement(f, u(0.1))),
        "limited": [
            bl.qLogExpectedImprovement(f, u(0.1), outcome_constraints=c)
            for (f, u), c in zip(((model, float), (other, to)), limits, strict=True)
        ],
        "nei": pairs(lambda f, u: bl.qLogNoisyExpectedImprovement(f, f.X)),
    }.items():
        assert_close(b(P) - math.log(scale), a(P), 1e-6, name)
        assert_close(gradient(b, P), gradient(a, P), 1e-4, name)
    a, b = (
        bl.qLogProbabilityOfFeasibility(f, outcome_constraints=c)
        for f, c in zip((model, other), limits, strict=True)
    )
    assert_close(b(P), a(P), 1e-6)
    for a, b in (
        pairs(lambda f, u: bl.qUpperConfidenceBound(f, 2.0)),
        pairs(lambda f, u: bl.qSimpleRegret(f)),
    ):
        assert_close(b(P) / scale - shift, a(P), 1e-8)


def test_permuting_q_and_moving_replicates() -> None:
    model = gp(8, 2, m=2, r=(3,))
    X = draw((4, 3, 3, 2), "X")
    for name, acq in acquisitions(model, sampler=bl.Sampler(1 << 12, seed=4)).items():
        value, moved = acq(X), acq(X[:, :, [2, 0, 1]])
        if "Log" in name:
            value, moved = value.exp(), moved.exp()
        assert_close(moved, value, 2e-2, name)
        assert_close(acq(X[[3, 1]]), acq(X)[[3, 1]], 1e-9, name)
    order = [2, 0, 1]
    other = bl.ExactGP(model.X[order], model.Y[order], model.bounds)
    other = other.with_hyperparameters(**{k: v[order] for k, v in model.hyperparameters().items()})
    one = acquisitions(model, sampler=bl.Sampler(16, seed=(1, 2, 3)))
    two = acquisitions(other, sampler=bl.Sampler(16, seed=[3, 1, 2]))
    for name, acq in one.items():
        assert_close(two[name](X[:, order]), acq(X)[:, order], 1e-9, name)


def test_replicates_have_streams_of_their_own() -> None:
    one = gp(6, 2, m=2)
    X, Y, bounds = (v.expand(2, *v.shape) for v in (one.X, one.Y, one.bounds))
    model = bl.ExactGP(X, Y, bounds)
    model = model.with_hyperparameters(**{k: v for k, v in one.hyperparameters().items()})
    P = draw((4, 1, 2, 2), "X")
    for name, acq in acquisitions(model, outcome_constraints=(bl.at_most(1, 0.6),)).items():
        value = acq(P)
        assert value.shape == (4, 2)
        if "PF" not in name:  # chances of 0 and 1 have no error
            assert bool((value[:, 0] != value[:, 1]).any()), name
        same = acquisitions(
            model, outcome_constraints=(bl.at_most(1, 0.6),), sampler=bl.Sampler(128, seed=(3, 3))
        )[name](P)
        assert_close(same[:, 0], same[:, 1], 1e-9, name)


def test_replicates_in_a_batch_equal_replicates_alone() -> None:
    counts = [8, 3, 1]
    full = gp(8, 2, m=2, r=(3,))
    observed = torch.arange(8) < T(counts)[:, None]
    model = bl.ExactGP(full.X, full.Y, full.bounds, observed=observed)
    model = model.with_hyperparameters(**hyperparameters(model, 1))
    P = draw((4, 3, 2, 2), "P")
    batch = acquisitions(model, sampler=bl.Sampler(16, seed=(4, 5, 6)))
    for i, n in enumerate(counts):
        alone = bl.ExactGP(full.X[i, :n], full.Y[i, :n], full.bounds).with_hyperparameters(
            **{k: v[i] for k, v in model.hyperparameters().items()}
        )
        for name, acq in acquisitions(alone, sampler=bl.Sampler(16, seed=4 + i)).items():
            assert_close(acq(P[:, i]), batch[name](P)[:, i], 1e-8, name)


@pytest.mark.parametrize("plain", [False, True])
def test_any_surrogate_works(plain: bool) -> None:
    model, P = gp(6, 2, m=2, r=(2,)), draw((4, 2, 2, 2), "P")
    exact, other = (
        acquisitions(f, sampler=bl.Sampler(32, seed=3)) for f in (model, Wrapped(model, plain))
    )
    for name, acq in other.items():
        # limits are smoothed in user units where no others are known
        value, expected = (f(P).exp() if "Log" in name else f(P) for f in (acq, exact[name]))
        assert_close(value, expected, 0.05 if "lim" in name or "PF" in name else 1e-5, name)
        assert torch.isfinite(gradient(acq, P)).all()


def test_infeasible_points_count_as_the_given_value() -> None:
    model, X = gp(8, 2, m=2), draw((5, 2, 2), "X")
    never, always = (bl.at_most(1, -1e6),), (bl.at_most(1, 1e6),)
    for make in (
        lambda **k: bl.qSimpleRegret(model, **k),
        lambda **k: bl.qUpperConfidenceBound(model, 1.0, **k),
    ):
        nothing = make(outcome_constraints=never, infeasible_value=-7.0)(X)
        assert_close(nothing, torch.full((5,), -7.0, dtype=F64), 1e-6)
        assert_close(make(outcome_constraints=always, infeasible_value=-7.0)(X), make()(X), 1e-6)
        with pytest.raises(bl.DataError, match=r"infeasible_value=.*qLogNoisy"):
            make(outcome_constraints=never)
        with pytest.raises(bl.DataError, match="infeasible_value: expected finite"):
            make(outcome_constraints=never, infeasible_value=-math.inf)


def test_a_point_that_is_far_from_feasible_finds_its_way() -> None:
    model, X = gp(8, 2, m=2), draw((5, 2, 2), "X")
    limits = (bl.at_least(1, 1e5),)
    for acq in (
        bl.qLogProbabilityOfFeasibility(model, outcome_constraints=limits),
        bl.qLogExpectedImprovement(model, 0.0, outcome_constraints=limits),
        bl.qLogNoisyExpectedImprovement(model, model.X, outcome_constraints=limits),
    ):
        slope = gradient(acq, X)
        assert torch.isfinite(acq(X)).all() and torch.isfinite(slope).all()
        assert bool((slope.abs().amax((-2, -1)) > 1e-8).all())


def test_wrong_input() -> None:
    model = gp(5, 2, m=2, r=(2,))
    with pytest.raises(bl.DataError, match="outcome_constraints: expected at least one"):
        bl.qLogProbabilityOfFeasibility(model)
    for value, words in ((-1.0, "beta.*>= 0"), (math.nan, "beta.*finite")):
        with pytest.raises(bl.DataError, match=words):
            bl.qUpperConfidenceBound(model, value)
    with pytest.raises(bl.ShapeError, match=r"beta.*\(2,\)"):
        bl.qUpperConfidenceBound(model, torch.zeros(3, dtype=F64))
    for name, acq in acquisitions(model, sampler=bl.Sampler(4)).items():
        for X, error, words in (
            (torch.zeros(2, 1, 2), bl.DataError, "float32"),
            (torch.full((2, 1, 2), torch.nan, dtype=F64), bl.DataError, "finite"),
            (torch.zeros(3, 1, 2, dtype=F64), bl.ShapeError, r"replicates \(2,\)"),
            (torch.zeros(2, 1, 3, dtype=F64), bl.ShapeError, "2 inputs"),
            (torch.zeros(2, 0, 2, dtype=F64), bl.ShapeError, "q = 0"),
        ):
            with pytest.raises(error, match=words):
                acq(X)
            if X.ndim == 3 and words != "q = 0" and "inputs" not in words:
                with pytest.raises(error, match=words):
                    acq.with_pending(X)
        assert name and acq.X_pending is None


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("r", [(), (2,)])
def test_functions_are_smoothed_in_units_of_what_was_observed(
    scale: float, r: tuple[int, ...]
) -> None:
    X, Y, bounds = dataset(8, 2, 1, r)
    observed = draw((*r, 8), "observed") > 0.2
    model = bl.ExactGP(X, scale * Y, bounds, observed=observed)
    P = draw((4, *r, 2, 2), "P")
    ours = [
        bl.qLogExpectedImprovement(model, 0.5 * scale),
        bl.qLogExpectedImprovement(model, 0.5 * scale, objective=lambda y: y[..., 0]),
        bl.qLogNoisyExpectedImprovement(model, X),
        bl.qLogNoisyExpectedImprovement(model, X, objective=lambda y: y[..., 0]),
    ]
    assert_close(ours[1](P), ours[0](P), 1e-9)
    assert_close(ours[3](P), ours[2](P), 1e-9)
    limit, function = bl.at_most(0, 0.9 * scale), lambda y: y[..., 0] - 0.9 * scale
    known, own = (
        bl.qLogExpectedImprovement(model, 0.5 * scale, outcome_constraints=(c,))(P)
        for c in (limit, function)
    )
    assert_close(own, known, 1e-9)
    unit = bl.ExactGP(X, Y, bounds, observed=observed)
    again = bl.qLogExpectedImprovement(unit, 0.5, objective=lambda y: y[..., 0])
    assert_close(ours[1](P) - math.log(scale), again(P), 1e-7)
    never = bl.qLogExpectedImprovement(model, 0.0, objective=lambda y: 0 * y[..., 0])
    assert torch.isfinite(never(P)).all()


@pytest.mark.parametrize("plain", [True, False])
def test_inference_mode_leaves_nothing_behind(plain: bool) -> None:
    """Base samples and models are cached; whoever asks first may be in inference mode."""
    kernel = None if plain else RQKernel()
    model = bl.ExactGP(draw((6, 2), "X"), draw((6, 2), "Y"), gp(3, 2).bounds, kernel=kernel)
    limits, sampler = (bl.at_most(1, 0.9),), bl.Sampler(16, seed=12345 + plain)
    acqs = (
        bl.qSimpleRegret(model, sampler=sampler),
        bl.qUpperConfidenceBound(model, 1.0, sampler=sampler),
        bl.qLogExpectedImprovement(model, 0.5, sampler=sampler, outcome_constraints=limits),
        bl.qLogNoisyExpectedImprovement(
            model, model.X, sampler=sampler, outcome_constraints=limits
        ),
    )
    P = draw((3, 2, 2), "P")
    with torch.inference_mode():
        before = [acq(P) for acq in acqs]
    for acq, value in zip(acqs, before, strict=True):
        assert_close(acq(P), value.clone(), 1e-12)
        assert gradient(acq, P).isfinite().all()
