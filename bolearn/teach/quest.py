"""A task whose answer is a text: what a page exports, with several goals that it may reach.

    teach.check("p3.t4.expedition", text)              which of the goals does it reach?
    teach.check("p3.t4.expedition", text, number=3)    does it reach this one?

An exercise asks for a function and tries it on generated cases; a quest reads a text that was made
elsewhere, by hand. Everything else is the same: a card in the notebook, hints, a model answer and
believable wrong ones for each goal, which `python -m bolearn.teach selftest` tries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bolearn.teach.display import Row
from bolearn.teach.errors import ExerciseError

MIN_WRONG = 3


@dataclass(frozen=True)
class Verdict:
    """What a text is worth for one goal.

    Args:
        missing: what would have to be different, one sentence each; the goal is reached if there
            is nothing.
        near: whether the text looks like an attempt at this goal.
    """

    missing: Sequence[str] = ()
    near: bool = True

    @property
    def reached(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


@dataclass(frozen=True)
class Finding:
    """What was read in a text.

    Args:
        verdicts: by the number of the goal; empty if the text could not be judged.
        problem: why it could not be judged.
        notes: what else a learner should know.
    """

    verdicts: Mapping[int, Verdict] = field(default_factory=dict)
    problem: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """How a check ended: what `CheckResult` shows of a quest."""

    id: str
    name: str
    status: Literal["not attempted", "passed", "failed", "error"]
    rows: Sequence[Row]
    message: str = ""


@dataclass(frozen=True)
class Quest:
    """A task whose answer is a text.

    Args:
        id: such as "p3.t4.expedition".
        name: what all goals together are called.
        todo: what to do, if there is no text yet.
        hints: three, as for an exercise.
        goals: the name of each goal by its number.
        read: finds out which goals a text reaches; of one number, or of all if it is None.
        model: a text that reaches a goal.
        wrongs: texts that look like an attempt at a goal and do not reach it, each with the reason.
        starts: how to begin with each goal; `todo` for those that are not there.
    """

    id: str
    name: str
    todo: str
    hints: Sequence[str]
    goals: Mapping[int, str]
    read: Callable[[str, int | None], Finding]
    model: Callable[[int], str]
    wrongs: Callable[[int], Iterator[tuple[str, str]]]
    starts: Mapping[int, str] = field(default_factory=dict)

    def judge(self, text: object, number: int | None = None) -> Result:
        """Look for one goal in a text, or for all.

        Raises:
            ExerciseError: there is no goal of this number.
        """
        if number is not None and (isinstance(number, bool) or number not in self.goals):
            raise ExerciseError(
                f"{self.id}: expected a number from {min(self.goals)} to {max(self.goals)}, "
                f"got {number!r}"
            )
        one = number is not None
        id = f"{self.id}.{number}" if one else self.id
        name = self.goals[number] if number is not None else self.name
        if text is None or text is ... or (isinstance(text, str) and not text.strip()):
            todo = self.starts.get(number, self.todo) if number is not None else self.todo
            return Result(id, name, "not attempted", [Row("to do", todo), self._stuck()])
        if not isinstance(text, str):
            kind = type(text).__name__
            problem = f"expected a text between quotes, got a value of type {kind}; {self.todo}"
            return Result(id, name, "error", [Row("because", problem), self._stuck()], problem)
        found = self.read(text, number)
        if found.problem:
            rows = [Row("because", found.problem), self._stuck()]
            return Result(id, name, "error", rows, found.problem)
        notes = [Row("note", note) for note in found.notes]
        if number is not None:
            verdict = found.verdicts[number]
            rows = [Row("missing", sentence) for sentence in verdict.missing]
            rows = rows or [Row("reached", "all that this one asks for")]
            message = " ".join(verdict.missing)
            return Result(id, name, _status(verdict.reached), [*notes, *rows], message)
        reached = [n for n, verdict in found.verdicts.items() if verdict.reached]
        rows = [Row(str(n), self._line(n, verdict)) for n, verdict in found.verdicts.items()]
        rows.append(Row("reached", f"{len(reached)} of {len(self.goals)} in this text"))
        return Result(id, name, _status(bool(reached)), [*notes, *rows])

    def problems(self) -> list[str]:
        """What is wrong with the quest, one sentence each; nothing if it is ready for learners."""
        problems = []
        if len({hint.strip() for hint in self.hints} - {""}) < 3:
            problems.append("the three hints are not three different texts")
        for number, name in self.goals.items():
            result = self.judge(self.model(number), number)
            if result.status != "passed":
                problems.append(f"{number}, {name}: the model text is not accepted: {result}")
            count = 0
            for why, text in self.wrongs(number):
                count += 1
                if self.judge(text, number).status != "failed":
                    problems.append(f"{number}, {name}: a wrong text is not refused: {why}")
            if count < MIN_WRONG:
                problems.append(f"{number}, {name}: {count} wrong texts; at least {MIN_WRONG}")
        return problems

    def _line(self, number: int, verdict: Verdict) -> str:
        name = self.goals[number]
        if verdict.reached:
            return f"✓ reached: {name}"
        if verdict.near:
            return f"✗ nearly: {name}. Missing: {' '.join(verdict.missing)}"
        return f"○ not here: {name}"

    def _stuck(self) -> Row:
        return Row("stuck?", f'teach.hint("{self.id}", 1)')


def _status(reached: bool) -> Literal["passed", "failed"]:
    return "passed" if reached else "failed"
