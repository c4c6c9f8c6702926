"""Writes the fresh and the worked notebook of a tutorial."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from pathlib import Path
from typing import Any

import nbformat

from course.check import alternative_text, findings_of, worked_findings
from course.digests import ModuleGraph
from course.execute import execute, plain
from course.notebooks import code_cells, dumps, render, text_of
from course.project import CourseError, Project, Tutorial

PNG_COLOURS = 128  # four times smaller than matplotlib's files, and no eye sees it in a plot


async def build(project: Project, tutorials: list[Tutorial], *, force: bool, jobs: int) -> int:
    """Builds what does not match its source (all with ``force``); returns an exit code."""
    limit, failed = asyncio.Semaphore(jobs), 0

    async def one(tutorial: Tutorial) -> bool:
        async with limit:
            start = time.perf_counter()
            try:
                how = await _build_one(project, tutorial, force=force)
            except CourseError as error:
                print(f"FAILED  {tutorial.name}\n{_indent(str(error))}", flush=True)
                return False
            seconds = time.perf_counter() - start
            print(f"{how:<9} {tutorial.name:<60} {seconds:6.1f} s", flush=True)
            return True

    failed = (await asyncio.gather(*(one(t) for t in tutorials))).count(False)
    return int(failed > 0)


async def _build_one(project: Project, tutorial: Tutorial, *, force: bool) -> str:
    graph = ModuleGraph(project.root)
    if not force and not findings_of(project, tutorial, graph):
        return "unchanged"
    _write(tutorial.fresh, dumps(render(tutorial, "fresh")))
    notebook = render(tutorial, "worked")
    code = "\n".join(cell.source for cell in code_cells(notebook))
    try:
        digests = graph.digests(code, tutorial.exercises)
    except SyntaxError as error:
        raise CourseError(f"the notebook's code does not parse: {error}") from error
    notebook.metadata["bolearn"]["digests"] = digests
    how = "rewritten"
    if force or not _reuse_outputs(tutorial.worked, notebook):
        how = "executed"
        outcome = await execute(notebook, project.root)
        if outcome.error:
            raise CourseError(plain(outcome.error))
        _require_passed(tutorial, outcome.summary)
    notebook.metadata["language_info"] = {"name": "python"}  # not the interpreter's exact version
    notebook.metadata.pop("widgets", None)
    for cell in code_cells(notebook):
        _tidy_figures(cell)
    text = dumps(notebook)
    if found := worked_findings(project, tutorial, nbformat.reads(text, as_version=4), text, graph):
        raise CourseError("\n".join(finding.text() for finding in found))
    _write(tutorial.worked, text)
    return how


def _reuse_outputs(path: Path, notebook: Any) -> bool:
    """Takes over the stored outputs when only prose differs, so that a typo costs no execution."""
    if not path.is_file():
        return False
    old = nbformat.read(path, as_version=4)
    if old.metadata.get("bolearn", {}).get("digests") != notebook.metadata["bolearn"]["digests"]:
        return False
    before, now = code_cells(old), code_cells(notebook)
    if [c.source for c in before] != [c.source for c in now]:
        return False
    if [c.execution_count for c in before] != list(range(1, len(before) + 1)):
        return False
    for cell, executed in zip(now, before, strict=True):
        cell.outputs, cell.execution_count = executed.outputs, executed.execution_count
    return True


def _require_passed(tutorial: Tutorial, summary: dict[str, Any] | None) -> None:
    """A worked notebook shows its exercises passed: a failing model answer is a failed build."""
    counts = (summary or {}).get("exercises", {})
    bad = {status: n for status, n in counts.items() if status != "passed" and n}
    if bad:
        listed = ", ".join(f"{n} {status}" for status, n in bad.items())
        raise CourseError(
            f"exercises of the worked notebook: {listed}; run `python -m bolearn.teach selftest "
            f"{tutorial.exercises.relative_to(tutorial.root).as_posix()}`"
        )


def _tidy_figures(cell: Any) -> None:
    """Shrinks the cell's PNGs; copies their alternative text to where the web book reads it."""
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            data["image/png"] = _quantized(text_of(data["image/png"]))
            if alt := alternative_text(output):
                cell.metadata["mystnb"] = {"image": {"alt": alt}}


def _quantized(encoded: str) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        if image.mode == "P":  # done by an earlier build
            return encoded
        canvas = Image.new("RGB", image.size, "white")
        canvas.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
        small, buffer = canvas.quantize(PNG_COLOURS, dither=Image.Dither.NONE), io.BytesIO()
        small.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode() + "\n"


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
