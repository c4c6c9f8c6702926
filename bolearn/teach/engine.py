"""Checking an answer: run every case through three layers, show the smallest failing case.

The layers are tested in order (it runs, shape, property, value). Of the first layer in which
anything fails, the smallest failing case is reported: its input, the violated statement, what the
learner's function returned. Learners' exceptions are reported with their own line; what their code
prints is kept back; the global random state is restored.
"""

from __future__ import annotations

import contextlib
import dis
import inspect
import io
import itertools
import linecache
import os
import random
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bolearn.teach import exercises, session
from bolearn.teach.describe import describe, without_addresses
from bolearn.teach.display import Card, Row, Shown, card_html, card_text
from bolearn.teach.errors import ExerciseError, Violation
from bolearn.teach.exercise import LAYERS, Case, Check, Exercise, Fn
from bolearn.teach.quest import Quest
from bolearn.teach.sources import exercise_ids, outside_names

Status = Literal["not attempted", "passed", "failed", "error"]
SYMBOL: dict[Status, str] = {"not attempted": "○", "passed": "✓", "failed": "✗", "error": "⚠"}
MIN_CASES, MIN_WRONG = 20, 3
HINT = "stuck?"


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
        check: the violated check, for the exercise's author.
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
        result = evaluate(found, fn, seed=seed)
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
    exercise: Exercise, fn: object, *, seed: int = 0, smallest: bool = True
) -> CheckResult:
    """Check a function without showing or recording anything.

    Without `smallest` the first failing case ends the check: enough to know that one fails.
    """
    if (problem := _not_usable(exercise, fn)) is not None:
        return _result(exercise, "error", seed, message=problem)
    assert callable(fn)
    printed = io.StringIO()
    with (
        _random_state_kept(seed),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        result = _Run(exercise, fn, seed).result(smallest)
    lines = len(printed.getvalue().splitlines())
    if lines and result.status in ("failed", "error"):
        note = f"{lines} line{'s' * (lines > 1)} by your code, not shown"
        result.rows = [*result.rows, Row("printed", note)]
    return result


def evaluate_quest(quest: Quest, text: object, number: int | None = None) -> CheckResult:
    """Look for the goals of a quest in a text without showing or recording anything."""
    found = quest.judge(text, number)
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
        right = evaluate(exercise, answer, seed=seed)
        if right.status != "passed":
            problems.append(f"the model answer is not accepted with seed {seed}:\n{right}")
        for wrong in exercise.wrongs:
            tried = evaluate(exercise, wrong.fn, seed=seed, smallest=False)
            if tried.status not in ("failed", "error"):
                problems.append(
                    f"the wrong answer {wrong.fn.__name__} ({wrong.why}) is accepted, seed {seed}"
                )
    return problems


@dataclass(frozen=True)
class _Failure:
    """A case that failed: why, and (for exceptions) in which line of the learner's code."""

    case: Case
    status: Status
    statement: str
    message: str
    check: Check | None = None
    returned: str = ""


class _Guard:
    """The learner's function as checks see it: every call gets its own copy of the inputs."""

    def __init__(self, fn: Fn, exercise: Exercise) -> None:
        self._fn, self._exercise = fn, exercise

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._exercise.copies:
            return self._fn(*args, **kwargs)
        seen: dict[int, Any] = {}
        given = [_copy(arg, seen) for arg in args]
        named = {name: _copy(arg, seen) for name, arg in kwargs.items()}
        result = self._fn(*given, **named)
        if self._exercise.pure and not _same([args, kwargs], [given, named]):
            raise Violation("your function changed its input; work on a copy (x.clone())")
        return result


class _Run:
    """One check: the learner's function on all cases of one seed."""

    def __init__(self, exercise: Exercise, fn: Fn, seed: int) -> None:
        self.exercise, self.fn, self.seed = exercise, fn, seed
        self.is_class = inspect.isclass(fn)
        self.guarded: Fn = fn if self.is_class else _Guard(fn, exercise)
        self.cases = exercise.make_cases(seed)

    def result(self, smallest: bool) -> CheckResult:
        if not self.is_class and _is_empty(self.fn):
            return _result(self.exercise, "not attempted", self.seed)
        failures: list[_Failure] = []
        for layer in self._layers():
            failures = list(layer) if smallest else list(itertools.islice(layer, 1))
            if failures:
                break
        if not failures:
            return _result(self.exercise, "passed", self.seed, cases=len(self.cases))
        if failures[0].status == "not attempted":
            return _result(self.exercise, "not attempted", self.seed)
        chosen = min(failures, key=lambda f: self.exercise.case_size(f.case))
        return self._failed(chosen, failing=len({id(f.case) for f in failures}))

    def _layers(self) -> Iterator[Iterator[_Failure]]:
        """The failures of each layer, found as they are asked for."""
        if not self.is_class:
            yield (f for case in self.cases if (f := self._runs(case)) is not None)
        for layer in LAYERS:
            yield (
                f
                for case in self.cases
                if case.raises is None
                for check in self.exercise.checks
                if check.layer == layer and (f := self._holds(check, case)) is not None
            )

    def _runs(self, case: Case) -> _Failure | None:
        """Layer 0: the call returns, or raises the error that the case asks for."""
        statement = "it runs"
        if case.raises is not None:
            statement = f"it raises {case.raises.__name__} on this input"
        if case.note:
            statement += f" ({case.note})"
        try:
            returned = self.guarded(*case.args, **case.kwargs)
        except Violation as error:
            return _Failure(case, "failed", "the inputs stay as they are", str(error))
        except (Exception, SystemExit) as error:
            if case.raises is not None and isinstance(error, case.raises):
                return None
            return self._raised(case, error, statement)
        if case.raises is not None:
            return _Failure(case, "failed", statement, "it raised nothing")
        if returned is Ellipsis:
            return _Failure(case, "not attempted", statement, "")
        if returned is None and not self.exercise.none_ok:
            message = "it returned None; is a return statement missing?"
            return _Failure(case, "failed", "it returns a result", message)
        return None

    def _holds(self, check: Check, case: Case) -> _Failure | None:
        """One statement on one case."""
        statement = check.statement + (f" ({case.note})" if case.note else "")
        try:
            verdict = check.fn(self.guarded, *case.args, **case.kwargs)
            if verdict is not None and not isinstance(verdict, str):
                verdict = None if bool(torch.as_tensor(verdict).all()) else False
        except AssertionError as error:
            if not isinstance(error, Violation) and self._learner_frames(error, check):
                return self._raised(case, error, statement, check)
            return self._violated(check, case, statement, str(error))
        except (Exception, SystemExit) as error:
            if self._learner_frames(error, check):
                return self._raised(case, error, statement, check)
            why = f"your result could not be used: {type(error).__name__}: {_brief(error)}"
            return self._violated(check, case, statement, why)
        if verdict is None or verdict == "":
            return None
        return self._violated(check, case, statement, verdict or "")

    def _violated(self, check: Check, case: Case, statement: str, message: str) -> _Failure:
        returned = ""
        if not self.is_class:
            with contextlib.suppress(Exception, SystemExit):
                returned = describe(self.guarded(*case.args, **case.kwargs))
        return _Failure(case, "failed", statement, message, check, returned)

    def _raised(
        self, case: Case, error: BaseException, statement: str, check: Check | None = None
    ) -> _Failure:
        frames = self._learner_frames(error, check)
        message = f"{type(error).__name__}: {_brief(error)}".rstrip(": ")
        if frames:
            frame = frames[-1]
            if type(error) is NotImplementedError and _innermost(error) == frame:
                return _Failure(case, "not attempted", statement, message)
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            message += f"\nin {frame.name}, line {frame.lineno}: {line}".rstrip(": ")
        return _Failure(case, "error", statement, message, check)

    def _learner_frames(
        self, error: BaseException, check: Check | None
    ) -> list[traceback.FrameSummary]:
        """The frames below this file's and the check's own, libraries left out."""
        own = _code_files(self.fn)
        skipped = _code_files(check.fn) - own if check is not None else set()
        checked = _codes(check.fn) if check is not None else set()
        found: list[traceback.FrameSummary] = []
        for frame, line in traceback.walk_tb(error.__traceback__):
            name = frame.f_code.co_filename
            if name == __file__:
                found = []
            elif (
                frame.f_code not in checked
                and name not in skipped
                and (name in own or not _is_library(name))
            ):
                found.append(traceback.FrameSummary(name, line, frame.f_code.co_name))
        return found

    def _failed(self, failure: _Failure, failing: int) -> CheckResult:
        case = failure.case
        total = len(self.cases)
        rows = [Row("expected", failure.statement)]
        if failure.message:
            label = "raised" if failure.status == "error" else "but"
            rows.append(Row(label, failure.message, code="\n" in failure.message))
        rows.append(Row("input", _inputs(self.exercise.model_answer, case), code=True))
        if failure.returned:
            rows.append(Row("returned", failure.returned, code=True))
        smallest = ", the smallest shown" if failing > 1 else ""
        rows.append(Row("cases", f"{failing} of {total} fail{smallest}; seed {self.seed}"))
        rows.append(Row(HINT, f'teach.hint("{self.exercise.id}", 1)'))
        return _result(
            self.exercise,
            failure.status,
            self.seed,
            cases=total,
            failing=failing,
            statement=failure.statement,
            message=failure.message,
            inputs=case.args,
            rows=rows,
            check=failure.check,
        )


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


def _inputs(answer: Fn, case: Case) -> str:
    """The inputs of a case, one named line each."""
    names: Iterator[str] = iter(())
    if not inspect.isclass(answer):
        names = iter(inspect.signature(answer).parameters)
    lines = [f"{next(names, f'input {i}')} = {describe(a)}" for i, a in enumerate(case.args)]
    lines += [f"{name} = {describe(value)}" for name, value in case.kwargs.items()]
    return "\n".join(lines) or "no inputs"


def _copy(value: Any, seen: dict[int, Any]) -> Any:
    """A copy with the same memory layout; tensors that share memory still do so afterwards."""
    if type(value) is Tensor and value.layout == torch.strided:
        storage = value.untyped_storage()
        key = storage.data_ptr() or id(value)
        fresh = seen.setdefault(key, storage.clone())
        copied = torch.empty(0, dtype=value.dtype, device=value.device)
        copied.set_(fresh, value.storage_offset(), value.size(), value.stride())
        return copied.requires_grad_(value.requires_grad)
    if isinstance(value, np.ndarray):
        return value.copy(order="K")
    if type(value) in (list, tuple):
        return type(value)(_copy(entry, seen) for entry in value)
    if type(value) is dict:
        return {key: _copy(entry, seen) for key, entry in value.items()}
    return value


def _same(one: Any, other: Any) -> bool:
    """Whether two inputs hold the same values; NaN equals NaN here."""
    if isinstance(one, (Tensor, np.ndarray)):
        equal = one.shape == other.shape
        return equal and bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, (int, float, complex, str, bytes)):
        return bool(one == other) or (one != one and other != other)
    return True  # objects of the exercise's own: nothing can be said


@contextlib.contextmanager
def _random_state_kept(seed: int) -> Iterator[None]:
    """Seed the three global generators, and put them back as they were."""
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


def _is_empty(fn: Fn) -> bool:
    """Whether a function's body is only a docstring, `pass` or `...`."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    if code is None:
        return False
    idle = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "POP_TOP"}
    documented = {getattr(inspect.unwrap(fn), "__doc__", None)}
    return {step.opname for step in dis.get_instructions(code)} <= idle and all(
        constant in (None, ...) for constant in code.co_consts if constant not in documented
    )


def _codes(fn: Fn) -> set[CodeType]:
    functions = vars(fn).values() if inspect.isclass(fn) else [fn]
    functions = [getattr(f, "__func__", f) for f in functions]
    plain = [inspect.unwrap(f) for f in functions if callable(f)]
    return {f.__code__ for f in plain if hasattr(f, "__code__")}


def _code_files(fn: Fn) -> set[str]:
    return {code.co_filename for code in _codes(fn)}


def _is_library(filename: str) -> bool:
    if filename.startswith(("<@beartype", "<frozen")):
        return True
    roots = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]))
    return any(os.path.abspath(filename).startswith(root + os.sep) for root in roots)


def _innermost(error: BaseException) -> traceback.FrameSummary:
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return traceback.FrameSummary(frame.f_code.co_filename, line, frame.f_code.co_name)


def _brief(error: BaseException) -> str:
    lines = without_addresses(str(error)).strip().splitlines()
    return lines[0][:300] if lines else ""
