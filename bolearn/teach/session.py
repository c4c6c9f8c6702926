"""The running notebook: its predictions, its claims, its exercises.

A notebook is one session, started by `setup`. The list of claims belongs to it, so that the closing
table shows what this notebook proved; `summary` gives the counts to whoever runs the notebook.
"""

from __future__ import annotations

import html
import importlib
import importlib.util
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bolearn.errors import DataError
from bolearn.teach.display import BOX, Card, Row, Shown, table_html, table_text
from bolearn.teach.errors import ClaimError, MissingGroup

# What a claim of each kind says of itself; the closing table explains the kinds that occur in it.
KINDS = {
    "identity": "two derivations agree, within the tolerance",
    "theorem": "proved for all cases, tested here on some",
    "run": "a fact of this run and these seeds",
    "monte-carlo": "a simulation agrees within 5 of its standard errors",
    "paired": "both arms had the same starts and noise, and the sign is clear of chance",
}


@dataclass(frozen=True)
class Claim:
    """One line of the closing table; verdict is "holds", "false" or "undecided"."""

    text: str
    kind: str
    tolerance: float | int | None
    verdict: str
    detail: str = ""


@dataclass
class Context(Shown):
    """What `setup` arranged."""

    tutorial: str
    full: bool
    threads: int

    def text(self) -> str:
        longer = "; the longer studies are recomputed (FULL=1)" if self.full else ""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.tutorial} is ready: {threads}{longer}"

    def _repr_html_(self) -> str:
        return html.escape(self.text())


@dataclass
class _Session:
    tutorial: str = ""
    claims: dict[str, Claim] = field(default_factory=dict)
    guesses: dict[str, tuple[str, Sequence[object] | None, object]] = field(default_factory=dict)
    exercises: dict[str, str] = field(default_factory=dict)


_current = _Session()


def setup(
    tutorial: str,
    *,
    threads: int = 1,
    full: bool | None = None,
    needs: Mapping[str, Sequence[str]] | None = None,
) -> Context:
    """Start a notebook: one thread for linear algebra, steady printing, the figure style.

    Forgets the claims, guesses and results of the notebook before. Prints one line.

    Args:
        tutorial: its id, such as "p1.t1".
        threads: how many threads PyTorch may use; one is fastest for this course's small tensors.
        full: recompute the longer studies that are otherwise shown from stored tables; if not
            given, the environment variable FULL=1 decides.
        needs: optional groups of requirements with the modules that stand for them, such as
            ``{"bridge": ("botorch", "ax", "pyro")}``.

    Raises:
        DataError: the number of threads is not a positive integer.
        MissingGroup: a group is not installed; `python -m course` then reports a skipped notebook.
    """
    global _current
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise DataError(f"expected threads to be a positive integer, got {threads!r}")
    for group, modules in (needs or {}).items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            raise MissingGroup(
                f"this notebook needs the optional group {group!r}, of which {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not installed; nothing of it was run: "
                f"python -m pip install -r requirements-{group}.txt, then restart the kernel"
            )
    _current = _Session(tutorial)
    torch.set_num_threads(threads)
    torch.set_printoptions(precision=4, linewidth=96)
    np.set_printoptions(precision=4, linewidth=96)
    _figure_style()
    recompute = os.environ.get("FULL", "") == "1" if full is None else full
    context = Context(tutorial, recompute, threads)
    print(context.text())
    context.mark_shown()
    return context


def _figure_style() -> None:
    """The course's figure style, where matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return
    if importlib.util.find_spec("bolearn.plotting") is not None:
        importlib.import_module("bolearn.plotting").use_style()


def predict(
    question_id: str,
    question: str,
    options: Sequence[object] | None = None,
    *,
    guess: object = None,
    unit: str = "",
) -> None:
    """Record the reader's guess before an experiment; `reveal` shows it again afterwards.

    Args:
        question_id: such as "p1.t1.q1".
        question: one sentence.
        options: the possible answers; without them the guess is a number.
        guess: what the reader edits; None goes on without a guess.
        unit: of a number.
    """
    problem = None
    if guess is not None:
        guess, problem = _read_guess(guess, options)
    _current.guesses[question_id] = (question, options, guess)
    rows = [Row("question", question)]
    if options:
        rows.append(Row("options", " | ".join(str(option) for option in options)))
    if problem is not None:
        rows.append(Row("not understood", problem))
        Card(f"○ {question_id}: no guess yet", rows).show()
    elif guess is None:
        example = repr(options[0]) if options else "a number"
        rows.append(Row("to do", f"put guess={example} into the call (or another guess), run it"))
        Card(f"○ {question_id}: no guess yet", rows).show()
    else:
        rows.append(Row("your guess", f"{guess} {unit}".strip()))
        Card(f"● {question_id}: guess recorded", rows).show()


def reveal(
    question_id: str, answer: object, *, because: str = "", tolerance: float | int = 0.1
) -> None:
    """Show the answer beside the reader's guess.

    Args:
        question_id: the id given to `predict`.
        answer: one of the options, or a number.
        because: the reason in a sentence.
        tolerance: relative error up to which a guessed number counts as right.
    """
    question, _, guess = _current.guesses.get(question_id, ("", None, None))
    rows = [Row("question", question)] if question else []
    rows.append(Row("result", str(answer)))
    if guess is None:
        headline = f"{question_id}: the result (no guess was made)"
    else:
        rows.append(Row("your guess", str(guess)))
        right = _matches(guess, answer, tolerance)
        headline = f"{question_id}: " + ("✓ as you guessed" if right else "≠ not as you guessed")
    if because:
        rows.append(Row("because", because))
    Card(headline, rows).show()


def _read_guess(guess: object, options: Sequence[object] | None) -> tuple[object, str | None]:
    """The option or number that was meant, or why none was understood."""
    if options:
        for option in options:
            if _key(option) == _key(guess):
                return option, None
        listed = ", ".join(repr(option) for option in options)
        return None, f"{guess!r} is none of the options; write one of {listed}"
    number = _number(guess)
    if number is None or math.isnan(number):
        return None, f"{guess!r} is no number; write for example guess=0.5"
    return guess, None


def _key(value: object) -> str:
    return str(value).strip().casefold()


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _matches(guess: object, answer: object, tolerance: float | int) -> bool:
    if _key(guess) == _key(answer):
        return True
    g, a = _number(guess), _number(answer)
    return g is not None and a is not None and abs(g - a) <= tolerance * abs(a)


def claim(
    text: str,
    condition: object = None,
    *,
    kind: str = "identity",
    error: object = None,
    tolerance: float | int | None = None,
    detail: str = "",
) -> None:
    """Assert what the text says, print one line, and enter it into the closing table.

    Args:
        text: one sentence, without digits that depend on the machine.
        condition: a bool that must be true, and/or
        error: a distance (number, tensor, array; the worst entry counts) that must not exceed
        tolerance. NaN is false.
        kind: "identity" (two derivations agree), "theorem" (proved for all cases, tested on
            some), "run" (a fact of this run and these seeds), "monte-carlo" (within 5 estimated
            standard errors) or "paired" (same starts and noise for both arms).
        detail: how it was computed, for the table.

    Raises:
        ClaimError: the claim is false; the message says the numbers.
        DataError: neither a condition nor an error with its tolerance is given, or they are of
            the wrong kind.

    Example:
        >>> claim("sine is odd", error=abs(math.sin(1) + math.sin(-1)), tolerance=1e-15)
        claim ... holds: sine is odd (within 1e-15)
    """
    if kind not in KINDS:
        raise DataError(f"expected kind to be one of {', '.join(KINDS)}; got {kind!r}")
    if condition is None and error is None:
        raise DataError("expected a condition, or error=... with tolerance=...; got neither")
    holds = True if condition is None else _truth(condition)
    numbers = "the condition is false"
    if error is not None:
        if tolerance is None or not tolerance >= 0:
            raise DataError(f"expected a tolerance >= 0 beside error=..., got {tolerance!r}")
        worst = _worst(error)
        if not worst <= tolerance:
            holds, numbers = False, f"the error is {worst:.6g}, the tolerance {tolerance:g}"
    verdict = "holds" if holds else "false"
    number = _enter(Claim(text, kind, tolerance, verdict, detail))
    if not holds:
        raise ClaimError(f"claim {number} is false: {text} ({numbers})")
    print(f"claim {number} holds: {text}" + (f" (within {tolerance:g})" if tolerance else ""))


def undecided(text: str, detail: str = "") -> None:
    """Enter a comparison that the experiment does not decide: neither proved nor refuted."""
    number = _enter(Claim(text, "paired", None, "undecided", detail))
    print(f"claim {number} is undecided: {text}" + (f" ({detail})" if detail else ""))


def _enter(entry: Claim) -> int:
    """Record a claim; running a cell again replaces its line instead of adding one."""
    _current.claims[entry.text] = entry
    return list(_current.claims).index(entry.text) + 1


def _truth(condition: object) -> bool:
    if isinstance(condition, (bool, np.bool_)):
        return bool(condition)
    if isinstance(condition, (torch.Tensor, np.ndarray)):
        values = torch.as_tensor(condition)
        if values.dtype == torch.bool and values.numel() == 1:
            return bool(values.item())
    raise DataError(
        f"expected the condition to be one bool, got {type(condition).__name__}; write a "
        "comparison, and .all() if it has several entries"
    )


def _worst(error: object) -> float:
    values = torch.as_tensor(error, dtype=torch.float64).detach()
    if values.numel() == 0:
        raise DataError("expected an error, got an empty tensor; the claim would compare nothing")
    if bool((values < 0).any()):
        raise DataError("expected the error as a distance (>= 0), got a negative one; take abs()")
    return float("nan") if bool(values.isnan().any()) else float(values.max())


class ClaimsTable(Shown):
    """What this notebook proved, as text, HTML and Markdown."""

    HEADER = ("claim", "what it says", "kind", "tolerance", "verdict")
    VERDICTS: dict[str, str] = {  # noqa: RUF012  (a constant)
        "holds": "✓ holds",
        "false": "✗ false",
        "undecided": "? undecided",
    }

    def __init__(self, tutorial: str, claims: Sequence[Claim]) -> None:
        self.caption = f"What {tutorial or 'this notebook'} proved"
        self.claims = tuple(claims)

    def rows(self) -> list[list[str]]:
        """One row of texts for each claim."""
        return [
            [
                str(number),
                c.text + (f" ({c.detail})" if c.detail else ""),
                "" if c.verdict == "undecided" else c.kind,
                "" if c.tolerance is None else f"{c.tolerance:g}",
                self.VERDICTS[c.verdict],
            ]
            for number, c in enumerate(self.claims, 1)
        ]

    def explained(self) -> str:
        """One line that says what the kinds in the table are."""
        found = {c.verdict if c.verdict == "undecided" else c.kind for c in self.claims}
        meanings = {**KINDS, "undecided": "these runs are too few to tell"}
        return "; ".join(f"{kind}: {what}" for kind, what in meanings.items() if kind in found)

    def text(self) -> str:
        above = [line for line in (self.caption, self.explained()) if line]
        return "\n".join([*above, table_text(self.HEADER, self.rows())])

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        explained = f'<p style="margin:0 0 0.6em">{html.escape(self.explained())}</p>'
        table = table_html(self.caption, self.HEADER, self.rows())
        return f'<div style="{BOX}">{explained if self.explained() else ""}{table}</div>'

    def forms(self) -> dict[str, str]:
        return {**super().forms(), "text/markdown": self._repr_markdown_()}

    def _repr_markdown_(self) -> str:
        lines = [self.HEADER, ["---"] * len(self.HEADER), *self.rows()]
        table = "\n".join(
            "| " + " | ".join(entry.replace("|", "\\|") for entry in line) + " |" for line in lines
        )
        return f"{self.explained()}\n\n{table}" if self.explained() else table


def claims_table() -> ClaimsTable:
    """The closing table of the notebook."""
    return ClaimsTable(_current.tutorial, list(_current.claims.values()))


def record_exercise(exercise_id: str, status: str) -> None:
    """Remember the latest result of an exercise; an error counts as failed."""
    _current.exercises[exercise_id] = "failed" if status == "error" else status


def passed(exercise_id: str) -> bool:
    """Whether the last check of an exercise passed, in this notebook."""
    return _current.exercises.get(exercise_id) == "passed"


def summary() -> dict[str, Any]:
    """Counts of claims that hold, of undecided ones, and of exercises by result."""
    verdicts = [c.verdict for c in _current.claims.values()]
    results = list(_current.exercises.values())
    states = ("passed", "failed", "not attempted")
    return {
        "claims": verdicts.count("holds"),
        "undecided": verdicts.count("undecided"),
        "exercises": {state: results.count(state) for state in states},
    }


def summary_json() -> str:
    """The same as one line of JSON."""
    return json.dumps(summary(), sort_keys=True)
