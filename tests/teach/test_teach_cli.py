"""`python -m bolearn.teach`: answers and exercises outside a notebook."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bolearn.teach.__main__ import main

ROOT = Path(__file__).parents[2]
EXERCISES = ROOT / "docs" / "examples" / "my_exercises.py"
ANSWERS = ROOT / "docs" / "examples" / "answers.py"
RIGHT = "import torch\ndef best_so_far(y):\n    return torch.cummax(y, dim=-1).values\n"


@pytest.fixture
def answers(tmp_path):
    def write(text):
        path = tmp_path / "answers.py"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def check(path, *more):
    return main(["check", str(path), "--exercises", str(EXERCISES), *more])


def test_the_examples_pass_from_a_shell():
    command = [sys.executable, "-m", "bolearn.teach", "check", str(ANSWERS)]
    run = subprocess.run(
        [*command, "--exercises", str(EXERCISES)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "best_so_far  ✓ passed" in run.stdout and "1 of 1 passed (seed 0)" in run.stdout


def test_a_failure_is_shown_and_gives_exit_code_1(answers, capsys):
    assert check(answers("def best_so_far(y):\n    return y\ndef helper():\n    pass\n")) == 1
    out = capsys.readouterr().out
    assert "✗ failed" in out and "the result never goes down" in out
    assert "not an exercise's name: helper" in out


def test_json_is_json_whatever_the_file_prints(answers, capfd):
    assert check(answers("print('noise')\n" + RIGHT), "--json", "--seed", "3") == 0
    captured = capfd.readouterr()
    report = json.loads(captured.out)
    assert (report["seed"], report["passed"], report["total"]) == (3, 1, 1)
    assert report["exercises"][0]["status"] == "passed"
    assert "noise" in captured.err


@pytest.mark.parametrize(
    "text, words",
    [
        ("def f(:\n", "answers.py, line 1: invalid syntax"),
        ("x = 1\ny = 1 / 0\n", "answers.py, line 2: ZeroDivisionError"),
        ("def f():\n    raise KeyError('k')\nf()\n", "answers.py, line 2: KeyError"),
        ("import sys\nsys.exit()\n", "answers.py, line 2: SystemExit"),
        ("x = 1\n", "no function in answers.py has an exercise's name; expected some of best_so"),
        ("EXERCISES = {'a.b': print}\n", "EXERCISES names a.b; the closest ids are homework.e1"),
        ("EXERCISES = [print]\n", "expected EXERCISES to be a dict"),
        ("import os\nos._exit(0)\n", "answers.py ended its process (exit code 0)"),
        ("class Odd(BaseException): pass\nraise Odd('x')\n", "answers.py, line 2: Odd: x"),
    ],
)
def test_a_file_that_cannot_be_checked_gives_exit_code_2(answers, capsys, text, words):
    assert check(answers(text), "--json") == 2
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert words in captured.err and words in report["error"]
    assert (report["passed"], report["exercises"]) == (0, [])
    assert check(answers(text)) == 2
    assert "0 of 0 passed" in capsys.readouterr().out


ENDS = """
import os, torch
from os import _exit as leave

def best_so_far(y):
    {body}

def twice(y):
    return torch.cummax(y, dim=-1).values
"""


@pytest.fixture
def two_exercises(tmp_path):
    """Two exercises of the same task, the second for a function `twice`."""
    text = EXERCISES.read_text(encoding="utf-8")
    files = []
    for name in ("best_so_far", "twice"):
        file = tmp_path / f"{name}.py"
        renamed = text.replace("homework.e1", f"{name}.e1").replace(
            "def best_so_far", f"def {name}"
        )
        file.write_text(renamed.replace("title=", "call_seconds=1.0, title="), encoding="utf-8")
        files += ["--exercises", str(file)]
    return files


@pytest.mark.parametrize(
    "body, words",
    [
        ("leave(0)", "ended its process (exit code 0)"),
        ("os._exit(0)", "os._exit is not for answers"),
        ("os.kill(os.getpid(), 9)", "ended its process (exit code -9)"),
        ("while True: pass", "a call ends within 1 s"),
        ("os.fork()", "os.fork is not for answers"),
        ("return bytearray(1 << 45)", "MemoryError"),
    ],
)
def test_an_answer_costs_its_own_exercise_only(answers, two_exercises, capsys, body, words):
    path = answers(ENDS.replace("{body}", body))
    assert main(["check", path, *two_exercises, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    first, second = report["exercises"]
    assert (first["id"], first["status"]) == ("best_so_far.e1", "error")
    assert words in first["statement"] + first["message"]
    assert (second["id"], second["status"]) == ("twice.e1", "passed")


def test_an_answer_that_ends_the_process_gives_no_good_exit_code(answers, capsys):
    forged = 'print(\'{"passed": 1, "total": 1}\', flush=True)'
    body = f"import os\n{forged}\ndef best_so_far(y):\n    os.write(1, b'[]'); os._exit(0)\n"
    assert check(answers(body)) == 1
    assert "0 of 1 passed" in capsys.readouterr().out


def test_a_mapping_of_the_whole_course_is_graded_tutorial_by_tutorial(answers, capsys):
    text = (
        "def logmeanexp(x, dim):\n    return x.exp().mean(dim).log()\n"
        "def view(op, x):\n    return op(x).data_ptr() == x.data_ptr()\n"
        "EXERCISES = {'p1.t1.e1': view, 'p1.t2.e4': logmeanexp}\n"
    )
    path = answers(text)
    for tutorial, mine in (("p1.t1", "p1.t1.e1"), ("p1.t2", "p1.t2.e4")):
        assert main(["check", path, "--tutorial", tutorial, "--json"]) == 1
        report = json.loads(capsys.readouterr().out)
        by_id = {e["id"]: e["status"] for e in report["exercises"]}
        assert all(name.startswith(tutorial) for name in by_id)
        assert [i for i, status in by_id.items() if status != "not attempted"] == [mine]
        assert report["unmatched"] == []


def test_an_unknown_id_names_the_closest_only(answers, capsys):
    assert main(["check", answers("EXERCISES = {'p1.t1.e77': print}\n")]) == 2
    error = capsys.readouterr().err
    assert "p1.t1.e7" in error and error.count("p1.t1.e") <= 4 and len(error) < 200


def test_a_session_that_is_no_json_costs_no_other_result(answers, capsys):
    text = "expedition_1 = '[' * 100000\nexpedition_2 = 'x'\n"
    assert main(["check", answers(text), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [e["status"] for e in report["exercises"]] == ["error", "error"]


def test_missing_files_give_exit_code_2(tmp_path, capsys):
    assert check(tmp_path / "none.py") == 2
    assert "expected a Python file of answers" in capsys.readouterr().err
    assert main(["check", str(ANSWERS), "--exercises", str(tmp_path / "none.py")]) == 2
    assert "expected a file of exercises" in capsys.readouterr().err
    assert main(["check", str(ANSWERS), "--tutorial", "p99.t99"]) == 2
    assert "no exercises of tutorial 'p99.t99'" in capsys.readouterr().err


def test_a_mapping_names_functions_freely(answers, capsys):
    text = RIGHT.replace("best_so_far", "mine") + "EXERCISES = {'homework.e1': mine}\n"
    assert check(answers(text)) == 0
    assert "✓ passed" in capsys.readouterr().out


def test_ambiguous_names_need_a_tutorial(answers, tmp_path, capsys):
    text = EXERCISES.read_text(encoding="utf-8")
    twins = []
    for tutorial in ("one", "two"):
        twin = tmp_path / f"{tutorial}.py"
        twin.write_text(text.replace("homework.e1", f"{tutorial}.e1"), encoding="utf-8")
        twins += ["--exercises", str(twin)]
    path = answers(RIGHT)
    assert main(["check", path, *twins]) == 2
    assert "could answer one.e1, two.e1; say which" in capsys.readouterr().err
    assert main(["check", path, *twins, "--tutorial", "two"]) == 0
    path = answers(RIGHT + "EXERCISES = {'one.e1': best_so_far}\n")
    assert main(["check", path, *twins]) == 1  # two.e1 is listed as not attempted
    assert "○ not attempted" in capsys.readouterr().out


def test_selftest_tells_good_exercises_from_bad(tmp_path, capsys):
    assert main(["selftest", str(EXERCISES)]) == 0
    assert "1 of 1 exercises are ready" in capsys.readouterr().out
    bad = tmp_path / "bad.py"
    text = EXERCISES.read_text(encoding="utf-8")
    bad.write_text(text.replace("torch.cummin(y", "torch.cummax(y"), encoding="utf-8")
    assert main(["selftest", str(bad)]) == 1
    assert "the wrong answer minimum (the running minimum) is accepted" in capsys.readouterr().out
