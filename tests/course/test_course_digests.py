"""What counts as a change of the code that a notebook depends on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_course import make, replace

from course.digests import ModuleGraph, digest_of_code

CODE = '''
"""About the module."""
import math


class Line:
    """About the class."""

    slope: float = -0.0

    def __call__(self, x: float, *, shift: complex = 1j) -> str:
        """About the method."""
        width = 10  # a reason
        return f"{x!r:>{width}} {self.slope:.3f}" "and" f"{shift=}" + "\\u00e9\\ud800"


async def later(a, /, *b, **c):
    match a:
        case {"x": [1, *_]} if b:
            return lambda y=...: (yield)
    return [i async for i in a if not None]
'''
SAME = [
    ("# a reason", "# another reason"),
    ("About the class.", "Much about the class."),
    ('"""About the method."""\n', "\n"),
    ('"""About the module."""\n', ""),
    ("shift: complex = 1j", "shift: complex=1j,"),
]
DIFFERENT = [
    ("width = 10", "width = 11"),
    ("-0.0", "0.0"),
    (":.3f", ":.4f"),
    ("not None", "not 0"),
    ("shift: complex", "shift: object"),
    ("    slope: float = -0.0\n", ""),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_comments_docstrings_and_layout_do_not_count(old: str, new: str) -> None:
    assert old in CODE
    assert digest_of_code(CODE.replace(old, new)) == digest_of_code(CODE)


@pytest.mark.parametrize(("old", "new"), DIFFERENT)
def test_code_counts(old: str, new: str) -> None:
    assert old in CODE
    assert digest_of_code(CODE.replace(old, new)) != digest_of_code(CODE)


def test_the_digest_is_the_same_under_every_python() -> None:
    # Recorded once; 3.11, 3.12 and 3.13 agree, although their ast.dump does not.
    assert digest_of_code(CODE) == "89f93f6d19946443"


def digests(root: Path, code: str) -> set[str]:
    return {Path(name).name for name in ModuleGraph(root).digests(code)}


@pytest.mark.parametrize(
    "code",
    [
        "import bolearn as bl\nbl.double(2)",
        "import bolearn\nbolearn.doubling.double(2)",
        "import bolearn.doubling\nbolearn.doubling.double(2)",
        "import bolearn.doubling as d\nd.double(2)",
        "from bolearn import double as twice",
        "from bolearn import doubling\ndoubling.double(2)",
        "from bolearn.doubling import double",
        "def f():\n    from bolearn.doubling import double\n    return double",
        "import bolearn as bl\n[bl.double(x).real for x in (1, 2)]",
    ],
)
def test_names_lead_to_the_modules_that_define_them(tmp_path: Path, code: str) -> None:
    make(tmp_path)
    assert digests(tmp_path, code) == {"doubling.py", "products.py"}


def test_importing_the_package_alone_depends_on_nothing(tmp_path: Path) -> None:
    make(tmp_path)
    assert digests(tmp_path, "import bolearn as bl\nbl.__version__\nimport math\nmath.pi") == set()


def test_subpackages_are_looked_through_and_relative_imports_followed(tmp_path: Path) -> None:
    make(tmp_path)
    folder = tmp_path / "bolearn" / "shapes"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .round import disc\nfrom .square import box\n")
    (folder / "round.py").write_text("from ..products import product\ndisc = product\n")
    (folder / "square.py").write_text("from . import round\nbox = round.disc\n")
    replace(tmp_path / "bolearn" / "__init__.py", "from", "from .shapes import box, disc\nfrom")
    assert digests(tmp_path, "import bolearn as bl\nbl.disc") == {"round.py", "products.py"}
    code = "from bolearn.shapes import box"
    assert digests(tmp_path, code) == {"square.py", "round.py", "products.py"}


def test_imports_for_the_type_checker_do_not_count(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "bolearn" / "products.py"
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bolearn import halve\n"
    path.write_text(text + path.read_text())
    assert "unused.py" not in digests(tmp_path, "from bolearn import double")


def test_imports_that_serve_annotations_only_do_not_count(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "bolearn" / "products.py"
    path.write_text(
        "from bolearn.unused import halve\n\n\ndef product(a: halve, b) -> halve: ...\n"
    )
    assert "unused.py" not in digests(tmp_path, "from bolearn import double")
    replace(path, "...", "return halve(a)")
    assert "unused.py" in digests(tmp_path, "from bolearn import double")


def test_modules_imported_by_their_name_as_a_string_count(tmp_path: Path) -> None:
    make(tmp_path)
    code = 'import importlib\nimportlib.import_module("bolearn.doubling")'
    assert digests(tmp_path, code) == {"doubling.py", "products.py"}


def test_cycles_end(tmp_path: Path) -> None:
    make(tmp_path)
    replace(
        tmp_path / "bolearn" / "products.py",
        "    return",
        "    import bolearn.doubling\n\n    return",
    )
    assert digests(tmp_path, "from bolearn import double") == {"doubling.py", "products.py"}


def test_only_the_tutorials_own_exercise_file_counts(tmp_path: Path) -> None:
    _, tutorial = make(tmp_path)
    (tutorial.exercises.parent / "part_1_tutorial_02.py").write_text("x = 1\n")
    found = ModuleGraph(tmp_path).digests("from bolearn.teach import check", tutorial.exercises)
    assert {Path(name).name for name in found} == {
        "part_1_tutorial_01.py",
        "exercise.py",
        "session.py",
    }


def test_a_data_file_that_a_module_names_counts(tmp_path: Path) -> None:
    make(tmp_path)
    data = tmp_path / "bolearn" / "data" / "table.csv"
    data.parent.mkdir()
    data.write_text("1\n")
    replace(tmp_path / "bolearn" / "products.py", "def", 'TABLE = "table.csv"\n\n\ndef')
    before = ModuleGraph(tmp_path).digests("from bolearn import double")
    assert "bolearn/data/table.csv" in before
    data.write_text("2\n")
    assert ModuleGraph(tmp_path).digests("from bolearn import double") != before
