"""A headless Chromium, steered over its DevTools socket: open a page, press keys, read it.

The socket's client comes with Jupyter. Every request that the browser would send is recorded and
answered with a failure, so a page that needs the network cannot pass.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import websocket

PROGRAM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome")
     if (found := shutil.which(name))),
    None,
)  # fmt: skip
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--no-first-run", "--disable-quic", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--no-default-browser-check",
    "--disable-default-apps", "--remote-debugging-port=0",
]  # fmt: skip
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowUp": 38, "ArrowDown": 40, "Tab": 9, "Home": 36}
LOCAL = ("file:", "about:", "data:", "chrome-error:")


class Chromium:
    """One browser with one tab; frames in processes of their own are followed."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAM is not None
        environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        self._process = subprocess.Popen(
            [PROGRAM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._count = 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._frames: list[str] = []
        self._ready: set[str] = set()
        try:
            port, path = self._address(folder / "profile" / "DevToolsActivePort")
            self._socket = websocket.create_connection(
                f"ws://127.0.0.1:{port}{path}", timeout=30, suppress_origin=True
            )
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
            self.tab: str = attached["sessionId"]
            self._watch(self.tab)
        except BaseException:
            self.close()
            raise

    def _address(self, file: Path) -> tuple[str, str]:
        for _ in range(600):
            if file.is_file() and len(lines := file.read_text().split()) == 2:
                return lines[0], lines[1]
            assert self._process.poll() is None, "Chromium ended before it listened"
            time.sleep(0.05)
        raise TimeoutError("Chromium did not listen within 30 s")

    def _watch(self, session: str) -> None:
        """Ask for a session's events, without waiting: this is called between other replies."""
        for domain in ("Runtime", "Log", "Page"):
            self._send(f"{domain}.enable", session, {})
        self._send("Fetch.enable", session, {"patterns": [{"urlPattern": "*"}]})
        follow = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
        self._send("Target.setAutoAttach", session, follow)

    def _send(self, method: str, session: str | None, params: dict[str, Any]) -> int:
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        return self._count

    def _call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        wanted = self._send(method, session, params)
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == wanted:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result
            if "method" in message:
                self._notice(message)

    def _notice(self, message: dict[str, Any]) -> None:
        method, params = message["method"], message["params"]
        session = message.get("sessionId")
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Fetch.requestPaused":
            url, request = params["request"]["url"], params["requestId"]
            if url.startswith(LOCAL):
                self._send("Fetch.continueRequest", session, {"requestId": request})
            else:
                self.requests.append(url)
                failure = {"requestId": request, "errorReason": "BlockedByClient"}
                self._send("Fetch.failRequest", session, failure)
        elif method == "Target.attachedToTarget" and session is not None:
            frame = params["sessionId"]
            if params["targetInfo"]["type"] == "iframe":  # workers are watched, but hold no page
                self._frames.append(frame)
            self._watch(frame)
            self._send("Runtime.runIfWaitingForDebugger", frame, {})
        elif method == "Target.detachedFromTarget" and params["sessionId"] in self._frames:
            self._frames.remove(params["sessionId"])
        elif method == "Page.loadEventFired":
            self._ready.add(session or "")

    def look(
        self, width: int, height: int = 800, *, dark: bool = False, still: bool = False
    ) -> None:
        """Set the window's width and what the reader prefers: dark pages, no motion."""
        self._call(
            "Emulation.setDeviceMetricsOverride", self.tab, width=width, height=height,
            deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if still else "no-preference",
        }
        listed = [{"name": name, "value": value} for name, value in features.items()]
        for session in (self.tab, *self._frames):
            self._call("Emulation.setEmulatedMedia", session, features=listed)

    def open(self, file: Path) -> None:
        """Load a file and wait until it and its frames have been drawn."""
        self.errors.clear()
        self.requests.clear()
        self._frames.clear()
        self._ready.clear()
        self._call("Page.navigate", self.tab, url=file.as_uri())
        self._until(lambda: self.tab in self._ready)
        self.draw()

    def draw(self, *, frame: bool = False) -> None:
        """Wait until the next picture has been drawn."""
        wait = "new Promise(done => requestAnimationFrame(() => setTimeout(done, 20)))"
        self.run(wait, frame=frame)

    def _until(self, condition: Any) -> None:
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, "the page did not load within 20 s"
            self._call("Runtime.evaluate", self.tab, expression="0")
            time.sleep(0.01)

    def run(self, code: str, *, frame: bool = False) -> Any:
        """The value of a JavaScript expression in the page, or in its (only) frame."""
        if frame:
            self._until(lambda: len(self._frames) == 1)
        session = self._frames[0] if frame else self.tab
        result = self._call(
            "Runtime.evaluate", session, expression=code, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, code: str, *, frame: bool = False) -> None:
        """Wait until an expression is true: keys and clicks reach a frame a moment later."""
        end = time.monotonic() + 10
        while not self.run(code, frame=frame):
            assert time.monotonic() < end, f"not true within 10 s: {code}"
            time.sleep(0.01)

    def click(self, x: float, y: float) -> None:
        """Press and release the mouse at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, x, y)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place, move to another, release."""
        self._mouse("mousePressed", *start)
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        for place in (middle, end):
            self._mouse("mouseMoved", *place)
        self._mouse("mouseReleased", *end)

    def touch(self, *places: tuple[float, float]) -> None:
        """Put a finger down at the first place, move it over the others, lift it."""
        for k, (x, y) in enumerate(places):
            points = [{"x": x, "y": y}]
            kind = "touchMove" if k else "touchStart"
            self._call("Input.dispatchTouchEvent", self.tab, type=kind, touchPoints=points)
        self._call("Input.dispatchTouchEvent", self.tab, type="touchEnd", touchPoints=[])

    def _mouse(self, kind: str, x: float, y: float) -> None:
        button = {"button": "left", "buttons": 1, "clickCount": 1}
        self._call("Input.dispatchMouseEvent", self.tab, type=kind, x=x, y=y, **button)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key; it goes where the focus is."""
        for _ in range(times):
            for kind in ("rawKeyDown", "keyUp"):
                self._call(
                    "Input.dispatchKeyEvent", self.tab, type=kind, key=key, code=key,
                    windowsVirtualKeyCode=KEYS[key],
                )  # fmt: skip

    def screenshot(self, file: Path) -> None:
        """Write what the window shows."""
        picture = self._call(
            "Page.captureScreenshot", self.tab, format="png", captureBeyondViewport=False
        )
        file.write_bytes(base64.b64decode(picture["data"]))

    def close(self) -> None:
        """End the browser and wait for it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
