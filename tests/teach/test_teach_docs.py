"""The page for homework authors: its example is complete, and its claims are true."""

import re
from pathlib import Path

import pytest

from bolearn import teach
from bolearn.teach.__main__ import main

PAGE = (Path(__file__).parents[2] / "docs" / "writing_exercises.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def exercises(tmp_path):
    path = tmp_path / "my_exercises.py"
    path.write_text(BLOCKS[0], encoding="utf-8")
    return path


def test_the_example_is_ready(exercises, capsys):
    assert main(["selftest", str(exercises)]) == 0
    shown = re.search(r"selftest my_exercises.py\n(.*?)```", PAGE, flags=re.DOTALL)
    assert capsys.readouterr().out == shown[1]


def test_the_notebook_block_runs(exercises, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(exercises.parent))
    monkeypatch.delitem(__import__("sys").modules, "my_exercises", raising=False)
    exec(BLOCKS[1], {})
    out = capsys.readouterr().out
    assert "not attempted" in out and "(3, 5, 4)" in out


def test_a_file_of_answers_is_graded(exercises, tmp_path, capsys):
    answers = tmp_path / "answers.py"
    answers.write_text("def increments(y):\n    return y.diff()\n", encoding="utf-8")
    assert main(["check", str(answers), "--exercises", str(exercises)]) == 0
    answers.write_text("def increments(y):\n    return y.diff() * 2\n", encoding="utf-8")
    assert main(["check", str(answers), "--exercises", str(exercises), "--json"]) == 1
    fields = re.search(r"every exercise has (.*?)\.\n", PAGE, flags=re.DOTALL)[1]
    out = capsys.readouterr().out
    for name in re.findall(r"`([a-z]+)`", fields):
        assert name in ("passed", "failed", "error") or f'"{name}":' in out


def test_every_name_on_the_page_exists():
    for name in re.findall(r"teach\.([a-z_]+)\(", PAGE):
        assert hasattr(teach, name)
    (exercise,) = {m for m in re.findall(r"`(Exercise)\(", PAGE)}
    assert hasattr(teach, exercise)
    for part in re.findall(r"`@e1\.([a-z]+)", PAGE):
        assert hasattr(teach.Exercise, part)
