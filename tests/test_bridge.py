"""The bridge: BoTorch is the oracle, and what it computes has to be the same on both sides."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from botorch.acquisition import analytic, logei, monte_carlo
from botorch.acquisition.active_learning import qNegIntegratedPosteriorVariance
from botorch.acquisition.knowledge_gradient import qKnowledgeGradient
from botorch.acquisition.max_value_entropy_search import qMaxValueEntropy
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.objective import GenericMCObjective, ScalarizedPosteriorTransform
from botorch.models import (
    KroneckerMultiTaskGP,
    MixedSingleTaskGP,
    ModelListGP,
    MultiTaskGP,
    PairwiseGP,
    SingleTaskGP,
)
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.ensemble import EnsembleModel
from botorch.models.map_saas import EnsembleMapSaasSingleTaskGP
from botorch.models.model import ModelList
from botorch.models.transforms import Bilog, Log, Normalize, Standardize
from botorch.optim import optimize_acqf
from botorch.posteriors.ensemble import EnsemblePosterior
from botorch.posteriors.gpytorch import GPyTorchPosterior
from botorch.sampling.normal import IIDNormalSampler, SobolQMCNormalSampler

import bolearn as bl
from bolearn.bridge import (
    BotorchModel,
    ax_parameters,
    exact_gp,
    from_botorch,
    single_task_gp,
    to_botorch,
)
from bolearn.errors import BolearnError, DataError, ShapeError, UnsupportedError

T = torch.float64
BOX = torch.tensor([[0.0, -1.0], [1.0, 3.0]], dtype=T)
X = bl.sobol_points(BOX, n=11, seed=0)
Y = torch.stack([(3 * X).sin().sum(-1), (X - 0.5).square().sum(-1)], dim=-1)
Q = bl.sobol_points(BOX, n=8, seed=3).reshape(4, 2, 2)
ONE = Q[:, :1]
BEST = torch.tensor(0.5, dtype=T)
FIRST = GenericMCObjective(lambda y, X=None: y[..., 0])


def theirs_sampler(s: int = 64) -> SobolQMCNormalSampler:
    return SobolQMCNormalSampler(torch.Size([s]), seed=5)


OURS = bl.Sampler(64, seed=5)


def both(f, X):
    """Value and gradient."""
    X = X.clone().requires_grad_()
    value = f(X)
    (slope,) = torch.autograd.grad(value.sum(), X)
    return value.detach(), slope


def same(f, g, X, tol=1e-8) -> None:
    for a, b in zip(both(f, X), both(g, X), strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tol * (1 + b.abs().max()), (a, b)


def gp(m: int = 1, **options) -> bl.ExactGP:
    model = bl.ExactGP(X, Y[:, :m], BOX, **options)
    return model.with_hyperparameters(lengthscale=torch.tensor([0.4, 0.7], dtype=T).expand(m, 2))


class Forest:
    """A surrogate that is known by its values only, and has no data."""

    num_outputs, batch_shape = 1, torch.Size([])

    def posterior(self, X, *, observation_noise=False):
        slopes = torch.arange(1.0, 8.0, dtype=T).reshape(-1, *(1,) * X.ndim)
        return bl.SamplesPosterior((slopes * X).sin().sum(-1, keepdim=True))


# -- bolearn in BoTorch --------------------------------------------------------------------------

ACQUISITIONS = {
    "LogEI": (lambda m: analytic.LogExpectedImprovement(m, BEST), ONE),
    "UCB": (lambda m: analytic.UpperConfidenceBound(m, beta=2.0), ONE),
    "PI": (lambda m: analytic.ProbabilityOfImprovement(m, BEST), ONE),
    "std": (lambda m: analytic.PosteriorStandardDeviation(m), ONE),
    "qLogEI": (lambda m: logei.qLogExpectedImprovement(m, BEST, sampler=theirs_sampler()), Q),
    "pending": (
        lambda m: logei.qLogExpectedImprovement(
            m, BEST, sampler=theirs_sampler(), X_pending=X[:2] + 0.03
        ),
        Q,
    ),
    "qLogNEI": (
        lambda m: logei.qLogNoisyExpectedImprovement(
            m, X, sampler=theirs_sampler(), prune_baseline=True, cache_root=False
        ),
        Q,
    ),
    "qUCB": (
        lambda m: monte_carlo.qUpperConfidenceBound(m, beta=2.0, sampler=theirs_sampler()),
        Q,
    ),
    "KG": (
        lambda m: qKnowledgeGradient(m, num_fantasies=3, sampler=theirs_sampler(3)),
        torch.cat([Q, Q, Q], dim=-2)[:, :5],
    ),
}


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_botorchs_acquisitions_on_a_gaussian_process(name: str) -> None:
    make, points = ACQUISITIONS[name]
    model = gp()
    same(make(to_botorch(model)), make(single_task_gp(model)), points)


def test_max_value_entropy_search() -> None:
    model, values = gp(), []
    for theirs in (to_botorch(model), single_task_gp(model)):
        torch.manual_seed(0)
        values.append(qMaxValueEntropy(theirs, candidate_set=Q.flatten(0, 1), train_inputs=X))
    same(*values, ONE)


def test_several_outputs() -> None:
    model = gp(m=2)
    ours, theirs = to_botorch(model), single_task_gp(model)
    ref = torch.zeros(2, dtype=T)
    transform = ScalarizedPosteriorTransform(torch.tensor([1.0, -0.5], dtype=T))
    for make, points in (
        (
            lambda m: qLogNoisyExpectedHypervolumeImprovement(
                m, ref, X, sampler=theirs_sampler(), prune_baseline=False, cache_root=False
            ),
            Q,
        ),
        (lambda m: analytic.LogExpectedImprovement(m, BEST, posterior_transform=transform), ONE),
        (
            lambda m: logei.qLogExpectedImprovement(
                m, BEST, sampler=theirs_sampler(), posterior_transform=transform
            ),
            Q,
        ),
        (
            lambda m: logei.qLogExpectedImprovement(
                m,
                BEST,
                sampler=theirs_sampler(),
                objective=FIRST,
                constraints=[lambda y: y[..., 1] - 0.4],
            ),
            Q,
        ),
    ):
        same(make(ours), make(theirs), points)
    second = ours.subset_output([-1])
    assert torch.equal(second.posterior(Q).mean, model.posterior(Q).mean[..., 1:])
    picked = ours.posterior(Q, output_indices=[1])
    assert torch.equal(picked.variance, model.posterior(Q).variance[..., 1:])


SURROGATES = {
    "masked": lambda: gp(observed=torch.arange(11) < 8),
    "known noise": lambda: gp(noise_var=0.01),
    "list": lambda: bl.ModelList([gp(), bl.ExactGP(X[:6], Y[:6, 1:], BOX)]),
    "ensemble": lambda: bl.DeepEnsemble(X, Y[:, :1], BOX, steps=5, seed=0),
    "forest": Forest,
    "mixed list": lambda: bl.ModelList([gp(), Forest()]),
}


@pytest.mark.parametrize("name", SURROGATES)
def test_any_surrogate_gives_both_libraries_the_same_numbers(name: str) -> None:
    model = SURROGATES[name]()
    theirs = to_botorch(model)
    options = {} if model.num_outputs == 1 else {"objective": FIRST}
    scale = getattr(model, "output_scale", torch.ones(1, dtype=T)).flatten()[0].item()
    a = logei.qLogExpectedImprovement(
        theirs, BEST, sampler=theirs_sampler(), tau_relu=1e-6 * scale, **options
    )
    same(a, bl.qLogExpectedImprovement(model, BEST, sampler=OURS), Q)
    draws = IIDNormalSampler(torch.Size([3, 2]), seed=0)(theirs.posterior(Q))
    assert draws.shape == (3, 2, 4, 2, model.num_outputs)
    logei.qLogExpectedImprovement(theirs, BEST, **options)(Q)  # with BoTorch's own sampler
    assert copy.deepcopy(theirs).posterior(Q).mean.shape == (4, 2, model.num_outputs)


def test_a_mixture_is_an_ensemble_over_which_acquisition_values_are_averaged() -> None:
    saas = bl.SAASGP(X, Y[:, :1], BOX, num_samples=16, warmup=20, max_depth=2, seed=0)
    theirs = to_botorch(saas)
    assert theirs.batch_shape == (16,) and theirs.posterior(Q).mean.shape == (4, 16, 2, 1)
    a, b = analytic.LogExpectedImprovement(theirs, BEST), bl.LogExpectedImprovement(saas, BEST)
    same(a, b, ONE)
    back = from_botorch(theirs.posterior(Q))
    torch.testing.assert_close(back.variance, saas.posterior(Q).variance)
    # every member with all base samples: the average over the members' own acquisitions
    each = logei.qLogExpectedImprovement(theirs, BEST, sampler=theirs_sampler())(Q)
    alone = bl.qLogExpectedImprovement(saas.members, BEST, sampler=bl.Sampler(4096, seed=0))
    assert (each.exp() - alone(Q.unsqueeze(-3)).exp().mean(-1)).abs().max() < 0.05
    grown = theirs.condition_on_observations(X[:2] + 0.1, Y[:2, :1])
    expected = saas.members.condition(
        (X[:2] + 0.1).expand(16, 2, 2), Y[:2, :1].expand(16, 2, 1)
    ).posterior(Q.unsqueeze(-3))
    torch.testing.assert_close(grown.posterior(Q).mean, expected.mean)
    assert theirs.fantasize(X[:1], theirs_sampler(3)).batch_shape == (3, 16)
    paired = to_botorch(bl.ModelList([saas, gp()]))
    assert paired.posterior(Q).mean.shape == (4, 16, 2, 2)
    scalar = ScalarizedPosteriorTransform(torch.tensor([1.0, 0.0], dtype=T))
    same(analytic.LogExpectedImprovement(paired, BEST, posterior_transform=scalar), b, ONE)


def test_fantasies_are_differentiable_where_bolearns_own_are_constant() -> None:
    model = gp()
    theirs = to_botorch(model)
    new = Q[0].clone().requires_grad_()
    climbing = theirs.condition_on_observations(new, Y[:2, :1]).posterior(Q)
    constant = model.condition(Q[0], Y[:2, :1]).posterior(Q)
    torch.testing.assert_close(climbing.mean, constant.mean)
    torch.testing.assert_close(climbing.variance, constant.variance)
    (slope,) = torch.autograd.grad(climbing.mean.sum(), new)
    assert slope.abs().max() > 1e-3
    # BoTorch's own gradient of this acquisition differs from its finite differences
    acq, step = qNegIntegratedPosteriorVariance(theirs, mc_points=X), torch.zeros_like(Q)
    step[:, 0, 0] = 1e-5
    (_, slope), rise = both(acq, Q), (acq(Q + step) - acq(Q - step)) / 2e-5
    torch.testing.assert_close(slope[:, 0, 0], rise, rtol=1e-5, atol=1e-8)


def test_replicates_are_botorchs_model_batch() -> None:
    shift = torch.arange(3.0, dtype=T).reshape(3, 1, 1)
    model = bl.ExactGP(X.expand(3, 11, 2), Y[:, :1] + shift, BOX)
    theirs = to_botorch(model)
    assert theirs.batch_shape == (3,)
    points = ONE.unsqueeze(1).expand(4, 3, 1, 2)
    a, b = analytic.LogExpectedImprovement(theirs, BEST), bl.LogExpectedImprovement(model, BEST)
    same(a, b, points)
    assert theirs.posterior(ONE[0]).mean.shape == (3, 1, 1)  # BoTorch's broadcasting
    with pytest.raises(ShapeError, match="one acquisition at a time"):
        to_botorch(b)(ONE)
    torch.testing.assert_close(to_botorch(b)(points), b(points))
    with pytest.raises(UnsupportedError, match="replicates"):
        single_task_gp(model)


# -- BoTorch in bolearn --------------------------------------------------------------------------

TASKS = torch.cat([X, (torch.arange(11.0, dtype=T) % 2).unsqueeze(-1)], dim=-1)
MODELS = {
    "plain": lambda: SingleTaskGP(X, Y[:, :1]),
    "transforms": lambda: SingleTaskGP(
        X, Y[:, :1], input_transform=Normalize(2), outcome_transform=Standardize(1)
    ),
    "raw": lambda: SingleTaskGP(X, Y[:, :1], outcome_transform=None),
    "known noise": lambda: SingleTaskGP(X, Y[:, :1], torch.full((11, 1), 0.01, dtype=T)),
    "two outputs": lambda: SingleTaskGP(X, Y),
    "log": lambda: SingleTaskGP(X, Y[:, :1].exp(), outcome_transform=Log()),
    "bilog": lambda: SingleTaskGP(X, Y[:, :1], outcome_transform=Bilog()),
    "list": lambda: ModelListGP(SingleTaskGP(X, Y[:, :1]), SingleTaskGP(X[:7], Y[:7, 1:])),
    "mixed": lambda: MixedSingleTaskGP(TASKS, Y[:, :1], cat_dims=[2]),
    "multi-task": lambda: MultiTaskGP(TASKS, Y[:, :1], task_feature=-1),
    "Kronecker": lambda: KroneckerMultiTaskGP(X, Y),
    "preferences": lambda: PairwiseGP(X, torch.tensor([[0, 1], [2, 3], [4, 5]])),
    "ensemble of GPs": lambda: EnsembleMapSaasSingleTaskGP(X, Y[:, :1], num_taus=3),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_model_of_botorch(name: str) -> None:
    theirs = MODELS[name]().eval()
    points = torch.cat([Q, Q[..., :1] * 0], dim=-1) if name == "mixed" else Q
    ours = from_botorch(theirs)
    options = {} if ours.num_outputs == 1 else {"objective": FIRST}
    a = bl.qLogExpectedImprovement(ours, BEST, sampler=OURS)
    b = logei.qLogExpectedImprovement(theirs, BEST, sampler=theirs_sampler(), **options)
    if name == "ensemble of GPs":  # draws are shared out among the members
        assert isinstance(ours.posterior(points), bl.MixturePosterior)
    else:
        same(a, b, points)
    if ours.num_outputs == 1 and name != "bilog":  # BoTorch has no moments there
        c = bl.LogExpectedImprovement(ours, BEST)
        same(c, analytic.LogExpectedImprovement(theirs, BEST), points[:, :1])
        noisy, clean = (ours.posterior(points, observation_noise=o) for o in (True, False))
        if name != "preferences":
            assert (noisy.variance > clean.variance).all()
    same(from_botorch(b), b, points)
    assert (
        not ours.posterior(points)
        .rsample(OURS.base_samples(ours.posterior(points).event_shape).unsqueeze(1))
        .requires_grad
    )


def test_fits_of_the_original_are_seen_because_it_is_asked() -> None:
    theirs = SingleTaskGP(X, Y[:, :1])
    ours = from_botorch(theirs)
    before = ours.posterior(Q).mean
    theirs.covar_module.lengthscale = 0.05
    theirs.train()
    assert not torch.equal(before, ours.posterior(Q).mean)


def test_functions_without_a_distribution() -> None:
    exact = GenericDeterministicModel(lambda x: x.sum(-1, keepdim=True), num_outputs=1)
    assert torch.equal(from_botorch(exact).posterior(Q).mean, Q.sum(-1, keepdim=True))
    mixed = from_botorch(ModelList(SingleTaskGP(X, Y[:, :1]), exact))
    value = bl.qLogExpectedImprovement(mixed, BEST, sampler=OURS)(Q)
    assert torch.isfinite(value).all()

    class Two(EnsembleModel):
        def __init__(self):
            super().__init__()
            self._num_outputs = 1

        def forward(self, X):
            return torch.stack([X.sum(-1, keepdim=True), X.prod(-1, keepdim=True)], dim=-3)

    belief = from_botorch(Two()).posterior(Q)
    torch.testing.assert_close(belief.mean, Two().posterior(Q).mean)
    weights = torch.tensor([0.75, 0.25], dtype=T)
    values = torch.stack([Q, -Q], dim=-3)
    weighted = from_botorch(EnsemblePosterior(values, weights))
    torch.testing.assert_close(weighted.mean, 0.5 * Q)
    draws = weighted.rsample(bl.Sampler(64, seed=0).base_samples((1,)).unsqueeze(1))
    assert (draws == Q).all(-1).all(-1).double().mean().item() == 0.75


def test_conditioning_and_fantasies_of_botorchs_model() -> None:
    model = gp()
    ours = from_botorch(single_task_gp(model))
    a, b = (m.condition(X[:2] + 0.1, Y[:2, :1]).posterior(Q) for m in (ours, model))
    torch.testing.assert_close(a.mean, b.mean)
    z = OURS.base_samples((2, 1))[:5]
    a, b = (m.fantasize(Q[0], z).posterior(Q.unsqueeze(1)) for m in (ours, model))
    torch.testing.assert_close(a.mean, b.mean)
    torch.testing.assert_close(a.variance, b.variance)
    with pytest.raises(UnsupportedError, match="cannot"):
        from_botorch(
            GenericDeterministicModel(lambda x: x.sum(-1, keepdim=True), num_outputs=1)
        ).condition(X[:1], Y[:1, :1])


# -- searches, copies, refusals ------------------------------------------------------------------


def test_both_optimisers_take_what_crosses() -> None:
    model = gp()
    ours = bl.qLogExpectedImprovement(model, BEST, sampler=OURS)
    x, value = optimize_acqf(
        to_botorch(ours), BOX, q=2, num_restarts=2, raw_samples=16, sequential=True
    )
    first = ours(x[:1])
    torch.testing.assert_close(value[0], first)
    torch.testing.assert_close(value[1], ours.with_pending(x[:1])(x[1:]))
    theirs = logei.qLogExpectedImprovement(single_task_gp(model), BEST, sampler=theirs_sampler())
    there = from_botorch(theirs)
    y, best = bl.optimize_acqf(
        there, BOX, q=2, num_restarts=2, raw_samples=16, sequential=True, seed=0
    )
    assert y.shape == (2, 2) and torch.isfinite(best)
    assert theirs.X_pending is None  # the original is as it was
    plain = to_botorch(lambda X: -X.square().sum((-1, -2)))
    x, _ = optimize_acqf(plain, BOX, q=1, num_restarts=2, raw_samples=8)
    assert x.abs().max() < 1e-3
    with pytest.raises(UnsupportedError, match="with_pending"):
        plain.set_X_pending(X[:1])
    with pytest.raises(UnsupportedError, match="pending"):
        from_botorch(analytic.LogExpectedImprovement(single_task_gp(model), BEST)).with_pending(X)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("noise", [None, 0.01])
def test_gaussian_processes_are_copied_both_ways(m: int, noise: float | None) -> None:
    model = gp(m=m, noise_var=noise, observed=torch.arange(11) < 9)
    copied = single_task_gp(model)
    assert isinstance(copied.posterior(Q), GPyTorchPosterior)
    back = exact_gp(copied)
    assert back.X.shape == (9, 2)
    for noisy in (False, True):
        a, b, c = (f.posterior(Q, observation_noise=noisy) for f in (model, copied, back))
        for other in (b, c):
            torch.testing.assert_close(a.mean, other.mean, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(a.variance, other.variance, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        bl.log_marginal_likelihood(back),
        bl.log_marginal_likelihood(gp(m=m, noise_var=noise, observed=torch.arange(11) < 9)),
    )


def test_round_trips_give_the_original() -> None:
    model, theirs = gp(), SingleTaskGP(X, Y[:, :1])
    acq = bl.LogExpectedImprovement(model, BEST)
    for ours in (model, acq, model.posterior(Q)):
        assert from_botorch(to_botorch(ours)) is ours
    for other in (theirs, analytic.LogExpectedImprovement(theirs, BEST)):
        assert to_botorch(from_botorch(other)) is other
    assert pickle.loads(pickle.dumps(to_botorch(model))).posterior(Q).mean.shape == (4, 2, 1)


REFUSED = {
    "one-shot": lambda: from_botorch(qKnowledgeGradient(SingleTaskGP(X, Y[:, :1]))),
    "another class": lambda: exact_gp(ModelListGP(SingleTaskGP(X, Y[:, :1]))),
    "a transform": lambda: exact_gp(SingleTaskGP(X, Y[:, :1].exp(), outcome_transform=Log())),
    "no object of either": lambda: to_botorch(3.0),
    "the wrong way": lambda: to_botorch(SingleTaskGP(X, Y[:, :1])),
    "the other wrong way": lambda: from_botorch(gp()),
    "a model in float32": lambda: from_botorch(SingleTaskGP(X.float(), Y[:, :1].float())),
    "float32": lambda: to_botorch(gp()).posterior(Q.float()),
    "an ensemble to condition": lambda: (
        to_botorch(Forest())
        .condition_on_observations(X[:1].requires_grad_(), Y[:1, :1])
        .posterior(Q)
    ),
    "a list to copy": lambda: single_task_gp(bl.ModelList([gp()])),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_cross_is_refused_clearly(what: str) -> None:
    with pytest.raises(BolearnError, match=r"expected|use |make the model anew"):
        REFUSED[what]()


def test_a_hidden_mixture_is_refused_until_it_is_announced() -> None:
    class Two:
        num_outputs, batch_shape = 1, torch.Size([])

        def posterior(self, X, *, observation_noise=False):
            mean = X.sum(-1, keepdim=True)
            cov = torch.eye(X.shape[-2], dtype=T).expand(*X.shape[:-2], 1, -1, -1)
            one = [bl.GaussianPosterior.from_moments(mean + s, cov) for s in (0.0, 1.0)]
            return bl.MixturePosterior.of(*one)

    with pytest.raises(UnsupportedError, match="members=2"):
        to_botorch(Two()).posterior(ONE)
    a = analytic.LogExpectedImprovement(BotorchModel(Two(), members=2), BEST)
    same(a, bl.LogExpectedImprovement(Two(), BEST), ONE)


def test_ax_gets_the_parameters_of_a_space() -> None:
    space = bl.Space(
        [
            bl.Real("A", 0, 1, step=0.25),
            bl.Real("time", 1, 600, log=True),
            bl.Integer("cycles", 1, 8),
            bl.Categorical("solvent", ["MeOH", "THF", "MeCN"]),
        ]
    )
    a, time, cycles, solvent = ax_parameters(space)
    assert (a.bounds, a.step_size, a.parameter_type) == ((0, 1), 0.25, "float")
    assert (time.scaling, cycles.parameter_type) == ("log", "int")
    assert solvent.values == ["MeOH", "THF", "MeCN"] and not solvent.is_ordered


def test_without_botorch_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys, bolearn\n"
        "print({'botorch', 'ax', 'bolearn.bridge'} & set(sys.modules))\n"
        "sys.modules['botorch'] = None\n"
        "import bolearn.bridge\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()"  # importing bolearn loads none of them
    assert done.returncode and 'pip install "bolearn[bridge]"' in done.stderr.splitlines()[-1]


def test_knowledge_gradient_climbs_and_baselines_work_as_they_are() -> None:
    theirs = to_botorch(gp())
    acq = qKnowledgeGradient(theirs, num_fantasies=3, sampler=theirs_sampler(3))
    start = torch.cat([Q, Q], dim=-2)[:, :4]
    _, slope = both(acq, start)
    assert slope[:, 0].abs().max() > 1e-3  # the candidate, through which the fantasies go
    x, _ = optimize_acqf(acq, BOX, q=1, num_restarts=1, raw_samples=4)
    assert x.shape == (1, 2)
    noisy = logei.qLogNoisyExpectedImprovement(theirs, X, sampler=theirs_sampler())
    assert torch.isfinite(noisy(Q)).all()


def test_bad_data_are_an_error() -> None:
    with pytest.raises(DataError, match="float64"):
        from_botorch(SingleTaskGP(X, Y[:, :1])).posterior(Q.float())
    with pytest.raises(DataError, match="unknown options"):
        to_botorch(gp()).posterior(Q, sampler=1)
