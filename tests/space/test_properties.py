"""Random spaces: round trips, legality, rounding that changes nothing twice, designs."""

from __future__ import annotations

import copy
import pickle

import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import F64, draw
from spaces import Case, legal, some, spaces

import bolearn as bl

KINDS = ("Real", "Integer", "Categorical")


@some
@given(spaces())
def test_a_legal_point_comes_back(case: Case) -> None:
    space, point = case.space(), case.point
    assert space.complaints(point) == []
    codes = space.encode(point)
    assert codes.shape == (space.d,)
    assert codes.min() >= 0 and codes.max() <= 1
    back = space.decode(codes)
    for p in space.parameters:
        v, w = point[p.name], back[p.name]
        if isinstance(p, bl.Categorical) or p.step is not None:
            assert v == w and type(v) is type(w)
        else:
            assert abs(v - w) <= 4e-15 * max(abs(p.low), abs(p.high))
    assert legal(space, back)
    assert space.is_legal(codes)
    assert torch.equal(space.encode(back), codes)
    assert space.check(point) == space.check(space.check(point))


@some
@given(spaces(), st.integers(0, 99), st.sampled_from([1.0, 3.0, 100.0]))
def test_rounding_is_legal_and_changes_nothing_twice(case: Case, seed: int, spread: float) -> None:
    space = case.space()
    X = (draw((2, 3, space.d), "codes", seed) - 0.5) * spread + 0.5
    Y = space.round(X)
    assert Y.shape == X.shape and Y.dtype == F64
    assert space.is_legal(Y).all()
    assert torch.equal(space.round(Y), Y)
    for row in space.decode(Y):
        for point in row:
            assert legal(space, point), point
            assert point in space


@some
@given(spaces(), st.integers(1, 12), st.integers(0, 99))
def test_designs_are_legal_different_and_the_same_alone(case: Case, n: int, seed: int) -> None:
    space = case.space()
    X = space.sobol(n, seed, replicates=2)
    assert X.shape == (2, n, space.d)
    assert space.is_legal(X).all()
    assert all(legal(space, point) for row in space.decode(X) for point in row)
    alone = space.sobol(n, bl.seeds.derive(seed, 1))
    assert torch.equal(alone, X[1])
    if space.num_designs != float("inf"):
        for design in X:
            different = len({tuple(x) for x in design.tolist()})
            assert different == min(n, space.num_designs)


@some
@given(spaces())
def test_counting_is_listing(case: Case) -> None:
    space, point = case.space(), case.point
    if space.num_designs > 3000:
        return
    found = space.designs()
    assert len(found) == space.num_designs
    assert len({tuple(x) for x in found.tolist()}) == len(found)
    assert space.is_legal(found).all()
    assert any(torch.equal(x, space.encode(point)) for x in found)


@some
@given(spaces())
def test_text_and_pickle_bring_a_space_back(case: Case) -> None:
    space = case.space()
    text = space.to_json()
    again = bl.Space.from_json(text)
    assert again == space and hash(again) == hash(space)
    assert again.to_json() == text
    assert pickle.loads(pickle.dumps(space)) == space
    assert copy.deepcopy(space) == space
    assert repr(again) == repr(space)
    for p in space.parameters:
        assert eval(repr(p), {name: getattr(bl, name) for name in KINDS}) == p


@some
@given(spaces(), st.integers(0, 99))
def test_permuted_labels_permute_columns(case: Case, seed: int) -> None:
    space = case.space()
    turned = [
        bl.Categorical(p.name, p.values[::-1], ordered=p.ordered)
        if isinstance(p, bl.Categorical)
        else p
        for p in space.parameters
    ]
    other = bl.Space(turned, constraints=space.constraints)
    points = space.decode(space.sobol(5, seed))
    X, Z = space.encode(points), other.encode(points)
    assert other.decode(Z) == points
    for p in space.parameters:
        columns = space.columns[p.name]
        if isinstance(p, bl.Categorical) and not p.ordered:
            assert torch.equal(X[:, columns].flip(-1), Z[:, columns])
        elif not isinstance(p, bl.Categorical):
            assert torch.equal(X[:, columns], Z[:, columns])


@some
@given(spaces(), st.integers(0, 99))
def test_fixed_parameters_stay(case: Case, seed: int) -> None:
    space, point = case.space(), case.point
    name = space.names[seed % len(space)]
    held = {name: point[name]}
    for X in (space.sobol(4, seed, fixed=held), space.round(draw((4, space.d), seed), fixed=held)):
        assert space.is_legal(X).all()
        expected = space.encode(point)[space.columns[name]]
        assert torch.equal(X[:, space.columns[name]], expected.expand(4, -1))
