"""Parameters and constraints as text: what they accept, what they refuse, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest
from jaxtyping import config

import bolearn as bl
from bolearn.space.text import parse


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


def test_steps_are_decimals() -> None:
    third = bl.Real("A", 0, 1, step=0.1).value(3)
    assert third == 0.3 and repr(third) == "0.3"
    assert [bl.Real("A", 0.1, 0.9, step=0.2).value(j) for j in range(5)] == [
        0.1,
        0.3,
        0.5,
        0.7,
        0.9,
    ]


@pytest.mark.parametrize("log", [False, True])
def test_a_step_is_in_user_units_on_every_axis(log: bool) -> None:
    space = bl.Space([bl.Real("t", 1, 600, unit="s", step=0.5, log=log)])
    values = [p["t"] for p in space.decode(space.designs())]
    assert values == [1 + j / 2 for j in range(1199)]


def test_the_last_step_may_stop_below_the_limit() -> None:
    p = bl.Real("A", 0, 1, step=0.3)
    assert p.levels == 4 and p.value(3) == 0.9
    assert "up to 0.9" in p.describe()
    assert "nearest is 0.9" in p.complaint(1.0)


@pytest.mark.parametrize("number", [np.float64(0.3), np.float32(0.3), 0.1 * 3, np.float16(0.3)])
def test_numpys_numbers_and_rounding_errors_are_grid_points(number: object) -> None:
    space = bl.Space([bl.Real("A", 0, 1, step=0.1)])
    checked = space.check({"A": number})
    assert checked == {"A": 0.3} and type(checked["A"]) is float


def test_numpys_numbers_make_parameters() -> None:
    assert bl.Real("A", np.int64(0), np.float32(0.7), step=np.float32(0.1)) == bl.Real(
        "A", 0, 0.7, step=0.1
    )
    assert bl.Integer("n", np.int8(1), np.float64(8.0)) == bl.Integer("n", 1, 8)
    labels = bl.Categorical("c", np.array(["a", "b"])).values
    assert labels == ("a", "b") and all(type(v) is str for v in labels)


def test_whole_numbers_stay_whole() -> None:
    space = bl.Space([bl.Integer("n", 1, 9, step=2)])
    assert [p["n"] for p in space.decode(space.designs())] == [1, 3, 5, 7, 9]
    checked = space.check({"n": 3.0})
    assert checked == {"n": 3} and type(checked["n"]) is int


BAD_PARAMETERS = {
    "inverted": (lambda: bl.Real("A", 1, 0), ("A", "low < high", "swap")),
    "empty": (lambda: bl.Integer("n", 3, 3), ("n", "low < high", "constant")),
    "NaN": (lambda: bl.Real("A", 0, float("nan")), ("A", "high", "nan")),
    "infinite": (lambda: bl.Real("A", 0, float("inf")), ("A", "finite", "inf")),
    "overflow": (lambda: bl.Real("A", -1.7e308, 1.7e308), ("A", "unit")),
    "text": (lambda: bl.Real("A", "0", 1), ("A", "low", "without quotes")),
    "truth": (lambda: bl.Real("A", False, 1), ("A", "low", "truth values")),
    "log of 0": (lambda: bl.Real("A", 0, 1, log=True), ("A", "low > 0", "log=True")),
    "log far": (lambda: bl.Real("A", 1e-300, 1e300, log=True), ("A", "narrow")),
    "log flag": (lambda: bl.Real("A", 1, 2, log="yes"), ("A", "True or False", "'yes'")),
    "no step": (lambda: bl.Real("A", 0, 1, step=0), ("A", "step > 0")),
    "step back": (lambda: bl.Real("A", 0, 1, step=-0.1), ("A", "step > 0", "-0.1")),
    "step far": (lambda: bl.Real("A", 0, 1, step=2), ("A", "step <= high - low", "2")),
    "step fine": (lambda: bl.Real("A", 0, 1, step=1e-15), ("A", "grid points", "larger step")),
    "half steps": (lambda: bl.Integer("n", 0, 9, step=0.5), ("n", "whole", "0.5", "Real")),
    "half limits": (lambda: bl.Integer("n", 0.5, 9), ("n", "whole", "0.5")),
    "no name": (lambda: bl.Real("", 0, 1), ("name",)),
    "name with spaces": (lambda: bl.Real(" A", 0, 1), ("' A'", "'A'")),
    "name a number": (lambda: bl.Real("12", 0, 1), ("'12'", "number")),
    "name no text": (lambda: bl.Real(3, 0, 1), ("name", "3")),
    "name a relation": (lambda: bl.Real("A<=B", 0, 1), ("<>=",)),
    "unit": (lambda: bl.Real("A", 0, 1, unit=3), ("A", "unit", "3")),
    "no labels": (lambda: bl.Categorical("c", []), ("c", "at least one")),
    "labels in text": (lambda: bl.Categorical("c", "abc"), ("c", "list", "'abc'")),
    "labels in a set": (lambda: bl.Categorical("c", {"a"}), ("c", "order", "sorted")),
    "twice": (lambda: bl.Categorical("c", ["a", "b", "a"]), ("c", "different", "'a'")),
    "equal": (lambda: bl.Categorical("c", [1, True]), ("c", "1", "True", "equal")),
    "nested": (lambda: bl.Categorical("c", [["a"]]), ("c", "['a']", "list")),
    "NaN label": (lambda: bl.Categorical("c", [float("nan")]), ("c", "nan")),
    "None": (lambda: bl.Categorical("c", [None]), ("c", "None")),
}


@pytest.mark.parametrize("what", BAD_PARAMETERS)
def test_a_bad_parameter_is_refused(what: str) -> None:
    call, words = BAD_PARAMETERS[what]
    refused(call, *words)


NAMED = [
    bl.Real("A", 0, 1),
    bl.Real("B", 0, 9),
    bl.Real("flow rate", 0, 1),
    bl.Real("t-BuOH", 0, 1),
    bl.Real("e3", 0, 1),
    bl.Real("%", 0, 1),
    bl.Categorical("solvent", ["THF"]),
]

READ = {
    "A + B <= 1": ({"A": 1, "B": 1}, None, 1),
    "2*A - 0.5 B >= 3": ({"A": 2, "B": Fraction(-1, 2)}, 3, None),
    "A+B==1": ({"A": 1, "B": 1}, 1, 1),
    "0.2 <= A + B <= 0.8": ({"A": 1, "B": 1}, Fraction(1, 5), Fraction(4, 5)),
    "3 >= A+B >= 1": ({"A": 1, "B": 1}, 1, 3),
    "A >= B": ({"A": 1, "B": -1}, 0, None),
    "1 >= A": ({"A": 1}, None, 1),
    "flow rate + 2 t-BuOH ≤ 1": ({"flow rate": 1, "t-BuOH": 2}, None, 1),
    "2 e3 <= 1": ({"e3": 2}, None, 1),
    "2(A + B) - (A - 3)/2 <= 1e1": ({"A": Fraction(3, 2), "B": 2}, None, Fraction(17, 2)),
    "% <= .5": ({"%": 1}, None, Fraction(1, 2)),
    "A == 1 + B": ({"A": 1, "B": -1}, 1, 1),
    "-A <= -0.5": ({"A": 1}, Fraction(1, 2), None),
    "A / 3 + B <= 1": ({"A": Fraction(1, 3), "B": 1}, None, 1),
}


@pytest.mark.parametrize("text", READ)
def test_constraints_are_read_exactly(text: str) -> None:
    coefficients, low, high = READ[text]
    found = parse(text, NAMED)
    assert dict(found.coefficients) == coefficients
    assert (found.low, found.high) == (low, high)
    assert parse(str(found), NAMED) == found


REFUSED = {
    "A + D <= 1": ("'D'", "'A'"),
    "flow rat <= 1": ("flow", "flow rate"),
    "A * B <= 1": ("product", "linear"),
    "A**2 <= 1": ("power", "linear"),
    "A^2 <= 1": ("^2", "powers"),
    "log(A) <= 1": ("log(...)", "functions"),
    "A / B <= 1": ("parameter", "linear"),
    "A / 0 <= 1": ("zero",),
    "solvent <= 1": ("solvent", "category"),
    "A + B": ("<=",),
    "A < 1": ("'<'", "<="),
    "A = 1": ("'='", "=="),
    "A != 1": ("'!='",),
    "A => 1": ("=",),
    "A + 0,5 B <= 1": ("point",),
    "A B <= 1": ("'B <= 1'",),
    "A + <= 1": ("<=",),
    "<= 1": ("number or the name",),
    "((A) <= 1": ("parenthesis",),
    "A - A <= 0": ("cancel",),
    "1 <= 2": ("parameter",),
    "2e3 <= 1": ("2 * e3",),
    "A <= 1 >= B": ("one relation",),
    "A == B == 1": ("one equality",),
    "0.8 <= A <= 0.2": ("swap",),
    "A <= 1; import os": ("; import",),
    "__import__('os').system('x') <= 1": ("__import__(...)",),
    "A <= 1e400": ("1e400",),
    "": ("'A + B <= 1'",),
    "(" * 60 + "A" + ")" * 60 + " <= 1": ("parentheses",),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_linear_constraint_is_refused(text: str) -> None:
    refused(lambda: parse(text, NAMED), *REFUSED[text])


@pytest.mark.parametrize("text", [None, 3, ["A <= 1"], b"A <= 1"])
def test_a_constraint_has_to_be_text(text: object) -> None:
    refused(lambda: parse(text, NAMED), "text", type(text).__name__)
