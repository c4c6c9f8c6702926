"""Debian's Chromium without a window, driven by Playwright: one tab, read by expressions.

Every request that leaves the machine is recorded and refused, so a page that needs the network
cannot pass. What a page complains about on the console, or throws, is recorded as well; the
fixture ``browser`` (conftest.py) fails a test that leaves either behind.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Frame, Page, Route, sync_playwright

PROGRAM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome")
     if (found := shutil.which(name))),
    None,
)  # fmt: skip
FLAGS = (
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
    "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--no-default-browser-check", "--no-first-run",
    "--no-sandbox",
)  # fmt: skip
LOCAL = ("about:", "blob:", "data:", "file:")
PATIENCE = 60_000  # milliseconds until a wait gives up; a busy machine is no fault of the page
TWO_PICTURES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"

T = TypeVar("T")


class Chromium:
    """One browser with one tab, which every test opens its own page in.

    Playwright runs an event loop in the thread that drives it. That is a thread of its own here,
    so that tests in this process may run loops as well (a notebook's client does).
    """

    def __init__(self) -> None:
        assert PROGRAM is not None
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="chromium")
        try:
            self._do(self._start)
        except BaseException:
            self._thread.shutdown()
            raise

    def _do(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()

    def _start(self) -> None:
        self._playwright = sync_playwright().start()
        try:
            self._program = self._playwright.chromium.launch(
                executable_path=PROGRAM, args=list(FLAGS), chromium_sandbox=False
            )
        except BaseException:
            self._playwright.stop()
            raise
        self._context: BrowserContext = self._program.new_context(has_touch=True)
        self._context.set_default_timeout(PATIENCE)
        self._context.route("**/*", self._judge)
        self._page: Page = self._context.new_page()
        self._page.on("console", self._hear)
        self._page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._page.on("websocket", lambda socket: self.requests.append(socket.url))
        self._wire = self._context.new_cdp_session(self._page)

    def _judge(self, route: Route) -> None:
        url = route.request.url
        if url.startswith(LOCAL):
            route.continue_()
        else:
            self.requests.append(url)
            route.abort("blockedbyclient")

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location.get('url', '')}".strip())

    def close(self) -> None:
        """End the browser and its thread."""

        def end() -> None:
            self._program.close()
            self._playwright.stop()

        self._do(end)
        self._thread.shutdown()

    def forget(self) -> None:
        """Empty what was recorded: errors and requests."""
        self.errors.clear()
        self.requests.clear()

    # -------------------------------------------------------------- what is shown

    def look(
        self, width: int, height: int = 800, *, dark: bool = False, still: bool = False
    ) -> None:
        """Set the window's size and what the reader prefers: dark pages, no motion."""
        scheme: Literal["dark", "light"] = "dark" if dark else "light"
        motion: Literal["reduce", "no-preference"] = "reduce" if still else "no-preference"

        def change() -> None:
            self._page.set_viewport_size({"width": width, "height": height})
            self._page.emulate_media(color_scheme=scheme, reduced_motion=motion)

        self._do(change)

    def open(self, file: Path) -> None:
        """Load a file and wait until it and its frames have been drawn."""

        def load() -> None:
            self._page.goto(file.as_uri(), wait_until="load")
            self._page.evaluate(TWO_PICTURES)

        self._do(load)

    def draw(self, *, frame: bool = False) -> None:
        """Wait until the next picture has been drawn."""
        self._do(lambda: self._place(frame).evaluate(TWO_PICTURES))

    def screenshot(self, file: Path) -> None:
        """Write what the window shows."""
        self._do(lambda: self._page.screenshot(path=file))

    # -------------------------------------------------------------- what is asked

    def _place(self, frame: bool) -> Frame:
        """The page, or its only frame."""
        if not frame:
            return self._page.main_frame
        inner = self._page.wait_for_selector("iframe", state="attached")
        found = inner.content_frame() if inner is not None else None
        assert found is not None and len(self._page.frames) == 2, "expected one frame in the page"
        return found

    def run(self, code: str, *, frame: bool = False) -> Any:
        """The value of a JavaScript expression in the page, or in its frame."""
        return self._do(lambda: self._place(frame).evaluate(code))

    def wait(self, code: str, *, frame: bool = False) -> None:
        """Wait until an expression is true: keys and clicks reach a frame a moment later."""
        self._do(lambda: self._place(frame).wait_for_function(code))

    # -------------------------------------------------------------- what a reader does

    def click(self, x: float, y: float) -> None:
        """Press and release the mouse at a place of the window."""
        self._do(lambda: self._page.mouse.click(x, y))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place, move to another, release."""

        def move() -> None:
            mouse = self._page.mouse
            mouse.move(*start)
            mouse.down()
            mouse.move(*end, steps=2)
            mouse.up()

        self._do(move)

    def touch(self, *places: tuple[float, float]) -> None:
        """Tap a place; with several, put a finger down, move it over them, lift it."""
        if len(places) == 1:
            self._do(lambda: self._page.touchscreen.tap(*places[0]))
            return

        def move() -> None:  # Playwright's own touchscreen only taps
            for k, (x, y) in enumerate(places):
                finger = {"type": "touchMove" if k else "touchStart",
                          "touchPoints": [{"x": x, "y": y}]}  # fmt: skip
                self._wire.send("Input.dispatchTouchEvent", finger)
            self._wire.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        self._do(move)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key; it goes where the focus is."""

        def strike() -> None:
            for _ in range(times):
                self._page.keyboard.press(key)

        self._do(strike)

    # -------------------------------------------------------------- who can use it

    def barriers(self) -> list[str]:
        """The rules of axe-core that the page breaks, and where; one a line."""
        found = self._do(lambda: Axe().run(self._page)).response["violations"]
        return [
            f"{rule['id']} ({rule['impact']}) at {', '.join(map(str, node['target']))}: "
            f"{node['failureSummary']}"
            for rule in found
            for node in rule["nodes"]
        ]
