"""Studies over spaces: legal proposals, tables replayed, replicates alone, what is refused."""

from __future__ import annotations

import copy
import csv
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import bolearn as bl
from bolearn.strategies import StudyData, log_ei, q_log_ei, q_log_nei, random, sobol, thompson, ucb

DATA = Path(bl.__file__).parent / "data"


def space() -> bl.Space:
    return bl.Space(
        [
            bl.Real("A", 0, 1, step=0.1),
            bl.Real("B", 0, 1),
            bl.Integer("n", 1, 4),
            bl.Categorical("c", ["x", "y", "z"]),
        ],
        constraints=["A + B <= 1"],
    )


def response(p: dict) -> float:
    bonus = {"x": 0.0, "y": 0.5, "z": 0.2}[p["c"]]
    return bonus - (p["A"] - 0.4) ** 2 - (p["B"] - 0.3) ** 2 - 0.1 * (p["n"] - 3) ** 2


STRATEGIES = {"LogEI": log_ei, "UCB": ucb(), "random": random, "Sobol": sobol}


def test_every_proposal_is_legal_and_the_best_is_found() -> None:
    problem = bl.problems.SpaceProblem(response, space(), optimal_value=0.5)
    result = bl.study(problem, STRATEGIES, n_init=6, n_iter=12, replicates=4, seed=1)
    for name in result.names:
        assert problem.space.is_legal(result.X[name]).all()
        assert result.batched[name] and not result.failures[name]
    assert result.regret("LogEI")[:, -1].median() < 0.01
    assert result.regret("random")[:, -1].median() > 0.01
    best = problem.space.decode(result.recommended["LogEI"][0, -1])
    assert best["c"] == "y" and best["n"] == 3


def test_batches_and_paths_are_legal() -> None:
    problem = bl.problems.SpaceProblem(response, space(), noise_std=0.05)
    arms = {"qLogEI": q_log_ei, "qLogNEI": q_log_nei, "paths": thompson}
    result = bl.study(problem, arms, n_init=5, n_iter=2, q=2, replicates=2, seed=3)
    for name in result.names:
        assert problem.space.is_legal(result.X[name]).all()


def test_a_replicate_alone_is_the_same() -> None:
    problem = bl.problems.BuchwaldHartwig(halide=5)
    arms = {"LogEI": log_ei, "random": random}
    together = bl.study(problem, arms, n_init=5, n_iter=4, replicates=3, seed=2)
    alone = bl.study(problem, arms, n_init=5, n_iter=4, replicates=1, seed=[together.seeds[2]])
    for name in arms:
        assert torch.equal(together.X[name][2], alone.X[name][0])


def test_no_entry_of_a_table_is_asked_twice_and_none_that_is_missing() -> None:
    problem = bl.problems.Suzuki()
    assert len(problem.points) == 247 and len(problem.unavailable) == 9
    arms = {"LogEI": log_ei, "random": random, "Sobol": sobol, "paths": thompson}
    result = bl.study(problem, arms, n_init=8, n_iter=6, q=1, replicates=3, seed=0)
    for name in arms:
        assert result.observed[name].all()
        for X in result.X[name]:
            assert len({tuple(x) for x in X.tolist()}) == 14
            assert problem.noiseless(X).isfinite().all()
    assert problem.noiseless(problem.unavailable).isnan().all()


def test_a_table_can_be_exhausted_but_not_more() -> None:
    labels = bl.Space([bl.Categorical("c", list("abcdef"))])
    table = [{"c": c, "y": float(i)} for i, c in enumerate("abcde")]
    problem = bl.problems.TableProblem(table, labels, "y")
    result = bl.study(problem, STRATEGIES, n_init=2, n_iter=3, replicates=3, seed=0)
    for name in result.names:
        assert (result.regret(name)[:, -1] == 0).all()
    with pytest.raises(bl.DataError, match="at most 5"):
        bl.study(problem, STRATEGIES, n_init=2, n_iter=4, replicates=3, seed=0)


def test_an_illegal_proposal_is_refused() -> None:
    def careless(data: StudyData, bounds: torch.Tensor, q: int, seed: object) -> torch.Tensor:
        return torch.full((*data.X.shape[:-2], q, data.X.shape[-1]), 0.3, dtype=torch.float64)

    def careful(data: StudyData, bounds: torch.Tensor, q: int, seed: object) -> torch.Tensor:
        return data.space.round(careless(data, bounds, q, seed))

    problem = bl.problems.SpaceProblem(response, space())
    with pytest.raises(bl.DataError, match=r"no legal point.*space\.round"):
        bl.study(problem, {"careless": careless}, n_init=3, n_iter=1, replicates=2)
    bl.study(problem, {"careful": careful}, n_init=3, n_iter=1, replicates=2)


def test_methods_for_boxes_say_so() -> None:
    problem = bl.problems.SpaceProblem(response, space())
    for strategy in (bl.strategies.turbo, bl.strategies.nelder_mead, replace(log_ei, choices=50)):
        with pytest.raises(bl.BolearnError, match="space"):
            bl.study(problem, {"it": strategy}, n_init=3, n_iter=1, replicates=2)


def test_failures_in_a_space_are_left_out(tmp_path: Path) -> None:
    def breaks(p: dict) -> float:
        if p["c"] == "z":
            raise RuntimeError("burnt")
        return response(p)

    problem = bl.problems.SpaceProblem(breaks, space())
    place = tmp_path / "study.pt"
    arms = {"LogEI": log_ei}
    first = bl.study(problem, arms, n_init=6, n_iter=3, replicates=2, seed=0, checkpoint=place)
    again = bl.study(problem, arms, n_init=6, n_iter=3, replicates=2, seed=0, checkpoint=place)
    assert torch.equal(first.X["LogEI"], again.X["LogEI"])
    assert len(first.failures["LogEI"]) > 0
    assert (~first.observed["LogEI"]).sum() == len(first.failures["LogEI"])


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("halide", range(15))
def test_buchwald_hartwig_is_the_table(halide: int) -> None:
    problem = bl.problems.BuchwaldHartwig(halide=halide)
    with (DATA / "buchwald_hartwig.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["aryl_halide"] == str(halide)]
    assert len(problem.points) == len(rows) == 264 - len(problem.unavailable)
    assert problem.optimal_value == max(float(row["yield_percent"]) for row in rows)
    names = {p.name: p.values for p in problem.space.parameters}
    some = rows[:: len(rows) // 7]
    points = [
        {name: names[name][int(row[name])] for name in ("ligand", "base", "additive")}
        for row in some
    ]
    found = problem(problem.space.encode(points))[:, 0].tolist()
    assert found == [float(row["yield_percent"]) for row in some]


def test_a_halide_may_be_named() -> None:
    by_name = bl.problems.BuchwaldHartwig(halide="ClC1=CC=C(C(F)(F)F)C=C1")
    assert by_name.optimal_value == bl.problems.BuchwaldHartwig(halide=5).optimal_value == 45.05
    for bad in (15, -1, "benzene"):
        with pytest.raises(bl.DataError, match="0 to 14"):
            bl.problems.BuchwaldHartwig(halide=bad)


def test_a_table_of_ones_own() -> None:
    import pandas as pd

    table = pd.DataFrame(
        {"T": [20, 20, 30, 30], "base": ["a", "a", "b", "a"], "yield": [1.0, 3.0, 7.0, None]}
    )
    own = bl.Space([bl.Real("T", 20, 30, step=10), bl.Categorical("base", ["a", "b"])])
    problem = bl.problems.TableProblem(table, own, "yield")
    assert problem.optimal_value == 7.0 and len(problem.points) == 2
    at = own.encode([{"T": 20, "base": "a"}, {"T": 30, "base": "b"}])
    assert problem(at)[:, 0].tolist() == [2.0, 7.0]
    assert own.decode(problem.optimal_points) == [{"T": 30.0, "base": "b"}]
    for bad, words in (
        ([{"T": 25, "base": "a", "yield": 1.0}], "row 0: T"),
        ([{"T": 20, "base": "a"}], "'yield'"),
        ([{"T": 20, "base": "a", "yield": "much"}], "'much'"),
        ([], "at least one"),
        ("table", "list of dictionaries"),
    ):
        with pytest.raises(bl.DataError, match=words):
            bl.problems.TableProblem(bad, own, "yield")


def test_problems_can_be_copied_and_sent() -> None:
    problem = bl.problems.Suzuki()
    for other in (copy.deepcopy(problem), pickle.loads(pickle.dumps(problem))):
        assert torch.equal(other(problem.points), problem(problem.points))
        assert other.space == problem.space


# ---------------------------------------------------------------- tables that are no grid


@pytest.fixture(scope="module")
def blends() -> bl.problems.Blends:
    return bl.problems.Blends()


def _rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open() as file:
        return list(csv.DictReader(file))


def _means(rows: list[dict[str, str]], names: list[str], value: str) -> dict[tuple, float]:
    """Repeats averaged, the plain way."""
    groups: dict[tuple, list[float]] = {}
    for row in rows:
        groups.setdefault(tuple(row[n] for n in names), []).append(float(row[value]))
    return {key: sum(values) / len(values) for key, values in groups.items()}


def test_repeats_are_grouped_and_the_best_is_known(blends: bl.problems.Blends) -> None:
    fullerenes = bl.problems.Fullerenes()
    names = ["reaction_time_min", "sultine_equivalents", "temperature_C"]
    grid = _means(_rows("fullerenes.csv"), names, "mole_fraction")
    assert len(fullerenes.points) == len(grid) == 216 and fullerenes.entries is None
    assert fullerenes.optimal_value == pytest.approx(max(grid.values()))
    mixed = _means(_rows("photo_pce10.csv"), ["PCE10", "P3HT", "PCBM", "oIDTBR"], "degradation")
    assert len(blends.points) == len(mixed) == 1020 and len(blends.unavailable) == 0
    assert blends.optimal_value == pytest.approx(-min(mixed.values()))
    point = {"PCE10": 0.2, "P3HT": 0.12, "PCBM": 0.54, "oIDTBR": 0.14}  # made three times
    three = [
        -float(r["degradation"])
        for r in _rows("photo_pce10.csv")
        if r["PCE10"] == "0.2" and r["P3HT"] == "0.12" and r["PCBM"] == "0.54"
    ]
    assert len(three) == 3
    found = blends(blends.space.encode([point])).item()
    assert found == pytest.approx(sum(three) / 3, abs=1e-12)


@pytest.mark.parametrize("case", [1, 2, 3, 4])
def test_reizman_is_the_table(case: int) -> None:
    problem = bl.problems.ReizmanSuzuki(case=case)
    rows = [row for row in _rows("reizman_suzuki.csv") if row["case"] == str(case)]
    names = ["catalyst", "t_res", "temperature", "catalyst_loading"]
    means = _means(rows, names, "yld")
    assert problem.entries is not None and len(problem.entries) == len(means)
    assert problem.optimal_value == pytest.approx(max(means.values()))
    assert problem.noiseless(problem.space.sobol(5, seed=0)).isnan().all()  # no grid


def test_no_other_case_and_no_other_halide() -> None:
    with pytest.raises(bl.DataError, match="case: expected 1, 2, 3 or 4"):
        bl.problems.ReizmanSuzuki(case=5)


def test_proposals_come_from_the_list_of_entries(blends: bl.problems.Blends) -> None:
    arms = {"LogEI": log_ei, "random": random, "Sobol": sobol, "paths": thompson}
    arms["lattice"] = bl.strategies.simplex_lattice
    problems = [(blends, arms), (bl.problems.ReizmanSuzuki(case=2), dict(list(arms.items())[:4]))]
    for problem, chosen in problems:
        result = bl.study(problem, chosen, n_init=4, n_iter=4, replicates=2, seed=0)
        for name in chosen:
            assert result.observed[name].all()
            for X in result.X[name]:
                assert len({tuple(x) for x in X.tolist()}) == 8
                assert problem.noiseless(X).isfinite().all()
    many = {"qLogEI": q_log_ei, "random": random, "lattice": arms["lattice"]}
    result = bl.study(blends, many, n_init=4, n_iter=2, q=8, replicates=2, seed=1)
    for name in many:
        for X in result.X[name]:
            assert len({tuple(x) for x in X.tolist()}) == 20


def test_a_replicate_with_a_list_alone_is_the_same() -> None:
    problem = bl.problems.ReizmanSuzuki(case=1)
    arms = {"LogEI": log_ei, "random": random}
    together = bl.study(problem, arms, n_init=5, n_iter=3, replicates=3, seed=2)
    alone = bl.study(problem, arms, n_init=5, n_iter=3, replicates=1, seed=[together.seeds[2]])
    for name in arms:
        assert torch.equal(together.X[name][2], alone.X[name][0])


def test_a_list_can_be_exhausted_but_not_more() -> None:
    line = bl.Space([bl.Real("x", 0, 1)])
    table = [{"x": x, "y": x} for x in (0.1, 0.2, 0.35, 0.7)]
    problem = bl.problems.TableProblem(table, line, "y")
    result = bl.study(problem, STRATEGIES, n_init=2, n_iter=2, replicates=3, seed=0)
    for name in result.names:
        assert (result.regret(name)[:, -1] == 0).all()
    with pytest.raises(bl.DataError, match="at most 4"):
        bl.study(problem, STRATEGIES, n_init=2, n_iter=3, replicates=3, seed=0)
    run = StudyData(
        problem.points[:2].repeat(2, 1, 1),
        torch.zeros(2, 2, 1).double(),
        torch.ones(2, 2).bool(),
        line.bounds,
        None,
        0,
        2,
        space=line,
        deterministic=True,
        entries=problem.entries,
    )
    run = replace(run, X=torch.stack([problem.points[:2], problem.points[[3, 3]]]))
    assert run.left is not None and run.left.shape == (2, 3, 1)
    assert {round(x, 6) for x in run.left[0, :, 0].tolist()} == {0.35, 0.7}
    assert replace(run, deterministic=False).left.shape == (2, 4, 1)
