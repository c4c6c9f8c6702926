"""Writes what was edited in Jupyter, in a fresh or a worked notebook, back to its source.

Cells find their way back by their ids, which the build derives from the source. Only the text of
changed cells is rewritten, so the diff of the source shows what was edited and nothing else.
Exercise cells stay markers: their text lives in the exercise file.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat

from course.notebooks import marked_exercise, render, source_cells, visible
from course.project import VARIANTS, CourseError, Project, Tutorial

MADE_BY_BUILD = {"bolearn", "mystnb"}  # cell metadata that has no place in a source
MADE_BY_EDITORS = {"execution", "trusted", "collapsed", "scrolled", "jupyter", "editable"}


@dataclass
class Edit:
    """A new text of a source and what to tell about it."""

    text: str
    notes: list[str]


def sync(project: Project, path: Path) -> int:
    """Writes the notebook's edits to its source and prints them; returns an exit code."""
    tutorial, variant = _origin(project, path)
    before = tutorial.source.read_text(encoding="utf-8")
    edit = synced(tutorial, variant, nbformat.read(path, as_version=4))
    name = project.relative(tutorial.source)
    for note in edit.notes:
        print(f"note: {note}")
    if edit.text == before:
        print(f"{name}: nothing to write, it says the same as the notebook")
        return 0
    tutorial.source.write_text(edit.text, encoding="utf-8", newline="\n")
    old, new = before.splitlines(), edit.text.splitlines()
    diff = list(difflib.unified_diff(old, new, name, name, lineterm="", n=1))
    print("\n".join(diff))
    added = sum(line.startswith("+") for line in diff[2:])
    removed = sum(line.startswith("-") for line in diff[2:])
    print(f"\n{name}: {added} lines added, {removed} removed")
    print(f"now run: python -m course build {tutorial.name}")
    return 0


def synced(tutorial: Tutorial, variant: str, notebook: Any) -> Edit:
    """The source's text with the edits of a notebook of the given variant."""
    text = tutorial.source.read_text(encoding="utf-8")
    cells = source_cells(text)
    head, segments = _segments(text)
    if len(segments) != len(cells):
        raise CourseError(
            f"{tutorial.source.name}: expected every cell to start with a `# %%` line; "
            f"found {len(segments)} such lines for {len(cells)} cells: edit the source by hand"
        )
    built = {cell.id: cell for cell in render(tutorial, variant).cells}
    position = {cell.id: i for i, cell in enumerate(cells)}
    notes: list[str] = []
    # Cells that this variant does not show stay behind the cell they follow in the source.
    hidden: dict[str | None, list[str]] = {None: []}
    anchor: str | None = None
    for cell, segment in zip(cells, segments, strict=True):
        if visible(cell, variant):
            anchor = cell.id
            hidden[anchor] = []
        else:
            hidden[anchor].append(segment)
    kept = _matches(notebook.cells, built)
    gone = [id for id in built if id not in kept.values()]
    out = list(hidden[None])
    written: set[str | None] = {None}
    for index, cell in enumerate(notebook.cells):
        id = kept.get(index)
        if id is not None and marked_exercise(cells[position[id]]):
            if cell.source.rstrip() != built[id].source.rstrip():
                marker = marked_exercise(cells[position[id]])
                notes.append(
                    f"exercise {marker} was edited in the notebook and is left as it was: its text "
                    f"lives in {tutorial.exercises.relative_to(tutorial.root).as_posix()}"
                )
            out.append(segments[position[id]])
        elif id is not None and _same(cell, cells[position[id]]):
            out.append(segments[position[id]])
        elif cell.source.strip():
            old = segments[position[id]] if id is not None else "\n\n"
            out.append(_percent(cell) + old[len(old.rstrip()) :])
        for passed in _passed(id, list(built), gone, written):
            out += hidden[passed]
    for id in built:
        if id not in written:
            out += hidden[id]
    return Edit(_join(head, out), notes)


def _passed(
    id: str | None, order: list[str], gone: list[str], written: set[str | None]
) -> list[str]:
    """The cell just written and the deleted ones after it, whose hidden followers come now."""
    if id is None:
        return []
    passed = [id]
    for following in order[order.index(id) + 1 :]:
        if following not in gone:
            break
        passed.append(following)
    passed = [p for p in passed if p not in written]
    written.update(passed)
    return passed


def _matches(cells: list[Any], built: dict[str, Any]) -> dict[int, str]:
    """Index of a notebook's cell -> id of the built cell it comes from."""
    found: dict[int, str] = {}
    for index, cell in enumerate(cells):
        if cell.get("id") in built and cell.id not in found.values():
            found[index] = cell.id
    # An editor that drops ids: cells that still say the same are the same.
    for index, cell in enumerate(cells):
        if index not in found:
            same = [id for id, b in built.items() if id not in found.values() and _same(cell, b)]
            if same:
                found[index] = same[0]
    return found


def _same(cell: Any, other: Any) -> bool:
    return (cell.cell_type, cell.source.rstrip(), _metadata(cell)) == (
        other.cell_type,
        other.source.rstrip(),
        _metadata(other),
    )


def _metadata(cell: Any) -> dict[str, Any]:
    kept = {k: v for k, v in cell.metadata.items() if k not in MADE_BY_BUILD | MADE_BY_EDITORS}
    if "tags" in kept:
        kept["tags"] = sorted(tag for tag in kept["tags"] if tag != "nbval-skip")
    return {k: v for k, v in kept.items() if v}


def _percent(cell: Any) -> str:
    """One cell as py:percent text, without the header that jupytext would put before it."""
    fields = {"id": "new", "cell_type": cell.cell_type, "source": cell.source}
    fields["metadata"] = _metadata(cell)
    if cell.cell_type == "code":
        fields |= {"outputs": [], "execution_count": None}
    single = nbformat.v4.new_notebook(cells=[nbformat.from_dict(fields)])
    single.metadata["jupytext"] = {"notebook_metadata_filter": "-all"}
    text = str(jupytext.writes(single, fmt="py:percent"))
    return text[text.index("# %%") :].rstrip()


def _segments(text: str) -> tuple[str, list[str]]:
    """What stands before the first cell, and each cell's text with the empty lines after it."""
    segments = [""]
    for line in text.splitlines(keepends=True):
        if line.startswith("# %%"):
            segments.append("")
        segments[-1] += line
    return segments[0], segments[1:]


def _join(head: str, segments: list[str]) -> str:
    apart = [s if s.endswith("\n\n") else s.rstrip() + "\n\n" for s in segments]
    return (head + "".join(apart)).rstrip() + "\n"


def _origin(project: Project, path: Path) -> tuple[Tutorial, str]:
    for tutorial in project.tutorials():
        for variant in VARIANTS:
            if tutorial.notebook(variant) == path.resolve():
                return tutorial, variant
    raise CourseError(
        f"{path} is not a notebook of the course; give the path of one, such as "
        f"part_1/tutorial_01_name.ipynb. A new tutorial starts as a source: sources/part_K/"
    )
