"""Opens JupyterLab at the course's table of contents."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

START = "/lab/tree/README.md"
SETTINGS = Path(__file__).resolve().parent / "jupyter"  # Markdown files open rendered


def lab(root: Path, arguments: list[str]) -> int:
    """Starts JupyterLab in the checkout and waits for its end; returns an exit code."""
    command = [sys.executable, "-m", "jupyterlab", f"--LabApp.default_url={START}"]
    if not has_display():
        print("No display here: open the address printed below in a browser.", flush=True)
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # a container; Jupyter refuses otherwise
        command.append("--allow-root")
    environment = dict(os.environ)
    path = [str(SETTINGS), *filter(None, [environment.get("JUPYTER_CONFIG_PATH")])]
    environment["JUPYTER_CONFIG_PATH"] = os.pathsep.join(path)
    try:
        return subprocess.call([*command, *arguments], cwd=root, env=environment)
    except KeyboardInterrupt:  # Jupyter has had it too, and has closed its kernels
        return 0


def has_display() -> bool:
    """Whether a browser can be opened on this machine."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
