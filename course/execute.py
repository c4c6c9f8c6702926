"""Executes one notebook in a kernel of its own: one thread, a scratch folder, a clean end."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

CELL_TIMEOUT = 300  # seconds
ANSI = re.compile(r"\x1b\[[0-9;]*m")
SUMMARY = "__import__('json').dumps(__import__('bolearn.teach.session', fromlist=['*']).summary())"
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

T = TypeVar("T")


@dataclass
class Outcome:
    """What executing a notebook came to."""

    seconds: float
    summary: dict[str, Any] | None = None
    error: str | None = None


def kernel_environment(root: Path, scratch: Path) -> dict[str, str]:
    """The environment of a kernel: the checkout's bolearn, one BLAS thread, nobody's settings.

    Two threads on small batched factorisations are many times slower than one on a busy machine,
    and a user's IPython start-up files or matplotlib back end would change the outputs.
    """
    environment = dict(os.environ)
    environment.update(dict.fromkeys(THREADS, "1"))
    path = [str(root), *filter(None, [environment.get("PYTHONPATH")])]
    environment.update(
        PYTHONPATH=os.pathsep.join(path),
        PYTHONHASHSEED="0",
        PYTHONDONTWRITEBYTECODE="1",
        PYDEVD_DISABLE_FILE_VALIDATION="1",
        IPYTHONDIR=str(scratch / "ipython"),
    )
    environment.pop("MPLBACKEND", None)
    environment.pop("PYTHONWARNINGS", None)
    return environment


async def execute(
    notebook: Any,
    root: Path,
    *,
    timeout: int = CELL_TIMEOUT,
    on_cell: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Runs the notebook's cells in order and stores their outputs in it.

    Stops at the first cell that fails. However it ends, cancellation included, the kernel is gone
    afterwards.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bolearn-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        (scratch / "cwd").mkdir()
        manager = AsyncKernelManager(
            kernel_name="python3",
            # This interpreter's kernel, whatever the user has registered as "python3".
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[], ensure_native_kernel=True),
        )
        client = NotebookClient(
            notebook, km=manager, timeout=timeout, record_timing=False, coalesce_streams=True
        )
        try:
            await manager.start_kernel(
                cwd=str(scratch / "cwd"),
                env=kernel_environment(root, scratch),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            await client.async_start_new_kernel_client()
            error = await _run_cells(client, on_cell)
            summary = None if error else await _summary(client)
        finally:
            if client.kc is not None:
                client.kc.stop_channels()
            if manager.has_kernel:
                await manager.shutdown_kernel(now=True)
    return Outcome(time.perf_counter() - start, summary, error)


async def _run_cells(client: NotebookClient, on_cell: Callable[[int, int], None]) -> str | None:
    """Executes the cells; returns what went wrong in the first one that failed."""
    cells = client.nb.cells
    for index, cell in enumerate(cells):
        on_cell(index, len(cells))
        try:
            await client.async_execute_cell(cell, index)
        except CellExecutionError as failure:
            return _where(cell, index) + f"\n{failure.ename}: {failure.evalue}"
        except CellTimeoutError:
            return _where(cell, index) + f"\nno result within {client.timeout} s"
        except DeadKernelError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # nbclient takes a cancellation for a death
                raise asyncio.CancelledError from None
            return _where(cell, index) + "\nthe kernel died (out of memory?)"
    on_cell(len(cells), len(cells))
    return None


def _where(cell: Any, index: int) -> str:
    lines = cell.source.splitlines()
    shown = [f"    {line}" for line in lines[:12]] + (["    ..."] if len(lines) > 12 else [])
    return "\n".join([f"cell {index + 1}:", *shown])


async def _summary(client: NotebookClient) -> dict[str, Any] | None:
    """The teaching kit's own count of claims and exercises; None without the kit."""
    kernel: Any = client.kc
    reply = await kernel.execute(
        "", silent=True, user_expressions={"summary": SUMMARY}, reply=True, timeout=60
    )
    value = reply["content"]["user_expressions"]["summary"]
    if value["status"] != "ok":
        return None
    found: dict[str, Any] = json.loads(ast.literal_eval(value["data"]["text/plain"]))
    return found


def plain(text: str) -> str:
    """Text without terminal colours."""
    return ANSI.sub("", text)


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` with the event loop that Jupyter's sockets need on Windows."""
    factory = asyncio.SelectorEventLoop if sys.platform == "win32" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
