"""Where things are: the sources, the notebooks built from them, the exercise files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SOURCE_NAME = re.compile(r"part_(\d+)/tutorial_(\d\d)_\w+\.py")
VARIANTS = ("fresh", "worked")


class CourseError(Exception):
    """Something a contributor can mend; the message says how."""


@dataclass(frozen=True, order=True)
class Tutorial:
    """One tutorial: a source file and the two notebooks that follow from it."""

    root: Path
    source: Path

    @property
    def name(self) -> str:
        """Short name used in messages, e.g. ``part_1/tutorial_01_tensor_fundamentals``."""
        return self.source.relative_to(self.root / "sources").with_suffix("").as_posix()

    @property
    def id(self) -> str:
        """The tutorial's id in ``teach.setup`` and in exercise ids, e.g. ``p1.t1``."""
        part, number = self._numbers()
        return f"p{part}.t{number}"

    @property
    def part(self) -> int:
        """The number of the part the tutorial belongs to."""
        return self._numbers()[0]

    @property
    def fresh(self) -> Path:
        """The notebook a learner opens: no outputs, exercises open."""
        return self.root / f"{self.name}.ipynb"

    @property
    def worked(self) -> Path:
        """The same notebook with the model answers filled in, executed."""
        folder, stem = self.fresh.parent, self.fresh.stem
        return folder / "worked" / f"{stem}_worked.ipynb"

    @property
    def exercises(self) -> Path:
        """The file that holds the tutorial's exercises."""
        part, number = self._numbers()
        file = f"part_{part}_tutorial_{number:02d}.py"
        return self.root / "bolearn" / "teach" / "exercises" / file

    def notebook(self, variant: str) -> Path:
        """The path of one of the two notebooks."""
        return {"fresh": self.fresh, "worked": self.worked}[variant]

    def _numbers(self) -> tuple[int, int]:
        match = SOURCE_NAME.fullmatch(self.source.relative_to(self.root / "sources").as_posix())
        assert match is not None, f"{self.source} is not named like a tutorial"
        return int(match[1]), int(match[2])


@dataclass(frozen=True)
class Project:
    """A checkout of the course."""

    root: Path

    def tutorials(self) -> list[Tutorial]:
        """Every tutorial, in reading order. The files are the list: none is kept anywhere else."""
        found = sorted((self.root / "sources").rglob("*.py"))
        return [Tutorial(self.root, path) for path in found if self._is_tutorial(path)]

    def misnamed_sources(self) -> list[Path]:
        """Python files below ``sources/`` that no command would ever see."""
        found = sorted((self.root / "sources").rglob("*.py"))
        return [path for path in found if not self._is_tutorial(path)]

    def notebooks(self) -> list[Path]:
        """Every notebook that lies in a part, whether or not a source stands behind it."""
        return [
            path
            for path in sorted(self.root.glob("part_*/**/*.ipynb"))
            if ".ipynb_checkpoints" not in path.parts
        ]

    def select(self, names: Iterable[str]) -> list[Tutorial]:
        """The tutorials that the names mean; all of them for no names.

        A name is an id (``p1.t1``), a path to the source or to a notebook, or a piece of the
        tutorial's name (``part_4``, ``tutorial_01``, ``tensor``).
        """
        names, tutorials = list(names), self.tutorials()
        if not names:
            return tutorials
        chosen: set[Tutorial] = set()
        for name in names:
            matches = {t for t in tutorials if self._means(name, t)}
            if not matches:
                known = "\n  ".join(f"{t.id:<6} {t.name}" for t in tutorials) or "(none)"
                raise CourseError(f"no tutorial is called {name!r}; there are\n  {known}")
            chosen |= matches
        return sorted(chosen)

    def relative(self, path: Path) -> str:
        """A path as messages print it."""
        return path.relative_to(self.root).as_posix()

    def _means(self, name: str, tutorial: Tutorial) -> bool:
        if name == tutorial.id:
            return True
        path = Path(name).resolve()
        if path in (tutorial.source, tutorial.fresh, tutorial.worked):
            return True
        return not path.is_file() and name.strip("/") in tutorial.name

    def _is_tutorial(self, path: Path) -> bool:
        return bool(SOURCE_NAME.fullmatch(path.relative_to(self.root / "sources").as_posix()))
