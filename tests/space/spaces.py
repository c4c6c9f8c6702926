"""Random spaces for property tests, with an oracle for what is legal in them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import bolearn as bl

some = settings(
    derandomize=True,
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

DECIMALS = [0.1, 0.01, 0.3, 0.7, 0.25, 1.0, 2.5]
LABELS = ["MeOH", "THF", 1, 2.5, True, "x y", "Öl", ""]


@dataclass
class Recipe:
    """What a parameter is made of: a strategy of Hypothesis must not call checked code."""

    kind: str
    name: str
    arguments: tuple
    options: dict

    def made(self) -> bl.Real | bl.Integer | bl.Categorical:
        return getattr(bl, self.kind)(self.name, *self.arguments, **self.options)


@dataclass
class Case:
    """What a space is made of, and a legal point."""

    parameters: list[Recipe]
    constraints: list[str]
    point: dict

    def space(self) -> bl.Space:
        return bl.Space([p.made() for p in self.parameters], constraints=self.constraints)


@st.composite
def numbers(draw: st.DrawFn, name: str) -> Recipe:
    """A real or whole number, with or without logarithm and step."""
    log = draw(st.booleans())
    if draw(st.booleans()):
        low = draw(st.integers(1 if log else -20, 30))
        high = low + draw(st.integers(1, 40))
        step = draw(st.integers(1, high - low))
        return Recipe("Integer", name, (low, high), {"log": log, "step": step})
    low = draw(st.sampled_from([0.1, 1e-3, 5.0] if log else [0.0, -1.5, 0.1, 20.0]))
    high = low + draw(st.sampled_from([0.5, 1.0, 3.7, 60.0]))
    step = draw(st.none() | st.sampled_from(DECIMALS))
    if step is not None and step > high - low:
        step = None
    return Recipe("Real", name, (low, high), {"log": log, "step": step})


@st.composite
def categories(draw: st.DrawFn, name: str) -> Recipe:
    """An ordered or unordered category of one to five labels."""
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=5, unique=True))
    if True in labels and 1 in labels:
        labels = [label for label in labels if label is not True]
    return Recipe("Categorical", name, (labels,), {"ordered": draw(st.booleans())})


def value_of(draw: st.DrawFn, p: Recipe) -> object:
    """A legal value, found without the package: low plus steps, in exact decimals."""
    if p.kind == "Categorical":
        return draw(st.sampled_from(p.arguments[0]))
    if p.options["step"] is None:
        return draw(st.floats(*p.arguments, allow_subnormal=False))
    low, high, step = (Fraction(repr(x)) for x in (*p.arguments, p.options["step"]))
    exact = low + step * draw(st.integers(0, int((high - low) / step)))
    return int(exact) if p.kind == "Integer" else float(exact)


@st.composite
def spaces(draw: st.DrawFn, constrained: bool = True) -> Case:
    """A space and one legal point, through which its constraints are laid."""
    count = draw(st.integers(1, 4))
    parameters = [draw(numbers(f"n{i}")) for i in range(count)]
    parameters += [draw(categories(f"c{i}")) for i in range(draw(st.integers(0, 2)))]
    parameters = draw(st.permutations(parameters))
    point = {p.name: value_of(draw, p) for p in parameters}
    texts = []
    for _ in range(draw(st.integers(0, 2)) if constrained else 0):
        terms = [(f"n{i}", draw(st.sampled_from([1, 1, 2, -1, 0.5]))) for i in range(count)]
        total = sum(Fraction(repr(c)) * Fraction(repr(point[n])) for n, c in terms)
        relation = draw(st.sampled_from(["<=", ">=", "=="]))
        text = " + ".join(f"({c}) * {n}" for n, c in terms)
        texts.append(f"{text} {relation} {total.numerator} / {total.denominator}")
    return Case(parameters, texts, point)


def legal(space: bl.Space, point: dict) -> bool:
    """Whether a point is legal, in exact decimals and up to 1e-9 where numbers have no step."""
    for p in space.parameters:
        v = point[p.name]
        if isinstance(p, bl.Categorical):
            if not any(v is x or (type(v) is type(x) and v == x) for x in p.values):
                return False
            continue
        if not p.low <= v <= p.high:
            return False
        if p.step is not None:
            steps = (Fraction(repr(v)) - Fraction(repr(p.low))) / Fraction(repr(p.step))
            if steps.denominator != 1:
                return False
    for c in space.constraints:
        gridded = all(space[n].step is not None for n in c.names)
        total = sum(k * Fraction(repr(point[n])) for n, k in c.coefficients)
        size = sum(abs(k) * max(abs(space[n].low), abs(space[n].high)) for n, k in c.coefficients)
        slack = 0 if gridded else Fraction(float(size)) / 10**8
        if c.low is not None and total < c.low - slack:
            return False
        if c.high is not None and total > c.high + slack:
            return False
    return True
