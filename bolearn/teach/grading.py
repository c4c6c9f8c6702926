"""Grading a file of answers: in a process of its own, whatever the answers do.

The process tells of each exercise when it begins and when it is done. If it ends, or does not come
back, the exercise at work has failed and another process goes on behind it. So no answer can cost
the results of the others, nor end the grading with a good exit code.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import inspect
import io
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from bolearn.errors import BolearnError
from bolearn.teach import apart, exercises
from bolearn.teach.engine import CheckResult, evaluate, evaluate_quest, told
from bolearn.teach.errors import ExerciseError
from bolearn.teach.exercise import Exercise
from bolearn.teach.limits import CHECK_SECONDS, FairTime
from bolearn.teach.sources import SourceError, answer_name, exercise_ids

MODULE = "_bolearn_answers"
LOAD_SECONDS = 60.0

Scope = dict[str, tuple[Path, str]]  # exercise id -> its file, the function's name


@dataclass(frozen=True)
class Job:
    """What to grade: a file of answers, the exercises in question, and how.

    Args:
        answers: the file.
        scope: the exercises.
        quests: ids of the quests whose texts the file may hold.
        explicit: whether the exercises were named, so that missing answers count.
        seed: which cases are generated.
    """

    answers: Path
    scope: Scope
    quests: tuple[str, ...] = ()
    explicit: bool = False
    seed: int = 0


@dataclass
class Report:
    """The results in order, names that belong to no exercise, and why nothing could be graded."""

    results: list[CheckResult] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    error: str = ""


def grade(job: Job) -> Report:
    """Check the answers of a file; whatever they do, there is a result for each."""
    report = Report()
    done: dict[str, CheckResult] = {}
    while True:
        ended = _one_process(job, report, done)
        if ended is None:
            break
        what, name, why = ended
        if not what:
            report.error = f"{job.answers.name} {why}"
            break
        done[what] = CheckResult(
            what, name, "error", job.seed, failing=1, statement="it runs", message=why
        )
        done[what].rows = apart.rows_of(why)
    report.results = list(done.values())
    return report


def _one_process(
    job: Job, report: Report, done: dict[str, CheckResult]
) -> tuple[str, str, str] | None:
    """Grades what is not done yet in one process.

    Returns:
        None if it came to its end; else the exercise at work (empty while the file was loaded), its
        name, and what happened.
    """
    fork = sys.platform == "linux" and apart.possible()
    context: Any = multiprocessing.get_context("fork" if fork else "spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, tuple(done), theirs), daemon=True)
    process.start()
    theirs.close()
    clock, at_work = FairTime(process.pid), ("", "")
    limit = LOAD_SECONDS + apart.GRACE
    since = clock.now()
    try:
        while True:
            if not ours.poll(0.1):
                if clock.now() - since > limit:
                    return *at_work, f"gave no result within {limit - apart.GRACE:g} s"
                continue
            try:
                kind, *what = ours.recv()
            except EOFError:
                process.join(5)
                return *at_work, f"ended its process (exit code {process.exitcode})"
            since = clock.now()
            if kind == "found":
                report.unmatched = what[0]
            elif kind == "begin":
                at_work, limit = (what[0], what[1]), what[2] + apart.GRACE
            elif kind == "result":
                done[at_work[0]] = CheckResult(**what[0])
            elif kind == "refused":
                report.error = what[0]
                return None
            else:
                return None
    finally:
        ours.close()
        with contextlib.suppress(OSError, AttributeError):  # with all that it has started
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def _work(job: Job, done: Sequence[str], tell: Connection) -> None:
    """What the process does; the answers' prints go to the error stream."""
    with contextlib.suppress(AttributeError):
        os.setsid()
    os.dup2(2, 1)
    stream = io.FileIO(2, "w", closefd=False)
    sys.stdout = sys.stderr = io.TextIOWrapper(stream, "utf-8", "replace", write_through=True)
    torch.set_num_threads(1)
    apart.limit_memory()
    try:
        module = _run_answers(job.answers)
        found, unmatched = _match(module, job.scope, explicit=job.explicit)
        texts = _texts(module, job.quests)
        if not found and not texts:
            raise ExerciseError(_nothing(job, unmatched))
        tell.send(("found", unmatched))
        loaded: dict[Path, dict[str, Exercise]] = {}
        for exercise_id, fn in found.items():
            if exercise_id in done:
                continue
            path, name = job.scope[exercise_id]
            if path not in loaded:
                loaded[path] = {exercise.id: exercise for exercise in exercises.load(path)}
            exercise = loaded[path][exercise_id]
            tell.send(("begin", exercise_id, name, exercise.check_seconds))
            result = CheckResult(exercise_id, name, "not attempted", job.seed)
            if fn is not None:
                result = evaluate(exercise, fn, seed=job.seed)
            tell.send(("result", told(result)))
        for (quest_id, number), text in texts.items():
            quest = exercises.quest(quest_id)
            if f"{quest_id}.{number}" not in done:
                name = f"{quest_id}.{number}"
                tell.send(("begin", name, quest.goals[number], CHECK_SECONDS))
                tell.send(("result", told(evaluate_quest(quest, text, number))))
        tell.send(("end",))
    except (BolearnError, SourceError) as error:
        tell.send(("refused", str(error)))
    finally:
        sys.stderr.flush()


def _nothing(job: Job, names: Sequence[str]) -> str:
    wanted = sorted({name for _, name in job.scope.values()})
    close = [n for name in names for n in difflib.get_close_matches(name, wanted, n=2, cutoff=0.5)]
    shown = list(dict.fromkeys(close)) or wanted[:6]
    more = ", ..." if len(shown) < len(wanted) else ""
    return (
        f"no function in {job.answers.name} has an exercise's name; expected some of "
        f"{', '.join(shown)}{more}"
    )


def scope_of(files: Sequence[Path] | None, tutorial: str | None) -> Scope:
    """The exercises of some files (of the course if none are given), or of one tutorial of them.

    Raises:
        ExerciseError: a file is missing, an id occurs twice, or there is no exercise at all.
    """
    scope: Scope = {}
    for file in exercises.files() if files is None else files:
        if not file.is_file():
            raise ExerciseError(f"expected a file of exercises, got {str(file)!r}")
        for exercise_id in exercise_ids(file):
            if tutorial is None or exercise_id.startswith(tutorial + "."):
                if exercise_id in scope:
                    raise ExerciseError(f"two exercises have the id {exercise_id}")
                scope[exercise_id] = file, answer_name(file, exercise_id)
    if not scope:
        where = f" of tutorial {tutorial!r}" if tutorial else ""
        raise ExerciseError(f"there are no exercises{where} to check against")
    return scope


def quests_of(tutorial: str | None) -> tuple[str, ...]:
    """The quests of the course, or of one tutorial."""
    return tuple(q for q in exercises.QUESTS if tutorial is None or q.startswith(tutorial + "."))


def _texts(module: ModuleType, quests: Sequence[str]) -> dict[tuple[str, int], str]:
    """What the file holds for quests: the text expedition_3 is for p3.t4.expedition, number 3."""
    found = {}
    for quest_id in quests:
        for number in exercises.quest(quest_id).goals:
            text = getattr(module, f"{quest_id.rpartition('.')[2]}_{number}", None)
            if isinstance(text, str):
                found[quest_id, number] = text
    return found


def _run_answers(path: Path) -> ModuleType:
    """Run the learner's file as a module."""
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ExerciseError(f"expected a Python file of answers, got {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ExerciseError(f"{path.name}, line {error.lineno}: {error.msg}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if _in(frame, path)]
        what = f"{type(error).__name__}: {error}"
        raise ExerciseError(f"{path.name}, line {[0, *lines][-1]}: {what}") from error
    finally:
        sys.path.pop(0)
    return module


def _in(frame: Any, path: Path) -> bool:
    return bool(Path(frame.f_code.co_filename).resolve() == path.resolve())


def _match(module: ModuleType, scope: Scope, *, explicit: bool) -> tuple[dict[str, Any], list[str]]:
    """Exercise id -> the learner's function (None: not there), and the names left over."""
    mapping = getattr(module, "EXERCISES", None)
    if mapping is not None:
        if not isinstance(mapping, Mapping):
            raise ExerciseError(f"expected EXERCISES to be a dict, got {type(mapping).__name__}")
        known = {*scope, *(known for file in exercises.files() for known in exercise_ids(file))}
        for unknown in (str(key) for key in mapping if key not in known):
            close = difflib.get_close_matches(unknown, scope, n=3, cutoff=0.0)
            raise ExerciseError(
                f"EXERCISES names {unknown}; the closest ids are {', '.join(close)}"
            )
    # What the mapping says about other tutorials than the one asked for is no matter here.
    given = {key: value for key, value in dict(mapping or {}).items() if key in scope}
    taken = [*dict(mapping or {}).values()]
    own = {
        name: value
        for name, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and not any(value is other for other in taken)
    }
    unmatched = []
    for name, value in own.items():
        ids = [key for key, (_, wanted) in scope.items() if wanted == name and key not in given]
        if len(ids) > 1:
            raise ExerciseError(
                f"{name} could answer {', '.join(ids)}; say which with --tutorial, or write "
                f'EXERCISES = {{"{ids[0]}": {name}}} into the file'
            )
        if ids:
            given[ids[0]] = value
        else:
            unmatched.append(name)
    if given and explicit:
        given = {exercise_id: given.get(exercise_id) for exercise_id in scope}
    return {key: given[key] for key in scope if key in given}, unmatched
