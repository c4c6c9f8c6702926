"""Hypervolume improvement: against the definition, one objective, limits, tails and BoTorch."""

from __future__ import annotations

import pytest
import torch
from botorch.acquisition.multi_objective import logei
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from oracles import F64, T, assert_close, box, draw, gp, gradient, hyperparameters, surface
from test_botorch_agreement import twin
from torch import Tensor

import bolearn as bl
from bolearn.acquisition.hypervolume import (
    Cells,
    LogImprovement,
    log_improvement,
    log_improvement_reference,
)
from bolearn.errors import DataError, ShapeError, UnsupportedError

EHVI = bl.qLogExpectedHypervolumeImprovement
NEHVI = bl.qLogNoisyExpectedHypervolumeImprovement


def model_of(m: int, n: int = 7, d: int = 2, r: tuple[int, ...] = (), seed: int = 0) -> bl.ExactGP:
    return gp(n, d, m=m, r=r, seed=seed)


def middle(model: bl.ExactGP, m: int) -> Tensor:
    """A reference point that about a third of the data exceed."""
    Y = model.Y[..., :m]
    return Y.mean(-2) - 0.7 * Y.std(-2)


def random_cells(R: int, k: int, s: int, n: int = 4) -> Cells:
    fronts = draw((s, R, n, k), "fronts", k)
    boxes = bl.box_decomposition(fronts, torch.full((s, R, k), 0.2, dtype=F64))
    return Cells.of(boxes, 0.5 + draw((R, k), "scale"))


# -- the formula ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "q"), [(1, 1), (1, 3), (2, 1), (2, 2), (2, 3), (3, 2), (4, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_fused_improvement_is_its_reference(k: int, q: int, weighted: bool) -> None:
    R, t, s = 2, 3, 4
    cells = random_cells(R, k, s)
    y = (2 * draw((R, k, q, t, s), "y") - 0.6).requires_grad_(True)
    w = (-3 * draw((R, q, t, s), "w")).requires_grad_(True) if weighted else None
    given = [y] if w is None else [y, w]
    fast = LogImprovement.apply(y, w, cells)
    slow = log_improvement_reference(y, w, cells)
    assert_close(fast, slow, 1e-10, "value")
    for a, b in zip(
        torch.autograd.grad(fast.sum(), given), torch.autograd.grad(slow.sum(), given), strict=True
    ):
        unit = b.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1) if b.ndim == 5 else 1.0
        assert_close(a / unit, b / unit, 1e-8, "gradient")
    (once,) = torch.autograd.grad(LogImprovement.apply(y, w, cells).sum(), y, create_graph=True)
    assert once.requires_grad  # second derivatives come from the reference
    assert_close(log_improvement(y.detach(), w, cells, False)[0], slow, 1e-10, "value alone")


@pytest.mark.parametrize(("m", "q"), [(2, 1), (2, 3), (3, 2), (4, 2), (5, 1), (6, 1)])
def test_it_is_the_average_of_added_volumes(m: int, q: int) -> None:
    """The definition, sample by sample, by `hypervolume` of front and draws together."""
    model = model_of(m, r=(2,))
    front, ref = model.Y, middle(model, m)
    acq = EHVI(model, ref, front, sampler=bl.Sampler(32, seed=1))
    X = draw((12, 2, q, 2), "X")
    y = acq.draw(X)
    both = torch.cat([front.expand(*y.shape[:-2], *front.shape[-2:]), y], dim=-2)
    everywhere = ref.expand(*y.shape[:-2], m)
    gain = bl.hypervolume(both, everywhere) - bl.hypervolume(front, ref)
    expected = gain.mean(0)
    seen = expected > 1e-4
    assert int(seen.sum()) > 3
    slack = 4e-3 * m  # smooth minima
    assert bool(((acq(X).exp() / expected - 1)[seen].abs() < slack).all())


@pytest.mark.parametrize("m", [2, 3])
def test_noisy_improvement_is_the_average_over_joint_draws(m: int) -> None:
    model = model_of(m)
    ref, q = middle(model, m), 2
    acq = NEHVI(model, ref, model.X, sampler=bl.Sampler(64, seed=1), prune=False)
    X = draw((12, q, 2), "X")
    base = acq.baseline
    points = torch.cat([base.points.expand(12, -1, -1), X], dim=-2)
    f = model.posterior(points).rsample(base.all_normals(q))
    n = base.points.shape[-2]
    everywhere = ref.expand(*f.shape[:-2], m)
    gain = bl.hypervolume(f, everywhere) - bl.hypervolume(f[..., :n, :], everywhere)
    expected = gain.mean(0)
    seen = expected > 1e-4
    assert int(seen.sum()) > 3
    assert bool(((acq(X).exp() / expected - 1)[seen].abs() < 4e-3 * m).all())


def test_one_objective_is_expected_improvement() -> None:
    """For q = 1 digit by digit; for more, minima are smoothed where the other takes a maximum."""
    model = model_of(1, r=(3,))
    best = bl.incumbent(model, model.X).value
    sampler = bl.Sampler(64, seed=3)
    ei = bl.qLogExpectedImprovement(model, best, sampler=sampler)
    hvi = EHVI(model, best.unsqueeze(-1), torch.zeros(3, 0, 1, dtype=F64), sampler=sampler)
    nei = bl.qLogNoisyExpectedImprovement(model, model.X, sampler=sampler, prune=False)
    low = torch.full((3, 1), -1e3, dtype=F64)
    nhvi = NEHVI(model, low, model.X, sampler=sampler, prune=False)
    pruned = NEHVI(model, low, model.X, sampler=sampler)
    X = draw((20, 3, 1, 2), "X")
    for ours, other in ((hvi, ei), (nhvi, nei)):
        assert_close(ours(X), other(X), 1e-10, "value")
        assert_close(gradient(ours, X), gradient(other, X), 1e-7, "gradient")
    pairs = draw((20, 3, 2, 2), "pairs")
    seen = ei(pairs) > -6
    assert_close(hvi(pairs)[seen], ei(pairs)[seen], 0.02, "q = 2")
    assert_close(pruned(X)[nei(X) > -4], nei(X)[nei(X) > -4], 0.5, "pruned")


# -- invariance ----------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 3])
def test_orders_of_points_and_objectives_do_not_matter(m: int) -> None:
    model = model_of(m)
    ref, X = middle(model, m), draw((5, 3, 2), "X")
    acq = EHVI(model, ref, model.Y, sampler=bl.Sampler(16, seed=0))
    y = acq.draw(X)
    order = torch.tensor([2, 0, 1])

    class Shuffled(EHVI):
        def draw(self, X: Tensor) -> Tensor:
            return y[..., order, :]

    other = Shuffled(model, ref, model.Y.flip(0), sampler=acq.sampler)
    assert_close(other(X), acq(X), 1e-9, "points")
    names = [bl.output(i) for i in reversed(range(m))]
    back = EHVI(model, ref.flip(-1), model.Y.flip(-1), sampler=acq.sampler, objectives=names)
    seen = acq(X) > -6  # in the tails the smoothing depends on how the region is cut
    assert_close(back(X)[seen], acq(X)[seen], 1e-3, "objectives")


@pytest.mark.parametrize("scale", [(1e-9, 1.0), (1e9, 1e-9), (1e6, 1e6)])
def test_units_shift_the_logarithm(scale: tuple[float, float]) -> None:
    X, Y = draw((8, 2), "X"), surface(draw((8, 2), "X"), 2)
    unit = T(scale)
    values, gradients = [], []
    for u in (torch.ones(2, dtype=F64), unit):
        model = bl.ExactGP(X, Y * u, box(2))
        model = model.with_hyperparameters(**hyperparameters(model))
        ref = middle(model, 2)
        probe = draw((6, 2, 2), "probe")
        for acq in (EHVI(model, ref, model.Y), NEHVI(model, ref, model.X)):
            values.append(acq(probe) - u.log().sum())
            gradients.append(gradient(acq, probe))
    for i in (0, 1):
        assert_close(values[i + 2], values[i], 1e-6)
        assert_close(gradients[i + 2], gradients[i], 1e-4)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
@pytest.mark.parametrize("pending", [False, True])
def test_a_replicate_in_a_batch_is_the_replicate_alone(m: int, pending: bool) -> None:
    """With data of different number, hence fronts of different size."""
    R, n = 3, 8
    X, Y = draw((R, n, 2), "X"), surface(draw((R, n, 2), "X"), m)
    observed = torch.arange(n) < torch.tensor([[8], [5], [2]])
    refs = Y.mean(-2) - 0.5
    refs[1] = Y[1].amax(-2) + 1.0  # nothing exceeds it

    def fit(i: int | None) -> bl.ExactGP:
        if i is None:
            model = bl.ExactGP(X, Y, box(2), observed=observed)
        else:
            model = bl.ExactGP(X[i][observed[i]], Y[i][observed[i]], box(2))
        return model.with_hyperparameters(noise_var=0.01)

    seeds = (11, 12, 13)
    probe, extra = draw((4, R, 2, 2), "probe"), draw((R, 2, 2), "pending")
    together = fit(None)
    for kind in (EHVI, NEHVI):
        front = torch.where(observed.unsqueeze(-1), Y, refs.unsqueeze(-2))
        what = front if kind is EHVI else together.X
        acq = kind(together, refs, what, sampler=bl.Sampler(16, seed=seeds))
        acq = acq.with_pending(extra) if pending else acq
        value, slope = acq(probe), gradient(acq, probe)
        both = acq.value_and_gradient(probe)
        assert both is not None
        assert_close(both[0], value, 1e-10, "in one piece")
        assert_close(both[1], slope, 1e-7, "in one piece: gradient")
        for i in range(R):
            model = fit(i)
            what = front[i][observed[i]] if kind is EHVI else model.X
            alone = kind(model, refs[i], what, sampler=bl.Sampler(16, seed=seeds[i]))
            alone = alone.with_pending(extra[i]) if pending else alone
            assert_close(value[:, i], alone(probe[:, i]), 1e-9, f"{kind.__name__} {i}")
            assert_close(slope[:, i], gradient(alone, probe[:, i]), 1e-6, f"{kind.__name__} {i}")


# -- pending points ------------------------------------------------------------------------------


def test_pending_points_are_judged_jointly_or_added_to_the_baseline() -> None:
    model = model_of(2)
    ref, X, P = middle(model, 2), draw((6, 1, 2), "X"), draw((2, 2), "P")
    acq = EHVI(model, ref, model.Y)
    joint = acq(torch.cat([X, P.expand(6, -1, -1)], dim=-2))
    assert_close(acq.with_pending(P)(X), joint, 1e-12)
    assert_close(acq.with_pending(P[:1]).with_pending(P[1:])(X).exp(), joint.exp(), 5e-3)
    assert_close(EHVI(model, ref, model.Y, X_pending=P)(X), joint, 1e-12)
    # the noisy one says what X adds to the pending points
    many = bl.Sampler(4096, seed=0)
    noisy = NEHVI(model, ref, model.X, sampler=many, prune=False)
    both, first = noisy(torch.cat([X, P.expand(6, -1, -1)], dim=-2)), noisy(P.unsqueeze(0))
    rest = both.exp() - first.exp()
    given = noisy.with_pending(P)(X).exp()
    assert bool(((given - rest).abs() < 0.01 * both.exp() + 5e-4).all())
    assert_close(NEHVI(model, ref, model.X, sampler=many, prune=False, X_pending=P)(X).exp(), given)
    known = NEHVI(model, ref, model.X, X_pending=X[0])
    assert float(known(X[:1])) < float(noisy(X[:1])) - 3  # what is pending adds nothing


def test_searches_choose_points_one_by_one_and_jointly() -> None:
    model = model_of(2, n=9)
    ref = middle(model, 2)
    acq = NEHVI(model, ref, model.X, sampler=bl.Sampler(32, seed=0))
    options = {"num_restarts": 4, "raw_samples": 64, "seed": 0}
    greedy, _ = bl.optimize_acqf(acq, box(2), q=2, sequential=True, **options)
    joint, value = bl.optimize_acqf(acq, box(2), q=2, **options)
    assert greedy.shape == joint.shape == (2, 2)
    assert float(value) >= float(acq(greedy)) - 1e-6
    best = acq(draw((500, 1, 2), "grid")).max()
    assert float(acq(greedy[:1])) > float(best) - 0.05


# -- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [1, 2])
def test_limits_weigh_every_sample(q: int) -> None:
    model = model_of(3, r=(2,))
    ref, X = middle(model, 2), draw((10, 2, q, 2), "X")
    limit = 0.3
    front = torch.where(model.Y[..., 2:] <= limit, model.Y[..., :2], ref.unsqueeze(-2))
    limits = (bl.at_most(2, limit),)
    acq = EHVI(model, ref, front, outcome_constraints=limits)
    y = acq.draw(X)
    counts = (y[..., 2:] <= limit).expand(*y.shape[:-1], 2)
    values = torch.where(counts, y[..., :2], ref.unsqueeze(-2))
    both = torch.cat([front.expand(*y.shape[:-2], *front.shape[-2:]), values], dim=-2)
    gain = bl.hypervolume(both, ref.expand(*y.shape[:-2], 2)) - bl.hypervolume(front, ref)
    expected = gain.mean(0)
    seen = expected > 1e-3
    off = (acq(X).exp() / expected - 1)[seen].abs()  # a sample near the limit counts in part
    assert float(off.max()) < 0.2 and float(off.median()) < 5e-3
    assert torch.isfinite(gradient(acq, X)).all()
    free = NEHVI(model, ref, model.X, outcome_constraints=(bl.at_most(2, 1e6),), prune=False)
    plain = NEHVI(model, ref, model.X, prune=False)
    seen = plain(X) > -12
    assert_close(free(X)[seen], plain(X)[seen], 1e-6, "a limit that always holds")


def test_nothing_is_feasible() -> None:
    """Then every sample's front is empty, and feasibility decides; slopes lead there."""
    model = model_of(3)
    limits = (bl.at_most(2, float(model.Y[..., 2].min()) - 0.5),)
    acq = NEHVI(model, middle(model, 2), model.X, outcome_constraints=limits)
    X = draw((20, 1, 2), "X")
    value, slope = acq(X), gradient(acq, X)
    assert torch.isfinite(value).all() and torch.isfinite(slope).all()
    assert bool((slope.abs().sum((-2, -1)) > 0).all())
    best, _ = bl.optimize_acqf(acq, box(2), num_restarts=4, raw_samples=64, seed=0)
    third = [model.posterior(x).mean[..., 2].min() for x in (best, draw((300, 1, 2), "all"))]
    assert float(third[0]) < float(third[1]) + 0.5 * float(model.Y[..., 2].std())


# -- hard cases ----------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("q", [1, 2])
def test_far_below_the_front_there_is_a_slope(m: int, q: int) -> None:
    model = model_of(m)
    far = model.Y.amax(0, keepdim=True) + 10.0 ** torch.arange(6, dtype=F64)[:, None, None]
    X = draw((8, q, 2), "X")
    for f in far:
        acqs = [EHVI(model, f[0] - 0.1, f), EHVI(model, model.Y.amin(0) - 1, f)]
        acqs.append(NEHVI(model, f[0], model.X))  # a reference point above everything
        for acq in acqs:
            value, slope = acq(X), gradient(acq, X)
            assert torch.isfinite(value).all() and torch.isfinite(slope).all()
            assert bool((slope.abs().amax(-1) > 0).all())


def test_points_on_the_front_duplicates_and_outcomes_below_the_reference() -> None:
    model = model_of(2)
    ref, X = middle(model, 2), draw((6, 2, 2), "X")
    acq = EHVI(model, ref, model.Y)
    worse = torch.cat(
        [model.Y, model.Y, model.Y - 1.0, ref.expand(3, 2), ref - 5.0 * model.Y.abs()]
    )
    assert_close(EHVI(model, ref, worse)(X), acq(X), 1e-9)
    corner = model.Y.max(0).values  # a candidate exactly at an observed point
    for point in (model.X[:1], model.X[3:4]):
        value = NEHVI(model, ref, model.X)(point.unsqueeze(0))
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient(NEHVI(model, ref, model.X), point.unsqueeze(0))).all()
    inside = EHVI(model, corner - 0.05, model.Y)  # a reference point inside the front
    assert torch.isfinite(inside(X)).all() and torch.isfinite(gradient(inside, X)).all()
    twins = X[:, :1].expand(-1, 2, -1).contiguous()  # q equal points add what one adds
    one, two = acq(X[:, :1]), acq(twins)
    seen = one > -8
    assert_close(two[seen], one[seen], 0.01)


def test_a_constant_output_and_one_observation() -> None:
    X = draw((5, 2), "X")
    Y = torch.cat([surface(X, 1), torch.full((5, 1), 3.0, dtype=F64)], dim=-1)
    for model in (bl.ExactGP(X, Y, box(2)), bl.ExactGP(X[:1], Y[:1], box(2))):
        ref = bl.infer_reference_point(model.Y)
        acq = NEHVI(model, ref, model.X)
        assert torch.isfinite(acq(draw((4, 1, 2), "P"))).all()


def test_any_belief_will_do() -> None:
    """A set of functions: every sample is one of them, with a front of its own."""
    weights = draw((9, 3), "weights") * 3

    class Functions:
        num_outputs, batch_shape = 2, torch.Size()

        def posterior(self, X: Tensor, *, observation_noise: bool = False) -> bl.SamplesPosterior:
            a = (X[..., :1] * weights[:, :1].view(9, *(1,) * (X.ndim - 1), 1)).sin()
            b = (X[..., 1:] * weights[:, 1:2].view(9, *(1,) * (X.ndim - 1), 1)).cos()
            return bl.SamplesPosterior(torch.cat([a, b], dim=-1))

    model, ref = Functions(), T(-0.5, -0.5)
    B, X = draw((4, 2), "B"), draw((5, 2, 2), "X")
    acq = NEHVI(model, ref, B, sampler=bl.Sampler(9, seed=0), prune=False)
    y, base = acq.baseline.draw(X)
    both = torch.cat([base, y], dim=-2)
    everywhere = ref.expand(*y.shape[:-2], 2)
    gain = bl.hypervolume(both, everywhere) - bl.hypervolume(base, everywhere)
    expected = gain.mean(0)
    seen = expected > 1e-3
    assert int(seen.sum()) > 1
    assert_close(acq(X).exp()[seen] / expected[seen], torch.ones(int(seen.sum())), 0.01)
    assert torch.isfinite(gradient(acq, X)).all()
    given = acq.with_pending(X[0])(X[1:])
    assert torch.isfinite(given).all()


# -- BoTorch -------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """BoTorch compiles a kernel when it is first used: here its plain path will do."""
    monkeypatch.setattr(logei, "_load_attempted", True)


def standard(n: int, d: int, m: int, seed: int) -> bl.ExactGP:
    """A model whose outputs have scale 1: BoTorch smooths in user units."""
    X = draw((n, d), "X", seed)
    Y = surface(X, m)
    Y = (Y - Y.mean(0)) / Y.std(0)
    model = bl.ExactGP(X, Y, box(d))
    return model.with_hyperparameters(**hyperparameters(model, seed))


def theirs_sampler(s: int = 32) -> SobolQMCNormalSampler:
    return SobolQMCNormalSampler(torch.Size([s]), seed=5)


@pytest.mark.parametrize(("m", "q"), [(2, 1), (2, 2), (2, 4), (3, 1), (3, 2)])
def test_expected_improvement_agrees(m: int, q: int) -> None:
    model = standard(10, 3, m, q)
    ref, X = T([-0.4] * m), draw((8, q, 3), "probe", q)
    ours = EHVI(model, ref, model.Y, sampler=bl.Sampler(32, seed=5))
    parts = FastNondominatedPartitioning(ref, model.Y)
    theirs = logei.qLogExpectedHypervolumeImprovement(
        twin(model), ref.tolist(), parts, theirs_sampler(), tau_max=1e-3
    )
    a, b = ours(X), theirs(X)
    seen = b > -8
    # boxes of their own for m = 3: the smoothing differs, most in the tails
    tol = 1e-9 if m == 2 else 2e-3
    assert_close(a[seen], b[seen], tol)
    assert_close(gradient(ours, X)[seen], gradient(theirs, X)[seen], 100 * tol)


@pytest.mark.parametrize("q", [1, 2, 3])
@pytest.mark.parametrize("constrained", [False, True])
def test_noisy_improvement_agrees(q: int, constrained: bool) -> None:
    # short lengthscales: BoTorch adds jitter where the joint covariance is nearly singular
    model = standard(8, 2, 3, q).with_hyperparameters(lengthscale=0.2)
    ref, X = T(-0.4, -0.4), draw((8, q, 2), "probe", q)
    limits = (bl.at_most(2, 0.25),) if constrained else ()
    theirs = logei.qLogNoisyExpectedHypervolumeImprovement(
        twin(model),
        ref.tolist(),
        model.X,
        theirs_sampler(),
        objective=IdentityMCMultiOutputObjective(outcomes=[0, 1]),
        constraints=[lambda Y: Y[..., 2] - 0.25] if constrained else None,
        eta=1e-3,
    )
    ours = NEHVI(
        model,
        ref,
        model.X,
        sampler=bl.Sampler(32, seed=5),
        outcome_constraints=limits,
        prune=False,
    )
    assert_close(ours(X), theirs(X), 1e-6)
    unit = gradient(theirs, X).abs().max()
    assert_close(gradient(ours, X) / unit, gradient(theirs, X) / unit, 1e-6)


# -- errors --------------------------------------------------------------------------------------


def test_bad_input_is_an_error_that_says_what_to_do() -> None:
    model = model_of(2, r=(2,))
    ref = torch.zeros(2, dtype=F64)
    with pytest.raises(ShapeError, match="at most 2"):
        EHVI(model, torch.zeros(3, dtype=F64), model.Y)
    with pytest.raises(ShapeError, match="one column for each entry of ref_point"):
        EHVI(model, ref, model.Y[..., :1])
    with pytest.raises(DataError, match="finite"):
        EHVI(model, ref, model.Y / 0)
    with pytest.raises(ShapeError, match="one number for each of 2 objectives"):
        NEHVI(model, T(0.0), model.X, objectives=(bl.output(0), bl.output(1)))
    with pytest.raises(ShapeError, match="replicates"):
        NEHVI(model, ref, model.X[0])
    with pytest.raises(UnsupportedError, match="sequential=True"):
        NEHVI(model, ref, model.X)(draw((2, 11, 2), "X"))
