"""Where measurements run: in this thread, in threads, in processes of our own, in an executor.

An executor of `concurrent.futures` cannot say which task killed a worker: one crash breaks a
`ProcessPoolExecutor` and every task in it. The processes here are one to a trial at a time, so a
crash costs its own trial, and one that takes too long can be killed.

This module imports nothing but the standard library: worker processes load it, not torch.

Taught in part_5/tutorial_06.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

Measure = Callable[[dict[str, Any]], Any]
Answer = tuple[str, Any]
"""("told", what was returned) or ("failed", why)."""

_LONGEST = 500  # characters of a reason
_LOOK = 5.0  # seconds between two looks of an idle process whether its parent lives


class WorkerLost(Exception):
    """A worker died before it had an answer."""


class WorkerUnfit(Exception):
    """A worker could not begin: the function cannot be loaded there."""


def evaluate(measure: Measure, parameters: Mapping[str, Any]) -> Answer:
    """Call a function; what it raises becomes a reason, in words.

    Raises:
        WorkerLost: the function says that nothing is known: another attempt may do.
    """
    try:
        return "told", measure(dict(parameters))
    except WorkerLost:
        raise
    except (Exception, SystemExit) as error:
        return "failed", reason_of(error)


def reason_of(error: BaseException) -> str:
    """Type, message and place of an error, as text that every database can keep."""
    places = traceback.extract_tb(error.__traceback__)
    where = ""
    if places:
        where = f" ({Path(places[-1].filename).name}, line {places[-1].lineno})"
    text = f"{type(error).__name__}: {error}".replace("\x00", "")
    text = text.encode("utf-8", "replace").decode("utf-8")
    return (text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...") + where


@runtime_checkable
class Pool(Protocol):
    """What `run` needs of a place to work."""

    def submit(self, measure: Measure, parameters: Mapping[str, Any]) -> "Future[Answer]":
        """Begin a measurement."""

    def began(self, future: "Future[Answer]", submitted: float) -> float | None:
        """When a measurement began, by `time.monotonic`; None: its worker is not ready yet."""

    def drop(self, future: "Future[Answer]") -> bool:
        """Stop waiting for one; True if its worker is free for another."""

    def close(self) -> None:
        """End what is ours."""


class Inline:
    """Here and now: `submit` returns when the measurement has ended."""

    def submit(self, measure: Measure, parameters: Mapping[str, Any]) -> "Future[Answer]":
        """Measure."""
        future: Future[Answer] = Future()
        try:
            future.set_result(evaluate(measure, parameters))
        except WorkerLost as error:
            future.set_exception(error)
        return future

    def began(self, future: "Future[Answer]", submitted: float) -> float | None:
        """When it was submitted."""
        return submitted

    def drop(self, future: "Future[Answer]") -> bool:
        """Nothing is ever under way."""
        return True

    def close(self) -> None:
        """Nothing to end."""


class Threads:
    """A thread for each measurement; one that hangs does not keep the program from ending."""

    def submit(self, measure: Measure, parameters: Mapping[str, Any]) -> "Future[Answer]":
        """Begin a measurement in a thread of its own."""
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()

        def work() -> None:
            try:
                future.set_result(evaluate(measure, parameters))
            except BaseException as error:  # KeyboardInterrupt, raised on purpose
                future.set_exception(error)

        threading.Thread(target=work, daemon=True, name="measure").start()
        return future

    def began(self, future: "Future[Answer]", submitted: float) -> float | None:
        """When it was submitted."""
        return submitted

    def drop(self, future: "Future[Answer]") -> bool:
        """The thread goes on by itself, and a new one takes its place."""
        return True

    def close(self) -> None:
        """Threads end with the program."""


class Given:
    """An executor of the user's own, which is never shut down here."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def submit(self, measure: Measure, parameters: Mapping[str, Any]) -> "Future[Answer]":
        """Hand a measurement to the executor."""
        return self.executor.submit(evaluate, measure, dict(parameters))

    def began(self, future: "Future[Answer]", submitted: float) -> float | None:
        """When it was submitted."""
        return submitted

    def drop(self, future: "Future[Answer]") -> bool:
        """Cancel it; what runs already in a thread or a process cannot be."""
        return future.cancel()

    def close(self) -> None:
        """It is not ours to end."""


class _Worker:
    """A process that answers one question after the other."""

    def __init__(self, context: Any, job: tuple[Any, ...]) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, os.getpid(), *job))
        self.process.start()
        theirs.close()
        self.fit = False
        self.asked: float | None = None

    def answer(self, parameters: dict[str, Any]) -> Answer:
        """Ask it.

        Raises:
            WorkerUnfit: it could not load the function.
            WorkerLost: it died.
        """
        try:
            if not self.fit:
                kind, what = self._receive()
                if kind != "ready":
                    raise WorkerUnfit(what)
                self.fit = True
            self.asked = time.monotonic()
            self.pipe.send(parameters)
            kind, what = self._receive()
            if kind == "lost":
                raise WorkerLost(what)
            return kind, what
        except (EOFError, OSError):
            self.process.join(10)
            code = self.process.exitcode
            how = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
            text = f"its worker process ended {how}"
            raise (WorkerLost(text) if self.fit else WorkerUnfit(text)) from None

    def _receive(self) -> Answer:
        wait([self.pipe, self.process.sentinel])
        if not self.pipe.poll():
            raise EOFError
        found: Answer = self.pipe.recv()
        return found

    def end(self) -> None:
        """Kill it."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join(10)
        self.pipe.close()


class Processes:
    """Processes of our own: each runs one measurement at a time, and may die or be killed.

    Args:
        context: how processes start; default "spawn", which is the same everywhere and safe beside
            threads.
        initializer: called once in each, with `initargs`.
    """

    def __init__(
        self,
        context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self._context = multiprocessing.get_context("spawn") if context is None else context
        self._begin = (initializer, initargs)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: dict[Future[Answer], _Worker] = {}

    def submit(self, measure: Measure, parameters: Mapping[str, Any]) -> "Future[Answer]":
        """Begin a measurement in a process that is free, or in a new one."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = _Worker(self._context, (measure, *self._begin))
        worker.asked = None
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()
        self._busy[future] = worker
        talk = threading.Thread(target=self._talk, args=(worker, dict(parameters), future))
        talk.daemon = True
        talk.start()
        return future

    def _talk(self, worker: _Worker, parameters: dict[str, Any], future: "Future[Answer]") -> None:
        try:
            found = worker.answer(parameters)
        except BaseException as error:
            self._busy.pop(future, None)
            worker.end()
            future.set_exception(error)
        else:
            with self._lock:
                self._busy.pop(future, None)
                self._idle.append(worker)
            future.set_result(found)

    def began(self, future: "Future[Answer]", submitted: float) -> float | None:
        """When the process was given its parameters: loading what it needs is not counted."""
        worker = self._busy.get(future)
        return submitted if worker is None else worker.asked

    def drop(self, future: "Future[Answer]") -> bool:
        """Kill the process."""
        worker = self._busy.get(future)
        if worker is not None:
            worker.process.kill()
        return True

    def close(self) -> None:
        """Kill all."""
        for worker in list(self._busy.values()):
            worker.process.kill()  # its thread notices
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.end()


def _serve(
    pipe: Connection,
    parent: int,
    measure: Measure,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """What a worker process does until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    try:
        if initializer is not None:
            initializer(*initargs)
    except Exception as error:
        pipe.send(("unfit", reason_of(error)))
        return
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        pipe.send(("ready", None))
        while True:
            while not pipe.poll(_LOOK):
                if os.getppid() != parent:  # a brother may hold the other end of the pipe
                    return
            try:
                answer = evaluate(measure, pipe.recv())
            except WorkerLost as error:
                answer = ("lost", f"{error}")
            try:
                pipe.send(answer)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                pipe.send(("failed", f"what was returned cannot be sent back: {error}"))


def isolated(executor: Executor) -> Pool:
    """What takes the place of an executor that broke, or has no free worker left."""
    if isinstance(executor, ProcessPoolExecutor):
        found: Any = executor  # how it was made is not public
        return Processes(
            getattr(found, "_mp_context", None),
            getattr(found, "_initializer", None),
            getattr(found, "_initargs", ()),
        )
    return Threads()


def size_of(executor: Executor) -> int | None:
    """How many tasks an executor runs at a time; None if it does not say."""
    found: Any = executor  # that is not public either
    size = getattr(found, "_max_workers", None)
    if isinstance(size, int) and size > 0:
        return size
    client = getattr(found, "_client", None)  # Dask's
    if client is not None and hasattr(client, "nthreads"):
        return max(1, int(sum(client.nthreads().values())))
    return None


def can_rebuild(executor: object) -> bool:
    """Whether `isolated` is of the same kind."""
    return isinstance(executor, ProcessPoolExecutor | ThreadPoolExecutor)
