"""From one source (jupytext's py:percent format) to a fresh and a worked notebook, unexecuted."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any

import jupytext
import nbformat

from course.exercises import exercise_cell
from course.project import Tutorial

MARKER = re.compile(r"# *exercise: *(\S+)")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
OTHER_VARIANT = {"fresh": "worked-only", "worked": "fresh-only"}  # tags of cells to leave out


def source_cells(text: str) -> list[Any]:
    """The cells of a source text, each with the id that both notebooks give it.

    The id is a hash of the cell's type and source: it stays when cells are inserted above, and it
    leads an edited cell back to its source.
    """
    cells = jupytext.reads(text, fmt="py:percent").cells
    seen: Counter[str] = Counter()
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata.pop("lines_to_next_cell", None)
    return list(cells)


def tags(cell: Any) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def marked_exercise(cell: Any) -> str | None:
    """The exercise id that a source cell stands for, if it is an exercise marker."""
    match = MARKER.fullmatch(cell.source.strip()) if cell.cell_type == "code" else None
    return match[1] if match else None


def visible(cell: Any, variant: str) -> bool:
    """Whether a source cell appears in the given variant."""
    return OTHER_VARIANT[variant] not in tags(cell)


def render(tutorial: Tutorial, variant: str) -> Any:
    """The notebook that the tutorial's source stands for: ``fresh`` or ``worked``, not executed."""
    text = tutorial.source.read_text(encoding="utf-8")
    cells = []
    for cell in source_cells(text):
        if not visible(cell, variant):
            continue
        if id := marked_exercise(cell):
            cell.source = exercise_cell(tutorial, id, variant)
            cell.metadata["bolearn"] = {"exercise": id}
        if "skip-execution" in tags(cell):  # nbclient and myst-nb know this tag; nbval has its own
            cell.metadata["tags"] = sorted({*tags(cell), "nbval-skip"})
        cells.append(cell)
    origin = tutorial.source.relative_to(tutorial.root).as_posix()
    metadata = {
        "kernelspec": KERNEL,
        "language_info": {"name": "python"},
        "bolearn": {"source": origin, "variant": variant},
    }
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    notebook.nbformat_minor = 5
    return notebook


def dumps(notebook: Any) -> str:
    """The text that is committed."""
    return str(nbformat.writes(notebook, version=4)).rstrip("\n") + "\n"


def code_cells(notebook: Any) -> list[Any]:
    """The cells that are executed."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.source.strip() and "skip-execution" not in tags(cell)
    ]


def text_of(value: Any) -> str:
    """A notebook's text field, which may be stored as one string or as a list of lines."""
    return value if isinstance(value, str) else "".join(value)
