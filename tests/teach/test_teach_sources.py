"""Stubs and answers, read from an exercise file without importing it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bolearn.teach import sources

ROOT = Path(__file__).parents[2]
FILE = '''
import torch
from bolearn.teach import Exercise

e1 = Exercise(id="a.e1", title="", hints=("a", "b", "c"))
e2 = Exercise(title="", id="a.e2", hints=("a", "b", "c"))
e3 = Exercise(id="a.e3", title="", hints=("a", "b", "c"))
e4 = Exercise(id="a.e4", title="", hints=("a", "b", "c"))
LIMIT = 3


def helper(x):
    return x


@torch.no_grad()
@e1.answer
def long_signature(
    x: int,
    y: str = "a # b",
) -> int:
    """Task.

    More.
    """
    # the trick
    def helper(z):
        return z

    return helper(x) + LIMIT


@e2.answer
class LogDet(torch.autograd.Function):
    """A class."""

    constant = 3

    @staticmethod
    def forward(ctx, A):
        """The value."""
        return helper(A)

    @staticmethod
    def backward(ctx, grad):
        return grad


@e3.answer
def undocumented(x):
    return x


@e1.wrong("why")
def wrong(x):
    return 2
'''


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "exercises.py"
    file.write_text(FILE, encoding="utf-8")
    return file


def test_ids_and_names(path):
    assert sources.exercise_ids(path) == ["a.e1", "a.e2", "a.e3", "a.e4"]
    assert sources.answer_name(path, "a.e2") == "LogDet"
    assert sources.check_source(path, "a.e2") == 'teach.check("a.e2", LogDet)'


def test_a_functions_stub(path):
    assert sources.stub_source(path, "a.e1") == (
        '@torch.no_grad()\ndef long_signature(\n    x: int,\n    y: str = "a # b",\n) -> int:\n'
        '    """Task.\n\n    More.\n    """\n    # your code here\n    raise NotImplementedError'
    )


def test_a_functions_answer(path):
    answer = sources.answer_source(path, "a.e1")
    assert answer.startswith("@torch.no_grad()\ndef long_signature(\n")
    assert answer.endswith("    return helper(x) + LIMIT")
    assert "e1" not in answer and "# the trick" in answer


def test_a_classs_stub(path):
    assert sources.stub_source(path, "a.e2") == (
        'class LogDet(torch.autograd.Function):\n    """A class."""\n\n'
        '    @staticmethod\n    def forward(ctx, A):\n        """The value."""\n'
        "        # your code here\n        raise NotImplementedError\n\n"
        "    @staticmethod\n    def backward(ctx, grad):\n"
        "        # your code here\n        raise NotImplementedError"
    )


def test_what_an_answer_takes_from_the_file(path):
    assert sources.outside_names(path, "a.e1") == ["LIMIT"]  # its own helper is nested
    assert sources.outside_names(path, "a.e2") == ["helper"]
    assert sources.outside_names(path, "a.e3") == []


@pytest.mark.parametrize(
    "exercise_id, words",
    [("a.e3", "docstring"), ("a.e4", "no model answer"), ("a.e5", "it has a.e1, a.e2")],
)
def test_what_is_missing_is_said(path, exercise_id, words):
    with pytest.raises(sources.SourceError, match=words):
        sources.stub_source(path, exercise_id)


def test_a_body_on_the_line_of_the_signature_is_refused(tmp_path):
    file = tmp_path / "short.py"
    file.write_text("e = Exercise(id='a.e1')\n@e.answer\ndef f(x): 'Task.'\n", encoding="utf-8")
    with pytest.raises(sources.SourceError, match="own lines"):
        sources.stub_source(file, "a.e1")


def test_the_file_loads_by_its_path_without_torch():
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('s', {sources.__file__!r})\n"
        "s = importlib.util.module_from_spec(spec); spec.loader.exec_module(s)\n"
        "print(s.stub_source('docs/examples/my_exercises.py', 'homework.e1'))\n"
        "assert not {'torch', 'numpy', 'bolearn'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("def best_so_far(y: Tensor) -> Tensor:")
