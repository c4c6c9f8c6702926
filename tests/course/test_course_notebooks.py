"""Building, checking and synchronising the notebooks of a tiny course."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image
from tiny_course import make, replace

from course.__main__ import main
from course.build import _quantized
from course.check import findings_of, stray_files, words
from course.digests import ModuleGraph
from course.notebooks import dumps, render
from course.project import CourseError, Project, Tutorial
from course.sync import synced

Course = tuple[Project, Tutorial]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny course, built once; tests change copies of it."""
    root = tmp_path_factory.mktemp("built")
    make(root)
    assert main(["--root", str(root), "build"]) == 0
    return root


@pytest.fixture
def course(built: Path, tmp_path: Path) -> Course:
    root = tmp_path / "course"
    shutil.copytree(built, root)
    project = Project(root.resolve())
    (tutorial,) = project.tutorials()
    return project, tutorial


def problems(course: Course) -> str:
    project, tutorial = course
    found = findings_of(project, tutorial, ModuleGraph(project.root)) + stray_files(project)
    return "\n".join(finding.text() for finding in found)


def edit(path: Path, change: Callable[[Any], None]) -> None:
    """Changes a notebook as a front end would, and stores it in another layout."""
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def cell_with(notebook: Any, text: str) -> Any:
    return next(cell for cell in notebook.cells if text in cell.source)


# Building


def test_fresh_and_worked_show_what_they_should(course: Course) -> None:
    _, tutorial = course
    fresh = nbformat.read(tutorial.fresh, as_version=4)
    worked = nbformat.read(tutorial.worked, as_version=4)
    nbformat.validate(fresh)
    nbformat.validate(worked)
    stub, answer = (cell_with(notebook, "def square") for notebook in (fresh, worked))
    assert "raise NotImplementedError" in stub.source and "x * x" not in stub.source
    assert "# by its definition\n    return x * x" in answer.source
    for cell in (stub, answer):
        assert '"""The square of a number."""' in cell.source
        assert cell.source.endswith('teach.check("p1.t1.e1", square)')
        assert cell.metadata["bolearn"] == {"exercise": "p1.t1.e1"}
    assert stub.id == answer.id
    assert any("try it" in c.source for c in fresh.cells)
    assert not any("try it" in c.source for c in worked.cells)
    assert not any("A remark" in c.source for c in fresh.cells)
    assert all(c.execution_count is None and not c.outputs for c in fresh.cells if "outputs" in c)
    assert answer.outputs[0].text == "p1.t1.e1 passed\n"
    assert worked.metadata.language_info == {"name": "python"}
    assert sorted(worked.metadata.bolearn.digests) == [
        "bolearn/doubling.py",
        "bolearn/products.py",
        "bolearn/teach/exercise.py",
        "bolearn/teach/exercises/part_1_tutorial_01.py",
        "bolearn/teach/session.py",
    ]


def test_ids_stay_when_cells_are_inserted_above(course: Course) -> None:
    _, tutorial = course
    before = {cell.source: cell.id for cell in render(tutorial, "fresh").cells}
    source = tutorial.source.read_text()
    tutorial.source.write_text("# %% [markdown]\n# A preface.\n\n" + source)
    after = {cell.source: cell.id for cell in render(tutorial, "fresh").cells}
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()


def test_a_built_course_has_no_findings_and_is_not_built_again(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    project, tutorial = course
    assert problems(course) == ""
    assert main(["--root", str(project.root), "check"]) == 0
    before = tutorial.worked.read_bytes()
    assert main(["--root", str(project.root), "build"]) == 0
    assert "unchanged" in capsys.readouterr().out
    assert tutorial.worked.read_bytes() == before


def test_a_change_of_prose_keeps_the_stored_outputs(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    project, tutorial = course
    replace(tutorial.source, "between two cells", "between two code cells")
    assert main(["--root", str(project.root), "build"]) == 0
    assert "rewritten" in capsys.readouterr().out
    assert problems(course) == ""
    assert "between two code cells" in tutorial.worked.read_text()


def test_a_failing_cell_fails_the_build_and_leaves_the_worked_notebook(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    project, tutorial = course
    before = tutorial.worked.read_bytes()
    replace(tutorial.source, "== 4", "== 5")
    assert main(["--root", str(project.root), "build", "p1.t1"]) == 1
    printed = capsys.readouterr().out
    assert "AssertionError: doubling doubles" in printed and "bl.double(2) == 5" in printed
    assert tutorial.worked.read_bytes() == before


def test_a_model_answer_that_fails_its_check_fails_the_build(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    project, tutorial = course
    replace(tutorial.exercises, "x * x", "x + x")
    assert main(["--root", str(project.root), "build"]) == 1
    assert "1 failed" in capsys.readouterr().out


def test_an_unknown_exercise_names_the_file_to_write_it_in(course: Course) -> None:
    _, tutorial = course
    replace(tutorial.source, "p1.t1.e1", "p1.t1.e9")
    with pytest.raises(CourseError, match=r"p1\.t1\.e9.*part_1_tutorial_01\.py.*p1\.t1\.e1"):
        render(tutorial, "fresh")
    assert "p1.t1.e9" in problems(course)


def test_figures_are_reduced_to_a_palette_on_white() -> None:
    gradient = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    for x in range(64):
        for y in range(32):
            gradient.putpixel((x, y), (4 * x, 8 * y, 128, 255))
    buffer = io.BytesIO()
    gradient.save(buffer, "PNG")
    once = _quantized(base64.b64encode(buffer.getvalue()).decode())
    with Image.open(io.BytesIO(base64.b64decode(once))) as small:
        assert small.mode == "P" and len(small.getcolors()) <= 128
        assert all(c > 240 for c in small.convert("RGB").getpixel((5, 60)))
    assert _quantized(once) == once


# Checking


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("A sentence", "Another sentence", "differs from its source"),
        ("A sentence", "Another sentence", "cells differ from its source"),
        ("A sentence", "A word " * 121 + ".", "words of prose before the code cell"),
        ("A sentence", "A word " * 950 + ".", "at most 1800 in this part"),
        ("# A formula:\n#\n", "# A formula:\n", "no blank line around the displayed formula"),
        ("^2 $$", "^2 $$ and so on", "no blank line around the displayed formula"),
        ('print("try it")', "# %matplotlib inline", "a magic or shell line"),
        ('print("try it")', "import warnings\nwarnings.simplefilter('x')", "warning filters"),
        ('"p1.t1")', '"p1.t2")', "does not start with its own teach.setup"),
        ("# exercise: p1.t1.e1", "2 + 2", "never shows exercise p1.t1.e1"),
        ("# A sentence", "# %%\n# exercise: p1.t1.e1\n\n# %% [markdown]\n# A", "e1 twice"),
    ],
)
def test_what_is_wrong_with_a_source_is_found(
    course: Course, old: str, new: str, expected: str
) -> None:
    replace(course[1].source, old, new)
    assert expected in problems(course)


def test_a_hand_edited_fresh_notebook_is_drift(course: Course) -> None:
    replace(course[1].fresh, "try it", "try this")
    found = problems(course)
    assert "part_1/tutorial_01_squares.ipynb: differs from its source" in found
    assert "course sync part_1/tutorial_01_squares.ipynb" in found


def test_a_missing_notebook_is_found(course: Course) -> None:
    course[1].worked.unlink()
    course[1].fresh.unlink()
    assert problems(course).count("missing") == 2


def test_orphans_and_misnamed_sources_are_found(course: Course) -> None:
    project, tutorial = course
    shutil.copy(tutorial.fresh, tutorial.fresh.with_name("tutorial_09_orphan.ipynb"))
    (tutorial.source.parent / "notes.py").write_text("")
    shutil.copy(tutorial.source, tutorial.source.with_name("tutorial_01_again.py"))
    found = problems(course)
    assert "tutorial_09_orphan.ipynb: a notebook without a source" in found
    assert "notes.py: not named like a tutorial" in found
    assert "a second tutorial p1.t1" in found
    assert main(["--root", str(project.root), "check"]) == 1


def half_execute(notebook: Any) -> None:
    notebook.cells[-1].execution_count = None


def execute_twice(notebook: Any) -> None:
    notebook.cells[-1].execution_count += 1


def fail(notebook: Any) -> None:
    output = nbformat.v4.new_output("error", ename="ValueError", evalue="bad", traceback=[])
    notebook.cells[-1].outputs = [output]


def warn(notebook: Any) -> None:
    output = nbformat.v4.new_output("stream", name="stderr", text="a warning\n")
    notebook.cells[-1].outputs = [output]


def figures(*alts: str, size: int = 100) -> Callable[[Any], None]:
    data = base64.b64encode(bytes(size)).decode()

    def change(notebook: Any) -> None:
        notebook.cells[-1].outputs = [
            nbformat.v4.new_output(
                "display_data",
                {"image/png": data, "text/plain": "<Figure size 640x480 with 1 Axes>"},
                metadata={"image/png": {"alt": alt}},
            )
            for alt in alts
        ]

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (half_execute, "not executed from top to bottom"),
        (execute_twice, "not executed from top to bottom"),
        (fail, "ends in an error: ValueError: bad"),
        (warn, "prints to stderr: a warning"),
        (figures(""), "a figure without alternative text"),
        (figures("One.", "Two."), "two figures in one cell"),
        (figures("One.", size=120_001), "more than 120 kB"),
        (figures("One.", size=800_000), "1.1 MB, more than 1 MB"),
        (lambda notebook: notebook.cells.pop(), "cells differ from its source"),
    ],
)
def test_what_is_wrong_with_a_worked_notebook_is_found(
    course: Course, change: Callable[[Any], None], expected: str
) -> None:
    edit(course[1].worked, change)
    found = problems(course)
    assert expected in found
    assert "->" in found


def test_a_figure_with_alternative_text_is_fine(course: Course) -> None:
    edit(course[1].worked, figures("A line that rises."))
    assert problems(course) == ""


@pytest.mark.parametrize("name", ["doubling", "products", "teach/session"])
def test_outputs_older_than_the_code_they_use_are_found(course: Course, name: str) -> None:
    path = course[0].root / "bolearn" / f"{name}.py"
    path.write_text('"""Another docstring."""\n# a comment\n' + path.read_text())
    replace(path, "    return", '    """What it does."""\n    return')
    assert problems(course) == ""
    replace(path, "    return", "    x = 1\n    return")
    assert f"executed before the code of bolearn/{name}.py changed" in problems(course)


def test_changes_of_code_that_the_notebook_does_not_reach_do_not_matter(course: Course) -> None:
    package = course[0].root / "bolearn"
    replace(package / "unused.py", "x / 2", "x * 0.5")
    replace(package / "__init__.py", "from bolearn import teach", "import math")
    (package / "new.py").write_text("y = 1\n")
    assert problems(course) == ""


def test_a_worked_notebook_without_digests_is_stale(course: Course) -> None:
    edit(course[1].worked, lambda notebook: notebook.metadata.bolearn.pop("digests"))
    assert "executed before the code" in problems(course)


def test_words_are_those_of_prose() -> None:
    assert words("Three *plain* words – $x + y$ [a link](https://somewhere.org/far) `code`") == 8
    assert words("$$ a b c $$\n\n```\nnot prose\n```\n<details>\n") == 0


# Synchronising


@pytest.mark.parametrize("variant", ["fresh", "worked"])
def test_a_round_trip_without_edits_changes_nothing(course: Course, variant: str) -> None:
    project, tutorial = course
    path = tutorial.notebook(variant)
    edit(path, lambda notebook: None)
    before = tutorial.source.read_bytes()
    assert main(["--root", str(project.root), "sync", str(path)]) == 0
    assert tutorial.source.read_bytes() == before


def test_edits_reach_the_source_and_nothing_else_changes(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    project, tutorial = course

    def change(notebook: Any) -> None:
        cell_with(notebook, "A sentence").source += "\nAnd one more."
        cell_with(notebook, "bl.double(4)").source = "bl.double(8)"
        cell_with(notebook, "try it").metadata["execution"] = {"iopub.execute_input": "now"}
        new = nbformat.v4.new_code_cell("1 + 1", metadata={"trusted": True})
        notebook.cells.insert(2, new)

    edit(tutorial.fresh, change)
    want = tutorial.source.read_text()
    want = want.replace("two cells.\n", "two cells.\n# And one more.\n")
    old = 'teach.claim("doubling doubles", bl.double(2) == 4)\nbl.double(4)\n'
    want = want.replace(old, "bl.double(8)\n")
    want = want.replace('"p1.t1")\n', '"p1.t1")\n\n# %%\n1 + 1\n')
    assert main(["--root", str(project.root), "sync", str(tutorial.fresh)]) == 0
    # The new cell stands before the hidden one, which stays behind the cell it followed.
    got = tutorial.source.read_text()
    assert sorted(got.splitlines()) == sorted(want.splitlines())
    printed = capsys.readouterr().out
    assert "+# And one more." in printed and "course build part_1/tutorial_01" in printed
    assert dumps(render(tutorial, "fresh")).count("And one more.") == 1


def test_deleted_and_moved_cells_are_followed_and_hidden_ones_kept(course: Course) -> None:
    _, tutorial = course
    notebook = nbformat.read(tutorial.worked, as_version=4)
    notebook.cells.remove(cell_with(notebook, "A sentence"))
    notebook.cells.append(notebook.cells.pop(0))
    tutorial.source.write_text(synced(tutorial, "worked", notebook).text)
    source = tutorial.source.read_text()
    assert "A sentence" not in source
    assert source.index("teach.setup") < source.index("A remark") < source.index("# exercise:")
    assert source.index('print("try it")') < source.index("bl.double(4)")
    assert source.index("bl.double(4)") < source.index("# # How large")


def test_an_edited_exercise_stays_a_marker_and_is_reported(course: Course) -> None:
    _, tutorial = course
    notebook = nbformat.read(tutorial.fresh, as_version=4)
    cell_with(notebook, "def square").source = "def square(x):\n    return x ** 2"
    edit = synced(tutorial, "fresh", notebook)
    assert edit.text == tutorial.source.read_text()
    assert "p1.t1.e1" in edit.notes[0] and "part_1_tutorial_01.py" in edit.notes[0]


def test_a_front_end_that_drops_cell_ids_loses_nothing(course: Course) -> None:
    _, tutorial = course
    notebook = nbformat.read(tutorial.fresh, as_version=4)
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"new-{index}"
    assert synced(tutorial, "fresh", notebook).text == tutorial.source.read_text()


def test_sync_of_a_strange_path_says_what_it_wants(
    course: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(course[0].root), "sync", "elsewhere.ipynb"]) == 2
    assert "give the path of one" in capsys.readouterr().err


# Choosing


@pytest.mark.parametrize("name", ["p1.t1", "part_1", "tutorial_01", "squares"])
def test_tutorials_are_chosen_by_id_or_name(course: Course, name: str) -> None:
    project, tutorial = course
    assert project.select([name]) == [tutorial]


def test_tutorials_are_chosen_by_path(course: Course) -> None:
    project, tutorial = course
    for path in (tutorial.source, tutorial.fresh, tutorial.worked):
        assert project.select([str(path)]) == [tutorial]


def test_an_unknown_name_lists_the_known_ones(course: Course) -> None:
    with pytest.raises(CourseError, match=r"p1\.t1 +part_1/tutorial_01_squares"):
        course[0].select(["p9.t9"])
