"""Fronts: dominance, hypervolume and boxes against enumeration, inclusion-exclusion and BoTorch."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from botorch.utils.multi_objective.box_decompositions.dominated import DominatedPartitioning
from botorch.utils.multi_objective.pareto import is_non_dominated as botorch_non_dominated
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, T, assert_close, draw, few
from torch import Tensor

import bolearn as bl
from bolearn.errors import DataError, ShapeError
from bolearn.pareto import area_reference


def inclusion_exclusion(Y: Tensor, ref: Tensor) -> float:
    """The volume of a union of boxes, subset by subset."""
    Z, total = (Y - ref).clamp(min=0), 0.0
    for size in range(1, len(Z) + 1):
        for subset in itertools.combinations(range(len(Z)), size):
            total += -((-1) ** size) * Z[list(subset)].amin(0).prod().item()
    return total


def outcomes(n: int, m: int, *names: int | str) -> Tensor:
    """Random outcomes with ties: some coordinates are rounded, one row is repeated."""
    Y = draw((n, m), "Y", *names)
    Y[::3] = (Y[::3] * 4).round() / 4
    if n > 2:
        Y[-1] = Y[0]
    return Y


def sphere(n: int, m: int, *names: int | str) -> Tensor:
    """n outcomes that do not dominate each other."""
    Y = draw((n, m), "sphere", *names) + 1e-3
    return Y / Y.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 6])
def test_dominance_is_its_definition(m: int) -> None:
    Y = outcomes(25, m, "dominance")
    expected = [not any(bool((b >= a).all() and (b > a).any()) for b in Y) for a in Y]
    assert bl.is_non_dominated(Y).tolist() == expected
    assert bl.is_non_dominated(Y).equal(botorch_non_dominated(Y, deduplicate=False))
    once = bl.is_non_dominated(Y, deduplicate=True)
    front = Y[torch.tensor(expected)]
    assert int(once.sum()) == len(torch.unique(front, dim=0))
    assert Y[once].unique(dim=0).equal(front.unique(dim=0))


def test_equal_rows_do_not_dominate_each_other() -> None:
    Y = T([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    assert bl.is_non_dominated(Y).tolist() == [True, True, False, False]
    assert bl.is_non_dominated(Y, deduplicate=True).tolist() == [True, False, False, False]


def test_masked_rows_are_neither_on_the_front_nor_dominate() -> None:
    Y = T([[9.0, math.nan], [1.0, 1.0], [0.0, 0.0]])
    mask = torch.tensor([False, True, True])
    assert bl.is_non_dominated(Y, mask).tolist() == [False, True, False]
    assert not bl.is_non_dominated(Y, torch.zeros(3, dtype=torch.bool)).any()
    assert bl.hypervolume(Y, T(0.0, 0.0), mask).item() == 1.0
    assert bl.infer_reference_point(Y, mask).tolist() == [0.9, 0.9]


@few
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 10**6))
def test_hypervolume_by_inclusion_and_exclusion(m: int, n: int, seed: int) -> None:
    Y, ref = outcomes(n, m, seed), draw((m,), "ref", seed) * 0.4
    expected = inclusion_exclusion(Y, ref)
    assert bl.hypervolume(Y, ref).item() == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_hypervolume_of_a_large_front_is_that_of_its_partition(m: int) -> None:
    Y, ref = sphere({2: 100, 3: 60, 4: 30, 5: 14}[m], m, "large"), torch.full((m,), 0.1, dtype=F64)
    other = DominatedPartitioning(ref, Y).compute_hypervolume().item()
    assert bl.hypervolume(Y, ref).item() == pytest.approx(other, rel=1e-10)


def test_a_sphere_in_six_dimensions_by_counting() -> None:
    Y, ref = sphere(16, 6, "counted"), torch.zeros(6, dtype=F64)
    Z = torch.rand(200_000, 6, dtype=F64, generator=torch.Generator().manual_seed(0))
    share = (Z.unsqueeze(1) <= Y).all(-1).any(-1).double().mean().item()
    error = 4 * math.sqrt(share / len(Z))
    assert abs(bl.hypervolume(Y, ref).item() - share) < error


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6])
def test_hypervolume_keeps_its_value(m: int) -> None:
    """Under scales, other orders of points and objectives, dominated points and duplicates."""
    n = 10
    Y, ref = sphere(n, m, "kept"), torch.full((m,), 0.05, dtype=F64)
    value = bl.hypervolume(Y, ref)
    order, columns = draw((n,), "order").argsort(), draw((m,), "columns").argsort()
    same = [
        bl.hypervolume(Y[order], ref),
        bl.hypervolume(Y[:, columns], ref),
        bl.hypervolume(torch.cat([Y, 0.5 * Y, Y, ref[None], ref[None] - 3]), ref),
    ]
    for scale in (1e-9, 1e-3, 1e9):
        same.append(bl.hypervolume(Y * scale, ref * scale) / scale**m)
    for other in same:
        assert_close(other / value, 1.0, 1e-11)
    each = 10.0 ** torch.linspace(-9, 9, m, dtype=F64)
    assert_close(bl.hypervolume(Y * each, ref * each) / each.prod() / value, 1.0, 1e-11)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6])
def test_gradient_by_differences(m: int) -> None:
    Y = (sphere if m > 1 else outcomes)(7, m, "gradient").requires_grad_(True)
    ref = torch.full((m,), 0.05, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(bl.hypervolume, (Y, ref), atol=1e-6)
    many = torch.stack([Y.detach(), outcomes(7, m, "tied")]).requires_grad_(True)
    (together,) = torch.autograd.grad(bl.hypervolume(many, ref).sum(), many)
    (alone,) = torch.autograd.grad(bl.hypervolume(Y, ref), Y)
    assert_close(together[0], alone, 1e-12)
    assert torch.isfinite(together).all()


def test_second_derivatives_of_an_area() -> None:
    Y = sphere(6, 2, "second").requires_grad_(True)
    ref = T([0.1, 0.0])
    assert torch.autograd.gradgradcheck(lambda y: bl.hypervolume(y, ref), Y)
    assert_close(bl.hypervolume(Y, ref), area_reference((Y - ref).clamp(min=0)[None])[0], 1e-15)


@pytest.mark.parametrize("m", [2, 3, 4, 5])
def test_replicates_in_a_batch_are_replicates_alone(m: int) -> None:
    """Fronts of different size: one of a single point, one empty, one all below the reference."""
    n, ref = 9, draw((5, m), "refs") * 0.2
    Y = torch.stack([outcomes(n, m, "batch", i) for i in range(5)])
    Y[3] = -Y[3]
    observed = draw((5, n), "observed") > 0.3
    observed[1], observed[2] = False, torch.arange(n) == 4
    Y[~observed] = math.nan
    together, boxes = bl.hypervolume(Y, ref, observed), bl.box_decomposition(Y, ref, observed)
    for i in range(5):
        alone = bl.hypervolume(Y[i][observed[i]], ref[i])
        assert_close(together[i], alone, 1e-13)
        own = bl.box_decomposition(Y[i][observed[i]], ref[i])
        has_volume = (boxes.upper[i] > boxes.lower[i]).all(-1)
        for ours, theirs in zip((boxes.lower[i], boxes.upper[i]), own, strict=True):
            sound = (own.upper > own.lower).all(-1)
            assert ours[has_volume].equal(theirs[sound])
    assert together[1] == 0 and together[3] == 0


@few
@given(st.integers(1, 6), st.integers(1, 10), st.integers(0, 10**6))
def test_boxes_hold_what_is_not_dominated_once(m: int, n: int, seed: int) -> None:
    Y, ref = outcomes(n, m, "boxes", seed), draw((m,), "ref", seed) * 0.4
    lower, upper = bl.box_decomposition(Y, ref)
    Z = ref + draw((2000, m), "probes", seed) * (1.2 - ref)
    inside = ((Z.unsqueeze(1) > lower) & (Z.unsqueeze(1) < upper)).all(-1).sum(-1)
    dominated = (Y.unsqueeze(0) >= Z.unsqueeze(1)).all(-1).any(-1)
    assert inside.equal((~dominated).long())
    total = (upper.clamp(max=1.3) - lower).clamp(min=0).prod(-1).sum()
    assert_close(total + bl.hypervolume(Y, ref), (1.3 - ref).prod(), 1e-12)


@pytest.mark.parametrize(("m", "n", "most"), [(2, 20, 21), (3, 20, 41), (4, 15, 120), (5, 12, 200)])
def test_boxes_are_few(m: int, n: int, most: int) -> None:
    Y = sphere(n, m, "few")
    for scale in (1.0, 1e9, 1e-9):
        lower, upper = bl.box_decomposition(Y * scale, torch.zeros(m, dtype=F64))
        assert lower.shape == upper.shape and lower.shape[0] <= most


def test_reference_points() -> None:
    front = T([[0.0, 4.0], [1.0, 2.0], [3.0, 0.0], [-9.0, -9.0]])
    assert_close(bl.infer_reference_point(front), T(-0.3, -0.4), 1e-15)
    assert_close(bl.infer_reference_point(front, scale=0.5), T(-1.5, -2.0), 1e-15)
    # one point on the front: the range of all data
    assert_close(bl.infer_reference_point(T([[1.0, 2.0], [0.0, -2.0]])), T(0.9, 1.6), 1e-15)
    # nothing varies
    assert_close(bl.infer_reference_point(T([[-5.0, 0.0]])), T(-5.5, -0.1), 1e-15)
    for scale in (1e-9, 1e9):
        assert_close(bl.infer_reference_point(front * scale) / scale, T(-0.3, -0.4), 1e-12)
    both = bl.infer_reference_point(torch.stack([front, front[[1, 1, 1, 1]]]))
    assert_close(both[0], T(-0.3, -0.4), 1e-15)


def test_no_rows_have_no_volume() -> None:
    assert bl.hypervolume(torch.zeros(3, 0, 2, dtype=F64), T(0.0, 0.0)).tolist() == [0, 0, 0]


def test_bad_input_is_an_error_that_says_what_to_do() -> None:
    Y, ref = torch.zeros(4, 2, dtype=F64), T(0.0, 0.0)
    with pytest.raises(ShapeError, match="one number for each of 2 objectives"):
        bl.hypervolume(Y, T(0.0, 0.0, 0.0))
    with pytest.raises(ShapeError, match=r"or \(3, 2\)"):
        bl.hypervolume(Y.expand(3, 4, 2), torch.zeros(2, 2, dtype=F64))
    with pytest.raises(DataError, match="finite"):
        bl.is_non_dominated(Y / 0)
    with pytest.raises(DataError, match=r"use Y\.double"):
        bl.is_non_dominated(Y.float())
    with pytest.raises(ShapeError, match="observed: expected shape"):
        bl.hypervolume(Y, ref, torch.ones(3, dtype=torch.bool))
    with pytest.raises(DataError, match="rows that count"):
        bl.hypervolume(Y / 0, ref, torch.ones(4, dtype=torch.bool))
    with pytest.raises(DataError, match="at least one row that counts"):
        bl.infer_reference_point(Y, torch.zeros(4, dtype=torch.bool))
