"""The page about extensions runs from top to bottom, and what it mentions exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "your_own.md"


def test_the_page_runs_from_top_to_bottom() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 8
    scope: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), scope)


def test_the_package_page_leads_to_it() -> None:
    text = (ROOT / "bolearn" / "README.md").read_text(encoding="utf-8")
    assert "](../docs/your_own.md)" in text
