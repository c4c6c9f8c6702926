"""Executes every tutorial, fresh and worked, and says how it went. Writes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import nbformat

from course.execute import CELL_TIMEOUT, Outcome, execute, plain
from course.project import VARIANTS, Project, Tutorial

INTERRUPTED = 130
HEADER = ("notebook", "seconds", "claims proved", "exercises", "result")


@dataclass
class Job:
    """One notebook to execute and what came of it."""

    name: str
    path: Path
    outcome: Outcome | None = None
    started: float | None = None
    cell: int = 0
    cells: int = 0

    @property
    def short(self) -> str:
        """The name without the tutorial's title: two of them fit on a line."""
        return re.sub(r"(tutorial_\d+)\w*", r"\1", self.name)

    @property
    def skipped(self) -> bool:
        """The notebook stopped because optional packages are missing: neither passed nor failed."""
        error = self.outcome.error if self.outcome is not None else None
        return error is not None and "MissingGroup: " in error

    @property
    def failed(self) -> bool:
        """A cell raised, or an exercise was attempted and found wrong."""
        if self.outcome is None or self.skipped:
            return False
        return self.outcome.error is not None or _not_right(self.outcome) > 0

    def row(self) -> tuple[str, ...]:
        """The job's line in the closing table."""
        if self.outcome is None:
            return self.name, "", "", "", "interrupted" if self.started else "not run"
        summary = self.outcome.summary or {}
        claims = str(summary["claims"]) if "claims" in summary else "-"
        if summary.get("undecided"):
            claims += f" ({summary['undecided']} undecided)"
        counts = {k: n for k, n in summary.get("exercises", {}).items() if n}
        exercises = ", ".join(f"{n} {status}" for status, n in counts.items()) or "-"
        result = "ERROR" if self.outcome.error else "WRONG ANSWER" if self.failed else "ok"
        result = "skipped" if self.skipped else result
        return self.name, f"{self.outcome.seconds:.1f}", claims, exercises, result


async def run(
    project: Project,
    tutorials: list[Tutorial],
    *,
    jobs: int = 2,
    timeout: int = CELL_TIMEOUT,
    stream: TextIO | None = None,
) -> int:
    """Executes the notebooks, ``jobs`` at a time; prints progress and a table.

    Returns:
        0 if all went well, 1 if anything failed, 130 if interrupted.
    """
    stream = stream or sys.stdout
    todo = [
        Job(f"{t.name} ({variant})", t.notebook(variant)) for t in tutorials for variant in VARIANTS
    ]
    progress, limit = Progress(todo, stream), asyncio.Semaphore(jobs)

    async def one(job: Job) -> None:
        async with limit:
            job.started = time.perf_counter()
            progress.started(job)
            job.outcome = await _execute(job, project.root, timeout)
            progress.finished(job)

    tasks = [asyncio.create_task(one(job)) for job in todo]
    ticker = asyncio.create_task(progress.tick())
    _stop_on_sigterm()
    interrupted = False
    try:
        await asyncio.gather(*tasks)
    except asyncio.CancelledError:  # Ctrl-C: asyncio cancels the main task, and we end in order
        interrupted = True
    finally:
        for task in (*tasks, ticker):
            task.cancel()
        await asyncio.gather(*tasks, ticker, return_exceptions=True)
        progress.clear()
    print_table(todo, stream)
    print_errors(todo, stream)
    if interrupted:
        print("\ninterrupted: the kernels are stopped; the table shows what ran", file=stream)
        return INTERRUPTED
    return int(any(job.failed for job in todo))


async def _execute(job: Job, root: Path, timeout: int) -> Outcome:
    def on_cell(done: int, total: int) -> None:
        job.cell, job.cells = done, total

    if not job.path.is_file():
        return Outcome(0.0, error=f"no file {job.path.name}; run `python -m course build`")
    try:
        notebook = nbformat.read(job.path, as_version=4)
        return await execute(notebook, root, timeout=timeout, on_cell=on_cell)
    except (OSError, RuntimeError, ValueError) as error:
        return Outcome(0.0, error=f"starting: {type(error).__name__}: {error}")


def print_table(jobs: list[Job], stream: TextIO) -> None:
    """The closing table and one line of totals."""
    rows = [HEADER, *(job.row() for job in jobs)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    rows.insert(1, tuple("-" * width for width in widths))
    for row in rows:
        cells = [
            cell.rjust(width) if i == 1 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), file=stream)
    done = [job for job in jobs if job.outcome is not None]
    failed = sum(job.failed for job in done)
    skipped = sum(job.skipped for job in done)
    left_out = f", {skipped} skipped" if skipped else ""
    ran = len(done) - skipped
    print(f"{ran} of {len(jobs)} notebooks executed, {failed} failed{left_out}", file=stream)


def print_errors(jobs: list[Job], stream: TextIO) -> None:
    """What went wrong, or why a notebook was skipped."""
    for job in jobs:
        if job.outcome is None or not job.outcome.error:
            continue
        text = plain(job.outcome.error)
        if job.skipped:
            print(f"\n{job.name} skipped: {text.partition('MissingGroup: ')[2]}", file=stream)
        else:
            print(f"\n{job.name} failed in {text}", file=stream)


class Progress:
    """A bar that names the notebooks at work; where nothing can be redrawn, a line for each."""

    WIDTH = 10

    def __init__(self, jobs: list[Job], stream: TextIO) -> None:
        self.jobs, self.stream, self.start = jobs, stream, time.perf_counter()
        self.live = stream.isatty() and os.environ.get("TERM") != "dumb" and not _in_ci()

    def started(self, job: Job) -> None:
        """Called when a notebook starts."""
        if not self.live:
            print(f"{'start':>9}  {job.name}", file=self.stream, flush=True)

    def finished(self, job: Job) -> None:
        """Called when a notebook has ended, well or not."""
        if not self.live:
            done = sum(other.outcome is not None for other in self.jobs)
            _, seconds, *_, result = job.row()
            count = f"{done}/{len(self.jobs)}"
            print(f"{count:>9}  {job.name}  {seconds} s  {result}", file=self.stream, flush=True)

    async def tick(self) -> None:
        """Redraws the bar until cancelled."""
        while self.live:
            self.clear()
            print(self.line(), end="", file=self.stream, flush=True)
            await asyncio.sleep(0.25)

    def clear(self) -> None:
        """Removes the bar."""
        if self.live:
            print("\r\x1b[K", end="", file=self.stream, flush=True)

    def line(self) -> str:
        """The bar as text, cut to the terminal's width."""
        now = time.perf_counter()
        done = [job for job in self.jobs if job.outcome is not None]
        working = [job for job in self.jobs if job.outcome is None and job.started]
        # A notebook at work counts by its cells, so that the bar moves within long ones.
        part = sum(job.cell / job.cells for job in working if job.cells)
        full = int(self.WIDTH * (len(done) + part) / max(len(self.jobs), 1))
        minutes, seconds = divmod(int(now - self.start), 60)
        at_work = ", ".join(f"{job.short} {now - (job.started or now):.0f} s" for job in working)
        failed = sum(job.failed for job in done)
        text = f"[{'#' * full}{'.' * (self.WIDTH - full)}] {len(done)}/{len(self.jobs)}"
        text += f" {minutes}:{seconds:02d}" + (f" {failed} failed" if failed else "")
        return f"{text} {at_work}"[: shutil.get_terminal_size().columns - 1]


def _not_right(outcome: Outcome) -> int:
    counts = (outcome.summary or {}).get("exercises", {})
    return sum(n for status, n in counts.items() if status not in ("passed", "not attempted"))


def _in_ci() -> bool:
    return os.environ.get("CI", "") not in ("", "0", "false")


def _stop_on_sigterm() -> None:
    """A polite kill ends like Ctrl-C, so that no kernel is left behind."""
    main = asyncio.current_task()
    if main is not None:
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, main.cancel)
