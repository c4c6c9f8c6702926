"""The course's exercises, one file for each tutorial, imported when first asked for.

The exercise "p1.t2.e3" is in `part_1_tutorial_02.py` in this folder.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import overload

from bolearn.teach.errors import ExerciseError
from bolearn.teach.exercise import Exercise
from bolearn.teach.quest import Quest
from bolearn.teach.sources import SourceError, exercise_ids

FOLDER = Path(__file__).parent
# id -> the module that holds its QUEST
QUESTS = {"p3.t4.expedition": "bolearn.teach.goldmine.expeditions"}
_own: dict[str, Exercise] = {}  # exercises from elsewhere that were checked or loaded, by id


def files() -> list[Path]:
    """All exercise files of the course, in order."""
    return sorted(FOLDER.glob("part_*_tutorial_*.py"))


def path_of(exercise_id: str) -> Path | None:
    """The file that an id belongs to, or None if the id is not of the course's form.

    Example:
        >>> path_of("p1.t2.e3").name
        'part_1_tutorial_02.py'
    """
    parts = re.fullmatch(r"p([0-9]{1,2})\.t([0-9]{1,2})\.e[0-9]{1,2}", exercise_id)
    if parts is None:
        return None
    return FOLDER / f"part_{parts[1]}_tutorial_{int(parts[2]):02d}.py"


def quest(quest_id: str) -> Quest:
    """The quest with an id of `QUESTS`."""
    found: Quest = importlib.import_module(QUESTS[quest_id]).QUEST
    return found


@overload
def find(exercise: object) -> Exercise: ...
@overload
def find(exercise: object, *, quests: bool) -> Exercise | Quest: ...
def find(exercise: object, *, quests: bool = False) -> Exercise | Quest:
    """The exercise with an id; an `Exercise` is passed through, and found by its id from then on.

    Args:
        exercise: an id or an `Exercise`.
        quests: whether the id of a quest may be asked for as well.

    Raises:
        ExerciseError: there is no such exercise; the message names the closest ids.
    """
    if isinstance(exercise, Exercise):
        _own[exercise.id] = exercise
        return exercise
    if quests and isinstance(exercise, str) and exercise in QUESTS:
        return quest(exercise)
    if isinstance(exercise, str) and exercise in _own:
        return _own[exercise]
    path = path_of(exercise) if isinstance(exercise, str) else None
    if path is not None and path.is_file():
        module = importlib.import_module(f"{__name__}.{path.stem}")
        for found in vars(module).values():
            if isinstance(found, Exercise) and found.id == exercise:
                return found
    known = [known_id for file in files() for known_id in exercise_ids(file)]
    known += QUESTS if quests else []
    tutorial = str(exercise).rpartition(".")[0] + "."
    close = [known_id for known_id in known if known_id.startswith(tutorial)]
    close = close or difflib.get_close_matches(str(exercise), known, n=3, cutoff=0.0)
    raise ExerciseError(f"there is no exercise {exercise!r}; the closest are {', '.join(close)}")


def load(path: str | Path) -> list[Exercise]:
    """All exercises of a file, which may be anywhere; files of the course are imported once.

    Raises:
        ExerciseError: the file is missing, does not run, or holds no exercise.
    """
    path = Path(path)
    if path.resolve().parent == FOLDER.resolve():
        module = importlib.import_module(f"{__name__}.{path.stem}")
    else:
        name = f"_bolearn_exercises_{path.stem}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise ExerciseError(f"expected a Python file of exercises, got {str(path)!r}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise ExerciseError(f"{path.name}: {type(error).__name__}: {error}") from error
    try:
        order = exercise_ids(path)
    except SourceError as error:
        raise ExerciseError(str(error)) from error
    found = {e.id: e for e in vars(module).values() if isinstance(e, Exercise)}
    if not found:
        raise ExerciseError(f"{path.name} holds no exercise; write e1 = Exercise(id=...)")
    _own.update(found)
    return [found[exercise_id] for exercise_id in order if exercise_id in found]
