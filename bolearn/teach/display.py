"""One small card, as text and as HTML: how the kit talks to a reader in any front end.

Text and HTML say the same words. Colours and fonts are inherited, so a card is readable on a light
and on a dark page; a verdict is always a symbol *and* a word.
"""

from __future__ import annotations

import html
import importlib
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BOX = (
    "border:1px solid currentColor;border-left-width:0.4em;border-radius:0.3em;"
    "padding:0.5em 0.9em;margin:0.4em 0;max-width:60em;color:inherit;background:none"
)
PRE = "color:inherit;background:none;white-space:pre-wrap;margin:0;font-family:monospace"
LIST = "display:grid;grid-template-columns:max-content 1fr;gap:0.2em 1em;margin:0.4em 0 0"
CELL = "text-align:left;vertical-align:top;padding:0.1em 1em 0.1em 0"


def shell() -> Any | None:
    """The running IPython shell, or None in plain Python; never imports IPython itself.

    Example:
        >>> shell() is None
        True
    """
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None else None


def publish(data: Mapping[str, str], metadata: Mapping[str, Any] | None = None) -> None:
    """Send one output to the front end, or print its text in plain Python."""
    if shell() is None:
        print(data["text/plain"])
        return
    ipython = importlib.import_module("IPython.display")
    ipython.publish_display_data(dict(data), metadata=dict(metadata or {}))


class Shown(ABC):
    """Something with a text and an HTML form, which shows itself once.

    `show` publishes it at once. A notebook also echoes the value of a cell's last line: that echo
    is suppressed in the cell that has shown the value already.
    """

    _shown_in: int | None = None

    @abstractmethod
    def text(self) -> str:
        """The plain-text form."""

    @abstractmethod
    def _repr_html_(self) -> str: ...

    def __str__(self) -> str:
        return self.text()

    def forms(self) -> dict[str, str]:
        """Every form, by media type."""
        return {"text/plain": self.text(), "text/html": self._repr_html_()}

    def show(self) -> None:
        """Publish all forms now."""
        self.mark_shown()
        publish(self.forms())

    def mark_shown(self) -> None:
        """Note that the running cell has shown this already."""
        running = shell()
        self._shown_in = None if running is None else running.execution_count

    def _ipython_display_(self) -> None:
        running = shell()
        if running is None or running.execution_count != self._shown_in:
            self.show()


@dataclass(frozen=True)
class Row:
    """One labelled line of a card; `code` keeps line breaks and a fixed-width font."""

    label: str
    value: str
    code: bool = False


def card_text(headline: str, rows: Sequence[Row]) -> str:
    """A headline, then one aligned line for each row.

    Example:
        >>> print(card_text("✓ passed", [Row("seed", "0"), Row("input", "x = 1", code=True)]))
        ✓ passed
          seed:  0
          input: x = 1
    """
    width = max((len(row.label) for row in rows), default=0) + 1
    lines = [headline]
    for row in rows:
        start = f"  {row.label + ':':<{width}} "
        body = row.value.splitlines() if row.code else textwrap.wrap(row.value, 96 - len(start))
        indented = [" " * len(start) + line for line in body]
        lines.append((start + "\n".join(indented).lstrip()).rstrip())
    return "\n".join(lines)


def card_html(headline: str, rows: Sequence[Row]) -> str:
    """The same card as HTML, announced by screen readers as a status."""
    cells = []
    for row in rows:
        value = html.escape(row.value)
        shown = f'<pre style="{PRE}">{value}</pre>' if row.code else value
        cells.append(
            f'<dt style="font-weight:bold;white-space:nowrap">{html.escape(row.label)}</dt>'
            f'<dd style="margin:0">{shown}</dd>'
        )
    listed = f'<dl style="{LIST}">{"".join(cells)}</dl>' if rows else ""
    title = f"<strong>{html.escape(headline)}</strong>"
    return f'<div role="status" style="{BOX}">{title}{listed}</div>'


@dataclass
class Card(Shown):
    """A headline with labelled lines."""

    headline: str
    rows: Sequence[Row] = ()

    def text(self) -> str:
        return card_text(self.headline, self.rows)

    def _repr_html_(self) -> str:
        return card_html(self.headline, self.rows)


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns under a ruled header.

    Example:
        >>> print(table_text(["n", "claim"], [["1", "it holds"]]))
        n  claim
        -  --------
        1  it holds
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(entry) for entry in column) for column in columns]
    ruled = [list(header), ["-" * width for width in widths], *[list(row) for row in rows]]
    return "\n".join(
        "  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)).rstrip()
        for line in ruled
    )


def table_html(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a caption and header cells; everything else is inherited from the page."""
    head = "".join(f'<th scope="col" style="{CELL}">{html.escape(entry)}</th>' for entry in header)
    body = "".join(
        f'<tr><th scope="row" style="{CELL}">{html.escape(row[0])}</th>'
        + "".join(f'<td style="{CELL}">{html.escape(entry)}</td>' for entry in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<table style="color:inherit;background:none"><caption style="text-align:left">'
        f"{html.escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
