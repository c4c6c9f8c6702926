"""Writes docs/from_bolearn_to_botorch.md from its table: python docs/botorch_page.py"""

import tomllib
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("from_bolearn_to_botorch.toml")
PAGE = TABLE.with_suffix(".md")
HEAD = """# From bolearn to BoTorch

Two libraries that disagree do so by a documented default, seldom by chance. Each row below is run
by the test suite: both expressions are evaluated with the pinned BoTorch, for `X`, `Y`, `bounds` in
user units, a fitted `model` of bolearn and `gp`, its copy `bolearn.bridge.single_task_gp(model)`,
and the difference that the last column names is computed.

Installing: `pip install "bolearn[bridge]"`, or `requirements-bridge.txt` for the tested versions.
"""


def sections() -> list[dict[str, Any]]:
    """The table."""
    return list(tomllib.loads(TABLE.read_text(encoding="utf-8"))["section"])


def page() -> str:
    """The page that belongs to the table."""
    parts = [HEAD]
    for section in sections():
        parts.append(f"\n## {section['title']}\n\n| bolearn | BoTorch | to know |\n|---|---|---|\n")
        for row in section["row"]:
            parts.append(f"| `{row['ours']}` | `{row['theirs']}` | {row['note']} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
