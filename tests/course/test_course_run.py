"""Executing a tiny course: the table, the exit codes, and a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_course import make, replace

from course.__main__ import main
from course.notebooks import dumps, render
from course.project import Tutorial

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tutorial(tmp_path: Path) -> Tutorial:
    """A tiny course whose notebooks are written but were never executed."""
    _, tutorial = make(tmp_path)
    write(tutorial)
    return tutorial


def write(tutorial: Tutorial) -> None:
    for variant in ("fresh", "worked"):
        path = tutorial.notebook(variant)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dumps(render(tutorial, variant)))


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_table_says_what_was_proved_and_nothing_is_written(
    tutorial: Tutorial, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(tutorial.root)
    assert main(["--root", str(tutorial.root), "run"]) == 0
    assert files(tutorial.root) == before
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: line.split() for line in lines if line.endswith(" ok")}
    fresh, worked = (rows[f"part_1/tutorial_01_squares ({v})"] for v in ("fresh", "worked"))
    assert fresh[-5:] == ["1", "1", "not", "attempted", "ok"]
    assert worked[-4:] == ["1", "1", "passed", "ok"]
    assert any(line.split()[:2] == ["notebook", "seconds"] for line in lines)
    assert lines[-1] == "2 of 2 notebooks executed, 0 failed"


@pytest.mark.parametrize("command", ["run", "fresh"])
def test_without_an_optional_group_a_notebook_is_skipped_not_passed(
    tutorial: Tutorial, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class_ = "class MissingGroup(ImportError): pass"
    stop = f"{class_}\\nraise MissingGroup('install the group moon')"
    for path in (tutorial.fresh, tutorial.worked):
        replace(path, 'teach.setup(\\"p1.t1\\")', stop)
    assert main(["--root", str(tutorial.root), command]) == 0
    text = capsys.readouterr().out
    count = 2 if command == "run" else 1
    assert f"0 of {count} notebooks executed, 0 failed, {count} skipped" in text
    assert "skipped: install the group moon" in text
    assert not any(line.endswith(" ok") for line in text.splitlines())


def test_a_failure_gives_exit_code_1_with_the_cell_and_its_error(
    tutorial: Tutorial, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(tutorial.worked, "== 4", "== 5")
    replace(tutorial.fresh, "raise NotImplementedError", "return x + x")
    assert main(["--root", str(tutorial.root), "run", "p1.t1", "-j", "2"]) == 1
    printed = capsys.readouterr().out
    assert "(worked) failed in cell 6:" in printed
    assert "bl.double(2) == 5" in printed and "AssertionError: doubling doubles" in printed
    assert "1 failed" in printed and "WRONG ANSWER" in printed
    assert "2 of 2 notebooks executed, 2 failed" in printed


def test_a_missing_notebook_fails(tutorial: Tutorial, capsys: pytest.CaptureFixture[str]) -> None:
    tutorial.fresh.unlink()
    tutorial.worked.unlink()
    assert main(["--root", str(tutorial.root), "run"]) == 1
    assert "python -m course build" in capsys.readouterr().out


def test_fresh_notebooks_run_as_plain_python(
    tutorial: Tutorial, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(tutorial.root)
    assert main(["--root", str(tutorial.root), "fresh"]) == 0
    assert files(tutorial.root) == before
    row, last = capsys.readouterr().out.splitlines()[-2:]
    assert row.split()[:2] == ["part_1/tutorial_01_squares", "(fresh)"]
    assert row.split()[-5:] == ["1", "1", "not", "attempted", "ok"]
    assert last == "1 of 1 notebooks executed, 0 failed"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bl.double(4)", "1 / 0", "ZeroDivisionError: division by zero"),
        ("== 4", "== 5", "AssertionError: doubling doubles"),
        ("bl.double(4)", "import warnings; warnings.warn('old')", "warned: old"),
        ("raise NotImplementedError", "return x + x", "expected 1 not attempted, got 1 failed"),
        ("bl.double(4)", "import os; os._exit(7)", "it died with exit code 7"),
    ],
)
def test_what_a_fresh_notebook_must_not_do(
    tutorial: Tutorial, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    replace(tutorial.fresh, old, new)
    assert main(["--root", str(tutorial.root), "fresh", "p1.t1"]) == 1
    printed = capsys.readouterr().out
    assert message in printed and "1 of 1 notebooks executed, 1 failed" in printed


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as a terminal would")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_kernel_and_exit_code_130(
    tutorial: Tutorial, tmp_path: Path, number: int
) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    touch = f"import os, time\nopen(r'{pids}/' + str(os.getpid()), 'w').close()\ntime.sleep(60)\n"
    replace(tutorial.source, 'print("try it")', touch)
    replace(tutorial.source, "bl.double(4)", touch)
    write(tutorial)
    process = subprocess.Popen(
        [sys.executable, "-m", "course", "--root", str(tutorial.root), "run"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # a test run in the background ignores interrupts, and what it starts would, too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert printed.count("interrupted") >= 3  # two rows and the closing line
    assert "0 of 2 notebooks executed" in printed
    for path in pids.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)
