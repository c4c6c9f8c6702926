"""Work in a copy of the process, so that whatever happens to it happens to the copy only.

A notebook's kernel must survive an answer that ends its process, never comes back from a library,
or takes all memory. Where a process can be copied safely (Linux, without CUDA in use) a check runs
in a forked copy. Elsewhere it runs in place, guarded by `limits` alone.

After a fork torch works in the copy as long as it uses one thread there.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import struct
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bolearn.teach.display import Row
from bolearn.teach.limits import FairTime

MEMORY = 4 << 30  # bytes on top of what the process has
GRACE = 5.0  # seconds after which what did not end by itself is ended
_STATE = struct.Struct("qqd")  # case, check, when the running call began (0: none)
_SIZE = struct.Struct("q")


@dataclass(frozen=True)
class Ended:
    """A copy that gave no result: why, and the case and check at which it stood (-1: none)."""

    why: str
    case: int = -1
    check: int = -1


class Progress:
    """Where a check stands, in memory that the copy shares with the process that watches it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _STATE.size)
        self.at(-1, -1)

    def at(self, case: int, check: int, began: float = 0.0) -> None:
        """Note the case, the check, and when the running call of the answer began."""
        _STATE.pack_into(self._memory, 0, case, check, began)

    def now(self) -> tuple[int, int, float]:
        """What was noted last."""
        case, check, began = _STATE.unpack_from(self._memory, 0)
        return case, check, began


def rows_of(why: str) -> list[Row]:
    """The rows of a result of which nothing but its end is known."""
    return [Row("expected", "it runs"), Row("but", why)]


def possible() -> bool:
    """Whether this process can be copied without harm."""
    return sys.platform == "linux" and not torch.cuda.is_initialized()


def run(
    work: Callable[[], bytes], progress: Progress, call_seconds: float, check_seconds: float
) -> bytes | Ended:
    """What the work returns, done in a copy; or why the copy ended without a result."""
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads, of which the copy has only this one; it waits for no other.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        leave = os._exit
        try:
            os.close(ours)
            os.setsid()
            torch.set_num_threads(1)
            limit_memory()
            own, data = os.getpid(), work()
            data = _SIZE.pack(len(data)) + data
            while data and os.getpid() == own:  # a copy that the answer made tells nothing
                data = data[os.write(theirs, data) :]
        finally:
            leave(0)
    os.close(theirs)
    data, late = b"", ""
    clock = FairTime(pid)
    began, since, end = 0.0, 0.0, clock.now() + check_seconds + GRACE
    try:
        while True:
            ready, _, _ = select.select([ours], [], [], 0.1)
            if ready:
                if not (part := os.read(ours, 1 << 16)):
                    break
                data += part
                if len(data) >= _SIZE.size and len(data) == _SIZE.size + _SIZE.unpack_from(data)[0]:
                    return data[_SIZE.size :]
                continue
            now = clock.now()
            if progress.now()[2] != began:
                began, since = progress.now()[2], now
            if began and now - since > call_seconds + GRACE:
                late = f"no result after {call_seconds:g} s"
            elif now > end:
                late = f"the check did not end within {check_seconds:g} s"
            if late:
                break
    finally:
        os.close(ours)
        for kill in (os.killpg, os.kill):  # with all that it has started; also on an interrupt
            with contextlib.suppress(OSError):
                kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    case, check, _ = progress.now()
    return Ended(late or _why(status), case, check)


def _why(status: int) -> str:
    if os.WIFSIGNALED(status) and (number := os.WTERMSIG(status)) != signal.SIGKILL:
        return f"it crashed the process ({signal.Signals(number).name})"
    return "it ended the process (os._exit, or no memory left)"


def limit_memory() -> None:
    """Let this process take so much memory more than it has, where the system can (Linux)."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(OSError, ValueError), open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = used + MEMORY
        if hard == resource.RLIM_INFINITY or wanted < hard:
            resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
