"""The command line: from a TOML file to the tenth trial, with exit codes and JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bolearn as bl
from bolearn.campaign.commands import app, program

PLAN = """
seed = 7
goals = ["maximize yield", "cost <= 5"]
budget = 6
strategy = "sobol"
[parameters.temperature]
low = 20
high = 90
step = 0.5
unit = "°C"
[parameters.cycles]
kind = "integer"
low = 1
high = 8
[parameters."the solvent"]
values = ["MeOH", "THF"]
"""


def call(*words: object, code: int = 0) -> str:
    """What a command prints; its errors where it ends with another code than 0."""
    found = CliRunner().invoke(app, [str(w) for w in words])
    assert found.exit_code == code, (found.output, found.exception)
    return found.stderr if code else found.stdout


def data(*words: object) -> Any:
    return json.loads(call(*words, "--json"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    plan = tmp_path / "reaction.toml"
    plan.write_text(PLAN, encoding="utf-8")
    assert data("new", plan)["file"] == str(tmp_path / "reaction.db")
    return tmp_path / "reaction.db"


def test_the_example_makes_a_campaign(tmp_path: Path) -> None:
    plan = tmp_path / "lab.toml"
    assert "edit it" in call("new", plan, "--example")
    assert "cannot be written" in call("new", plan, "--example", code=4)
    assert "maximize yield, cost <= 5" in call("new", plan)
    with bl.Campaign.open(tmp_path / "lab.db") as c:
        assert c.space.names == ("A", "B", "temperature", "time", "cycles", "solvent")
        assert c.budget == {"trials": 40} and c.seed == 7 and c.name == "reaction"
    assert "already" in call("new", plan, code=4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("budget", "buget", "got 'buget', did you mean 'budget'"),
        ("low = 20", "lo = 20", "parameters.temperature.*got 'lo'"),
        ('kind = "integer"', 'kind = "whole"', "real, integer, categorical; got 'whole'"),
        ("seed = 7", "", "expected 'seed', got none"),
        ("high = 90", "", "expected low and high, got no 'high'"),
        ("high = 90", "high = 9", "parameters.temperature: .*20"),
        ("seed = 7", "seed = ", "no TOML: .*line 2"),
    ],
)
def test_a_plan_that_cannot_be_used(tmp_path: Path, old: str, new: str, message: str) -> None:
    import re

    plan = tmp_path / "a.toml"
    plan.write_text(PLAN.replace(old, new), encoding="utf-8")
    said = call("new", plan, code=1)
    assert re.search(message.replace(", did", ".*did"), said), said
    assert not (tmp_path / "a.db").exists()


def test_a_campaign_from_ask_to_backup(file: Path, tmp_path: Path) -> None:
    first, second = data("ask", file, 2, "--same", "temperature", "--fixed", "the solvent=THF")
    assert first["parameters"]["temperature"] == second["parameters"]["temperature"]
    assert first["parameters"]["the solvent"] == "THF" and first["state"] == "running"
    (told,) = data(
        "tell", file, 0, "yield=62", "yield=64", "--set", "temperature=71.3", "--by", "anna"
    )
    assert told["state"] == "running" and told["outcomes"] == {"yield": [62.0, 64.0]}
    assert told["parameters"]["temperature"] == 71.3 != told["asked"]["temperature"]
    assert "completed" in call("tell", file, 0, "cost=3.1+-0.2", "--spent", 12)
    assert "failed" in call("fail", file, 1, "spilled")
    assert "replace=True" in call("tell", file, 0, "cost=3.3", code=1)
    (told,) = data("tell", file, 0, "cost=3.3", "--replace")
    assert told["outcomes"]["cost"] == 3.3 and told["spent"] == 12

    assert "71.3" in call("table", file) and len(data("table", file)) == 2
    status = data("status", file)
    assert [t["trial"] for t in status["best"]] == [0] and status["budget"] == {"trials": 6}
    assert "failures" in call("status", file)
    lines = [json.loads(line) for line in call("history", file, "--json").splitlines()]
    assert [e["kind"] for e in lines][:3] == ["create", "ask", "ask"]
    assert lines[3]["by"] == "anna" and "spilled" in call("history", file)
    assert data("backup", file, tmp_path / "copy.db")
    assert data("upgrade", tmp_path / "copy.db")["trials"] == 2


def test_review(tmp_path: Path) -> None:
    plan = tmp_path / "a.toml"
    plan.write_text("review = true" + PLAN, encoding="utf-8")
    file = Path(data("new", plan, "--to", tmp_path / "b.db")["file"])
    assert [t["state"] for t in data("ask", file, 2)] == ["candidate"] * 2
    (changed,) = data("approve", file, 0, "--set", "temperature=60", "--set", "the solvent=MeOH")
    assert changed["state"] == "queued" and changed["parameters"]["the solvent"] == "MeOH"
    assert data("reject", file, 1, "no THF left")[0]["reason"] == "no THF left"
    assert data("abandon", file, 0, "holidays")[0]["state"] == "abandoned"


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_sheets(file: Path, tmp_path: Path, name: str) -> None:
    data("ask", file, 2)
    sheet = tmp_path / name
    assert data("export", file, sheet)["trials"] == 2
    if name == "a.csv":
        text = sheet.read_text(encoding="utf-8-sig").splitlines()
        heads = text[0].split(",")
        cells = text[1].split(",")
        cells[heads.index("yield")], cells[heads.index("cost")] = "61.5", "2"
        sheet.write_text("\n".join([text[0], ",".join(cells), text[2]]), encoding="utf-8")
    else:
        from openpyxl import load_workbook

        book = load_workbook(sheet)
        heads = [c.value for c in book.active[1]]
        book.active.cell(2, heads.index("yield") + 1, 61.5)
        book.active.cell(2, heads.index("cost") + 1, 2)
        book.save(sheet)
    assert len(data("import", file, sheet, "--dry-run")) == 1
    assert "1 trials changed" in call("import", file, sheet)
    assert data("table", file)[0]["outcomes"] == {"yield": 61.5, "cost": 2.0}
    assert data("import", file, sheet) == []


def test_exit_codes_and_clear_errors(file: Path, tmp_path: Path) -> None:
    assert "there is no campaign" in call("ask", tmp_path / "none.db", code=4)
    assert not (tmp_path / "none.db").exists()
    assert len(data("ask", file, 9)) == 6
    assert "the budget of 6 trials is used" in call("ask", file, code=3)
    said = json.loads(call("tell", file, 0, "yieldy=3", "--json", code=1))
    assert said["kind"] == "DataError" and "did you mean 'yield'" in said["error"]
    assert "decimals with a point" in call("tell", file, 0, "yield=61,5", code=1)
    assert "expected NAME=VALUE" in call("tell", file, 0, "61.5", code=1)
    assert "expected a trial of" in call("fail", file, 77, "why", code=1)
    assert "expected the name of a parameter" in call("ask", file, "--fixed", "temp=3", code=1)
    assert call("ask", code=2) and call("dance", code=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "dumb")
        assert "Exit codes" in call("--help")


SCRIPT = """
import json, sys
given = json.load(sys.stdin)
temperature, label = float(sys.argv[1]), sys.argv[2]
assert given["temperature"] == temperature and given["the solvent"] == label
print("warming up")
if temperature > 80:
    sys.exit("too hot; $(touch never)")
print(json.dumps({"yield": temperature, "cost": 2.0, "spent": 1.5}))
"""


def test_run_a_program_for_every_trial(file: Path, tmp_path: Path) -> None:
    script = tmp_path / "sim.py"
    script.write_text(SCRIPT)
    command = f"'{sys.executable}' '{script}' {{temperature:.1f}} {{the solvent}}"
    (best,) = data("run", file, command, "--workers", 2)
    trials = data("table", file)
    done = [t for t in trials if t["state"] == "completed"]
    assert len(trials) == 6 and best["outcomes"]["yield"] == max(
        t["outcomes"]["yield"] for t in done
    )
    assert all(t["spent"] == 1.5 for t in done)
    for t in trials:
        if t["state"] != "completed":
            assert "RuntimeError: exit code 1: too hot; $(touch never)" in t["reason"]
    assert "got {temp}" in call("run", file, "sim {temp}", code=1)
    assert "expected a command line" in call("run", file, "sim 'a", code=1)


def test_programs_that_hang_die_or_say_nothing(tmp_path: Path) -> None:
    point = {"x": 0.5}
    c = bl.Campaign.create(
        None, bl.Space([bl.Real("x", 0, 1)]), ["maximize y"], seed=0, strategy="sobol", budget=4
    )
    say = program(f"'{sys.executable}' -c 'print(1); print({{x}})'", ("x",))
    assert say(point) == 0.5
    with pytest.raises(
        ValueError, match="expected a number or a JSON object on the last line, got 'n"
    ):
        program("true", ("x",))(point)
    die = program(f"'{sys.executable}' -c 'import os; os.kill(os.getpid(), 9)'", ("x",))
    bl.run(c, die, budget=1, retries=2)
    assert c[0].attempt == 2 and c[0].reason == "the program was killed by signal 9, 3 times"
    bl.run(c, program("sleep 30", ("x",), 0.1), budget=2, retries=0)
    assert c[1].reason == "no result within 0.1 s"
    bl.run(c, program("no-such-program", ("x",)), budget=3)
    assert "no-such-program: No such file" in str(c[2].reason)


def test_as_a_program(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bolearn", "ask", str(file), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)[0]["trial"] == 0 and not done.stderr
