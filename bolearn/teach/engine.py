"""Checking an answer: run every case through three layers, show the smallest failing case.

The layers are tested in order (it runs, shape, property, value). Of the first layer in which
anything fails, the smallest failing case is reported: its input, the violated statement, what the
learner's function returned. Learners' exceptions are reported with their own line; what their code
prints is kept back; global state is restored.

`check` works in a copy of the process where it can (`apart`), so that an answer that ends its
process or never comes back costs this one exercise; `evaluate` works in place. Both have the time
limits of `limits`.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bolearn.teach import apart, exercises, session
from bolearn.teach.describe import describe
from bolearn.teach.display import Card, Row, Shown, card_html, card_text
from bolearn.teach.errors import ExerciseError
from bolearn.teach.exercise import Check, Exercise
from bolearn.teach.limits import CHECK_SECONDS, Clock, TooSlow, state_kept
from bolearn.teach.quest import Quest
from bolearn.teach.sources import exercise_ids, outside_names
from bolearn.teach.trial import Failure, Status, Trial, inputs, is_empty

SYMBOL: dict[Status, str] = {"not attempted": "○", "passed": "✓", "failed": "✗", "error": "⚠"}
MIN_CASES, MIN_WRONG = 20, 3
SELFTEST_PATIENCE = 5  # machines that run many tests are slow
HINT = "stuck?"
_TOLD = ("id", "name", "status", "seed", "cases", "failing", "statement", "message", "rows", "case")


@dataclass
class CheckResult(Shown):
    """What a check found; in a notebook it shows itself.

    Attributes:
        id, name: the exercise, and the function the learner was asked to write.
        status: "not attempted", "passed", "failed" (a statement is violated) or "error" (the
            code raised an exception, or could not be called).
        seed, cases, failing: the seed, the number of cases, and how many of them failed.
        statement, message: the violated statement, and why it is.
        inputs: the exact positional inputs of the smallest failing case.
        check, case: the violated check and the number of the case, for the exercise's author.
    """

    id: str
    name: str
    status: Status
    seed: int = 0
    cases: int = 0
    failing: int = 0
    statement: str = ""
    message: str = ""
    inputs: tuple[Any, ...] = ()
    rows: Sequence[Row] = ()
    check: Check | None = field(default=None, repr=False)
    case: int = field(default=-1, repr=False)

    @property
    def headline(self) -> str:
        return f"{SYMBOL[self.status]} {self.id} {self.name}: {self.status}"

    def text(self) -> str:
        return card_text(self.headline, self.rows)

    def _repr_html_(self) -> str:
        return card_html(self.headline, self.rows)

    def __repr__(self) -> str:
        return f"<CheckResult {self.id} {self.status}>"


def check(exercise: object, fn: object, *, seed: int = 0, number: int | None = None) -> CheckResult:
    """Check a function (or class) against an exercise and show the result.

    Args:
        exercise: an id such as "p1.t1.e1", or an `Exercise` of one's own file.
        fn: the learner's function itself, not its result. A `Quest`, such as "p3.t4.expedition",
            takes the text that a page exports.
        seed: which cases are generated; another seed gives others.
        number: of one goal of a quest; without it, reaching one of them is enough.

    Returns:
        The result; nothing that the learner's code does raises an error here.

    Raises:
        ExerciseError: there is no such exercise; the message names the closest ids. Or a number
            that the quest does not have, or a number for an exercise.
    """
    found = exercises.find(exercise, quests=True)
    if isinstance(found, Quest):
        result = evaluate_quest(found, fn, number)
    elif number is not None:
        raise ExerciseError(f"{found.id}: only a quest has numbers; leave number={number!r} out")
    else:
        result = (
            _evaluate_apart(found, fn, seed) if apart.possible() else evaluate(found, fn, seed=seed)
        )
    session.record_exercise(result.id, result.status)
    result.show()
    return result


def hint(exercise: object, level: int = 1) -> None:
    """Show a hint, from a nudge (level 1) to nearly the whole idea (level 3).

    Raises:
        ExerciseError: there is no such exercise, or no such level.
    """
    found = exercises.find(exercise, quests=True)
    if level not in (1, 2, 3):
        raise ExerciseError(f"expected a hint level of 1, 2 or 3, got {level!r}")
    rows = [Row("hint", found.hints[level - 1])]
    if level < 3:
        rows.append(Row("more", f'teach.hint("{found.id}", {level + 1})'))
    Card(f"{found.id} {found.name}: hint {level} of 3", rows).show()


def evaluate(
    exercise: Exercise,
    fn: object,
    *,
    seed: int = 0,
    smallest: bool = True,
    patience: float | int = 1,
    progress: apart.Progress | None = None,
) -> CheckResult:
    """Check a function without showing or recording anything.

    Args:
        exercise: the exercise.
        fn: the learner's function or class.
        seed: which cases are generated.
        smallest: without it the first failing case ends the check: enough to know that one fails.
        patience: by what the exercise's time limits are multiplied.
        progress: where to note how far the check has come, for a process that watches this one.
    """
    if (problem := _not_usable(exercise, fn)) is not None:
        return _result(exercise, "error", seed, message=problem)
    assert callable(fn)
    printed = io.StringIO()
    clock = Clock(patience * exercise.call_seconds, patience * exercise.check_seconds)
    with (
        state_kept(f"{exercise.id}/{seed}/state"),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        result = _tried(Trial(exercise, fn, seed, clock, progress), clock, smallest)
    lines = len(printed.getvalue().splitlines())
    if lines and result.status in ("failed", "error"):
        note = f"{lines} line{'s' * (lines > 1)} by your code, not shown"
        result.rows = [*result.rows, Row("printed", note)]
    return result


def _tried(trial: Trial, clock: Clock, smallest: bool) -> CheckResult:
    exercise, seed = trial.exercise, trial.seed
    if not trial.is_class and is_empty(trial.fn):
        return _result(exercise, "not attempted", seed)
    failures: list[Failure] = []
    try:
        with clock:
            for layer in trial.layers():
                failures = list(layer) if smallest else list(itertools.islice(layer, 1))
                if failures:
                    break
    except TooSlow as error:
        failures = [trial.slow(error)]
    if not failures:
        return _result(exercise, "passed", seed, cases=len(trial.cases))
    if failures[0].status == "not attempted":
        return _result(exercise, "not attempted", seed)
    chosen = min(failures, key=lambda f: exercise.case_size(f.case))
    return _failed(trial, chosen, failing=len({id(f.case) for f in failures}))


def _failed(trial: Trial, failure: Failure, failing: int) -> CheckResult:
    total = len(trial.cases)
    rows = [Row("expected", failure.statement)]
    if failure.message:
        label = "raised" if failure.status == "error" else "but"
        rows.append(Row(label, failure.message, code="\n" in failure.message))
    rows += failure.shown
    smallest = ", the smallest shown" if failing > 1 else ""
    rows.append(Row("cases", f"{failing} of {total} fail{smallest}; seed {trial.seed}"))
    rows.append(Row(HINT, f'teach.hint("{trial.exercise.id}", 1)'))
    return _result(
        trial.exercise,
        failure.status,
        trial.seed,
        cases=total,
        failing=failing,
        statement=failure.statement,
        message=failure.message,
        inputs=failure.case.args,
        rows=rows,
        check=failure.check,
        case=next(i for i, case in enumerate(trial.cases) if case is failure.case),
    )


def _evaluate_apart(exercise: Exercise, fn: object, seed: int) -> CheckResult:
    """`evaluate` in a copy of this process; what the copy does not survive is the answer's fault.

    Values and functions stay there: the copy tells which case failed, and it is generated here.
    """
    progress = apart.Progress()

    def work() -> bytes:
        result = evaluate(exercise, fn, seed=seed, progress=progress)
        index = exercise.checks.index(result.check) if result.check is not None else None
        return pickle.dumps((told(result), index))

    data = apart.run(work, progress, exercise.call_seconds, exercise.check_seconds)
    if isinstance(data, apart.Ended):
        return _lost(exercise, seed, data)
    fields, index = pickle.loads(data)
    result = CheckResult(**fields, check=None if index is None else exercise.checks[index])
    if result.case >= 0:
        result.inputs = exercise.make_cases(seed)[result.case].args
    return result


def told(result: CheckResult) -> dict[str, Any]:
    """What of a result another process can be told: neither the inputs nor the check."""
    return {name: getattr(result, name) for name in _TOLD}


def _lost(exercise: Exercise, seed: int, ended: apart.Ended) -> CheckResult:
    """The result of an answer that took the process with it."""
    cases = exercise.make_cases(seed)
    statement = exercise.checks[ended.check].statement if ended.check >= 0 else "it runs"
    rows = [Row("expected", statement), Row("but", ended.why)]
    if ended.case >= 0:
        shown = inputs(exercise.model_answer, cases[ended.case])
        rows.append(Row("input", shown, code=True))
    rows.append(Row(HINT, f'teach.hint("{exercise.id}", 1)'))
    return _result(
        exercise,
        "error",
        seed,
        cases=len(cases),
        failing=1,
        statement=statement,
        message=ended.why,
        inputs=cases[ended.case].args if ended.case >= 0 else (),
        rows=rows,
        case=ended.case,
    )


def evaluate_quest(quest: Quest, text: object, number: int | None = None) -> CheckResult:
    """Look for the goals of a quest in a text without showing or recording anything."""
    try:
        with Clock(CHECK_SECONDS, CHECK_SECONDS):
            found = quest.judge(text, number)
    except TooSlow:
        because = f"the text was not read within {CHECK_SECONDS:g} s"
        rows = [Row("because", because)]
        return CheckResult(quest.id, quest.name, "error", message=because, rows=rows)
    return CheckResult(found.id, found.name, found.status, message=found.message, rows=found.rows)


def selftest(exercise: Exercise, seeds: Sequence[int] = (0, 1, 2)) -> list[str]:
    """What is wrong with an exercise, one sentence each; nothing if it is ready for learners.

    The model answer must be accepted and every wrong answer rejected under every seed; there must
    be 20 cases, three wrong answers, three different hints and a docstring that states the task.
    """
    problems = []
    answer = exercise.model_answer
    if not (answer.__doc__ or "").strip():
        problems.append("the model answer has no docstring; it states the task for the learner")
    if len(exercise.wrongs) < MIN_WRONG:
        problems.append(f"{len(exercise.wrongs)} wrong answers; write at least {MIN_WRONG}")
    if len({hint.strip() for hint in exercise.hints} - {""}) < 3:
        problems.append("the three hints are not three different texts")
    if not {"property", "value"} & {check.layer for check in exercise.checks}:
        problems.append("no property and no value is checked")
    source = inspect.getsourcefile(inspect.unwrap(answer))
    if source is not None and exercise.id in exercise_ids(source):
        names = outside_names(source, exercise.id)
        if names:
            problems.append(
                f"the model answer uses {', '.join(names)} from the exercise file, which a "
                "notebook does not have; nest it in the answer"
            )
    for seed in seeds:
        count = len(exercise.make_cases(seed))
        if count < MIN_CASES:
            problems.append(f"{count} cases with seed {seed}; generate at least {MIN_CASES}")
        right = evaluate(exercise, answer, seed=seed, patience=SELFTEST_PATIENCE)
        if right.status != "passed":
            problems.append(f"the model answer is not accepted with seed {seed}:\n{right}")
        for wrong in exercise.wrongs:
            tried = evaluate(exercise, wrong.fn, seed=seed, smallest=False)
            if tried.status not in ("failed", "error"):
                problems.append(
                    f"the wrong answer {wrong.fn.__name__} ({wrong.why}) is accepted, seed {seed}"
                )
    return problems


def _result(exercise: Exercise, status: Status, seed: int, **fields: Any) -> CheckResult:
    result = CheckResult(exercise.id, exercise.name, status, seed, **fields)
    if result.rows:
        return result
    if status == "passed":
        statements = dict.fromkeys(check.statement for check in exercise.checks)
        result.rows = [
            Row("cases", f"{result.cases}, seed {seed}"),
            Row("checked", "; ".join(statements)),
        ]
    elif status == "not attempted":
        todo = f"write {exercise.name}, then run this cell again"
        result.rows = [Row("to do", todo), Row(HINT, f'teach.hint("{exercise.id}", 1)')]
    else:
        result.rows = [Row("because", result.message)]
    return result


def _not_usable(exercise: Exercise, fn: object) -> str | None:
    """Why the object cannot be checked at all, or None."""
    name, answer = exercise.name, exercise.model_answer
    if not callable(fn):
        return (
            f"the check needs the function {name} itself, but got {describe(fn)}; write "
            f'teach.check("{exercise.id}", {name}), without calling {name}'
        )
    wanted, got = ("class" if inspect.isclass(f) else "function" for f in (answer, fn))
    if wanted != got:
        return f"the task asks for a {wanted} {name}, but got a {got}"
    if wanted == "class":
        return None
    with contextlib.suppress(ValueError):  # some callables have no readable signature
        theirs = inspect.signature(fn)
        for case in exercise.make_cases(0)[:1]:
            try:
                theirs.bind(*case.args, **case.kwargs)
            except TypeError as error:
                asked = ", ".join(inspect.signature(answer).parameters)
                return f"the task asks for {name}({asked}), but your arguments differ: {error}"
    return None
