"""Check answers and test exercises outside a notebook.

    python -m bolearn.teach check answers.py                    against the course's exercises
    python -m bolearn.teach check answers.py --tutorial p1.t1   against one tutorial's
    python -m bolearn.teach check answers.py --exercises my_exercises.py
    python -m bolearn.teach selftest [my_exercises.py ...]      is an exercise ready for learners?

`check` finds each answer by the function's name, or by a mapping in the answers' file, such as
EXERCISES = {"p1.t1.e1": my_function}; an exported session of an expedition by the name of its
text, such as expedition_3. The answers run in a process of their own with limits of time and, on
Linux, memory. Exit code 0: everything passed; 1: something did not; 2: the command could not be
carried out. The table or the JSON is printed in every case.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from bolearn.errors import BolearnError
from bolearn.teach import exercises, grading
from bolearn.teach.display import card_text, table_text
from bolearn.teach.engine import HINT, SYMBOL, selftest
from bolearn.teach.exercise import Exercise
from bolearn.teach.quest import Quest
from bolearn.teach.sources import SourceError


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
    """Checks a file of answers; prints its table or JSON whatever happens."""
    try:
        scope = grading.scope_of(options.exercises, options.tutorial)
        explicit = bool(options.exercises or options.tutorial)
        quests = () if options.exercises else grading.quests_of(options.tutorial)
        job = grading.Job(options.answers, scope, quests, explicit, options.seed)
        report = grading.grade(job)
    except (BolearnError, SourceError) as error:
        report = grading.Report(error=str(error))
    shown = _json if options.json else _table
    print(shown(report, options.seed), flush=True)
    if report.error:
        print(f"check: {report.error}", file=sys.stderr)
        return 2
    return int(any(result.status != "passed" for result in report.results))


def _table(report: grading.Report, seed: int) -> str:
    results, unmatched = report.results, report.unmatched
    rows = [[r.id, r.name, f"{SYMBOL[r.status]} {r.status}", str(r.cases or "")] for r in results]
    parts = [table_text(["exercise", "function", "result", "cases"], rows)]
    if report.error:
        parts.append("the file could not be checked")
    for result in results:
        if result.status in ("failed", "error"):
            parts.append(card_text(result.headline, [r for r in result.rows if r.label != HINT]))
    if unmatched:
        parts.append(f"not an exercise's name: {', '.join(unmatched)}")
    passed = sum(result.status == "passed" for result in results)
    parts.append(f"{passed} of {len(results)} passed (seed {seed})")
    return "\n\n".join(parts)


def _json(report: grading.Report, seed: int) -> str:
    fields = ("id", "name", "status", "cases", "failing", "statement", "message")
    told = {
        "seed": seed,
        "passed": sum(result.status == "passed" for result in report.results),
        "total": len(report.results),
        "exercises": [{name: getattr(r, name) for name in fields} for r in report.results],
        "unmatched": report.unmatched,
        "error": report.error,
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    torch.set_num_threads(1)  # cases are small: two threads on them wait for each other
    sys.exit(main())
