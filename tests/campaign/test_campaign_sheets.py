"""Sheets as Excel writes them in three countries: whole or not at all, and once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pytest
from campaigns import make

import bolearn as bl


@pytest.fixture
def c() -> bl.Campaign:
    """Three trials on their way, of a space with a unit, whole numbers, labels and a switch."""
    space = bl.Space(
        [
            bl.Real("temperature", 20, 90, unit="°C", step=0.5),
            bl.Real("time", 1, 600, unit="s", log=True),
            bl.Integer("cycles", 1, 8),
            bl.Categorical("solvent", ["MeOH", "THF"]),
            bl.Categorical("stirred", [True, False]),
        ]
    )
    made = make(space=space, goals=["maximize yield", "cost <= 5"])
    made.ask(3)
    return made


def lines(path: Path, delimiter: str) -> list[list[str]]:
    import csv
    import io

    text = path.read_bytes().decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text), delimiter=delimiter))


COUNTRIES = {
    "en": (",", ".", "utf-8-sig", "TRUE", "FALSE"),
    "de": (";", ",", "cp1252", "WAHR", "FALSCH"),
    "fr": (";", ",", "utf-8-sig", "VRAI", "FAUX"),
    "tabs": ("\t", ",", "utf-16", "WAHR", "FALSCH"),
}


@pytest.mark.parametrize("country", COUNTRIES)
def test_need_21_a_sheet_comes_back_filled_in(c: bl.Campaign, tmp_path: Path, country: str) -> None:
    mark, point, encoding, yes, no = COUNTRIES[country]
    path = c.to_csv(tmp_path / "monday.csv", decimal="," if point == "," else ".")
    head, *rows = lines(path, ";" if point == "," else ",")
    assert head[:4] == ["trial", "state", "temperature (°C)", "time (s)"]
    at = {name: i for i, name in enumerate(head)}
    for row, y in zip(rows, ("1234.5", "0.25", "61"), strict=True):
        row[at["yield"]] = y.replace(".", point)
        row[at["cost"]] = "3"
        row[at["stirred"]] = yes if row[at["stirred"]] == "True" else no
        row.append("what Ben thought")
    rows[0][at["yield"]] = {"en": "1,234.5", "de": "1.234,5", "fr": "1\u202f234,5"}.get(
        country, rows[0][at["yield"]]
    )
    rows[1][at["temperature (°C)"]] = f"71{point}3"
    rows[2][at["cost"]], rows[2][at["yield"]] = "", f"62 | 64{point}5"
    text = "\r\n".join(mark.join(f'"{x}"' for x in r) for r in [[*head, "Ben"], *rows[::-1]])
    path.write_bytes((text + "\r\n\r\n" + mark * 4).encode(encoding, errors="replace"))
    seen = [t.parameters for t in c.trials]
    foreseen = c.read_csv(path, dry_run=True)
    assert c[0].outcomes == {}
    assert [str(t) for t in foreseen] == [str(t) for t in c.read_csv(path)]
    assert [str(t) for t in foreseen] == [str(t) for t in c.trials[::-1]]
    assert c[0].values == {"yield": 1234.5, "cost": 3.0}
    assert c[1].parameters == {**seen[1], "temperature": 71.3} and c[1].asked == seen[1]
    assert c[2].state == "running" and c[2].outcomes == {"yield": [62.0, 64.5]}
    assert (c[0].parameters, c[2].parameters) == (seen[0], seen[2]), "read back as they were"
    before = c.history()
    assert c.read_csv(path) == [] and c.history() == before, "twice is once"


def test_need_21_every_bad_cell_is_named_and_nothing_is_stored(
    c: bl.Campaign, tmp_path: Path
) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(
        "trial;temperature;cycles;solvent;yield;cost;failed\n"
        "0;60;2;THF;50;3;\n"
        "1;warm;2;water;81.500;-;\n"
        "7;60;2;THF;50;3;\n"
        ";60;2;THF;50;3;\n"
        "0;60;2;THF;50;3;\n"
        "2;60;2;THF;50;;spilled\n",
        encoding="utf-8",
    )
    before = c.history()
    with pytest.raises(bl.DataError) as caught:
        c.read_csv(path)
    said = str(caught.value)
    for words in (
        "sheet.csv: nothing was stored, 8 cells cannot be used",
        "row 3, column B (temperature): expected a number, got 'warm'",
        "row 3, column D (solvent): expected one of 'MeOH', 'THF', got 'water'",
        "row 3, column E (yield): expected a number, got '81.500', which may mean 81500, or 81.500",
        "row 3, column F (cost): expected a number, got '-'",
        "row 4, column A (trial): trial 7: expected a trial",
        "row 5, column A (trial): expected the number of a trial, got an empty cell",
        "row 6, column A (trial): trial 0 stands in row 2, too",
        "row 7, column G (failed): expected either values or a failure, got both",
    ):
        assert words in said, f"{words!r} is not in {said}"
    assert c.history() == before and c[0].outcomes == {}


def test_corrections_and_failures_in_a_sheet(c: bl.Campaign, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    c.tell(0, {"yield": 0.1 + 0.2, "cost": 3.0})
    path.write_text("trial,yield,failed,note\n0,0.3,,\n1,,=spilled,warm day\n", encoding="utf-8")
    assert [t.id for t in c.read_csv(path)] == [1], "15 digits of Excel are the same value"
    assert c[1].state == "failed" and c[1].reason == "=spilled"
    path.write_text("trial,yield\n0,0.4\n", encoding="utf-8")
    with pytest.raises(bl.DataError, match=r"column B \(yield\): trial 0: yield was told as 0.30"):
        c.read_csv(path)
    assert c.read_csv(path, replace=True)[0].values["yield"] == 0.4


def test_excel_files(c: bl.Campaign, tmp_path: Path) -> None:
    c.tell(0, {"yield": (62.5, 0.5), "cost": 3.0}, note="=1+1")
    path = c.to_csv(tmp_path / "monday.xlsx")
    book = openpyxl.load_workbook(path)
    sheet: Any = book.active
    head = {cell.value: cell.column for cell in sheet[1]}
    assert sheet.cell(2, head["yield"]).value == "62.5 ± 0.5"
    assert sheet.cell(2, head["note"]).value == "'=1+1", "a note is no formula"
    sheet.cell(3, head["yield"]).value, sheet.cell(3, head["cost"]).value = 60, 4.5
    sheet.cell(4, head["temperature (°C)"]).value = 55.5
    book.save(path)
    assert [t.id for t in c.read_csv(path)] == [1, 2] and c.read_csv(path) == []
    assert c[1].values == {"yield": 60.0, "cost": 4.5} and c[1].state == "completed"
    assert c[2].parameters["temperature"] == 55.5 and c[2].state == "running"
    import datetime

    sheet.cell(4, head["yield"]).value = datetime.date(2026, 5, 12)
    book.save(path)
    with pytest.raises(
        bl.DataError, match=r"row 4, column H .yield.: expected a number, got a date"
    ):
        c.read_csv(path)


def test_what_is_no_sheet_is_refused(c: bl.Campaign, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for content, words in (
        (b"", "an empty one"),
        (b"yield;cost\n1;2\n", "expected a column 'trial'"),
        (b"trial;yield;yield\n0;1;2\n", "each column once"),
        (b"PK\x03\x04nonsense", "no Excel file"),
        (b"\xd0\xcf\x11\xe0nonsense", "an old Excel file"),
        (b"trial,yi\x00eld\n", "NUL"),
    ):
        path.write_bytes(content)
        with pytest.raises(bl.BolearnError, match=words):
            c.read_csv(path)
    with pytest.raises(bl.StorageError, match="cannot be read"):
        c.read_csv(tmp_path / "missing.csv")
    with pytest.raises(bl.StorageError, match="cannot be written"):
        c.to_csv(tmp_path / "no folder" / "a.csv")
    assert len(c.history()) == 4
