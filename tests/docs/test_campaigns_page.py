"""The page on campaigns: its code runs from top to bottom and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "campaigns.md"


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 8
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for block in blocks:
        exec(compile(block, "campaigns.md", "exec"), scope)
    said = capsys.readouterr().out
    assert "7 trials changed; 0 the second time" in said
    assert "Sobol design: 1 trials told" in said and "noisy expected improvement" in said
    assert "the best that keeps all limits went from" in said and "{'n': 7} 0.0 8" in said
    assert "What matters" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "expected yield:" in said and "held-out predictions" in said and "stop? None" in said
    c = scope["bl"].Campaign.open("reaction_copy.db")
    assert (c[1].parameters["cycles"], c[2].rejected, c[3].state) == (3, True, "failed")
    assert c[4].parameters["temperature"] == 71.3 != c[4].asked["temperature"]
    assert len({t.asked["temperature"] for t in c.trials[1:9]}) == 1
    assert c[9].values == {"yield": 63.0, "cost": 3.3}
    assert "pH" in c.trials[-1].parameters and "pH" not in c[1].parameters


def test_the_page_is_linked() -> None:
    assert "](docs/campaigns.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](../docs/campaigns.md)" in (ROOT / "bolearn" / "README.md").read_text(encoding="utf-8")
