"""The text of an exercise in a notebook, read from its file without importing it.

The reading is the teaching kit's own (``bolearn/teach/sources.py``, standard library only). It is
loaded by its path, because ``import bolearn.teach`` would import torch, and the drift check should
take a second.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from course.project import CourseError, Tutorial


def _load_kit() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "bolearn" / "teach" / "sources.py"
    spec = importlib.util.spec_from_file_location("bolearn_teach_sources", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_kit = _load_kit()


def exercise_ids(path: Path) -> list[str]:
    """The ids of the exercises in a file; none if there is no file."""
    try:
        return list(_kit.exercise_ids(path)) if path.is_file() else []
    except _kit.SourceError as error:
        raise CourseError(str(error)) from error


def exercise_cell(tutorial: Tutorial, id: str, variant: str) -> str:
    """The source of an exercise's cell: the stub or the model answer, then its check."""
    path = tutorial.exercises
    source, file = tutorial.source.name, path.relative_to(tutorial.root).as_posix()
    known = exercise_ids(path)
    if id not in known:
        raise CourseError(
            f"{source} asks for exercise {id}, but {file} "
            f"{'has ' + ', '.join(known) if known else 'does not exist or has no exercise'}; "
            f"write it there, or correct the marker"
        )
    try:
        if outside := _kit.outside_names(path, id):
            raise CourseError(
                f"{file}: the model answer of {id} uses {', '.join(outside)} of its file, which "
                f"the notebook does not have; define it inside the answer"
            )
        body = {"fresh": _kit.stub_source, "worked": _kit.answer_source}[variant](path, id)
        return f"{body}\n\n{_kit.check_source(path, id)}"
    except _kit.SourceError as error:
        raise CourseError(str(error)) from error
