"""Classical designs: tables of levels against their definitions, surfaces against NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from study_cases import SQUARE
from torch import Tensor

import bolearn as bl
from bolearn.strategies import StudyData, classical, designs

s = bl.strategies


def shortest_constant_product(table: Tensor) -> int:
    """The resolution, by looking at every product of columns."""
    columns = range(table.shape[1])
    for size in range(1, table.shape[1] + 1):
        for chosen in itertools.combinations(columns, size):
            if table[:, list(chosen)].prod(-1).sum().abs() == len(table):
                return size
    return 0


# What the table of Box, Hunter & Hunter says is the best there is.
BOOK = {(3, 1): 3, (4, 1): 4, (5, 1): 5, (5, 2): 3, (6, 1): 6, (6, 2): 4, (6, 3): 3, (7, 1): 7}
BOOK |= {(7, 2): 4, (7, 3): 4, (7, 4): 3, (8, 1): 8, (8, 2): 5, (8, 3): 4, (8, 4): 4}


@pytest.mark.parametrize(("d", "halvings"), list(BOOK))
def test_fractions_have_the_resolution_of_the_book(d: int, halvings: int) -> None:
    table = designs.two_level_factorial(d, halvings)
    assert len(table) == len({tuple(row) for row in table.tolist()}) == 2 ** (d - halvings)
    assert shortest_constant_product(table) == BOOK[d, halvings] == designs.resolution(d, halvings)
    # main effects are estimated independently of each other
    torch.testing.assert_close(table.T @ table, len(table) * torch.eye(d).double())


def test_a_full_factorial_is_every_combination() -> None:
    table = designs.two_level_factorial(4)
    assert {tuple(row) for row in table.tolist()} == set(itertools.product([-1.0, 1.0], repeat=4))
    assert designs.resolution(4, 0) is None


def test_impossible_fractions_are_refused() -> None:
    for d, halvings in ((2, 1), (3, 2), (7, 5), (1, 1), (2, 3)):
        with pytest.raises(bl.DataError, match="halvings: expected fewer"):
            designs.two_level_factorial(d, halvings)
    for d, halvings in ((13, 0), (9, 2)):
        with pytest.raises(bl.UnsupportedError, match="at most"):
            designs.two_level_factorial(d, halvings)


def test_a_composite_of_resolution_five_estimates_the_whole_quadratic() -> None:
    for d in range(1, 7):
        halvings = designs.least_fraction(d)
        factorial = designs.two_level_factorial(d, halvings)
        composite = torch.cat([factorial, designs.face_centered(d)])
        terms = designs.quadratic(composite)
        assert terms.shape[1] == (d + 1) * (d + 2) // 2
        assert np.linalg.matrix_rank(terms.numpy()) == terms.shape[1]
    # at resolution IV it does not: half of four inputs
    half = torch.cat([designs.two_level_factorial(4, 1), designs.face_centered(4)])
    assert np.linalg.matrix_rank(designs.quadratic(half).numpy()) == 12


def test_the_lattice_is_all_blends_in_steps() -> None:
    for k, degree, equal in ((3, 2, 1), (4, 2, 1), (3, 3, 0), (2, 2, 0)):
        table = designs.lattice_of_fractions(k, degree)
        blends = {
            tuple(c / degree for c in steps)
            for steps in itertools.product(range(degree + 1), repeat=k)
            if sum(steps) == degree
        }
        assert len(table) == len(blends) + equal
        assert {tuple(row) for row in table[: len(blends)].tolist()} == blends
        assert (table[-1] - 1 / k).abs().max() < 1e-12 or not equal
        assert np.linalg.matrix_rank(designs.scheffe(table).numpy()) == k * (k + 1) // 2


# ---------------------------------------------------------------- played


def played(problem: bl.Problem, strategy: object, n_iter: int, **options: object) -> Tensor:
    """X ``R n d`` of a study of one strategy."""
    arguments = {"n_init": 1, "replicates": 4, "seed": 3} | options
    return bl.study(problem, {"it": strategy}, n_iter=n_iter, **arguments).X["it"]


def test_in_a_box_the_half_fraction_is_played_in_random_order() -> None:
    bounds = torch.tensor([[-3.0, 0.0, 10.0, 1.0], [1.0, 2.0, 11.0, 4.0]]).double()
    X = played(bl.Problem(lambda X: X.sum(-1), bounds), s.fractional_factorial, 9)
    U = 2 * (X[:, 1:9] - bounds[0]) / (bounds[1] - bounds[0]) - 1
    signs = U.prod(-1)
    assert (U.abs() == 1).all() and (signs == signs[:, :1]).all()
    assert len(signs[:, 0].unique()) == 2  # both halves occur
    for u in U:
        assert len({tuple(row) for row in u.tolist()}) == 8
    assert not torch.equal(U[0], U[1])
    torch.testing.assert_close(X[:, 9], bounds[1].expand(4, 4))  # a plane is highest in a corner


def test_the_quadratic_finds_the_top_of_a_quadratic() -> None:
    top, A = torch.tensor([0.3, -0.2]).double(), torch.tensor([[2.0, 0.7], [0.7, 1.0]]).double()
    box = torch.tensor([[-1.0, -1.0], [1.0, 1.0]]).double()
    bowl = bl.Problem(lambda X: 40 - 1e3 * (((X - top) @ A) * (X - top)).sum(-1), box)
    X = played(bowl, s.central_composite, 10)
    assert (X[:, 1:5].abs() == 1).all() and (X[:, 5] == 0).all()
    assert (X[:, 6:10].abs().sum(-1) == 1).all()
    torch.testing.assert_close(X[:, 10], top.expand(4, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("terms", [designs.linear, designs.quadratic])
def test_the_surface_is_that_of_numpy(terms: designs.Terms) -> None:
    """Also with failures, and with fewer runs than terms."""
    generator = torch.Generator().manual_seed(0)
    for n in (4, 12):
        X = torch.rand(3, n, 2, generator=generator).double() * 4 - 1
        Y = 100 * torch.rand(3, n, 1, generator=generator).double()
        observed = torch.rand(3, n, generator=generator) < 0.8
        observed[:, 0] = True
        bounds = torch.tensor([[-1.0, -1.0], [3.0, 3.0]]).double()
        data = StudyData(
            X, torch.where(observed[..., None], Y, torch.nan), observed, bounds, None, 1, 1
        )
        found = classical._fitted(data, terms)
        for i in range(3):
            keep = observed[i]
            y = Y[i, keep, 0].numpy()
            y = y - y.mean()
            A = terms((X[i, keep] + 1) / 2 - 1).numpy()
            expected = np.linalg.lstsq(A, y / max(abs(y).max(), 1e-300), rcond=1e-9)[0]
            np.testing.assert_allclose(found[i].numpy(), expected, atol=1e-9)


def test_one_factor_at_a_time_follows_a_loop_written_by_hand() -> None:
    problem = bl.problems.Suzuki()
    X = played(problem, s.one_factor_at_a_time, 12)
    for run in X:
        best, known = run[0], {tuple(run[0].tolist()): problem(run[:1]).item()}
        at, done = 1, set()
        while at < len(run):
            changed = (run[at] != best).nonzero()[:, 0].tolist()
            if len(changed) != 1 or changed[0] in done:
                break  # the second round begins: nothing more to say here
            line = []
            while at < len(run) and (run[at] != best).nonzero()[:, 0].tolist() == changed:
                line.append(run[at])
                known[tuple(run[at].tolist())] = problem(run[at : at + 1]).item()
                at += 1
            assert len(line) <= 3
            done.add(changed[0])
            best = max([best, *line], key=lambda x: known[tuple(x.tolist())])
        assert len(done) >= 3


def test_one_factor_at_a_time_finds_the_top_of_a_sum_of_categories_and_numbers() -> None:
    space = bl.Space([bl.Categorical("c", list("abcd")), bl.Integer("n", 1, 4), bl.Real("t", 0, 1)])
    worth = dict(zip("abcd", (0.3, 0.9, 0.1, 0.5), strict=True))

    def f(p: dict) -> float:
        return worth[p["c"]] - abs(p["n"] - 3) - abs(p["t"] - 0.75)

    problem = bl.problems.SpaceProblem(f, space, optimal_value=0.9)
    result = bl.study(problem, {"it": s.one_factor_at_a_time}, n_init=1, n_iter=12, replicates=4)
    assert (result.regret("it")[:, -1] < 1e-12).all()


def test_nothing_is_run_twice_in_a_table_and_gaps_are_passed_over() -> None:
    problem = bl.problems.Suzuki()
    arms = {
        "one": s.one_factor_at_a_time,
        "half": s.fractional_factorial,
        "composite": s.CentralComposite(halvings=1),
        "then": s.Staged(s.fractional_factorial, 8, s.q_log_ei),
    }
    for q, replicates in ((1, 1), (3, 1)):
        n_iter = 21 // q
        result = bl.study(problem, arms, n_init=2, n_iter=n_iter, q=q, replicates=replicates)
        for name in arms:
            assert not result.failures[name]
            for X in result.X[name]:
                assert len({tuple(x) for x in X.tolist()}) == 23


def test_a_replicate_alone_is_the_same() -> None:
    problem = bl.problems.Branin()
    arms = {"half": s.FractionalFactorial(0), "one": s.one_factor_at_a_time}
    arms["composite"] = s.central_composite
    together = bl.study(problem, arms, n_init=2, n_iter=11, replicates=3, seed=2)
    alone = bl.study(problem, arms, n_init=2, n_iter=11, replicates=1, seed=[together.seeds[2]])
    for name in arms:
        torch.testing.assert_close(together.X[name][2], alone.X[name][0], atol=1e-6, rtol=0)
    assert together.batched == {"half": True, "one": False, "composite": True}


def test_the_lattice_is_laid_above_the_least_amounts() -> None:
    parts = [bl.Real("a", 0.2, 1), bl.Real("b", 0, 1), bl.Real("c", 0, 0.9)]
    space = bl.Space(parts, constraints=["2 a + 2 b + 2 c == 2"])

    def f(p: dict) -> float:
        a, b, c = (p["a"] - 0.2) / 0.8, p["b"] / 0.8, p["c"] / 0.8
        return a * b + 2 * b * c + 0.5 * c

    problem = bl.problems.SpaceProblem(f, space)
    result = bl.study(problem, {"lattice": s.simplex_lattice}, n_init=1, n_iter=8, replicates=3)
    for X in result.X["lattice"]:
        amounts = torch.tensor([[p[n] for n in "abc"] for p in space.decode(X)]).double()
        rest = (amounts - torch.tensor([0.2, 0.0, 0.0]).double()) / 0.8
        expected = designs.lattice_of_fractions(3)
        assert (torch.cdist(expected, rest[1:8], p=torch.inf).amin(-1) < 1e-6).all()
        # after the lattice the model is the truth: with b + c = 1, 2 b c + c / 2 peaks at c = 5/8
        torch.testing.assert_close(rest[8], torch.tensor([0, 3, 5]).double() / 8, atol=1e-3, rtol=0)


def test_one_factor_at_a_time_begins_again_from_its_best_run() -> None:
    """A ridge that one round of single changes climbs but halfway."""
    space = bl.Space([bl.Integer("a", 1, 5), bl.Integer("b", 1, 5)])

    def ridge(p: dict) -> float:
        return -abs(p["a"] - p["b"] - 1) + 0.75 * min(p["a"], 4)

    problem = bl.problems.SpaceProblem(ridge, space, optimal_value=3.0)
    result = bl.study(problem, {"it": s.one_factor_at_a_time}, n_init=1, n_iter=18, replicates=8)
    X, values = result.X["it"], result.values["it"]
    assert (result.regret("it")[:, -1] == 0).all()
    for run, value in zip(X, values, strict=True):
        for t in range(2, len(run)):  # every run differs in one input from one that was there
            assert ((run[t] != run[:t]).sum(-1) == 1).any()
            if value[:t].max() == 3.0:
                break


def test_stages_follow_each_other() -> None:
    problem = bl.Problem(lambda X: -(X - 0.3).square().sum(-1), SQUARE)
    begun = s.Staged(s.FractionalFactorial(0), 4, s.log_ei)
    X = played(problem, begun, 7)
    corners = set(itertools.product(*SQUARE.T.tolist()))
    assert {tuple(x) for x in X[0, 1:5].tolist()} == corners
    alone = played(problem, s.FractionalFactorial(0), 4)
    assert torch.equal(X[:, :5], alone)
    assert (X[:, 5:] - 0.3).norm(dim=-1).amin(-1).max() < 0.4  # from a corner it is 0.99


def test_spaces_that_do_not_fit_are_refused() -> None:
    labels = bl.Space([bl.Categorical("c", list("abc")), bl.Real("t", 0, 1)])
    problem = bl.problems.SpaceProblem(lambda p: p["t"], labels)
    for strategy in (s.fractional_factorial, s.central_composite):
        with pytest.raises(bl.BolearnError, match="'c', whose labels have no order"):
            bl.study(problem, {"it": strategy}, n_init=1, n_iter=1, replicates=2)
    for other in (problem, bl.problems.Branin()):
        with pytest.raises(bl.BolearnError, match="fractions of one total"):
            bl.study(other, {"it": s.simplex_lattice}, n_init=1, n_iter=1, replicates=2)
