"""The ten expeditions of the gold mine, played in the page by mouse and keyboard.

python tests/teach/played.py        plays them and writes bolearn/data/expeditions.json
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import chromium

from bolearn.teach import explorables

STORED = Path(__file__).parents[2] / "bolearn" / "data" / "expeditions.json"
MODEL, MINE, RULES, RACE = "at-model", "at-mine", "at-policies", "at-race"


class Page:
    """The gold mine in a browser, as a reader's hands reach it."""

    def __init__(self, browser: chromium.Chromium, folder: Path, number: int) -> None:
        self.browser = browser
        file = folder / "goldmine.html"
        file.write_text(explorables.page("goldmine"), encoding="utf-8")
        browser.look(900, 1000, still=True)  # without motion, Auto drills all ten at once
        browser.open(file)
        self.panel("at-expeditions")
        self.click(f"#expeditions li:nth-child({number}) button")
        self.panel("at-expeditions")

    def click(self, selector: str) -> None:
        """Scroll to what the selector finds, and press and release the mouse on its middle."""
        x, y = self.browser.run(
            f"""(() => {{ const node = document.querySelector({json.dumps(selector)});
            node.scrollIntoView({{block: 'center', behavior: 'instant'}});
            const box = node.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2]; }})()"""
        )
        self.browser.click(x, y)
        self.browser.draw()

    def choose(self, value: str) -> None:
        """A policy, a goal or a mine."""
        self.click(f"label:has(input[value={value}])")

    def panel(self, name: str) -> None:
        """Open or close one of the panels below the picture."""
        self.click(f"#{name} > summary")

    def drill(self, x: float) -> None:
        """Click the ground."""
        self.browser.click(*self.place(x, -0.4))
        self.browser.draw()

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a place and an amount of gold (ounces) are in the window."""
        a, b = self.browser.run(
            f"""(() => {{ scrollTo(0, 0); const box = ground.root.getBoundingClientRect();
            return [box.x + ground.X({x}), box.y + ground.Y({y})]; }})()"""
        )
        return a, b

    def where(self, drill: int) -> tuple[float, float]:
        """Place and find of a drill, counted from 1."""
        x, y = self.browser.run(f"[mine.x[drills[{drill - 1}].k], drills[{drill - 1}].y]")
        return x, y

    def drag(self, drill: int, *, to: float | None = None, up: float = 0.0) -> None:
        """Drag a drill sideways to another place, or up to another find."""
        x, y = self.where(drill)
        end = (x, y + up) if to is None else (to, y)
        self.browser.drag(self.place(x, y), self.place(*end))
        self.browser.draw()

    def slide(self, panel: str, number: int, keys: int) -> None:
        """Move a slider of an open panel by the arrow keys."""
        slider = f"document.querySelectorAll('#{panel} input[type=range]')[{number}]"
        self.browser.run(f"{slider}.focus()")
        self.browser.press("ArrowRight" if keys > 0 else "ArrowLeft", times=abs(keys))
        self.browser.draw()

    def export(self) -> str:
        """What a reader copies."""
        self.panel("at-export")
        self.browser.wait("document.getElementById('export').value.length > 100")
        text: str = self.browser.run("document.getElementById('export').value")
        return text


def greedy(page: Page) -> None:
    page.drag(1, to=2.5)
    page.click("#auto")


def disagreement(page: Page) -> None:
    page.drag(1, to=0.0)
    page.drill(2.6)
    page.drill(1.8)


def not_xi(page: Page) -> None:
    page.drill(5.6)
    page.panel(MODEL)
    page.slide(MODEL, 0, 28)


def one_find(page: Page) -> None:
    page.panel(MODEL)
    for places in ([0.5], [0.4], [0.8], [0.1, 0.6], [0.3, 0.9, 0.7]):
        for x in places:
            page.drill(x)
        page.click("#fit")


def unit_of_xi(page: Page) -> None:
    page.panel(RULES)
    page.slide(RULES, 1, 40)
    page.panel(MINE)
    page.click("#grams")


def folklore(page: Page) -> None:
    for _ in range(6):
        page.click("#step")


def goals(page: Page) -> None:
    while page.browser.run("view().most > s.cost"):
        page.click("#step")
    page.click("#stop")


def order(page: Page) -> None:
    page.browser.click(*page.place(*page.where(2)))
    page.browser.draw()
    page.click("#delete")
    page.click("#drill")
    page.drag(1, up=2.0)


def influence(page: Page) -> None:
    page.browser.click(*page.place(*page.where(1)))
    page.browser.draw()
    page.click("#delete")


def tails(page: Page) -> None:
    page.panel(RACE)
    page.click("#race")
    page.browser.wait("races.length === 1")
    page.panel(MINE)
    page.choose("needle")
    page.click("#race")
    page.browser.wait("races.length === 2")


PLAYS: tuple[Callable[[Page], None], ...] = (
    greedy, disagreement, not_xi, one_find, unit_of_xi, folklore, goals, order, influence, tails,
)  # fmt: skip


def played(browser: chromium.Chromium, folder: Path, number: int) -> str:
    """Play an expedition from its start and export the session."""
    page = Page(browser, folder, number)
    PLAYS[number - 1](page)
    return page.export()


def main() -> None:
    """Play all ten and store what the page exports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        browser = chromium.Chromium()
        try:
            texts = [played(browser, folder, number) for number in range(1, len(PLAYS) + 1)]
        finally:
            browser.close()
    STORED.write_text("[\n" + ",\n".join(texts) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
