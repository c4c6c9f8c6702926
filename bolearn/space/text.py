"""Linear constraints as people write them: ``"A + B <= 1"``, ``"0.2 <= a + b + c <= 0.8"``.

A small parser of our own: names may hold spaces and signs (``flow rate``, ``t-BuOH``, ``%``),
numbers are read as the decimals that they are, and nothing is ever executed.

    constraint = side relation side (relation side)     at most two relations
    side       = [sign] term ((+ | -) term)*
    term       = factor ((* | /) factor)*               2 A is 2 * A
    factor     = number | name | ( side )

Taught in part_5/tutorial_03.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..errors import DataError
from .parameters import Categorical, Parameter, close_to

_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORD = re.compile(r"\w+")
_SAME = str.maketrans({"≤": "<", "≥": ">", "−": "-", "·": "*", "×": "*", "\u00a0": " "})
_MOST = 2000  # characters of a constraint


@dataclass(frozen=True)
class LinearConstraint:
    """``low <= sum_i c_i x_i <= high`` in the units of the parameters, in exact numbers.

    Attributes:
        coefficients: name and coefficient of each parameter, none of them zero.
        low: lower limit of the sum, or None.
        high: upper limit, or None; equal to the lower one for an equality.
    """

    coefficients: tuple[tuple[str, Fraction], ...]
    low: Fraction | None
    high: Fraction | None

    @property
    def equality(self) -> bool:
        """Whether the sum has a given value."""
        return self.low is not None and self.low == self.high

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that occur."""
        return tuple(name for name, _ in self.coefficients)

    def __str__(self) -> str:
        """The constraint as text that the parser reads."""
        text = ""
        for name, c in self.coefficients:
            sign = ("-" if c < 0 else "") if not text else (" - " if c < 0 else " + ")
            size = _written(abs(c))
            text += sign + (name if size == "1" else f"{size} * {name}")
        if self.equality:
            return f"{text} == {_written(self.high)}"
        low = f"{_written(self.low)} <= " if self.low is not None and self.high is not None else ""
        if self.high is None:
            return f"{text} >= {_written(self.low)}"
        return f"{low}{text} <= {_written(self.high)}"


def _written(c: Fraction | None) -> str:
    """A rational number as a decimal where it is one, else as a quotient."""
    assert c is not None
    rest = c.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return f"{c.numerator}/{c.denominator}"
    digits = 0
    while (c * 10**digits).denominator != 1:
        digits += 1
    scaled = str(abs(int(c * 10**digits))).rjust(digits + 1, "0")
    sign = "-" if c < 0 else ""
    return sign + (f"{scaled[:-digits]}.{scaled[-digits:]}" if digits else scaled)


def parse(text: object, parameters: Sequence[Parameter]) -> LinearConstraint:
    """Read a constraint.

    Args:
        text: such as ``"A + B <= 1"``.
        parameters: those of the space.

    Raises:
        DataError: no text, or text that is no linear constraint on numbers of the space; the
            message shows where.

    Example:
        >>> from bolearn import Real
        >>> print(parse("2*A - 0.5 B >= 3 + A", [Real("A", 0, 9), Real("B", 0, 9)]))
        A - 0.5 * B >= 3
    """
    if not isinstance(text, str) or not text.strip():
        raise DataError(
            f"constraints: expected text such as 'A + B <= 1', got {text!r} ({type(text).__name__})"
        )
    if len(text) > _MOST:
        raise DataError(f"constraints: expected at most {_MOST} characters, got {len(text)}")
    return _Reader(text, {p.name: p for p in parameters}).constraint()


_Form = dict[str, Fraction]  # coefficient of each name, "" for the constant


class _Reader:
    """One constraint, read from left to right."""

    def __init__(self, text: str, parameters: Mapping[str, Parameter]) -> None:
        self.text, self.parameters = text, parameters
        # the longest name that fits is meant: "A-B" before "A"
        self.names = sorted(parameters, key=len, reverse=True)
        source = text.replace("<=", "≤").replace(">=", "≥").replace("==", "=")
        source = source.replace("≤", "<=").replace("≥", ">=")
        self.source, self.at, self.depth = source, 0, 0

    def error(self, wanted: str, got: str = "", hint: str = "", at: int | None = None) -> DataError:
        """What was expected, what stands there, what to do."""
        at = self.at if at is None else at
        found = got or (repr(self.source[at : at + 12].strip()) if self.left(at) else "the end")
        return DataError(
            f"constraint {self.text!r}: expected {wanted}, got {found}" + (hint and f"; {hint}")
        )

    def left(self, at: int) -> str:
        return self.source[at:].strip()

    def skip(self) -> None:
        while self.at < len(self.source) and self.source[self.at].isspace():
            self.at += 1

    def peek(self) -> str:
        """The next sign, in ASCII; empty at the end."""
        self.skip()
        return self.source[self.at : self.at + 1].translate(_SAME)

    def constraint(self) -> LinearConstraint:
        sides, relations = [self.side()], []
        while self.peek():
            relations.append(self.relation())
            sides.append(self.side())
        if not relations:
            raise self.error("<=, >= or ==", hint="for example 'A + B <= 1'")
        if len(relations) > 2 or (len(relations) == 2 and len(set(relations)) == 2):
            raise self.error(
                "one relation, or two in the same direction as in 0.2 <= A + B <= 0.8",
                " and ".join(relations),
                "write two constraints",
            )
        if len(relations) == 2 and "==" in relations:
            raise self.error("one equality", "two", "write two constraints")
        if relations[0] == ">=":
            sides.reverse()
        return self.joined(sides, relations[0] == "==", relations[0] == ">=")

    def joined(self, sides: list[_Form], equality: bool, at_least: bool) -> LinearConstraint:
        """The sides, in increasing order, as one sum between constants."""
        if len(sides) == 3 and any(set(side) - {""} for side in (sides[0], sides[2])):
            raise self.error(
                "numbers at both ends of a double inequality", "parameters", "write two constraints"
            )
        least, most = sides[0], sides[-1]
        zero = Fraction(0)
        if len(sides) == 3:
            body, constant = sides[1], sides[1].get("", zero)
            low: Fraction | None = least.get("", zero) - constant
            high: Fraction | None = most.get("", zero) - constant
        else:
            # least <= most, written with the parameters where they were
            flip = at_least or not set(least) - {""}
            body = _combined(most, least, -1) if flip else _combined(least, most, -1)
            constant = -body.get("", zero)
            low, high = (constant, None) if flip else (None, constant)
            if equality:
                low = high = constant
        terms = tuple((n, body[n]) for n in self.parameters if body.get(n, zero) != 0)
        if not terms:
            raise self.error(
                "at least one parameter that does not cancel", "none", "leave the constraint out"
            )
        if len(sides) == 2 and not equality and all(c < 0 for _, c in terms):
            terms = tuple((n, -c) for n, c in terms)
            low, high = (None if b is None else -b for b in (high, low))
        if low is not None and high is not None and low > high:
            raise self.error("a lower limit below the upper one", f"{low} and {high}", "swap them")
        return LinearConstraint(terms, low, high)

    def relation(self) -> str:
        rest = self.source[self.at :]
        for sign in ("<=", ">="):
            if rest.startswith(sign):
                self.at += 2
                return sign
        if rest.startswith("=") and self.text.replace(" ", "").count("==") == 0:
            raise self.error("<=, >= or ==", "'='", "write == for an equality")
        if rest.startswith("="):
            self.at += 1
            return "=="
        if rest[:1] in "<>":
            raise self.error(
                f"{rest[0]}=", repr(rest[0]), "limits belong to the set: a strict one has no best"
            )
        if rest.startswith("!"):
            raise self.error("<=, >= or ==", repr(rest[:2]))
        raise self.error("+, -, *, /, <=, >= or ==", hint=self.advice(rest))

    def advice(self, rest: str) -> str:
        """What to do about text that does not go on as a sum does."""
        if rest.startswith(("^", "**")):
            return "only linear constraints can be given as text: no powers"
        if rest.startswith(","):
            return "write decimals with a point"
        if rest.startswith("("):
            return "there are no functions; a product needs *"
        return ""

    def side(self) -> _Form:
        sign = self.peek()
        self.at += sign in ("+", "-") and sign != ""
        total = _scaled(self.term(), Fraction(-1 if sign == "-" else 1))
        while (sign := self.peek()) in ("+", "-") and sign:
            self.at += 1
            total = _combined(total, self.term(), -1 if sign == "-" else 1)
        return total

    def term(self) -> _Form:
        value, number = self.factor()
        while sign := self.peek():
            start = self.at
            if self.source.startswith("**", self.at):
                raise self.error("a linear term", "a power", self.advice("**"))
            if sign in "*/":
                self.at += 1
            elif not (number and (sign == "(" or self.name_here() or sign.isalpha())):
                break
            factor, number = self.factor()
            value = self.product(value, factor, sign == "/", start)
        return value

    def product(self, a: _Form, b: _Form, divide: bool, at: int) -> _Form:
        """A product or a quotient of which one side has to be a number."""
        if divide:
            if set(b) - {""}:
                raise self.error("a number below /", "a parameter", self.advice("^"), at)
            if not b.get(""):
                raise self.error("a divisor that is not zero", "0", at=at)
            return _scaled(a, 1 / b[""])
        if set(a) - {""} and set(b) - {""}:
            raise self.error(
                "a number times a parameter",
                "a product of parameters",
                "only linear constraints can be given as text",
                at,
            )
        return (
            _scaled(b, a.get("", Fraction(0)))
            if set(b) - {""}
            else _scaled(a, b.get("", Fraction(0)))
        )

    def factor(self) -> tuple[_Form, bool]:
        """A factor, and whether it is a plain number."""
        sign = self.peek()
        if sign in ("+", "-") and sign:
            raise self.error("a number or a name", hint="put a signed number into parentheses")
        if sign == "(":
            return self.parenthesis(), False
        name = self.name_here()
        match = _NUMBER.match(self.source, self.at)
        if match and (name is None or len(match.group()) >= len(name)):
            return {"": self.number(match)}, True
        if name is None:
            raise self.unknown()
        if isinstance(self.parameters[name], Categorical):
            raise self.error(
                "numbers",
                f"{name!r}, a category",
                "list combinations that may not be run apart, or as another parameter",
            )
        self.at += len(name)
        return {name: Fraction(1)}, False

    def number(self, match: re.Match[str]) -> Fraction:
        """A decimal; "2e3" is refused where a parameter is called e3."""
        if match[2] and match[2] in self.parameters:
            raise self.error(
                "a clear product", repr(match.group()), f"write {match[1]} * {match[2]}"
            )
        if match[2] and abs(int(match[2][1:])) > 300:
            raise self.error("a number between 1e-300 and 1e300", repr(match.group()))
        self.at = match.end()
        return Fraction(match.group())

    def parenthesis(self) -> _Form:
        opened = self.at
        self.at, self.depth = self.at + 1, self.depth + 1
        if self.depth > 50:
            raise self.error("at most 50 parentheses inside each other", "more")
        inside = self.side()
        if self.peek() != ")":
            raise self.error("a closing parenthesis", hint=f"it opened at {opened + 1}")
        self.at, self.depth = self.at + 1, self.depth - 1
        return inside

    def name_here(self) -> str | None:
        """The longest name that stands here and ends where a word ends."""
        for name in self.names:
            if self.source.startswith(name, self.at):
                after = self.source[self.at + len(name) :][:1]
                if not (_word(name[-1]) and _word(after)):
                    return name
        return None

    def unknown(self) -> DataError:
        """What to say where neither a number nor a name stands."""
        word = _WORD.match(self.source, self.at)
        if word is None:
            return self.error("a number or the name of a parameter")
        known = ", ".join(repr(n) for n in list(self.parameters)[:12])
        if self.source[word.end() :].lstrip().startswith("("):
            return self.error("numbers and names", f"{word.group()}(...)", self.advice("("))
        hint = close_to(word.group(), self.names)[2:]
        return self.error(f"names of this space ({known})", repr(word.group()), hint)


def _word(sign: str) -> bool:
    return bool(sign) and (sign.isalnum() or sign == "_")


def _scaled(a: _Form, factor: Fraction) -> _Form:
    return {name: c * factor for name, c in a.items()}


def _combined(a: _Form, b: _Form, sign: int) -> _Form:
    total = dict(a)
    for name, c in b.items():
        total[name] = total.get(name, Fraction(0)) + sign * c
    return total
