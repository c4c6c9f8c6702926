"""Runs the tables of changes: is every claim able to fail, and true under other master seeds?

``python -m course mutate p3.t4`` takes each change of the notebook's table (``course/claims.py``),
executes the cells it needs, and demands that the named claims are false then. It runs the
notebook's Monte-Carlo and paired claims on three other master seeds and demands that they are true
there. What was seen right is written beside the source and not run again until a cell changes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from course.claims import MASTER_SEEDS, NEEDED, Change, Site, Table, changes_path, read
from course.execute import kernel_environment
from course.project import CourseError, Project, Tutorial
from course.replay import Job

REPLAY = Path(__file__).resolve().with_name("replay.py")


@dataclasses.dataclass
class Options:
    """What to run: everything anew, only changes with a text, without the other seeds; how."""

    force: bool = False
    only: str | None = None
    seeds: bool = True
    jobs: int = 2
    limit: float = 120.0
    loud: bool = False


@dataclasses.dataclass
class Outcome:
    """What one notebook's run came to."""

    right: list[Change]
    true: list[Site]
    wrong: int
    notes: list[str]


def mutate(project: Project, tutorials: list[Tutorial], options: Options) -> int:
    """Runs the tables of the tutorials; returns 1 if anything survives, flips or cannot run."""
    if not hasattr(os, "fork"):
        raise CourseError("mutate needs a system that can fork a process: Linux, macOS, or WSL")
    wrong = 0
    for tutorial in tutorials:
        table = read(tutorial)
        print(f"{tutorial.name}", flush=True)
        for problem in table.problems:
            print(f"  error     {changes_path(tutorial).name}, {problem}")
        start = time.perf_counter()
        outcome = _run(project, table, options)
        wrong += outcome.wrong + len(table.problems)
        table.store(outcome.right, outcome.true)
        for note in dict.fromkeys(outcome.notes):
            print(f"  note      {note}")
        _conclude(table, outcome, time.perf_counter() - start)
    return int(wrong > 0)


def skeleton(tutorials: list[Tutorial]) -> int:
    """Prints, ready to be filled in, an entry for each change that a table still needs."""
    for tutorial in tutorials:
        table = read(tutorial)
        for site, count in table.missing():
            for _ in range(NEEDED.get(site.kind, 1) - count):
                quoted, texts = json.dumps(site.label, ensure_ascii=False), ("old", "new")
                print(f"# {site.kind}\n[[change]]\nclaim = {quoted}")
                print("".join(f"{text} = '''\n'''\n" for text in texts))
    return 0


def _run(project: Project, table: Table, options: Options) -> Outcome:
    changes = table.changes if options.force or options.only else table.stale_changes()
    if options.only:
        changes = [c for c in changes if options.only in table.key(c)]
    sites = table.random_sites() if options.force else table.stale_sites()
    if not options.seeds or options.only:
        sites = []
    outcome = Outcome([], [], 0, [])
    if not changes and not sites:
        return outcome
    found = list(_replayed(project, _job(table, changes, sites, options, whole=False), options))
    if any("NameError" in str(result.get("error")) for result in found):  # the slice was too short
        found = list(_replayed(project, _job(table, changes, sites, options, whole=True), options))
    results = {result["change"]: result for result in found if "change" in result}
    seeds = {result["seed"]: result for result in found if "seed" in result}
    (main,) = (result for result in found if "main" in result)
    if main["error"]:
        outcome.wrong += 1
        print(f"  error     the notebook does not run: {main['error']}")
    base = {claim["text"]: claim["holds"] for claim in main["main"]}
    for number, change in enumerate(changes):
        verdict = _verdict(change, results.get(number), base)
        if verdict is None:
            outcome.right.append(change)
        else:
            outcome.wrong += 1
            print(f"  {verdict}", flush=True)
    _judge_seeds(sites, seeds, outcome)
    return outcome


def _job(
    table: Table, changes: list[Change], sites: list[Site], options: Options, *, whole: bool
) -> Job:
    run: set[int] = set()
    listed = []
    for number, change in enumerate(changes):
        before, after = table.cells_for(change)
        if whole:
            before, after = list(range(change.cell)), list(range(change.cell, after[-1] + 1))
        run |= {*before, *after}
        listed.append(
            {
                "number": number,
                "cell": change.cell,
                "code": change.code,
                "run": after,
                "claims": list(change.claims),
            }
        )
    seed_run = table.notebook.needed([site.cell for site in sites]) if sites else []
    if whole and sites:
        seed_run = list(range(max(seed_run) + 1))
    return Job(
        cells=table.cells,
        run=sorted(run),
        changes=listed,
        seeds=list(MASTER_SEEDS) if sites else [],
        seed_run=seed_run,
        fixed=table.fixed,
        limit=options.limit,
        jobs=options.jobs,
    )


def _replayed(project: Project, job: Job, options: Options) -> Iterator[dict[str, Any]]:
    """The results of a job, as they come from a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bolearn-", ignore_cleanup_errors=True) as folder:
        (scratch := Path(folder) / "cwd").mkdir()
        environment = kernel_environment(project.root, Path(folder)) | {"MPLBACKEND": "agg"}
        command = [sys.executable, "-P", str(REPLAY), *(["--loud"] * options.loud)]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=scratch,
            env=environment,
            text=True,
            encoding="utf-8",
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            try:
                json.dump(dataclasses.asdict(job), process.stdin)
                process.stdin.close()
                for line in process.stdout:
                    yield json.loads(line)
            finally:
                process.kill()
    if process.returncode > 0:
        raise CourseError(f"the replay ended with exit code {process.returncode}; try --loud")


def _verdict(change: Change, result: dict[str, Any] | None, base: dict[str, bool]) -> str | None:
    """What is wrong with a change, or None if it makes its claims false as it should."""
    name = f"{change.label}\n            claim: {' | '.join(change.claims)}"
    for claim in change.claims:
        if claim not in base:
            return f"error     {name}\n            the notebook does not come to this claim"
        if not base[claim]:
            return f"error     {name}\n            the claim is false without any change"
    if result is None:
        return f"error     {name}\n            not run"
    if "error" in result:
        return f"error     {name}\n            {result['error']}"
    met = {claim["text"]: claim["holds"] for claim in result["claims"]}
    if left := [claim for claim in change.claims if met.get(claim, True)]:
        how = "holds still" if left[0] in met else "was not reached"
        return f"survives  {name}\n            {left[0]!r} {how}"
    return None


def _judge_seeds(sites: list[Site], seeds: dict[int, dict[str, Any]], outcome: Outcome) -> None:
    """Which claims are true under every other master seed, and which flip."""
    bad: set[str] = set()
    met: set[str] = set()
    for master, result in sorted(seeds.items()):
        if "error" in result:
            outcome.wrong += 1
            print(f"  error     master seed {master}: {result['error']}")
            bad |= {site.label for site in sites}
            continue
        for claim in result["claims"]:
            found = [site for site in sites if site.makes(claim["text"])]
            met |= {site.label for site in found}
            if claim["holds"]:
                continue
            if found:
                outcome.wrong += 1
                bad |= {site.label for site in found}
                print(f"  flips     {claim['message'] or claim['text']}, master seed {master}")
            elif claim["kind"] in ("identity", "theorem"):
                outcome.notes.append(
                    f"kind {claim['kind']}, but false under master seed {master}: "
                    f"{claim['text']}; is it a fact of this run?"
                )
    outcome.true = [site for site in sites if site.label in met - bad]
    for site in sites:
        if site.label not in met | bad:
            outcome.wrong += 1
            print(f"  error     no master seed came to the claim {site.label!r}")


def _conclude(table: Table, outcome: Outcome, seconds: float) -> None:
    kept = len(table.changes) - len(table.stale_changes())
    steady = len(table.random_sites()) - len(table.stale_sites())
    line = f"  {kept} of {len(table.changes)} changes make their claims false"
    if table.random_sites():
        line += f", {steady} of {len(table.random_sites())} random claims hold on other seeds"
    if missing := table.missing():
        line += f"; {len(missing)} claims have too few changes (course check --claims)"
    print(f"{line}; {seconds:.0f} s", flush=True)
