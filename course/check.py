"""Finds, without a kernel, what a reader could see wrong in the committed notebooks."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from course import claims as tables
from course.digests import ModuleGraph
from course.exercises import exercise_ids
from course.notebooks import code_cells, dumps, marked_exercise, render, source_cells, tags, text_of
from course.project import VARIANTS, CourseError, Project, Tutorial

MAX_FIGURE, MAX_NOTEBOOK = 120_000, 1_000_000  # bytes
MAX_WORDS_BETWEEN_CODE = 120
MAX_WORDS = {1: 1800, 2: 1800, 3: 1800, 4: 2500, 5: 2500, 6: 2500}

DISPLAY_MATH = re.compile(r"\$\$.*?\$\$", re.DOTALL)
BEFORE_MATH = re.compile(r"(\A|\n[ \t]*\n)[ \t]*\Z")
AFTER_MATH = re.compile(r"[ \t]*(\([\w:.-]+\))?[ \t]*(\n[ \t]*\n|\s*\Z)")  # a label may follow
MUTED = re.compile(r"\b(filterwarnings|simplefilter|catch_warnings)\b")
NOT_PROSE = re.compile(r"\$\$.*?\$\$|```.*?```|<!--.*?-->|<[^>]+>|\]\([^)]*\)", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """Something wrong, where it is, and what mends it.

    What takes a run of many minutes to mend (`later`) is told, and an error only with ``--claims``.
    """

    where: str
    problem: str
    mend: str
    later: bool = False

    def text(self) -> str:
        """The finding as two lines for people."""
        return f"{self.where}: {self.problem}\n    -> {self.mend}"


def check(project: Project, tutorials: list[Tutorial], *, whole: bool, claims: bool = False) -> int:
    """Prints every finding; returns an exit code.

    ``whole`` looks for stray files as well, ``claims`` for claims with too few changes; with it,
    claims that were not seen false since they changed are errors, too.
    """
    graph = ModuleGraph(project.root)
    findings = [f for tutorial in tutorials for f in findings_of(project, tutorial, graph)]
    findings += [f for t in tutorials for f in claim_findings(project, t, missing=claims)]
    if whole:
        findings += stray_files(project)
    for finding in findings:
        print(finding.text())
    counted = f"{len(tutorials)} tutorial{'s' * (len(tutorials) != 1)}"
    errors = [finding for finding in findings if claims or not finding.later]
    if errors:
        print(f"{counted} looked at, {len(errors)} finding{'s' * (len(errors) != 1)}")
    else:
        print(f"{counted} looked at: every notebook matches its source")
    return int(bool(errors))


def findings_of(project: Project, tutorial: Tutorial, graph: ModuleGraph) -> list[Finding]:
    """Everything wrong with one tutorial: its source, its fresh and its worked notebook."""
    where = project.relative(tutorial.source)
    try:
        found = list(_source_findings(tutorial, where))
        fresh, text = render(tutorial, "fresh"), _read(tutorial.fresh)
    except (CourseError, SyntaxError) as error:
        return [Finding(where, str(error), f"edit {where}")]
    if text != dumps(fresh):
        problem = "missing" if text is None else "differs from its source"
        name = project.relative(tutorial.fresh)
        mend = _rebuild(tutorial) if text is None else _drift_advice(tutorial, name)
        found.append(Finding(name, problem, mend))
    text = _read(tutorial.worked)
    if text is None:
        found.append(Finding(project.relative(tutorial.worked), "missing", _rebuild(tutorial)))
        return found
    try:
        worked = nbformat.reads(text, as_version=4)
    except ValueError as error:
        name = project.relative(tutorial.worked)
        return [*found, Finding(name, f"no notebook: {error}", _rebuild(tutorial))]
    return found + worked_findings(project, tutorial, worked, text, graph)


def worked_findings(
    project: Project, tutorial: Tutorial, worked: Any, text: str, graph: ModuleGraph
) -> list[Finding]:
    """What is wrong with a worked notebook."""
    name, edit = project.relative(tutorial.worked), f"edit {project.relative(tutorial.source)}"
    found, want = [], render(tutorial, "worked")
    if _identity(worked) != _identity(want):
        found.append(Finding(name, "cells differ from its source", _drift_advice(tutorial, name)))
    cells = code_cells(worked)
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        problem = "not executed from top to bottom (execution counts are not 1, 2, 3, ...)"
        found.append(Finding(name, problem, _rebuild(tutorial, force=True)))
    for number, cell in enumerate(worked.cells, 1):
        for problem in _output_problems(cell):
            found.append(Finding(f"{name}, cell {number}", problem, edit))
    if len(text.encode()) > MAX_NOTEBOOK:
        problem = f"{len(text.encode()) / 1e6:.1f} MB, more than {MAX_NOTEBOOK / 1e6:.0f} MB"
        found.append(Finding(name, problem, f"{edit}: fewer or smaller figures"))
    found += _stale(tutorial, name, worked, graph)
    return found


def claim_findings(project: Project, tutorial: Tutorial, *, missing: bool) -> list[Finding]:
    """What is wrong with the table of changes: entries that do not fit, what ran too long ago.

    With ``missing`` also the claims that have too few changes, and a table that is not there.
    """
    path = tables.changes_path(tutorial)
    name, run = project.relative(path), f"python -m course mutate {tutorial.id}"
    if not path.is_file() and not missing:
        return []
    try:
        table = tables.read(tutorial)
    except CourseError as error:
        return [Finding(name, str(error), f"edit {name}")]
    found = [Finding(name, problem, f"edit {name}") for problem in table.problems]
    if path.is_file():
        if changes := table.stale_changes():
            texts = [claim for change in changes for claim in change.claims]
            problem = (
                f"not seen false since they, their change or their cells changed: {_few(texts)}"
            )
            found.append(Finding(name, problem, run, later=True))
        if sites := table.stale_sites():
            texts = [site.label for site in sites]
            problem = f"not seen true on other master seeds since they changed: {_few(texts)}"
            found.append(Finding(name, problem, run, later=True))
    if missing:
        for site, count in table.missing():
            needed = tables.NEEDED.get(site.kind, 1)
            problem = f"{site.kind} claim {site.label!r} has {count} of {needed} changes"
            found.append(Finding(name, problem, f"write what must make it false; then {run}"))
    return found


def _few(texts: list[str], shown: int = 4) -> str:
    unlike = list(dict.fromkeys(texts))
    more = f" and {len(unlike) - shown} more claims" if len(unlike) > shown else ""
    return ", ".join(map(repr, unlike[:shown])) + more


def stray_files(project: Project) -> list[Finding]:
    """Notebooks without a source, and sources that no command sees."""
    tutorials = project.tutorials()
    known = {tutorial.notebook(variant) for tutorial in tutorials for variant in VARIANTS}
    found = [
        Finding(
            project.relative(path),
            "a notebook without a source",
            f"write its source below sources/, or remove it: git rm {project.relative(path)}",
        )
        for path in project.notebooks()
        if path not in known
    ]
    found += [
        Finding(
            project.relative(path),
            "not named like a tutorial, so no command sees it",
            "rename it to sources/part_K/tutorial_XX_name.py",
        )
        for path in project.misnamed_sources()
    ]
    ids = [tutorial.id for tutorial in tutorials]
    found += [
        Finding(
            project.relative(tutorial.source),
            f"a second tutorial {tutorial.id}",
            "give it another number",
        )
        for index, tutorial in enumerate(tutorials)
        if tutorial.id in ids[:index]
    ]
    return found


def alternative_text(output: Any) -> str:
    """The alternative text of a figure: in the output's metadata, else its plain-text form."""
    alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    plain = text_of(output.get("data", {}).get("text/plain", "")).strip()
    return alt or ("" if plain.startswith("<") else plain)  # <Figure size 640x480 with 1 Axes>


def _source_findings(tutorial: Tutorial, where: str) -> Iterator[Finding]:
    cells = source_cells(tutorial.source.read_text(encoding="utf-8"))
    code = [cell for cell in cells if cell.cell_type == "code"]
    marked = [id for cell in code if (id := marked_exercise(cell))]
    for number, cell in enumerate(cells, 1):
        problems = _code_problems(cell) if cell.cell_type == "code" else _prose_problems(cell)
        for problem, mend in problems:
            yield Finding(f"{where}, cell {number}", problem, mend)
    if not code or f'teach.setup("{tutorial.id}"' not in code[0].source:
        mend = f'import and call teach.setup("{tutorial.id}") in the first code cell'
        yield Finding(where, "does not start with its own teach.setup", mend)
    declared = set(exercise_ids(tutorial.exercises))
    for id in sorted({m for m in marked if marked.count(m) > 1}):
        yield Finding(where, f"shows exercise {id} twice", "remove one of the markers")
    for id in sorted(declared - set(marked)):
        problem = f"never shows exercise {id} of {tutorial.exercises.name}"
        yield Finding(where, problem, f"add a code cell `# exercise: {id}`, or remove the exercise")
    yield from dict.fromkeys(_length_findings(tutorial, where))  # once for both variants


def _code_problems(cell: Any) -> Iterator[tuple[str, str]]:
    for line in cell.source.splitlines():
        if line.startswith(("%", "!")):
            yield f"a magic or shell line: {line}", "write plain Python"
    if MUTED.search(cell.source):
        yield "touches warning filters", "remove the cause of the warning instead"


def _prose_problems(cell: Any) -> Iterator[tuple[str, str]]:
    for match in DISPLAY_MATH.finditer(cell.source):
        before, after = cell.source[: match.start()], cell.source[match.end() :]
        if not (BEFORE_MATH.search(before) and AFTER_MATH.match(after)):
            formula = " ".join(match[0].split())[:40]
            yield (
                f"no blank line around the displayed formula {formula}...",
                "put an empty line before and after $$...$$ (the web book prints a stray $)",
            )


def _length_findings(tutorial: Tutorial, where: str) -> Iterator[Finding]:
    for variant in VARIANTS:
        between, total, after_code = 0, 0, False
        for cell in render(tutorial, variant).cells:
            if cell.cell_type == "code":
                if after_code and between > MAX_WORDS_BETWEEN_CODE:
                    first = cell.source.splitlines()[0] if cell.source else ""
                    yield Finding(
                        where,
                        f"{between} words of prose before the code cell that starts {first!r}",
                        f"at most {MAX_WORDS_BETWEEN_CODE} between two code cells: cut, or compute",
                    )
                between, after_code = 0, True
            else:
                count = words(cell.source)
                between, total = between + count, total + count
        limit = MAX_WORDS.get(tutorial.part, max(MAX_WORDS.values()))
        if total > limit:
            problem = f"{total} words of prose"
            yield Finding(where, problem, f"at most {limit} in this part: cut")


def words(markdown: str) -> int:
    """Words of prose: displayed formulas, code blocks, tags and link targets do not count."""
    text = NOT_PROSE.sub(" ", markdown)
    return sum(1 for token in text.split() if any(c.isalnum() for c in token))


def _output_problems(cell: Any) -> Iterator[str]:
    if cell.cell_type != "code":
        return
    figures = [o for o in cell.outputs if "image/png" in o.get("data", {})]
    for output in cell.outputs:
        if output.output_type == "error" and "raises-exception" not in tags(cell):
            yield f"ends in an error: {output.ename}: {output.evalue}"
        if output.output_type == "stream" and output.name == "stderr":
            yield f"prints to stderr: {text_of(output.text).strip().splitlines()[0][:80]}"
    for output in figures:
        size = len(base64.b64decode(text_of(output["data"]["image/png"])))
        if size > MAX_FIGURE:
            limit = f"{MAX_FIGURE // 1000} kB"
            yield f"a figure of {size / 1000:.0f} kB, more than {limit}: make it smaller"
        if not alternative_text(output):
            yield "a figure without alternative text: use teach.show(fig, alt)"
    if len(figures) > 1:
        yield "two figures in one cell: split it, the web book takes one alternative text a cell"


def _stale(tutorial: Tutorial, name: str, worked: Any, graph: ModuleGraph) -> Iterator[Finding]:
    """Outputs that predate a change of the package code they were computed with."""
    code = "\n".join(cell.source for cell in code_cells(worked))
    stored = dict(worked.metadata.get("bolearn", {}).get("digests", {}))
    try:
        current = graph.digests(code, tutorial.exercises)
    except SyntaxError as error:
        yield Finding(name, f"its code does not parse: {error}", _rebuild(tutorial))
        return
    changed = [path for path, digest in current.items() if stored.get(path) != digest]
    changed += [path for path in stored if path not in current]
    if changed:
        listed = ", ".join(changed[:4]) + (", ..." if len(changed) > 4 else "")
        problem = f"executed before the code of {listed} changed"
        yield Finding(name, problem, _rebuild(tutorial))


def _identity(notebook: Any) -> list[tuple[Any, ...]]:
    """What must agree between a stored notebook and its source, outputs apart."""
    return [
        (c.id, c.cell_type, c.source, {k: v for k, v in c.metadata.items() if k != "mystnb"})
        for c in notebook.cells
    ] + [(notebook.metadata.get("bolearn", {}).get("variant"),)]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _rebuild(tutorial: Tutorial, *, force: bool = False) -> str:
    return f"python -m course build {tutorial.name}" + " --force" * force


def _drift_advice(tutorial: Tutorial, path: str) -> str:
    return f"{_rebuild(tutorial)}    (you edited the notebook? python -m course sync {path})"
