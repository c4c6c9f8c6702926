"""Check answers and test exercises outside a notebook.

    python -m bolearn.teach check answers.py                    against the course's exercises
    python -m bolearn.teach check answers.py --tutorial p1.t1   against one tutorial's
    python -m bolearn.teach check answers.py --exercises my_exercises.py
    python -m bolearn.teach selftest [my_exercises.py ...]      is an exercise ready for learners?

`check` finds each answer by the function's name, or by a mapping in the answers' file, such as
EXERCISES = {"p1.t1.e1": my_function}; an exported session of an expedition by the name of its
text, such as expedition_3. Exit code 0: everything passed; 1: something did not; 2: the
command could not be carried out.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from bolearn.errors import BolearnError
from bolearn.teach import exercises
from bolearn.teach.display import card_text, table_text
from bolearn.teach.engine import HINT, SYMBOL, CheckResult, evaluate, evaluate_quest, selftest
from bolearn.teach.errors import ExerciseError
from bolearn.teach.exercise import Exercise
from bolearn.teach.quest import Quest
from bolearn.teach.sources import SourceError, answer_name, exercise_ids

MODULE = "_bolearn_answers"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bolearn.teach",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="check a file of answers")
    checking.add_argument("answers", type=Path)
    checking.add_argument("--tutorial", help='only this tutorial, such as "p1.t1"')
    checking.add_argument("--exercises", type=Path, action="append", help="a file of exercises")
    checking.add_argument("--json", action="store_true", help="print JSON instead of a table")
    checking.add_argument("--seed", type=int, default=0, help="which cases are generated")
    testing = commands.add_parser("selftest", help="test exercises before learners see them")
    testing.add_argument("files", type=Path, nargs="*", help="the course's own if not given")
    options = parser.parse_args(argv)
    try:
        if options.command == "selftest":
            return _selftest(options.files)
        return _check(options)
    except (BolearnError, SourceError) as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2


def _selftest(files: Sequence[Path]) -> int:
    found: list[Exercise | Quest] = []
    for file in files or exercises.files():
        found += exercises.load(file)
    if not files:
        found += map(exercises.quest, exercises.QUESTS)
    bad = 0
    for exercise in found:
        problems = exercise.problems() if isinstance(exercise, Quest) else selftest(exercise)
        bad += bool(problems)
        print(f"{'✗' if problems else '✓'} {exercise.id} {exercise.name}")
        for problem in problems:
            print("  - " + problem.replace("\n", "\n    "))
    print(f"{len(found) - bad} of {len(found)} exercises are ready")
    return int(bad > 0)


def _check(options: argparse.Namespace) -> int:
    scope = _scope(options.exercises, options.tutorial)
    module = _run_answers(options.answers)
    found, unmatched = _match(module, scope, explicit=bool(options.exercises or options.tutorial))
    texts = {} if options.exercises else _texts(module, options.tutorial)
    if not found and not texts:
        raise ExerciseError(
            f"no function in {options.answers.name} has an exercise's name; expected some of "
            f"{', '.join(sorted({name for _, name in scope.values()}))}"
        )
    loaded: dict[Path, dict[str, Exercise]] = {}
    results = []
    for exercise_id, fn in found.items():
        path, name = scope[exercise_id]
        if fn is None:
            results.append(CheckResult(exercise_id, name, "not attempted", options.seed))
            continue
        if path not in loaded:
            loaded[path] = {exercise.id: exercise for exercise in exercises.load(path)}
        results.append(evaluate(loaded[path][exercise_id], fn, seed=options.seed))
    for (quest_id, number), text in texts.items():
        results.append(evaluate_quest(exercises.quest(quest_id), text, number))
    report = _json if options.json else _table
    print(report(results, unmatched, options.seed))
    return int(any(result.status != "passed" for result in results))


def _scope(files: Sequence[Path] | None, tutorial: str | None) -> dict[str, tuple[Path, str]]:
    """Exercise id -> its file and the name of the function asked for."""
    scope: dict[str, tuple[Path, str]] = {}
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


def _texts(module: ModuleType, tutorial: str | None) -> dict[tuple[str, int], str]:
    """What the file holds for quests: the text expedition_3 is for p3.t4.expedition, number 3."""
    found = {}
    for quest_id in exercises.QUESTS:
        if tutorial is None or quest_id.startswith(tutorial + "."):
            for number in exercises.quest(quest_id).goals:
                text = getattr(module, f"{quest_id.rpartition('.')[2]}_{number}", None)
                if isinstance(text, str):
                    found[quest_id, number] = text
    return found


def _run_answers(path: Path) -> ModuleType:
    """Run the learner's file as a module; what it prints goes to the error stream."""
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ExerciseError(f"expected a Python file of answers, got {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ExerciseError(f"{path.name}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if _in(frame, path)]
        what = f"{type(error).__name__}: {error}"
        raise ExerciseError(f"{path.name}, line {lines[-1]}: {what}") from error
    finally:
        sys.path.pop(0)
    return module


def _in(frame: Any, path: Path) -> bool:
    return bool(Path(frame.f_code.co_filename).resolve() == path.resolve())


def _match(
    module: ModuleType, scope: Mapping[str, tuple[Path, str]], *, explicit: bool
) -> tuple[dict[str, Any], list[str]]:
    """Exercise id -> the learner's function (None: not there), and the names left over."""
    mapping = getattr(module, "EXERCISES", None)
    if mapping is not None:
        if not isinstance(mapping, Mapping):
            raise ExerciseError(f"expected EXERCISES to be a dict, got {type(mapping).__name__}")
        unknown = [str(key) for key in mapping if key not in scope]
        if unknown:
            raise ExerciseError(
                f"EXERCISES names {', '.join(unknown)}; there are {', '.join(scope)}"
            )
    given = dict(mapping or {})
    taken = [*given.values()]
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


def _table(results: Sequence[CheckResult], unmatched: Sequence[str], seed: int) -> str:
    rows = [[r.id, r.name, f"{SYMBOL[r.status]} {r.status}", str(r.cases or "")] for r in results]
    parts = [table_text(["exercise", "function", "result", "cases"], rows)]
    for result in results:
        if result.status in ("failed", "error"):
            parts.append(card_text(result.headline, [r for r in result.rows if r.label != HINT]))
    if unmatched:
        parts.append(f"not an exercise's name: {', '.join(unmatched)}")
    passed = sum(result.status == "passed" for result in results)
    parts.append(f"{passed} of {len(results)} passed (seed {seed})")
    return "\n\n".join(parts)


def _json(results: Sequence[CheckResult], unmatched: Sequence[str], seed: int) -> str:
    fields = ("id", "name", "status", "cases", "failing", "statement", "message")
    report = {
        "seed": seed,
        "passed": sum(result.status == "passed" for result in results),
        "total": len(results),
        "exercises": [{name: getattr(r, name) for name in fields} for r in results],
        "unmatched": list(unmatched),
    }
    return json.dumps(report, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    torch.set_num_threads(1)  # cases are small: two threads on them wait for each other
    sys.exit(main())
