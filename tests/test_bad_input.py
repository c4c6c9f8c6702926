"""Bad input at every public entry: an error that names what came and what to do, and no change."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from gpytorch.kernels import RBFKernel, RQKernel
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import config
from oracles import F64, T, box, dataset, draw, few, gp

import bolearn as bl
from bolearn import teach


@pytest.fixture(autouse=True, scope="module")
def unchecked() -> Iterator[None]:
    """As users run it: without the annotations of the test suite, which would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def refused(call: Callable[[], object], *words: str) -> None:
    """The call raises a BolearnError whose message has these words."""
    with pytest.raises(bl.BolearnError) as caught:
        call()
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"
    assert len(str(caught.value)) > 20


CORRUPTIONS: dict[str, tuple[Callable[[torch.Tensor, int], object], tuple[str, ...]]] = {
    "float32": (lambda x, i: x.float(), ("float64", "float32", ".double()")),
    "integers": (lambda x, i: x.long(), ("float64", "int64", ".double()")),
    "a list": (lambda x, i: x.tolist(), ("list", "torch.as_tensor")),
    "None": (lambda x, i: None, ("NoneType",)),
    "NaN": (lambda x, i: _poke(x, i, torch.nan), ("finite", "nan")),
    "inf": (lambda x, i: _poke(x, i, torch.inf), ("finite", "inf")),
    "-inf": (lambda x, i: _poke(x, i, -torch.inf), ("finite", "-inf")),
    "rank 1": (lambda x, i: x.flatten()[:3], ("shape",)),
    "rank 0": (lambda x, i: x.flatten()[0], ()),
}


def _poke(x: torch.Tensor, i: int, value: float) -> torch.Tensor:
    bad = x.clone()
    bad.view(-1)[i % bad.numel()] = value
    return bad


bad_tensor = st.tuples(st.sampled_from(sorted(CORRUPTIONS)), st.integers(0, 99))
ranks = st.sampled_from([(), (2,), (2, 2)])


@few
@given(bad_tensor, st.sampled_from(["X", "Y", "bounds"]), ranks, st.integers(1, 3))
def test_data_of_a_model(bad: tuple[str, int], name: str, r: tuple[int, ...], d: int) -> None:
    X, Y, bounds = dataset(4, d, 1, r)
    corrupt, words = CORRUPTIONS[bad[0]]
    data = {"X": X, "Y": Y, "bounds": bounds}
    copies = {k: v.clone() for k, v in data.items()}
    given_ = {**data, name: corrupt(data[name], bad[1])}
    refused(lambda: bl.ExactGP(**given_), name, *words)
    for key, value in data.items():
        assert torch.equal(value, copies[key])


@few
@given(bad_tensor, ranks, st.integers(1, 3))
def test_points_of_a_posterior(bad: tuple[str, int], r: tuple[int, ...], d: int) -> None:
    model = gp(4, d, 1, r)
    corrupt, words = CORRUPTIONS[bad[0]]
    words = tuple(w for w in words if w != "shape")
    X = corrupt(draw((*r, 2, d), "X"), bad[1])
    if bad[0] == "rank 1":
        words = ()
    before = model.hyperparameters()
    refused(lambda: model.posterior(X), "X", *words)
    for name, value in model.hyperparameters().items():
        assert torch.equal(value, before[name])


@few
@given(ranks, st.integers(1, 3), st.integers(1, 3), st.integers(0, 2))
def test_points_with_another_number_of_inputs(
    r: tuple[int, ...], d: int, other: int, q: int
) -> None:
    model = gp(4, d, 1, r)
    X = draw((*r, q, other), "X") if q else torch.zeros(*r, 0, other, dtype=F64)
    if other != d:
        words = (f"{d} inputs", f"got {other}")
        refused(lambda: model.posterior(X), *words)
        refused(lambda: bl.LogExpectedImprovement(model, 0.0)(X), "inputs" if q == 1 else "X")
    elif q == 0:
        refused(lambda: model.posterior(X), "q >= 1", "q = 0")


@few
@given(bad_tensor, st.sampled_from(["sobol_points", "optimize_acqf"]))
def test_boxes(bad: tuple[str, int], entry: str) -> None:
    corrupt, words = CORRUPTIONS[bad[0]]
    bounds = corrupt(box(3), bad[1])

    def call() -> object:
        if entry == "sobol_points":
            return bl.sobol_points(bounds, n=3, seed=0)
        return bl.optimize_acqf(lambda X: X.sum((-2, -1)), bounds, seed=0)

    refused(call, "bounds", *words)


@few
@given(st.integers(0, 2), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_inverted_and_empty_boxes(i: int, low: float, width: float) -> None:
    bounds = box(3)
    bounds[0, i], bounds[1, i] = low + width, low
    word = "swap" if low + width > low else "drop the input or widen"
    for call in (
        lambda: bl.sobol_points(bounds, n=3, seed=0),
        lambda: bl.optimize_acqf(lambda X: X.sum((-2, -1)), bounds, seed=0),
        lambda: bl.ExactGP(*dataset(4, 3)[:2], bounds),
    ):
        refused(call, "bounds", "lower < upper", f"input {i}", word)
    refused(lambda: bl.sobol_points(box(3).T, n=3, seed=0), "(3, 2)", "bounds.T")
    refused(lambda: bl.ExactGP(*dataset(4, 2)[:2], box(3)), "2 columns", "got 3")
    refused(lambda: bl.ExactGP(*dataset(4, 2)[:2], box(2).expand(3, 2, 2)), "bounds", "(3, 2, 2)")


def test_data_that_do_not_belong_together() -> None:
    X, Y, bounds = dataset(4, 2)
    refused(lambda: bl.ExactGP(X, Y[:3], bounds), "X (4, 2)", "Y (3, 1)")
    refused(lambda: bl.ExactGP(X, Y[:, 0], bounds), "Y.unsqueeze(-1)", "(4,)")
    refused(lambda: bl.ExactGP(X[:0], Y[:0], bounds), "at least one observation", "(0, 2)")
    refused(lambda: bl.ExactGP(X, Y[:, :0], bounds), "one output", "(4, 0)")
    refused(lambda: bl.ExactGP(X.expand(2, 4, 2), Y, bounds), "(2, 4, 2)", "(4, 1)")
    for observed, words in (
        (torch.ones(3, dtype=torch.bool), ("observed", "(4,)", "(3,)")),
        (torch.ones(4), ("observed", "bool", "float32")),
        (torch.zeros(4, dtype=torch.bool), ("observed", "at least one", "replicate ()")),
    ):
        refused(lambda o=observed: bl.ExactGP(X, Y, bounds, observed=o), *words)


def test_devices_are_not_mixed() -> None:
    # The meta device stands for any other: it has shapes and no values. (Masks switch off the
    # look at values that would come first.)
    X, Y, bounds = dataset(4, 2)
    mask = torch.ones(4, dtype=torch.bool)
    there = {"X": X.to("meta"), "Y": Y.to("meta"), "observed": mask.to("meta")}
    for name, value in there.items():
        data = {"X": X, "Y": Y, "observed": mask, name: value}
        refused(lambda d=data: bl.ExactGP(**d, bounds=bounds), f"{name} on meta", "on cpu", ".to(")


@few
@given(st.sampled_from([0.0, -1.0, torch.nan, torch.inf]), st.booleans())
def test_noise_variances(value: float, as_tensor: bool) -> None:
    X, Y, bounds = dataset(4, 2)
    noise = T([value]) if as_tensor else value
    refused(lambda: bl.ExactGP(X, Y, bounds, noise_var=noise), "noise_var")
    refused(lambda: bl.ExactGP(X, Y, bounds, noise_var=T([0.1, 0.2])), "noise_var", "(2,)")


@few
@given(st.text(min_size=1, max_size=8), st.sampled_from([torch.nan, torch.inf]))
def test_hyperparameters(name: str, value: float) -> None:
    model = gp(4, 2)
    before = model.hyperparameters()
    if name not in before:
        refused(lambda: model.with_hyperparameters(**{name: 1.0}), repr(name), "lengthscale")
        refused(lambda: bl.fit_mll(model, start={name: T(1.0)}), repr(name), "noise_var")
    for known in before:
        refused(lambda k=known: model.with_hyperparameters(**{k: value}), known, "finite")
    refused(lambda: model.with_hyperparameters(lengthscale=T([1.0, 2.0, 3.0])), "(1, 2)", "(3,)")
    refused(lambda: model.with_hyperparameters(lengthscale=-1.0), "lengthscale", "-1")
    for key, old in model.hyperparameters().items():
        assert torch.equal(old, before[key])


LEVELS = [
    (torch.nan, ("finite", "nan")),
    (torch.inf, ("finite", "inf")),
    ("best", ("str",)),
    (None, ("NoneType",)),
    (True, ("bool",)),
    (torch.tensor(1.0), ("float64", "float32", ".double()")),
    (torch.zeros(3, dtype=F64), ("(2,)", "(3,)")),
    (torch.zeros(2, 1, dtype=F64), ("(2,)", "(2, 1)")),
]


@pytest.mark.parametrize("level, words", LEVELS)
def test_levels_of_acquisitions(level: object, words: tuple[str, ...]) -> None:
    model = gp(4, 2, r=(2,))
    for acq in (bl.LogExpectedImprovement, bl.ExpectedImprovement, bl.qLogExpectedImprovement):
        refused(lambda a=acq: a(model, level), "best_f", *words)
    refused(lambda: bl.UpperConfidenceBound(model, level), "beta", *words)
    refused(lambda: bl.UpperConfidenceBound(model, -1.0), "beta", ">= 0", "-1.0")


@few
@given(
    st.sampled_from(["q", "num_restarts", "raw_samples"]),
    st.one_of(st.integers(-5, 0), st.floats(1, 3), st.sampled_from([True, None, "2"])),
)
def test_counts(name: str, value: object) -> None:
    call = {name: value}
    refused(
        lambda: bl.optimize_acqf(lambda X: X.sum((-2, -1)), box(2), seed=0, **call),
        name,
        "integer >= 1",
        repr(value),
    )
    refused(lambda: bl.sobol_points(box(2), n=value, seed=0), "n", repr(value))
    refused(lambda: bl.Sampler(value, seed=0), "num_samples", repr(value))


@few
@given(st.sampled_from([-1, 1.5, True, None, "x", [1, -1], 2**63]))
def test_seeds(seed: object) -> None:
    model = gp(4, 2)
    for call in (
        lambda: bl.optimize_acqf(lambda X: X.sum((-2, -1)), box(2), seed=seed),
        lambda: bl.sobol_points(box(2), n=2, seed=seed),
        lambda: bl.Sampler(2, seed=seed),
        lambda: bl.fit_mll(model, seed=seed),
    ):
        refused(call, "seed", "[0, 2**63)")


FIXED = [
    ({2: 0.5}, "2"),
    ({-1: 0.5}, "-1"),
    ({"x": 0.5}, "'x'"),
    ({0: 1.5}, "1.5"),
    ({0: torch.nan}, "nan"),
    ({0: "a"}, "'a'"),
]


@pytest.mark.parametrize("fixed, word", FIXED)
def test_fixed_inputs(fixed: dict, word: str) -> None:
    refused(
        lambda: bl.optimize_acqf(lambda X: X.sum((-2, -1)), box(2), fixed=fixed, seed=0),
        "fixed",
        word,
    )


def test_parts_of_a_model_of_the_wrong_kind() -> None:
    X, Y, bounds = dataset(4, 2)
    refused(lambda: bl.ExactGP(X, Y, bounds, kernel="rbf"), "kernel", "gpytorch", "'rbf'")
    refused(lambda: bl.ExactGP(X, Y, bounds, mean="zero"), "mean", "gpytorch", "'zero'")
    refused(lambda: bl.ExactGP(X, Y, bounds, noise_var="small"), "noise_var", "'small'")
    refused(lambda: bl.ExactGP(X, Y, bounds, observed=[True] * 4), "observed", "list")
    model = gp(4, 2)
    refused(lambda: model.with_hyperparameters(lengthscale="long"), "lengthscale", "'long'")
    refused(lambda: model.condition(X, Y, observed=[True] * 4), "observed", "list")
    refused(lambda: bl.ModelList(model), "models", "ExactGP", "ModelList([")
    both = bl.ModelList([model, model])
    refused(lambda: bl.log_marginal_likelihood(both), "ExactGP", "ModelList")
    refused(lambda: bl.leave_one_out(both), "ExactGP", "ModelList")
    refused(lambda: both.condition(X, "Y"), "Y", "str")
    refused(lambda: both.fantasize(X, None), "z", "NoneType")
    refused(lambda: bl.strategies.ucb(-1.0), "beta", ">= 0", "-1.0")


def test_base_samples() -> None:
    model = gp(4, 2)
    X = model.X
    for z in (torch.zeros(3, 4, 1), "z", None):
        refused(lambda z=z: model.posterior(X).rsample(z), "z", "float64")
        refused(lambda z=z: model.fantasize(X, z), "z", "float64")


def test_points_of_paths() -> None:
    model = gp(4, 2, r=(3,))
    paths = bl.draw_paths(model, 2, seed=0)
    refused(lambda: paths(model.X[0]), "replicates", "(4, 2)")
    refused(lambda: paths(model.X[0, 0]), "X", "(2,)")
    refused(lambda: paths(model.X.float()), "X", "float32")
    refused(lambda: paths.at_each("X"), "X", "str")
    refused(lambda: bl.draw_paths(gp(4, 2), 2, seed=0)(model.X[0, 0]), "X.unsqueeze(-2)")


def test_replicates_of_thompson_sampling() -> None:
    model = gp(4, 2)
    refused(lambda: bl.thompson(model, box(2).expand(3, 2, 2), seed=0), "bounds", "(3, 2, 2)")
    choices = model.X.expand(3, 4, 2)
    refused(lambda: bl.thompson(model, choices=choices, seed=0), "choices", "(3, 4, 2)")


def test_objectives_give_one_number_for_each_point() -> None:
    # Functions that keep the output axis were once averaged as if outputs were points.
    model = gp(4, 2, m=2)
    X = draw((3, 2, 2), "X")
    limited = bl.qLogProbabilityOfFeasibility
    for wrong in (lambda y: y, lambda y: y.sum(), lambda y: y[..., :1], lambda y: 1.0):
        for make in (
            lambda w: bl.qLogExpectedImprovement(model, 0.0, objective=w)(X),
            lambda w: bl.qUpperConfidenceBound(model, 1.0, objective=w)(X),
            lambda w: bl.qSimpleRegret(model, objective=w)(X),
            lambda w: bl.qLogNoisyExpectedImprovement(model, model.X, objective=w)(X),
        ):
            refused(lambda m=make, w=wrong: m(w), "objective", "bolearn.output(i)")
        for make in (
            lambda w: bl.qLogNoisyExpectedImprovement(model, model.X, outcome_constraints=(w,))(X),
            lambda w: limited(model, outcome_constraints=(w,))(X),
        ):
            refused(lambda m=make, w=wrong: m(w), "outcome_constraints", "got")
        refused(lambda w=wrong: bl.incumbent(model, X, objective=w), "objective")
        constrained = {"objective": bl.output(0), "outcome_constraints": (wrong,)}
        refused(lambda c=constrained: bl.incumbent(model, X, **c), "outcome_constraints")


def test_objectives_and_constraints_give_float64() -> None:
    model = gp(4, 2, m=2)
    X = draw((3, 2, 2), "X")
    first = {"objective": bl.output(0)}
    wrongs = (lambda y: y[..., 0] <= 0.5, lambda y: y[..., 0].long(), lambda y: y[..., 0].float())
    for wrong, name in zip(wrongs, ("bool", "int64", "float32"), strict=True):
        limits = {**first, "outcome_constraints": (wrong,)}
        for options, who in (({"objective": wrong}, "objective"), (limits, "outcome_constraints")):
            words = (
                f"{who}: expected values in torch.float64, got torch.{name}",
                "y[..., 0] - 1.0",
            )
            for call in (
                lambda o: bl.qLogExpectedImprovement(model, 0.0, **o)(X),
                lambda o: bl.qLogNoisyExpectedImprovement(model, model.X, **o)(X),
                lambda o: bl.incumbent(model, X, **o),
            ):
                refused(lambda c=call, o=options: c(o), *words)
        for make in (
            lambda w: bl.qUpperConfidenceBound(model, 1.0, objective=w)(X),
            lambda w: bl.qSimpleRegret(model, objective=w)(X),
            lambda w: bl.qLogProbabilityOfFeasibility(model, outcome_constraints=(w,))(X),
        ):
            refused(lambda m=make, w=wrong: m(w), f"got torch.{name}", ".to(torch.float64)")


def test_sparse_tensors_are_refused() -> None:
    X, Y, bounds = dataset(4, 2)
    refused(lambda: bl.ExactGP(X.to_sparse(), Y, bounds), "X: expected a dense", "X.to_dense()")
    refused(lambda: gp(4, 2).posterior(X.to_sparse()), "X: expected a dense", "X.to_dense()")
    refused(lambda: bl.LogExpectedImprovement(gp(4, 2), 0.0)(X[:1].to_sparse()), "X.to_dense()")


def test_a_fixed_input_outside_one_replicates_box_names_both() -> None:
    boxes = T([[[0.0], [1.0]], [[-3.0], [7.0]], [[5.0], [5.001]]])

    def search(bounds: torch.Tensor, r: tuple[int, ...]) -> None:
        acq = lambda X: -X.square().sum((-2, -1))  # noqa: E731
        bl.optimize_acqf(acq, bounds, fixed={0: 0.5}, batch_shape=r, seed=0)

    refused(lambda: search(boxes, (3,)), "input 0 = 0.5", "[5, 5.001] in replicate (2,)")
    refused(lambda: search(boxes[None], (1, 3)), "[5, 5.001] in replicate (0, 2)")
    with pytest.raises(bl.DataError, match=r"its bounds \[5, 5\.001\]$"):
        search(boxes[2], ())


def test_searches_that_cannot_be() -> None:
    model = gp(4, 2, r=(2,))
    acq = bl.LogExpectedImprovement(model, 0.0)
    refused(lambda: bl.optimize_acqf(acq, box(3), seed=0), "2 inputs", "(2, 3)")
    refused(lambda: bl.optimize_acqf(acq, box(2).expand(3, 2, 2), seed=0), "(3, 2, 2)")
    refused(lambda: bl.optimize_acqf(acq, box(2), seed=[1, 2, 3]), "2 seeds", "got 3")
    refused(
        lambda: bl.optimize_acqf(acq, box(2), num_restarts=9, raw_samples=8, seed=0),
        "raw_samples",
        "9",
        "got 8",
    )
    refused(lambda: bl.optimize_acqf(lambda X: X, box(2), seed=0), "acquisition", "*batch")
    refused(lambda: bl.optimize_acqf(lambda X: 1.0, box(2), seed=0), "acquisition", "float")
    refused(lambda: bl.fit_mll("model"), "ExactGP", "str")
    refused(lambda: bl.optimize_acqf(3, box(2), seed=0), "*batch q d", "int")  # type: ignore[arg-type]
    refused(lambda: bl.optimize_acqf(acq, box(2), fixed=[0], seed=0), "{0: 0.5}", "[0]")  # type: ignore[arg-type]
    for shape in (3, ("a",), (0,), "ab", (True,)):
        refused(
            lambda r=shape: bl.optimize_acqf(acq, box(2), batch_shape=r, seed=0),
            "batch_shape",
            repr(shape),
        )


def test_what_is_no_posterior_no_event_and_no_function() -> None:
    belief = gp(4, 2, r=(2,)).posterior(draw((2, 3, 2), "X"))
    refused(lambda: belief.rsample(draw((5, 4, 3, 1), "z")), "(2,)", "(5, 4, 3, 1)")
    assert belief.rsample(draw((5, 1, 3, 1), "z")).shape == (5, 2, 3, 1)
    refused(lambda: bl.MixturePosterior("a"), "posterior", "str")  # type: ignore[arg-type]
    refused(lambda: bl.Sampler(8, seed=0).base_samples(3), "(q, m)", "3")  # type: ignore[arg-type]
    refused(lambda: bl.Problem(3, box(2)), "function", "int")  # type: ignore[arg-type]
    refused(lambda: bl.plotting.regret_bands(3), "bolearn.study", "int")  # type: ignore[arg-type]


def test_incumbents() -> None:
    model = gp(4, 2, r=(2,))
    refused(lambda: bl.incumbent(model, model.X[0]), "replicates", "(4, 2)")
    refused(lambda: bl.incumbent(model, model.X.float()), "float32")


@few
@given(st.text(max_size=6))
def test_unknown_exercises(name: str) -> None:
    with pytest.raises(bl.BolearnError, match="exercise"):
        teach.check(f"p1.t1.{name}!", lambda: None)


def test_an_acquisition_that_cannot_be_climbed_says_why() -> None:
    unit = box(2)
    refused(
        lambda: bl.optimize_acqf(lambda X: X.sum((-2, -1)).detach(), unit, seed=0),
        "differentiate in X",
        "detach()",
    )
    refused(
        lambda: bl.optimize_acqf(lambda X: X.sum((-2, -1)).float(), unit, seed=0),
        "float64 values",
        "float32",
    )


def test_what_is_no_model_or_no_point_is_refused_by_analytic_acquisitions() -> None:
    model = gp(1)
    refused(lambda: bl.LogExpectedImprovement("model", 0.0), "model with posterior", "str")  # type: ignore[arg-type]
    refused(lambda: bl.LogExpectedImprovement(model, 0.0)([[0.5]]), "float64 tensor", "list")  # type: ignore[arg-type]


def test_acquisitions_need_a_model() -> None:
    X, limits = draw((3, 2), "X"), (bl.at_most(0, 0.5),)
    for model in ([1.0], X, "model", None, bl.ExactGP):
        for make in (
            lambda m: bl.qLogExpectedImprovement(m, 0.0),
            lambda m: bl.qLogNoisyExpectedImprovement(m, X),
            lambda m: bl.qUpperConfidenceBound(m, 2.0),
            bl.qSimpleRegret,
            lambda m: bl.qLogProbabilityOfFeasibility(m, outcome_constraints=limits),
            lambda m: bl.LogConstrainedExpectedImprovement(m, 0.0, outcome_constraints=limits),
            lambda m: bl.LogExpectedImprovement(m, 0.0),
            lambda m: bl.incumbent(m, X, bl.output(0)),
        ):
            if model is not bl.ExactGP:
                refused(lambda make=make, model=model: make(model), "expected a model", "fit_mll")
    model = gp(6, 2)
    refused(lambda: bl.incumbent(model, X, "first"), "objective", "bolearn.output(0)")
    refused(lambda: bl.qLogNoisyExpectedImprovement(model, X[None]), "X_baseline", "(1, 3, 2)")


def test_an_empty_batch_has_no_values() -> None:
    X = torch.empty(0, 2, 2, dtype=F64, requires_grad=True)
    for kernel in (RBFKernel(), RQKernel()):
        model = gp(6, 2, kernel=kernel)
        for acq in (
            bl.qLogExpectedImprovement(model, 0.0),
            bl.qLogNoisyExpectedImprovement(model, model.X),
            bl.qUpperConfidenceBound(model, 2.0),
            bl.qLogProbabilityOfFeasibility(model, outcome_constraints=(bl.at_most(0, 0.5),)),
        ):
            assert acq(X).shape == (0,)
        for acq in (bl.LogExpectedImprovement(model, 0.0), bl.UpperConfidenceBound(model, 2.0)):
            assert acq(X[:, :1]).shape == (0,)
        value = bl.qLogExpectedImprovement(model, 0.0)(X).sum()
        assert torch.autograd.grad(value, X)[0].shape == X.shape


def test_parts_of_models() -> None:
    X, Y, bounds = dataset(6, 2)
    for bad in (X.tolist(), None, "X", X[0, 0]):
        refused(lambda bad=bad: bl.SAASGP(bad, Y, bounds, seed=0), "X: expected")
    net, kernel = bl.perceptron(2, 4, seed=0), RBFKernel()
    refused(lambda: bl.DeepKernel([2, 4], kernel), "net: expected a torch network", "[2, 4]")
    refused(lambda: bl.DeepKernel(net, net), "base_kernel: expected a gpytorch kernel")
    refused(lambda: bl.WarpedKernel(kernel, 2, prior=0.75), "prior", "LogNormalPrior", "0.75")
    refused(lambda: bl.perceptron(2, 4, seed=0, activation="tanh"), "activation", "torch.nn.Tanh")
    refused(lambda: bl.DeepEnsemble(X, Y, bounds, hidden=64, seed=0), "hidden", "(64, 64)", "64")
    refused(lambda: bl.DeepEnsemble(X, Y, bounds, bias_std=True, seed=0), "bias_std", "True")
    model = gp(6, 2)
    ensemble = bl.DeepEnsemble(X, Y, bounds, hidden=(4,), steps=2, seed=0)
    both = bl.ModelList([model, ensemble])
    refused(lambda: both.condition(X, Y.expand(6, 2)), "DeepEnsemble has no method condition")
    for value in (torch.tensor(0.3), torch.tensor(1), True, torch.tensor(1j), "short"):
        refused(lambda value=value: model.with_hyperparameters(lengthscale=value), "lengthscale")
    refused(lambda: model.fantasize(X, torch.empty(0, 6, 1, dtype=F64)), "z: expected", "s = 0")


def test_beliefs_and_warps() -> None:
    mean, C = draw((3, 2), "mean"), torch.eye(3, dtype=F64).expand(2, 3, 3)
    make = bl.GaussianPosterior.from_moments
    assert make(mean, C).variance.shape == (3, 2)
    for bad in (mean.tolist(), mean.float(), None, mean[0]):
        refused(lambda bad=bad: make(bad, C), "mean: expected")
    for bad in (C.tolist(), C.float(), None, C[:1, :2], C[0, 0]):
        refused(lambda bad=bad: make(mean, bad), "covariance: expected")
    mixture = bl.MixturePosterior.of(make(mean, C), make(-mean, C))
    for bad in (None, torch.tensor(1.0, dtype=F64), "z"):
        refused(lambda bad=bad: mixture.rsample(bad), "z: expected")
    Y = draw((4, 2), "Y") + 0.1
    for warp in (bl.LogWarp, bl.PowerWarp):
        for bad in (Y[0], Y[0, 0], Y[:0], None):
            refused(lambda warp=warp, bad=bad: warp.fit(bad), "Y: expected")
        for mask in ([True] * 4, torch.ones(4), torch.ones(3).bool(), torch.ones(4, 2).bool()):
            refused(lambda warp=warp, mask=mask: warp.fit(Y, mask), "observed: expected")
        refused(lambda warp=warp: warp.fit(Y, torch.zeros(4).bool()), "an observation in every")
        refused(lambda warp=warp: warp.fit(Y).encode([[1.0, 2.0]]), "Y: expected")
    refused(lambda: bl.PowerWarp.fit(Y).encode(Y[:, :1]), "expected 2 outputs")


def test_noise_of_masked_rows_may_be_anything() -> None:
    X, Y, bounds = dataset(6, 2)
    observed = torch.arange(6) < 5
    noise = torch.where(observed, 1e-3, torch.nan).double().unsqueeze(-1)
    model = bl.ExactGP(X, Y, bounds, noise_var=noise, observed=observed)
    P, same = draw((3, 2), "P"), bl.ExactGP(X[:5], Y[:5], bounds, noise_var=1e-3)
    assert torch.allclose(model.posterior(P).mean, same.posterior(P).mean, rtol=1e-9)
    assert torch.isfinite(bl.fit_mll(model).fit_report.value).all()
    grown = model.condition(P, Y[:3], noise_var=-noise[3:].abs(), observed=observed[:3] & False)
    assert torch.allclose(grown.posterior(P).mean, model.posterior(P).mean, rtol=1e-9)
    refused(lambda: bl.ExactGP(X, Y, bounds, noise_var=noise), "positive variances", "nan")


def test_a_utility_of_another_shape() -> None:
    model, X = gp(6, 2), draw((5, 3, 2), "P")
    wrong = (
        lambda y: y.mean(),
        lambda y: y.sum(-1),
        lambda y: y.sum(-1, keepdim=True),
        lambda y: torch.zeros(3, dtype=F64),
        lambda y: 1.0,
    )
    for template in (bl.LogMonteCarloAcquisition, bl.MonteCarloAcquisition):
        for f in wrong:
            own = type("Own", (template,), {"utility": lambda self, y, f=f: f(y)})
            refused(lambda own=own: own(model)(X), "Own.utility", "s *batch q")


def test_acquisitions_keep_what_they_were_given() -> None:
    model, X = gp(6, 2), draw((5, 1, 2), "P")
    level, pending = torch.tensor(0.3, dtype=F64), draw((2, 2), "pending")
    made = [
        bl.LogExpectedImprovement(model, level),
        bl.UpperConfidenceBound(model, level),
        bl.qLogExpectedImprovement(model, level, X_pending=pending),
        bl.qLogExpectedImprovement(model, level).with_pending(pending),
    ]
    before = [acq(X) for acq in made]
    level.fill_(9.0)
    pending.zero_()
    for acq, value in zip(made, before, strict=True):
        assert torch.equal(acq(X), value)


def test_models_with_kernels_of_the_package_can_be_saved() -> None:
    X, Y, bounds = dataset(6, 2)
    net = bl.perceptron(2, 4, seed=0)
    for kernel in (None, bl.WarpedKernel(RBFKernel(), 2), bl.DeepKernel(net, RBFKernel())):
        model = bl.fit_mll(bl.ExactGP(X, Y, bounds, kernel=kernel))
        again = pickle.loads(pickle.dumps(model))
        assert torch.equal(again.posterior(X).mean, model.posterior(X).mean)
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        again = torch.load(file, weights_only=False)
        assert torch.equal(again.posterior(X).mean, model.posterior(X).mean)
        assert torch.isfinite(bl.fit_mll(again).fit_report.value).all()


def test_an_objective_of_thompson_is_a_function() -> None:
    call = lambda: bl.thompson(gp(8, 2), box(2), objective=3, seed=0)  # type: ignore  # noqa: E731
    refused(call, "objective: expected a function", "bolearn.output(0)")
