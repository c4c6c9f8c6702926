"""Spaces: conflicts, codes, designs in polytopes, tables, and bad input of every kind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from jaxtyping import config
from oracles import F64, T, draw

import bolearn as bl


@pytest.fixture(autouse=True, scope="module")
def unchecked() -> Iterator[None]:
    """As users run it: without the annotations of the test suite, which would speak first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def refused(call: Callable[[], object], kind: type[Exception], *words: str) -> None:
    """The call raises an error of this kind whose message has these words."""
    with pytest.raises(kind) as caught:
        call()
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"


def reaction() -> bl.Space:
    """The space of a reaction, with every kind of parameter."""
    return bl.Space(
        [
            bl.Real("A", 0, 1, step=0.01),
            bl.Real("B", 0, 1, step=0.01),
            bl.Real("temperature", 20, 90, unit="°C", step=0.5),
            bl.Real("time", 1, 600, unit="s", log=True),
            bl.Integer("cycles", 1, 8),
            bl.Categorical("solvent", ["MeOH", "THF", "MeCN"]),
            bl.Categorical("stirring", ["slow", "fast"], ordered=True),
        ],
        constraints=["A + B <= 1"],
    )


POINT = {
    "A": 0.5,
    "B": 0.25,
    "temperature": 55.0,
    "time": math.sqrt(600),
    "cycles": 8,
    "solvent": "THF",
    "stirring": "fast",
}


def mixture(n: int, step: float | None = None, total: str = "1") -> bl.Space:
    """Fractions that sum to a total."""
    names = [f"x{i}" for i in range(n)]
    return bl.Space(
        [bl.Real(name, 0, 1, step=step) for name in names],
        constraints=[f"{' + '.join(names)} == {total}"],
    )


# ---------------------------------------------------------------- codes


def test_codes_are_what_they_should_be() -> None:
    space = reaction()
    assert space.d == 9 and len(space.bounds.T) == 9
    expected = T([0.5, 0.25, 0.5, 0.5, 1.0, 0.0, 1.0, 0.0, 1.0])
    torch.testing.assert_close(space.encode(POINT), expected, rtol=0, atol=1e-15)
    assert space.columns["solvent"] == [5, 6, 7]


def test_lists_of_points_become_axes_and_come_back() -> None:
    space = reaction()
    X = space.sobol(6, seed=3, replicates=2)
    points = space.decode(X)
    assert len(points) == 2 and len(points[0]) == 6
    assert torch.equal(space.encode(points), X)
    assert torch.equal(
        space.encode(
            space.table(points[0]).rename(
                columns={"temperature (°C)": "temperature", "time (s)": "time"}
            )
        ),
        X[0],
    )


def test_what_was_typed_comes_back() -> None:
    space = reaction()
    for seconds in (20.1, 7.3, 599.99, 1.0, 600.0, 33.333333):
        assert space.decode(space.encode({**POINT, "time": seconds}))["time"] == seconds


def test_a_table_has_names_and_units() -> None:
    table = reaction().table([POINT, {**POINT, "A": 0.1}])
    assert list(table.columns)[2:4] == ["temperature (°C)", "time (s)"]
    assert table["A"].tolist() == [0.5, 0.1] and table["solvent"].tolist() == ["THF", "THF"]


def test_what_was_run_instead_may_lie_outside() -> None:
    space = reaction()
    used = {**POINT, "temperature": 71.3, "B": 0.9, "time": 900.0}
    assert used not in space
    X = space.encode(used, allow_outside=True)
    assert X[2] == pytest.approx((71.3 - 20) / 70) and X[3] > 1
    assert space.decode(X, allow_outside=True) == pytest.approx(used)
    refused(lambda: space.decode(X), bl.DataError, "space.round")
    assert space.check(used, allow_outside=True)["temperature"] == 71.3


def test_one_label_is_a_column_of_ones() -> None:
    space = bl.Space([bl.Categorical("only", ["a"]), bl.Categorical("o", ["x"], ordered=True)])
    assert space.num_designs == 1 and space.d == 2
    assert space.designs().tolist() == [[1.0, 0.0]]
    assert space.decode(space.sobol(3, seed=0)) == [{"only": "a", "o": "x"}] * 3
    assert space.decode(space.round(torch.zeros(2, dtype=F64))) == {"only": "a", "o": "x"}


# ---------------------------------------------------------------- constraints


def test_a_conflict_is_named() -> None:
    reals = [bl.Real(name, 0, 1) for name in "abcd"]
    cases = {
        ("a + b >= 3",): ("a + b >= 3", "cannot be met", "a in [0, 1]"),
        ("a + b + c == 1", "a >= 0.6", "b + c >= 0.5", "d <= 0.5"): (
            "a + b + c == 1",
            "a >= 0.6",
            "b + c >= 0.5",
            "contradict each other",
        ),
        ("a <= 0.5", "a >= 0.50000001"): ("contradict",),
    }
    for constraints, words in cases.items():
        with pytest.raises(bl.InfeasibleError) as caught:
            bl.Space(reals, constraints=list(constraints))
        assert all(word in str(caught.value) for word in words), caught.value
        assert "d <= 0.5" not in str(caught.value)


def test_steps_that_cannot_meet_a_total_are_named() -> None:
    refused(lambda: mixture(3, 0.3), bl.InfeasibleError, "on these steps", "steps of 0.3", "step")
    # each equality can be met alone, and both by x = y = 1.5
    whole = [bl.Integer(name, 0, 4) for name in "xyz"]
    refused(
        lambda: bl.Space(whole, constraints=["x + y == 3", "x - y == 0"]),
        bl.InfeasibleError,
        "x + y == 3",
        "x - y == 0",
        "on these steps",
    )
    assert bl.Space(whole, constraints=["x + y == 4", "x - y == 0"]).num_designs == 5


def test_a_mixture_on_steps_sums_exactly() -> None:
    for step, total in ((0.1, "1"), (0.05, "0.35"), (0.01, "1")):
        space = mixture(3, step, total)
        X = space.round(draw((50, 3), "mixture", str(step)))
        for point in space.decode(X):
            assert sum(round(v / step) for v in point.values()) == round(float(total) / step)
    space = mixture(4)
    for point in space.decode(space.round(draw((50, 4), "reals"))):
        assert abs(math.fsum(point.values()) - 1) < 1e-12


def test_rounding_is_to_a_point_nearby() -> None:
    space = mixture(3, 0.01)
    X = space.sobol(100, seed=0)
    moved = X + 0.004 * (draw(X.shape, "moved") - 0.5)
    assert torch.equal(space.round(moved), X)
    # all legal points listed: the nearest may be nearer, but not by more than the steps
    small = mixture(3, 0.1)
    target = draw((40, 3), "targets")
    ours = (small.round(target) - target).abs().sum(-1)
    best = (small.designs() - target.unsqueeze(1)).abs().sum(-1).amin(1)
    assert (ours <= best + 0.3).all()


def test_logarithmic_axes_are_constrained_in_their_units() -> None:
    space = bl.Space(
        [bl.Real("t", 1, 100, log=True, step=1), bl.Real("p", 1, 50, log=True)],
        constraints=["t + 2 * p <= 40", "t >= 2 p"],
    )
    for X in (space.sobol(64, 1), space.round(draw((64, 2), "log"))):
        for point in space.decode(X):
            assert point["t"] + 2 * point["p"] <= 40 * (1 + 1e-9)
            assert point["t"] >= 2 * point["p"] * (1 - 1e-9)
            assert point["t"] == round(point["t"])


def test_mixed_equalities_of_steps_and_reals() -> None:
    space = bl.Space(
        [bl.Real("a", 0, 1, step=0.25), bl.Real("b", 0, 1), bl.Integer("n", 0, 3)],
        constraints=["a + b + 0.5 n == 1.3", "a >= 0.2"],
    )
    for X in (space.sobol(64, 1), space.round(draw((64, 3), "mixed"))):
        assert space.is_legal(X).all()
        for p in space.decode(X):
            assert abs(p["a"] + p["b"] + 0.5 * p["n"] - 1.3) < 1e-12
            assert p["a"] in (0.25, 0.5, 0.75, 1.0)


# ---------------------------------------------------------------- designs


def test_2_to_the_40_designs_are_counted_not_listed() -> None:
    bits = [bl.Integer(f"x{i}", 0, 1) for i in range(40)]
    assert bl.Space(bits).num_designs == 2**40
    refused(lambda: bl.Space(bits).designs(), bl.UnsupportedError, "100,000", "sobol")
    half = bl.Space(bits, constraints=[" + ".join(f"x{i}" for i in range(40)) + " == 20"])
    assert half.num_designs == math.comb(40, 20)
    X = half.sobol(32, seed=0)
    assert (X.sum(-1) == 20).all() and len({tuple(x) for x in X.tolist()}) == 32


def test_long_axes_are_never_written_down() -> None:
    space = bl.Space(
        [bl.Integer("n", 0, 10**12), bl.Integer("m", 1, 10**12, log=True)],
        constraints=["n + m == 1000000007"],
    )
    refused(lambda: space.num_designs, bl.UnsupportedError, "too many")
    refused(lambda: space.designs(), bl.UnsupportedError, "100,000")
    for point in space.decode(space.sobol(4, seed=0)):
        assert point["n"] + point["m"] == 1000000007
    fine = bl.Space([bl.Real("t", 1e-6, 1e3, log=True, step=1e-6)])
    assert fine.num_designs == 10**9
    for t in (1e-6, 2e-6, 0.1, 3.3, 999.999999, 1000.0):
        assert fine.decode(fine.encode({"t": t})) == {"t": t}


def test_counts_have_closed_forms() -> None:
    assert mixture(3, 0.1).num_designs == math.comb(12, 2)
    assert mixture(8, 0.01).num_designs == math.comb(107, 7)
    assert reaction().num_designs == math.inf
    two = bl.Space([bl.Integer(n, 0, 9) for n in "abcd"], constraints=["a + b <= 9", "c >= d"])
    assert two.num_designs == 55 * 55


def test_all_designs_are_drawn_before_any_comes_twice() -> None:
    space = mixture(3, 0.25)
    everything = {tuple(x) for x in space.designs().tolist()}
    assert len(everything) == 15
    assert {tuple(x) for x in space.sobol(15, seed=4).tolist()} == everything
    X = space.sobol(40, seed=4)
    counts = [X.eq(T(list(x))).all(-1).sum().item() for x in everything]
    assert set(counts) == {2, 3}


def test_designs_are_uniform_where_that_is_known() -> None:
    # on the simplex each fraction has mean 1/n and variance (n - 1) / (n^2 (n + 1))
    for n in (3, 8):  # the first by rejection, the second by walks
        X = mixture(n).sobol(512, seed=0)
        sd = math.sqrt((n - 1) / (n**2 * (n + 1)))
        assert (X.mean(0) - 1 / n).abs().max() < 5 * sd / math.sqrt(512)
        assert (X.std(0) - sd).abs().max() < 0.2 * sd
    labels = reaction().sobol(300, seed=0)[:, 5:8].mean(0)
    assert (labels - 1 / 3).abs().max() < 0.06


def test_seeds_and_global_randomness() -> None:
    space, state = reaction(), torch.get_rng_state()
    assert torch.equal(space.sobol(5, 1), space.sobol(5, 1))
    assert not torch.equal(space.sobol(5, 1), space.sobol(5, 2))
    assert torch.equal(space.sobol(5, [7, 8], replicates=2)[1], space.sobol(5, 8))
    mixture(8).sobol(9, 0)
    assert torch.equal(torch.get_rng_state(), state)


# ---------------------------------------------------------------- bad input


def test_bad_points() -> None:
    space = reaction()
    cases = {
        "cycles": (9, "1 to 8", "9"),
        "temperature": (55.3, "step 0.5", "55.5"),
        "time": (0, "1 to 600 s", "0"),
        "solvent": ("thf", "'MeOH'", "did you mean 'THF'"),
        "stirring": (1, "'slow'", "1"),
        "A": ("0,5", "without quotes", "0.5"),
        "B": (float("nan"), "finite", "nan"),
    }
    for name, (value, *words) in cases.items():
        bad = {**POINT, name: value}
        assert bad not in space
        for call in (space.check, space.encode):
            refused(lambda call=call, bad=bad: call(bad), bl.DataError, name, *words)
    refused(lambda: space.check({**POINT, "B": 0.75}), bl.DataError, "A + B <= 1", "1.25")
    refused(lambda: space.check({**POINT, "temperatures": 3}), bl.DataError, "temperatures")
    less = {k: v for k, v in POINT.items() if k != "time"}
    refused(lambda: space.check(less), bl.DataError, "time")
    refused(lambda: space.check({**less, "tme": 3}), bl.DataError, "did you mean 'time'")
    several = {**POINT, "cycles": 2.5, "solvent": None, "A": True}
    refused(lambda: space.check(several), bl.DataError, "cycles", "solvent", "A", "truth")
    refused(lambda: space.check([POINT]), bl.DataError, "dictionary", "list")
    refused(lambda: space.encode([POINT, several]), bl.DataError, "point 1")
    refused(lambda: space.encode([[POINT], [POINT, POINT]]), bl.ShapeError, "equal lengths")
    refused(lambda: space.check({**POINT, "time": -1}, allow_outside=True), bl.DataError, "> 0")


def test_bad_codes() -> None:
    space = reaction()
    X = space.encode(POINT)
    refused(lambda: space.decode(X.float()), bl.DataError, "float64")
    refused(lambda: space.decode(X[:3]), bl.ShapeError, "9 columns", "(3,)")
    refused(lambda: space.decode(X.tolist()), bl.DataError, "list")
    refused(lambda: space.round(X * torch.nan), bl.DataError, "nan")
    for column, name in ((5, "solvent"), (0, "A"), (4, "cycles"), (8, "stirring"), (3, "time")):
        bad = X.clone()
        bad[column] = 0.377 if column != 3 else 1.1
        refused(lambda bad=bad: space.decode(bad), bl.DataError, repr(name), "space.round")
        assert not space.is_legal(bad)
        assert space.is_legal(space.round(bad))
    bad = X.clone()
    bad[1] = 0.75
    refused(lambda: space.decode(bad), bl.DataError, "A + B <= 1", "space.round")


def test_bad_spaces() -> None:
    A = bl.Real("A", 0, 1)
    cases: list[tuple[Callable[[], object], tuple[str, ...]]] = [
        (lambda: bl.Space([]), ("at least one",)),
        (lambda: bl.Space(A), ("list", "[Real")),
        (lambda: bl.Space({"A": (0, 1)}), ("list", "dict")),
        (lambda: bl.Space([A, ("B", 0, 1)]), ("Real", "('B', 0, 1)")),
        (lambda: bl.Space([A, bl.Integer("A", 0, 1)]), ("'A'", "twice")),
        (lambda: bl.Space([A], constraints="A <= 1"), ("list", "['A <= 1']")),
        (lambda: bl.Space([A], constraints=[3]), ("text", "3")),
        (lambda: bl.Space([A])["B"], ("'A'", "'B'")),
        (lambda: bl.Space([A]).sobol(0, 1), ("n", "0")),
        (lambda: bl.Space([A]).sobol(2, -1), ("seed", "-1")),
        (lambda: bl.Space([A]).sobol(2, 1, fixed={"B": 1}), ("'B'",)),
        (lambda: bl.Space([A]).sobol(2, 1, fixed={"A": 2}), ("fixed", "0 to 1")),
        (lambda: bl.Space([A]).designs(), ("steps", "'A'", "sobol")),
    ]
    for call, words in cases:
        refused(call, bl.BolearnError, *words)
    space = mixture(3, 0.1)
    refused(lambda: space.sobol(3, 0, fixed={"x0": 0.9, "x1": 0.9}), bl.InfeasibleError, "x0")


def test_bad_text() -> None:
    text = mixture(3).to_json()
    newer = text.replace('"version":1', '"version":2')
    wrong = text.replace('"low":0.0', '"low":2.0', 1)
    for stored, words in (
        ("no json", ("Space.to_json",)),
        ("[]", ("list",)),
        ("{}", ("bolearn.space",)),
        (newer, ("version 1", "2")),
        (wrong, ("x0",)),
        (text.replace('"real"', '"complex"', 1), ("complex",)),
        (None, ("NoneType",)),
    ):
        refused(lambda stored=stored: bl.Space.from_json(stored), bl.StorageError, *words)
    assert json.loads(text)["version"] == 1


def test_numpys_points() -> None:
    space = reaction()
    point = {
        **POINT,
        "A": np.float32(0.5),
        "cycles": np.int64(8),
        "solvent": np.str_("THF"),
    }
    assert space.check(point) == POINT
    assert {type(v) for v in space.check(point).values()} == {float, int, str}
