"""What a check allows an answer: so much time, and no lasting change of anything global.

A `Clock` watches a check from a thread of its own. When a call of the learner's function, or all of
the check, takes too long, it raises `TooSlow` in the learner's code: by a signal where there are
signals (they end a `time.sleep` as well), else as an asynchronous exception. Code that never comes
back to Python, such as an endless loop within a library, is ended by `apart` from outside.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch

CALL_SECONDS, CHECK_SECONDS = 20.0, 120.0
ENDINGS = ("_exit", "abort", "fork", "forkpty")  # of os; copies of a check would make more copies
POLL, AGAIN = 0.05, 0.25  # seconds between looks, and between two exceptions that are swallowed


class TooSlow(BaseException):
    """Raised in a learner's code that takes too long; no `except Exception` holds it up."""


class Call(NamedTuple):
    """One call of the learner's function."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    seconds: float = 0.0


class FairTime:
    """Seconds that count: those in which a thread ran, slept or waited for something of its own.

    Time in which it was ready but the machine worked for others does not count, where the system
    tells it (Linux); a limit would otherwise depend on what else the machine does.

    Args:
        process: its id; the thread watched has the same, or `thread`.
        thread: its native id.
    """

    def __init__(self, process: int, thread: int | None = None) -> None:
        self._path = f"/proc/{process}/task/{thread or process}/schedstat"

    def now(self) -> float:
        """The time of a clock with an arbitrary zero."""
        try:
            with open(self._path) as file:
                return time.monotonic() - int(file.read().split()[1]) / 1e9
        except (OSError, IndexError):
            return time.monotonic()


class Clock:
    """Watches one check; a context manager.

    Args:
        call_seconds: that one call may take.
        check_seconds: that the whole check may take.

    Attributes:
        calls: how many have been made.
        slowest: the one that took longest, the running one included.
        running: the call at work, or None.
        late: "call" or "check", once a limit has passed.
    """

    def __init__(self, call_seconds: float, check_seconds: float) -> None:
        self.call_seconds, self.check_seconds = call_seconds, check_seconds
        self.calls, self.late = 0, ""
        self.slowest: Call | None = None
        self.running: Call | None = None
        self._began, self._since, self._depth, self._active = 0.0, 0.0, 0, False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._signals = False

    def __enter__(self) -> Clock:
        self._thread = threading.get_ident()
        main = threading.current_thread() is threading.main_thread()
        self._signals = hasattr(signal, "pthread_kill") and main
        if self._signals:
            self._before = signal.signal(signal.SIGALRM, self._alarm)
        self._active = True
        self._time = FairTime(os.getpid(), threading.get_native_id())
        self._now = self._time.now()
        self._end = self._now + self.check_seconds
        self._watcher = threading.Thread(target=self._watch, name="time limit", daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, kind: object, error: object, trace: TracebackType | None) -> None:
        with self._lock:
            self._active = False
            if not self._signals:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), None)
        self._stop.set()
        self._watcher.join()
        if self._signals and self._before is not None:
            signal.signal(signal.SIGALRM, self._before)

    def start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A call of the learner's function begins."""
        self._depth += 1
        if self._depth == 1:
            self.calls += 1
            self._began = self._now  # as the watcher saw it last
            self.running, self._since = Call(args, kwargs), time.monotonic()

    def stop(self) -> None:
        """It ends, one way or another."""
        self._depth -= 1
        if self._depth == 0 and self.running is not None:
            seconds = time.monotonic() - self._since
            if self.slowest is None or seconds > self.slowest.seconds:
                self.slowest = self.running._replace(seconds=seconds)
            self.running = None

    def _watch(self) -> None:
        while not self._stop.wait(POLL):
            self._now = now = self._time.now()
            began = self._began if self.running is not None else now
            if now - began > self.call_seconds:
                self.late = self.late or "call"
            elif now > self._end:
                self.late = self.late or "check"
            if self.late:
                self._raise()
                self._stop.wait(AGAIN)

    def _raise(self) -> None:
        with self._lock:
            if not self._active:
                return
            if self._signals:
                signal.pthread_kill(self._thread, signal.SIGALRM)
            else:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(TooSlow)
                )

    def _alarm(self, number: int, frame: FrameType | None) -> None:
        if self._active and self.late:
            raise TooSlow


@contextlib.contextmanager
def state_kept(seed: str) -> Iterator[None]:
    """Puts back whatever is global and an answer may change; ends and copies of it raise.

    The random generators of Python, NumPy and torch are put into a state that the seed decides, and
    that no answer can hit by seeding them with a small number.
    """
    ends = {name: vars(os)[name] for name in ENDINGS if name in vars(os)}
    restore = [*_torch_settings(), *_process_settings()]
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    mixer = random.Random(seed)
    random.seed(mixer.getrandbits(62))
    np.random.seed(mixer.getrandbits(32))
    torch.default_generator.manual_seed(mixer.getrandbits(62))
    for name in ends:
        setattr(os, name, _refused(name))
    try:
        with warnings.catch_warnings(), np.errstate(), np.printoptions():
            yield
    finally:
        for name, function in ends.items():
            setattr(os, name, function)
        for put_back in restore:
            put_back()
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


def _refused(name: str) -> Callable[..., NoReturn]:
    def ends(*args: object) -> NoReturn:
        raise SystemExit(f"os.{name} is not for answers: it would end or copy the whole process")

    return ends


def _torch_settings() -> list[Callable[[], object]]:
    """How to put torch's global settings back."""
    dtype, grad, threads = (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
    )
    device = torch.get_default_device()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    anomaly = torch.is_anomaly_enabled()
    check_nan = torch.is_anomaly_check_nan_enabled()

    def device_back() -> None:
        if torch.get_default_device() != device:
            torch.set_default_device(device if device.type != "cpu" else None)

    def determinism_back() -> None:
        # Setting it imports torch's compiler, 1.5 s in every copy of a check: only if it changed.
        now = torch.are_deterministic_algorithms_enabled()
        if (now, torch.is_deterministic_algorithms_warn_only_enabled()) != (deterministic, warn):
            torch.use_deterministic_algorithms(deterministic, warn_only=warn)

    return [
        lambda: torch.set_default_dtype(dtype),
        lambda: torch.set_grad_enabled(grad),
        lambda: torch.set_num_threads(threads) if torch.get_num_threads() != threads else None,
        determinism_back,
        lambda: torch.autograd.set_detect_anomaly(anomaly, check_nan),
        device_back,
    ]


def _process_settings() -> list[Callable[[], object]]:
    """How to put folder, environment, import path and recursion limit back."""
    environment, path, depth = dict(os.environ), list(sys.path), sys.getrecursionlimit()
    try:
        folder: str | None = os.getcwd()
    except OSError:  # it was removed: nothing to come back to
        folder = None

    def environment_back() -> None:
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)

    def path_back() -> None:
        sys.path[:] = path

    def folder_back() -> None:
        with contextlib.suppress(OSError):
            if folder is not None and os.getcwd() != folder:
                os.chdir(folder)

    return [environment_back, path_back, folder_back, lambda: sys.setrecursionlimit(depth)]
