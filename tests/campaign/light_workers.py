"""What worker processes run in the tests: without torch, so that they start quickly."""

from __future__ import annotations

import os
import time
from typing import Any

SECOND = -1.0


def know_second(x: float) -> None:
    """In every worker: which point is the second of the design."""
    global SECOND
    SECOND = x


def square(p: dict[str, Any]) -> float:
    return float(p["x"]) ** 2


def dies_at_second(p: dict[str, Any]) -> float:
    """The second point kills its process, every time."""
    time.sleep(0.05)
    if abs(p["x"] - SECOND) < 1e-12:
        os._exit(3)
    return float(p["x"])


def hangs_at_second(p: dict[str, Any]) -> float:
    if abs(p["x"] - SECOND) < 1e-12:
        time.sleep(60)
    return float(p["x"])
