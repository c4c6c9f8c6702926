"""The line that says how far a study is."""

import re
from typing import Any

import pytest
from torch import Tensor

from bolearn.problems import Branin
from bolearn.seeds import Seed
from bolearn.strategies import StudyData, random, sobol
from bolearn.studies.loop import study


def test_progress_names_method_round_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    study(Branin(), {"random": random, "Sobol": sobol}, 2, 3, replicates=2, progress=True)
    captured = capsys.readouterr()
    first, second, nothing = captured.err.split("\n")
    assert captured.out == "" and nothing == ""
    looks = [look.rstrip() for look in first.split("\r")[1:]]
    bar = r"random \(1 of 2\) \[#{%d}\.{%d}\] %d/3 rounds, 0:0\d elapsed"
    assert re.fullmatch(bar % (6, 14, 1) + r", 0:\d\d left", looks[0])
    assert re.fullmatch(bar % (20, 0, 3), looks[-1])
    assert "Sobol (2 of 2)" in second


def test_progress_tells_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    class Slow:
        """Half a minute for each round, by a clock of our own."""

        seconds = 0.0

        def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
            Slow.seconds += 30.0
            return random(data, bounds, q, seed)

    monkeypatch.setattr("bolearn.studies.progress.time.monotonic", lambda: Slow.seconds)
    study(Branin(), {"slow": Slow()}, n_init=2, n_iter=130, replicates=1, progress=True)
    looks = [look.rstrip() for look in capsys.readouterr().err.split("\r")]
    assert any(look.endswith("11/130 rounds, 5:00 elapsed, 59:30 left") for look in looks)
    assert looks[-1].endswith("130/130 rounds, 1:04:30 elapsed")


def test_progress_is_off_unless_someone_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> str:
        study(Branin(), {"random": random}, n_init=2, n_iter=3, replicates=2)
        return capsys.readouterr().err

    assert run() == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("CI", "true")
    assert run() == ""
    monkeypatch.delenv("CI")
    assert "3/3 rounds" in run()
