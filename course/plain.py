"""Executes fresh notebooks as plain Python: every cell, in order, with nothing attempted.

What a fresh notebook has of its own are its open exercises and what comes of them: everything else
is executed, drawn and compared in the worked one. So it needs no kernel and no pictures, and its
process starts from one that has imported torch and matplotlib already. A cell that raises fails,
and so do a warning and an exercise that counts as attempted.
"""

from __future__ import annotations

import ast
import contextlib
import io
import linecache
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO

import nbformat

from course.execute import THREADS, Outcome
from course.notebooks import code_cells
from course.project import Project, Tutorial
from course.run import Job, print_errors, print_table

IMPORTED = ("torch", "gpytorch", "scipy.optimize", "scipy.stats", "pandas", "matplotlib.pyplot")
LIMIT = 300  # seconds for a notebook


def run_plain(
    project: Project,
    tutorials: list[Tutorial],
    *,
    jobs: int = 2,
    limit: float = LIMIT,
    stream: TextIO | None = None,
) -> int:
    """Executes the fresh notebooks, ``jobs`` at a time; prints a table.

    Returns:
        0 if all went well, 1 if anything failed.
    """
    stream = stream or sys.stdout
    todo = [Job(f"{t.name} (fresh)", t.fresh) for t in tutorials]
    # What the processes inherit; they are not those of the caller.
    inherited = {**dict.fromkeys(THREADS, "1"), "MPLBACKEND": "Agg"}
    with _environment(inherited), ThreadPoolExecutor(jobs) as pool:
        processes = multiprocessing.get_context(_start_method())
        if processes.get_start_method() == "forkserver":
            processes.set_forkserver_preload(list(IMPORTED))
        outcomes = pool.map(lambda job: _in_process(processes, project.root, job, limit), todo)
        for job, outcome in zip(todo, outcomes, strict=True):
            job.outcome = outcome
    print_table(todo, stream)
    print_errors(todo, stream)
    return int(any(job.failed for job in todo))


def _start_method() -> str:
    known = multiprocessing.get_all_start_methods()
    return "forkserver" if "forkserver" in known else "spawn"


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _in_process(processes: Any, root: Path, job: Job, limit: float) -> Outcome:
    """One notebook in a process of its own."""
    if not job.path.is_file():
        return Outcome(0.0, error=f"no file {job.path.name}; run `python -m course build`")
    start = time.perf_counter()
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=_child, args=(theirs, str(root), str(job.path)))
    process.start()
    theirs.close()
    error: str | None = f"no result within {limit:g} s"
    summary = None
    if ours.poll(limit):
        try:
            summary, error = ours.recv()
        except EOFError:
            process.join()
            error = f"its process: it died with exit code {process.exitcode}"
    process.kill()
    process.join()
    return Outcome(time.perf_counter() - start, summary, error)


def _child(pipe: Connection, root: str, path: str) -> None:
    """The child's part: everything that cells print is kept back."""
    sys.path.insert(0, root)
    with tempfile.TemporaryDirectory(prefix="bolearn-", ignore_cleanup_errors=True) as scratch:
        os.chdir(scratch)
        with contextlib.redirect_stdout(io.StringIO()):
            pipe.send(execute_plain(nbformat.read(path, as_version=4)))
        os.chdir(root)


def execute_plain(notebook: Any) -> tuple[dict[str, Any] | None, str | None]:
    """Executes the cells in this process; returns the kit's summary and what went wrong."""
    module = types.ModuleType("__main__")  # where classes and functions say they live
    sys.modules["__main__"] = module
    with warnings.catch_warnings(record=True) as heard:
        for number, cell in enumerate(code_cells(notebook), 1):
            try:
                _execute_cell(cell.source, f"<code cell {number}>", vars(module))
            except Exception as failure:
                return None, _where(cell.source, number) + _described(failure)
            if heard:
                return None, _where(cell.source, number) + f"\nwarned: {heard[0].message}"
    kit = sys.modules.get("bolearn.teach.session")
    summary: dict[str, Any] | None = kit.summary() if kit is not None else None
    counts = {k: n for k, n in (summary or {}).get("exercises", {}).items() if n}
    exercises = sum("exercise" in cell.metadata.get("bolearn", {}) for cell in notebook.cells)
    # expeditions are recorded beside the exercises that have cells of their own
    if set(counts) - {"not attempted"} or counts.get("not attempted", 0) < exercises:
        found = ", ".join(f"{n} {status}" for status, n in counts.items()) or "none"
        return summary, f"its exercises: expected {exercises} not attempted, got {found}"
    return summary, None


def _execute_cell(text: str, name: str, names: dict[str, Any]) -> None:
    """Executes a cell; the value of its last line is printed, as a notebook shows it."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    tree = ast.parse(text)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    if isinstance(last, ast.Expr):
        value = eval(compile(ast.Expression(last.value), name, "eval"), names)
        if value is not None:
            print(repr(value))
    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close("all")  # as a notebook does after every cell


def _where(text: str, number: int) -> str:
    lines = text.splitlines()
    shown = [f"    {line}" for line in lines[:12]] + (["    ..."] if len(lines) > 12 else [])
    return "\n".join([f"code cell {number}:", *shown])


def _described(failure: Exception) -> str:
    return "\n" + "".join(traceback.format_exception_only(failure)).rstrip()
