"""Sheets for the bench: written, filled in by hand or in Excel, and read back whole or not at all.

Excel writes CSV with commas or semicolons, decimal points or commas, with a byte-order mark or in
an old code page, after the country it thinks it is in. A cell is read in the one way that makes
sense of it; one that could mean two numbers is an error with its row and column, like every other.

Taught in part_5/tutorial_04.
"""

import csv
import io
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BolearnError, DataError, StorageError
from ..space.parameters import Categorical, Integer, Parameter, Value, close_to
from ..space.space import Space
from . import changes
from .trial import Trial
from .values import Measured, measured
from .writer import Snapshot

_ID = ("trial", "id")
_SAME = 1e-9  # relative: Excel keeps 15 digits
_SPACES = dict.fromkeys(map(ord, "\u00a0\u202f\u2009\u2007'"), None)
_TRUE = ("true", "wahr", "vrai", "verdadero", "vero", "1")
_FALSE = ("false", "falsch", "faux", "falso", "0")
Change = tuple[Trial, str, dict[str, Any]]


@dataclass(frozen=True)
class Sheet:
    """The cells of a sheet.

    Attributes:
        name: of the file.
        heads: the first row.
        rows: the others, with their numbers as a spreadsheet counts them.
        comma: whether a decimal comma is to be expected.
    """

    name: str
    heads: list[str]
    rows: list[tuple[int, list[Any]]]
    comma: bool


# ---------------------------------------------------------------- writing


def write(view: Snapshot, path: object, decimal: str, outcomes: Sequence[str]) -> Path:
    """All trials as CSV or XLSX.

    Raises:
        DataError: a path or a decimal sign that cannot be used.
        StorageError: it cannot be written.
    """
    if decimal not in (".", ","):
        raise DataError(f"decimal: expected '.' or ',', got {decimal!r}")
    target, rows = _path(path), _cells(view, outcomes)
    try:
        if target.suffix.lower() == ".xlsx":
            _write_xlsx(target, rows)
        else:
            text = io.StringIO()
            writer = csv.writer(text, delimiter=";" if decimal == "," else ",")
            for row in rows:
                writer.writerow([_text(cell, decimal) for cell in row])
            part = target.with_name(f"{target.name}.part")
            part.write_bytes(text.getvalue().encode("utf-8-sig"))  # the mark that Excel looks for
            os.replace(part, target)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error}; is it open in Excel?") from error
    return target


def _cells(view: Snapshot, outcomes: Sequence[str]) -> list[list[Any]]:
    """The sheet: a head, and a row for each trial."""
    space = view.revision.space
    units = [getattr(p, "unit", None) for p in space]
    heads = [f"{p.name} ({u})" if u else p.name for p, u in zip(space, units, strict=True)]
    rows: list[list[Any]] = [["trial", "state", *heads, *outcomes, "spent", "failed", "note"]]
    for i in sorted(view.trials):
        t = view.trials[i]
        found = t.parameters
        values = [_outcome(t.measured.get(name)) for name in outcomes]
        failed = t.reason if t.state == "failed" else None
        own = [found.get(name) for name in space.names]
        rows.append([t.id, t.state, *own, *values, t.spent, failed, t.note])
    return rows


def _outcome(m: Measured | None) -> Any:
    """A cell: a number, "62 | 64" for repeats, "62.5 ± 0.5" for a standard error."""
    if m is None:
        return None
    if m.sem is not None:
        return (m.values[0], m.sem)
    return m.values[0] if len(m.values) == 1 else list(m.values)


def _text(cell: Any, decimal: str) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, int | float):
        return repr(cell).replace(".", decimal)
    if isinstance(cell, tuple):
        return " ± ".join(_text(c, decimal) for c in cell)
    if isinstance(cell, list):
        return " | ".join(_text(c, decimal) for c in cell)
    return f"'{cell}" if cell[:1] in "=+-@" else str(cell)  # no formulas from notes


def _write_xlsx(target: Path, rows: list[list[Any]]) -> None:
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append([_text(c, ".") if isinstance(c, list | tuple | str) else c for c in row])
    sheet.freeze_panes = "C2"
    part = target.with_name(f"{target.name}.part")
    book.save(part)
    os.replace(part, target)


# ---------------------------------------------------------------- reading


def read(path: object) -> Sheet:
    """The cells of a file.

    Raises:
        StorageError: no such file, or no sheet.
        DataError: a head that says nothing.
    """
    source = _path(path)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise StorageError(f"{source}: cannot be read: {error}") from error
    if content[:4] == b"PK\x03\x04":
        rows, comma = _read_xlsx(source), False
    elif content[:4] == b"\xd0\xcf\x11\xe0":
        raise StorageError(f"{source}: an old Excel file; save it as .xlsx or as CSV")
    else:
        rows, comma = _read_csv(source, content)
    numbered = [(i, row) for i, row in enumerate(rows, 1) if any(not _blank(c) for c in row)]
    if not numbered:
        raise DataError(f"{source.name}: expected a sheet with a row of names, got an empty one")
    heads = [str(c or "").strip() for c in numbered[0][1]]
    return Sheet(source.name, heads, numbered[1:], comma)


def _path(path: object) -> Path:
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise DataError(f"path: expected the path of a file, got {path!r}")
    return Path(os.fsdecode(path))


def _read_csv(source: Path, content: bytes) -> tuple[list[list[Any]], bool]:
    """Rows of text, and whether decimal commas are to be expected."""
    text = _decoded(source, content)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if first.lower().startswith("sep="):
        mark, text = first[4:5], text.split(first, 1)[1].lstrip("\r\n")
    else:
        counts = {mark: _outside_quotes(first, mark) for mark in ";\t,"}
        mark = max(counts, key=lambda m: counts[m])
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True))
    except csv.Error as error:
        raise DataError(f"{source.name}: no CSV: {error}") from error
    return [list(row) for row in rows], mark != ","


def _outside_quotes(line: str, mark: str) -> int:
    return sum(part.count(mark) for part in line.split('"')[::2])


def _decoded(source: Path, content: bytes) -> str:
    """Text from the encodings that Excel writes."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    if "\x00" in text:
        raise StorageError(f"{source}: expected a sheet, got a file with NUL characters")
    return text


def _read_xlsx(source: Path) -> list[list[Any]]:
    """The cells of the first sheet, formulas by their last values."""
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise StorageError(
            "sheets: .xlsx needs openpyxl; pip install 'bolearn[campaign]'"
        ) from error
    try:
        book = load_workbook(source, data_only=True)
        return [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise StorageError(f"{source}: no Excel file, or a damaged one: {error}") from error


# ---------------------------------------------------------------- what a sheet changes


def changed(
    view: Snapshot, sheet: Sheet, outcomes: Sequence[str], correct: bool, now_us: int
) -> list[Change]:
    """The trials that a sheet changes, with what the history says of it.

    Raises:
        DataError: every cell that cannot be used.
    """
    columns = _columns(view.revision.space, sheet, outcomes)
    bad: list[str] = []
    found: list[Change] = []
    seen: dict[int, int] = {}
    for number, cells in sheet.rows:
        row = _Row(view, sheet, columns, number, cells, bad)
        trial = row.trial()
        if trial is None:
            continue
        if trial.id in seen:
            row.complain("trial", f"trial {trial.id} stands in row {seen[trial.id]}, too")
            continue
        seen[trial.id] = number
        change = row.change(trial, outcomes, correct, now_us)
        if change is not None:
            found.append(change)
    if bad:
        shown = "".join(f"\n  {line}" for line in bad[:50])
        more = f"\n  and {len(bad) - 50} more" if len(bad) > 50 else ""
        raise DataError(
            f"{sheet.name}: nothing was stored, {len(bad)} cells cannot be used:{shown}{more}"
        )
    return found


def _columns(space: Space, sheet: Sheet, outcomes: Sequence[str]) -> dict[str, int]:
    """Which column holds what; columns of one's own are passed over.

    Raises:
        DataError: no column of trial numbers, or one name twice.
    """
    known = {name.casefold(): name for name in ("state", "spent", "failed", "note", *outcomes)}
    for p in space:
        unit = getattr(p, "unit", None)
        known[p.name.casefold()] = p.name
        if unit:
            known[f"{p.name} ({unit})".casefold()] = p.name
    known |= {word: "trial" for word in _ID}
    columns: dict[str, int] = {}
    for i, head in enumerate(sheet.heads):
        name = known.get(re.sub(r"\s+", " ", head).casefold())
        if name is None:
            continue
        if name in columns:
            raise DataError(
                f"{sheet.name}: expected each column once, got {head!r} in columns "
                f"{_letters(columns[name])} and {_letters(i)}"
            )
        columns[name] = i
    if "trial" not in columns:
        raise DataError(
            f"{sheet.name}: expected a column 'trial' with the numbers of the trials, got "
            f"{', '.join(map(repr, sheet.heads[:8]))}; begin with a sheet that to_csv wrote"
        )
    return columns


class _Row:
    """One row, and its complaints."""

    def __init__(
        self,
        view: Snapshot,
        sheet: Sheet,
        columns: Mapping[str, int],
        number: int,
        cells: list[Any],
        bad: list[str],
    ) -> None:
        self.view, self.sheet, self.columns, self.number = view, sheet, columns, number
        self.cells, self.bad = cells, bad

    def cell(self, name: str) -> Any:
        i = self.columns.get(name)
        found = None if i is None or i >= len(self.cells) else self.cells[i]
        return None if _blank(found) else found

    def complain(self, name: str, what: str) -> None:
        self.bad.append(
            f"row {self.number}, column {_letters(self.columns[name])} ({name}): {what}"
        )

    def reading(self, name: str, read: Callable[[], Any]) -> Any:
        """A cell as it is meant; None with a complaint if it cannot be."""
        try:
            return read()
        except (BolearnError, ValueError) as error:
            self.complain(name, str(error))
            return None

    def trial(self) -> Trial | None:
        """The trial that the row is about."""
        cell = self.cell("trial")
        if cell is None:
            if any(self.cell(name) is not None for name in self.columns):
                self.complain("trial", "expected the number of a trial, got an empty cell")
            return None
        number = self.reading("trial", lambda: _number(cell, self.sheet.comma))
        if number is None:
            return None
        whole = int(number) if number == int(number) else number
        return self.reading("trial", lambda: changes.find(self.view, whole))  # type: ignore[no-any-return]

    def change(
        self, trial: Trial, outcomes: Sequence[str], correct: bool, now_us: int
    ) -> Change | None:
        """What the row changes of its trial; None if nothing."""
        before, comma = len(self.bad), self.sheet.comma
        told: dict[str, Measured] = {}
        for name in outcomes:
            if (cell := self.cell(name)) is not None:
                m = self.reading(name, lambda n=name, c=cell: _measured(n, c, comma))  # type: ignore[misc]
                old = trial.measured.get(name)
                if m is not None and not (old is not None and _alike(m, old)):
                    told[name] = m
        spent = None
        if (cell := self.cell("spent")) is not None:
            spent = self.reading("spent", lambda: _positive(_number(cell, comma)))
            if spent is not None and trial.spent is not None and _near(spent, trial.spent):
                spent = None
        used = self._used(trial)
        failed, note = self.cell("failed"), self.cell("note")
        note = None if note is None or _unquoted(note) in (trial.note or "") else _unquoted(note)
        if len(self.bad) > before:
            return None
        if failed is not None and trial.state != "failed":
            if told:
                self.complain("failed", "expected either values or a failure, got both")
                return None
            reason = _unquoted(failed)
            made = self.reading("failed", lambda: changes.failed(trial, reason, now_us))
            return None if made is None else (made, "fail", {"reason": reason})
        if not told and spent is None and used is None and note is None:
            return None
        goals = self.view.revision.goals
        name = next(iter(told), "trial")
        result = self.reading(
            name,
            lambda: changes.told(trial, told, used, spent, note, correct, goals, now_us),
        )
        if result is None or result[0] == trial:
            return None
        made, details = result
        return made, "correct" if details.get("before") else "tell", {**details, "sheet": True}

    def _used(self, trial: Trial) -> dict[str, Value] | None:
        """Parameters that differ from those of the trial."""
        space = self.view.revision.space
        now, other = trial.parameters, {}
        for p in space:
            cell = self.cell(p.name)
            if cell is None:
                continue
            value = self.reading(p.name, lambda p=p, c=cell: _value(p, c, self.sheet.comma))  # type: ignore[misc]
            if value is None or p.name not in now:
                continue
            old = now[p.name]
            number = isinstance(old, int | float) and isinstance(value, int | float)
            if value != old and not (number and _near(float(value), float(old))):
                other[p.name] = value
        if not other:
            return None
        own = self.view.revisions[trial.revision].space
        first = next(iter(other))
        found = self.reading(first, lambda: changes.used(trial, other, own))
        return found  # type: ignore[no-any-return]


def _value(p: Parameter, cell: Any, comma: bool) -> Value:
    """A cell as the value of a parameter."""
    if not isinstance(p, Categorical):
        number = _number(cell, comma)
        if isinstance(p, Integer) and number == int(number):
            number = int(number)
        wrong = p.complaint(number, True)
        if wrong:
            raise DataError(wrong.removeprefix(f"{p.name}: "))
        return number
    text = _unquoted(cell).strip()
    for label in p.values:
        if isinstance(label, bool):
            if text.casefold() in (_TRUE if label else _FALSE):
                return label
        elif isinstance(label, str):
            if text.casefold() == label.casefold():
                return label
        elif not isinstance(cell, bool) and _is(cell, label, comma):
            return label
    shown = ", ".join(map(repr, p.values[:8]))
    raise DataError(f"expected one of {shown}, got {text!r}{close_to(text, p.values)}")


def _is(cell: Any, label: float, comma: bool) -> bool:
    try:
        return _near(_number(cell, comma), float(label))
    except DataError:
        return False


def _measured(name: str, cell: Any, comma: bool) -> Measured:
    """A cell as an outcome: a number, "62 | 64", or "62.5 ± 0.5"."""
    if isinstance(cell, str) and "±" in cell:
        mean, sem = (_number(part, comma) for part in cell.split("±", 1))
        return measured(name, (mean, sem))
    if isinstance(cell, str) and "|" in cell:
        return measured(name, [_number(part, comma) for part in cell.split("|")])
    return measured(name, _number(cell, comma))


def _number(cell: Any, comma: bool) -> int | float:
    """A number as people and spreadsheets write it.

    Raises:
        DataError: no number, or one that could be two.
    """
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        kind = "a date" if hasattr(cell, "year") else f"{cell!r}"
        raise DataError(f"expected a number, got {kind}")
    if not isinstance(cell, str):
        return cell
    text = cell.strip().translate(_SPACES).replace(" ", "").replace("−", "-")
    if re.fullmatch(r"[+-]?\d{1,3}([.,]\d{3})+", text) and not re.fullmatch(r"[+-]?0.*", text):
        sign = "," if "," in text else "."
        several = text.count(sign) > 1
        decimal = sign == "," if comma else sign == "."
        if several or not decimal:
            hint = "" if several else f", or {text.replace(sign, '.')}"
            plain = text.replace(sign, "")
            raise DataError(f"expected a number, got {cell!r}, which may mean {plain}{hint}")
    if re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+,\d+", text):  # 1.234,5
        text = text.replace(".", "")
    elif re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+\.\d+", text):  # 1,234.5
        text = text.replace(",", "")
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        raise DataError(f"expected a number, got {cell!r}")
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def _positive(number: float) -> float:
    if number < 0:
        raise DataError(f"expected a number >= 0, got {number:g}")
    return float(number)


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= _SAME * max(abs(a), abs(b))


def _alike(a: Measured, b: Measured) -> bool:
    same = len(a.values) == len(b.values) and (a.sem is None) == (b.sem is None)
    return (
        same
        and all(map(_near, a.values, b.values))
        and (a.sem is None or b.sem is None or _near(a.sem, b.sem))
    )


def _blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _unquoted(cell: Any) -> str:
    text = str(cell)
    return text[1:] if text[:1] == "'" and text[1:2] in "=+-@" else text


def _letters(i: int) -> str:
    """A column as spreadsheets name it: A, B, ..., AA."""
    name = ""
    i += 1
    while i:
        i, rest = divmod(i - 1, 26)
        name = chr(65 + rest) + name
    return name
