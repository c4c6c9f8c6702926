"""Every benchmark still runs, with settings that take about a second, and prints its table."""

import importlib
import json
import shlex
from pathlib import Path

import pytest

import benchmarks

SMALL = {
    "fit": "--sets 1 --repeats 1 --largest 10",
    "loop": "--seeds 1 --iterations 1",
    "acquisitions": "--rounds 2 --seeds 1 --only LogEI",
    "optimise": "--cases 1 --only 'd=20 q=1'",
    "mixed": "--cases 1",
    "composite": "--sets 1 --batches 1 --replicates 1 --kernels 1",
    "paths": "--repeats 1 --cases 1",
    "study": "--seeds 2 --blocks 1 --iterations 1",
    "replicates": "--sizes 2 --repeats 1 --iterations 1",
    "quality": "--seeds 1 --problems Branin --rounds 1",
    "incumbent": "--seeds 2 --problems Branin --levels 0.3 --rounds 1",
    "noise": "--seeds 2 --tasks 'Branin;diabetes, n = 20' --rounds 1 --rules 'botorch;two ends'",
    "saas": "--datasets 1 --draws 20",
    "lookahead": "--rounds 1 --calls 1 --cases 1 --sizes 1 --fantasies 4",
    "fronts": "--rounds 1 --cases 1 --replicates 2 --seeds 1 --iterations 1 --front 12 --raw 8 "
    "--restarts 1 --points 6 --plain",
    "imports": "--repeats 1",
}
PRINTING_ONLY = ("imports", "__main__")
HELPERS = ("__init__", "arms")


def test_none_is_forgotten() -> None:
    files = {path.stem for path in Path(benchmarks.__file__).parent.glob("*.py")}
    assert files - set(HELPERS) - {"__main__"} == set(SMALL)


@pytest.mark.parametrize("name", [*SMALL, "__main__"])
def test_a_benchmark_runs_and_reports_what_it_stored(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(Path(benchmarks.__file__).parents[1])
    out = tmp_path / "out.json"
    place = [] if name in PRINTING_ONLY else ["--out", str(out)]
    module = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr("sys.argv", [name, *shlex.split(SMALL.get(name, "")), *place])
    module.main()
    table = capsys.readouterr().out
    assert len(table.splitlines()) >= 2 and any(letter.isdigit() for letter in table)
    if place:
        assert json.loads(out.read_text(encoding="utf-8"))
        monkeypatch.setattr("sys.argv", [name, "--report", *place])
        module.main()
        again = capsys.readouterr().out
        assert again.strip() and again.splitlines()[-1] in table
