"""The page on spaces: its code runs from top to bottom and does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "spaces.md"


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 5
    scope: dict = {}
    for block in blocks:
        exec(compile(block, "spaces.md", "exec"), scope)
    space, said = scope["space"], capsys.readouterr().out
    assert space.is_legal(scope["X"]).all() and len(scope["X"]) == 12
    assert {p["cycles"] for p in space.decode(scope["X"])[8:]} == {2}
    assert "did you mean 'THF'" in said and "the nearest is 20.5" in said
    assert "temperature (°C)" in said and "subject to A + B <= 1" in said
    assert space.is_legal(scope["result"].X["LogEI"]).all()
    assert scope["table"].optimal_value == 63.2


def test_the_page_is_linked() -> None:
    assert "](docs/spaces.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](../docs/spaces.md)" in (ROOT / "bolearn" / "README.md").read_text(encoding="utf-8")
