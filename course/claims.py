"""The claims of a notebook, and the table of changes under which each of them must be false.

Beside ``sources/part_3/tutorial_04_name.py`` stands ``tutorial_04_name.changes.toml``::

    [[change]]
    claim = "the area under PI is EI"          # the text of the claim that must raise
    old = "torch.trapezoid(chances, xi)"       # occurs exactly once in the notebook's code
    new = "1.001 * torch.trapezoid(chances, xi)"

``course/mutate.py`` runs the table and stores, beside it, digests of what it has seen in
``tutorial_04_name.changes.json``. Here is what can be said without running anything.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course.digests import digest_of_code
from course.notebooks import code_cells, render
from course.project import CourseError, Tutorial
from course.slices import Notebook

NEEDED = {"identity": 0, "monte-carlo": 2, "paired": 2}  # changes for a claim; others: 1
RANDOM = ("monte-carlo", "paired")
MASTER_SEEDS = (1, 2, 3)
KEYS = {"change": {"claim", "old", "new", "cell", "why"}, "fixed": {"text", "why"}}


@dataclass(frozen=True)
class Site:
    """One ``teach.claim(...)`` in the notebook's code; its text may be made by an f-string."""

    cell: int
    label: str
    pattern: str
    kind: str

    def makes(self, text: str) -> bool:
        """Whether this call can make a claim of the given text."""
        return re.fullmatch(self.pattern, text, re.DOTALL) is not None


@dataclass(frozen=True)
class Change:
    """One entry of the table: a cell's new code, and the claims that must then be false."""

    claims: tuple[str, ...]
    old: str
    new: str
    cell: int
    code: str
    sites: tuple[Site, ...]

    @property
    def label(self) -> str:
        """A line that tells which change it is."""
        return f"{_short(self.old)} -> {_short(self.new) or '(nothing)'}"


@dataclass
class Table:
    """A notebook with its claims and its changes, and the digests of what was seen to be right."""

    tutorial: Tutorial
    cells: list[str]
    sites: list[Site]
    changes: list[Change] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seen: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.notebook = Notebook(self.cells)
        self._digests = [digest_of_code(text) for text in self.cells]

    def random_sites(self) -> list[Site]:
        """The claims that must be true under other master seeds as well."""
        return [site for site in self.sites if site.kind in RANDOM]

    def cells_for(self, change: Change) -> tuple[list[int], list[int]]:
        """The cells to run before the changed one, and those from it to the claims."""
        targets = [change.cell, *(site.cell for site in change.sites)]
        changed = self.notebook.with_cell(change.cell, change.code)
        cells = sorted({*self.notebook.needed(targets), *changed.needed(targets)})
        return [i for i in cells if i < change.cell], [i for i in cells if i >= change.cell]

    def key(self, change: Change) -> str:
        """The change in few words, as the stored digests name it."""
        return " | ".join([*change.claims, change.old, change.new])

    def digest(self, change: Change) -> str:
        """A digest of the change and of all cells that it needs; comments do not count."""
        before, after = self.cells_for(change)
        return self._digest_of([*before, *after], self.key(change))

    def seed_digest(self, site: Site) -> str:
        """A digest of the cells that a claim needs, for the runs with other master seeds."""
        return self._digest_of(self.notebook.needed([site.cell]), *self.fixed)

    def stale_changes(self) -> list[Change]:
        """The changes that were never seen to make their claims false as they now are."""
        seen = self.seen.get("changes", {})
        return [c for c in self.changes if seen.get(self.key(c)) != self.digest(c)]

    def stale_sites(self) -> list[Site]:
        """The random claims that were never seen true under other master seeds as they now are."""
        seen = self.seen.get("seeds", {})
        return [s for s in self.random_sites() if seen.get(s.label) != self.seed_digest(s)]

    def missing(self) -> list[tuple[Site, int]]:
        """Claims with too few changes, and how many there are."""
        found = []
        for site in self.sites:
            count = sum(site in change.sites for change in self.changes)
            if count < NEEDED.get(site.kind, 1):
                found.append((site, count))
        return found

    def store(self, changes: Sequence[Change], sites: Sequence[Site]) -> None:
        """Writes down what was seen to be right now; forgets what is no longer there."""
        was = self.seen
        done = {self.key(c): self.digest(c) for c in changes}
        done_sites = {s.label: self.seed_digest(s) for s in sites}
        keys, labels = {self.key(c) for c in self.changes}, {s.label for s in self.random_sites()}
        kept = {k: v for k, v in was.get("changes", {}).items() if k in keys} | done
        true = {k: v for k, v in was.get("seeds", {}).items() if k in labels} | done_sites
        self.seen = {"changes": dict(sorted(kept.items())), "seeds": dict(sorted(true.items()))}
        text = json.dumps(self.seen, indent=1, ensure_ascii=False) + "\n"
        path, part = seen_path(self.tutorial), seen_path(self.tutorial).with_suffix(".part")
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)

    def _digest_of(self, cells: Sequence[int], *texts: str) -> str:
        listed = [self._digests[i] for i in cells]
        return hashlib.sha256("\0".join([*listed, *texts]).encode()).hexdigest()[:16]


def changes_path(tutorial: Tutorial) -> Path:
    """The table of changes beside a source."""
    return tutorial.source.with_suffix(".changes.toml")


def seen_path(tutorial: Tutorial) -> Path:
    """What the last run of the table has seen."""
    return tutorial.source.with_suffix(".changes.json")


def read(tutorial: Tutorial) -> Table:
    """The table of a tutorial; empty if there is no file.

    What is wrong with single entries is listed in `Table.problems`, each with what mends it.

    Raises:
        CourseError: the file is no TOML, or the notebook's code does not parse.
    """
    cells = [cell.source for cell in code_cells(render(tutorial, "worked"))]
    try:
        sites = [site for i, text in enumerate(cells) for site in _sites(i, text)]
        table = Table(tutorial, cells, sites)
    except SyntaxError as error:
        raise CourseError(f"the notebook's code does not parse: {error}") from error
    path = changes_path(tutorial)
    if not path.is_file():
        return table
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path.name}: {error}") from error
    if unknown := sorted(set(data) - set(KEYS)):
        table.problems.append(
            f"unknown table {unknown[0]}; there are [[change]] and [[fixed]] (see contributing.md)"
        )
    for kind in KEYS:
        for number, entry in enumerate(data.get(kind, []), 1):
            try:
                _add(table, kind, entry)
            except CourseError as error:
                table.problems.append(f"{kind} {number}: {error}")
    if seen_path(tutorial).is_file():
        table.seen = _stored(seen_path(tutorial))
    return table


def _stored(path: Path) -> dict[str, dict[str, str]]:
    """The digests of the last run; what cannot be read was never seen."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # two branches met in this file: the next run writes it anew
        return {}
    return found if isinstance(found, dict) else {}


def _add(table: Table, kind: str, entry: dict[str, Any]) -> None:
    if unknown := sorted(set(entry) - KEYS[kind]):
        raise CourseError(f"unknown key {unknown[0]!r}; there are {', '.join(sorted(KEYS[kind]))}")
    if kind == "fixed":
        table.fixed.append(text := _text(entry, "text"))
        _place(table.cells, text, None)
        return
    given = entry.get("claim")
    claims = tuple(given) if isinstance(given, list) else (_text(entry, "claim"),)
    old, new = _text(entry, "old"), _text(entry, "new", empty=True)
    if old == new:
        raise CourseError("old and new are the same text")
    cell = _place(table.cells, old, entry.get("cell"))
    code = table.cells[cell].replace(old, new)
    try:
        ast.parse(code)
    except SyntaxError as error:
        raise CourseError(f"the changed cell does not parse: {error}") from error
    sites = [_site(table.sites, claim) for claim in claims]
    for site in sites:
        if site.cell < cell:
            raise CourseError(f"the claim {site.label!r} stands before the changed cell")
    table.changes.append(Change(claims, old, new, cell, code, tuple(sites)))


def _text(entry: dict[str, Any], key: str, *, empty: bool = False) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not (value.strip() or empty):
        raise CourseError(f'expected {key} = "some text", got {value!r}')
    return value


def _place(cells: Sequence[str], text: str, within: str | None) -> int:
    """The one cell that holds a text once, among those that hold ``within``."""
    found = [i for i, cell in enumerate(cells) if text in cell and (within or "") in cell]
    count = sum(cells[i].count(text) for i in found)
    if count == 1:
        return found[0]
    if not count:
        raise CourseError(f"{_short(text)!r} occurs in no code cell{' with that' * bool(within)}")
    raise CourseError(
        f"{_short(text)!r} occurs {count} times; take more of the line, or name its cell by a text "
        'that only this cell has: cell = "..."'
    )


def _site(sites: Sequence[Site], claim: str) -> Site:
    """The call that makes a claim; a literal text before one with gaps, which may fit anything."""
    found = [site for site in sites if site.makes(claim)]
    if not found:
        raise CourseError(f"no claim says {claim!r}")
    return max(found, key=lambda site: len(site.pattern.replace("(.*)", "")))


def _sites(cell: int, text: str) -> Iterator[Site]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and _is_claim(node.func):
            named = {keyword.arg: keyword.value for keyword in node.keywords}
            said = node.args[0] if node.args else named.get("text")
            kind = named.get("kind", ast.Constant("identity"))
            yield Site(cell, *_pattern(said), ast.literal_eval(kind) if _literal(kind) else "?")


def _is_claim(function: ast.expr) -> bool:
    """``teach.claim``, and nothing else of that name."""
    return ast.unparse(function) in ("teach.claim", "bl.teach.claim", "bolearn.teach.claim")


def _literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _pattern(node: ast.expr | None) -> tuple[str, str]:
    """A claim's text as people read it, and as a pattern; what an f-string fills in is open."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value, re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        labels, patterns = [], []
        for part in node.values:
            constant = isinstance(part, ast.Constant)
            labels.append(str(part.value) if isinstance(part, ast.Constant) else ast.unparse(part))
            patterns.append(re.escape(labels[-1]) if constant else "(.*)")
        label = "".join(
            text if isinstance(part, ast.Constant) else "{" + _inside(part) + "}"
            for text, part in zip(labels, node.values, strict=True)
        )
        return label, "".join(patterns)
    return (ast.unparse(node) if node is not None else "?"), "(.*)"


def _inside(part: ast.expr) -> str:
    return ast.unparse(part.value) if isinstance(part, ast.FormattedValue) else ast.unparse(part)


def _short(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."
