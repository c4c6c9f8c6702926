"""Executes a notebook's cells in plain Python, with changes tried out in forked copies.

Run by `course.mutate` as a script of its own, with the checkout's package on the path and a job
(see `Job`) as JSON on standard input; results come as lines of JSON on standard output. Standard
library only, apart from what the cells import.

The cells are executed once, in order. Before a cell that a change replaces, the process is forked:
the copy runs the changed cell and those that the claims need, and tells which claims were false.
So a change starts from the notebook's own state, down to the random generators, and costs what
comes after it. Other master seeds are tried in copies forked before the first cell.

Figures and cards are not drawn, predictions and exercises not checked; claims are recorded and do
not raise.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import json
import linecache
import os
import random
import resource
import select
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

MUTED = ("show", "explorable", "predict", "reveal", "check", "hint", "undecided")
KEEP = "_course_master_seed_kept"


@dataclass
class Job:
    """What to execute.

    Attributes:
        cells: the code of all cells.
        run: the numbers of those to run once.
        changes: for each change its number, the cell, its code, the cells to run from there on and
            the claims (patterns of texts) that must be false.
        seeds: other master seeds.
        seed_run: the numbers of the cells to run under each of them.
        fixed: statements that hold one of these texts keep the notebook's own seeds.
        limit: seconds of processor time that a changed copy may take; under another master seed
            it is five times as many. A copy that waits is ended after ten times its limit.
        jobs: copies at a time.
    """

    cells: list[str]
    run: list[int]
    changes: list[dict[str, Any]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    seed_run: list[int] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    limit: float = 120.0
    jobs: int = 1


class Stop(BaseException):
    """Ends a copy whose claims have all been seen false."""


class Replay:
    """One process that runs cells: its name space and the claims that it has met."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.module = types.ModuleType("__main__")  # where classes and functions say they live
        sys.modules["__main__"] = self.module
        self.claims: dict[str, dict[str, Any]] = {}
        self.wanted: set[str] = set()  # false claims that end the run
        self.seed_kept = False

    def cell(self, number: int, text: str) -> None:
        """Executes one cell."""
        name = f"<cell {number}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        tree = ast.parse(text)
        for fixed in self.job.fixed:
            if fixed in text:
                _keep_seeds(tree, text, fixed)
        exec(compile(tree, name, "exec"), vars(self.module))

    def claim(self, original: Callable[..., None]) -> Callable[..., None]:
        """A claim that is recorded; the first verdict "false" stays."""

        def recorded(text: str, *args: Any, **kwargs: Any) -> None:
            try:
                original(text, *args, **kwargs)
                holds, message = True, ""
            except AssertionError as error:
                holds, message = False, str(error)
            entry = {"text": text, "kind": kwargs.get("kind", "identity"), "message": message}
            if self.claims.get(text, {}).get("holds", True):
                self.claims[text] = {**entry, "holds": holds}
            if not holds:
                self.wanted.discard(text)
                if not self.wanted and self.stops:
                    raise Stop

        return recorded

    stops = False

    def prepare(self) -> None:
        """Mutes the teaching kit and puts the recorder into it."""
        import bolearn.teach as kit

        for name in MUTED:
            if hasattr(kit, name):
                setattr(kit, name, lambda *args, **kwargs: None)
        kit.claim = self.claim(kit.claim)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        vars(self.module)[KEEP] = self.keeping_seeds

    @contextlib.contextmanager
    def keeping_seeds(self) -> Iterator[None]:
        """Within it the seeds are the notebook's own."""
        was, self.seed_kept = self.seed_kept, True
        try:
            yield
        finally:
            self.seed_kept = was

    def use_master_seed(self, master: int) -> None:
        """From now on every explicit seed stands for another one: torch's, NumPy's, the package's.

        Each seed is mixed with the master seed where numbers are drawn, so that equal seeds stay
        equal and different ones different.
        """

        def mixed(seed: Any) -> Any:
            if self.seed_kept or not isinstance(seed, int):
                return seed
            digest = hashlib.blake2b(f"{seed} {master}".encode(), digest_size=8).digest()
            return int.from_bytes(digest, "little") >> 2

        random.Random = _mixing(random.Random, "seed", mixed)  # type: ignore[misc]
        if "torch" in sys.modules:
            torch: Any = sys.modules["torch"]
            torch.Generator = _mixing(torch.Generator, "manual_seed", mixed)
            torch.manual_seed = _of_seed(torch.manual_seed, mixed)
        if "numpy" in sys.modules:
            numpy: Any = sys.modules["numpy"]
            numpy.random.default_rng = _of_seed(numpy.random.default_rng, mixed)
        package = Path(str(sys.modules["bolearn.teach"].__file__)).parents[1]
        if (package / "seeds.py").is_file():
            seeds = importlib.import_module("bolearn.seeds")
            words = seeds.random_words
            new = lambda of, *args, **kwargs: words([mixed(s) for s in of], *args, **kwargs)  # noqa: E731
            vars(seeds)["random_words"] = new
        if (package / "teach" / "goldmine").is_dir() or (package / "teach/goldmine.py").is_file():
            importlib.import_module("bolearn.teach.goldmine")  # its streams are those of the page
        for module in list(sys.modules.values()):
            names: dict[str, Any] = getattr(module, "__dict__", {})
            if "_stream" in names and module.__name__.startswith("bolearn.teach.goldmine"):
                names["_stream"] = _with_key(names["_stream"], lambda: mixed(0) & 0xFFFF)


def _mixing(kind: Any, method: str, mixed: Callable[[Any], Any]) -> Any:
    """A generator's class whose method that takes the seed takes another one."""

    def seeded(self: Any, *args: Any) -> Any:
        return getattr(kind, method)(self, *map(mixed, args[:1]), *args[1:]) or self

    return type(kind.__name__, (kind,), {method: seeded, "__module__": kind.__module__})


def _of_seed(function: Callable[..., Any], mixed: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda seed=None: function(mixed(seed))


def _with_key(stream: Callable[..., Any], key: Callable[[], int]) -> Callable[..., Any]:
    return lambda *keys: stream(*keys, *([key()] if key() else []))


def _keep_seeds(tree: ast.Module, text: str, fixed: str) -> None:
    """Puts the smallest statement that holds a text into ``with kept():``."""
    line = text[: text.index(fixed)].count("\n") + 1
    best: tuple[list[ast.stmt], int] | None = None
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = found if isinstance(found := getattr(node, name, None), list) else []
            for index, inner in enumerate(block):
                if isinstance(inner, ast.stmt) and inner.lineno <= line <= (inner.end_lineno or 0):
                    best = (block, index)
    if best is None:
        raise ValueError(f"{fixed!r} stands in no statement")
    block, index = best
    (wrapped,) = ast.parse(f"with {KEEP}(): pass").body
    assert isinstance(wrapped, ast.With)
    wrapped.body = [block[index]]
    block[index] = ast.fix_missing_locations(ast.copy_location(wrapped, block[index]))


class Copies:
    """Forked copies at work: at most so many at a time, each with a time limit."""

    def __init__(self, job: Job, tell: Callable[[dict[str, Any]], None]) -> None:
        self.job, self.tell = job, tell
        self.at_work: dict[int, tuple[dict[str, Any], float, bytes]] = {}  # by their pipe
        self.pids: dict[int, int] = {}

    def start(self, name: dict[str, Any], work: Callable[[], dict[str, Any]], limit: float) -> None:
        """Does the work in a copy of this process; its result is told with the name."""
        while len(self.at_work) >= self.job.jobs:
            self.collect()
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.close(ours)
            used = sum(os.times()[:2])
            resource.setrlimit(resource.RLIMIT_CPU, (int(used + limit) + 1, resource.RLIM_INFINITY))
            try:
                found = work()
            except BaseException as error:
                found = {"error": _described(error)}
            with contextlib.suppress(OSError), os.fdopen(theirs, "wb") as pipe:
                pipe.write(json.dumps(found).encode())
            os._exit(0)
        os.close(theirs)
        self.pids[ours] = pid
        self.at_work[ours] = (name, time.monotonic() + 10 * limit, b"")

    def collect(self) -> None:
        """Waits until something ends, or for a second."""
        ready, _, _ = select.select(list(self.at_work), [], [], 1.0)
        for pipe, (name, deadline, data) in list(self.at_work.items()):
            if pipe in ready:
                part = os.read(pipe, 1 << 16)
                if part:
                    self.at_work[pipe] = (name, deadline, data + part)
                    continue
                self._end(pipe, name, data)
            elif time.monotonic() > deadline:
                self._end(pipe, name, b"")

    def finish(self) -> None:
        """Waits for all."""
        while self.at_work:
            self.collect()

    def _end(self, pipe: int, name: dict[str, Any], data: bytes) -> None:
        del self.at_work[pipe]
        os.close(pipe)
        pid = self.pids.pop(pipe)
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        late = "no result within the time limit (--limit), or the process died"
        self.tell({**name, **(json.loads(data) if data else {"error": late})})


def replay(job: Job, tell: Callable[[dict[str, Any]], None]) -> None:
    """Runs a job and tells each result as it comes."""
    main = Replay(job)
    main.prepare()
    copies = Copies(job, tell)

    def under(master: int) -> dict[str, Any]:
        main.use_master_seed(master)
        for number in job.seed_run:
            main.cell(number, job.cells[number])
        return {"claims": list(main.claims.values())}

    def changed(change: dict[str, Any]) -> dict[str, Any]:
        main.claims.clear()
        main.wanted, main.stops = set(change["claims"]), True
        with contextlib.suppress(Stop):
            for number in change["run"]:
                own = number == change["cell"]
                main.cell(number, change["code"] if own else job.cells[number])
        return {"claims": list(main.claims.values())}

    for master in job.seeds:
        copies.start({"seed": master}, partial(under, master), 5 * job.limit)
    error = None
    for number in job.run:
        for change in job.changes:
            if change["cell"] == number:
                name = {"change": change["number"]}
                copies.start(name, partial(changed, change), job.limit)
        try:
            main.cell(number, job.cells[number])
        except Exception as failure:
            error = f"cell {number + 1}: {_described(failure)}"
            break
    copies.finish()
    tell({"main": list(main.claims.values()), "error": error})


def _described(error: BaseException) -> str:
    where = ""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith("<cell "):
            name, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
            where = f"\n    in {name[1:-1]}: {linecache.getline(name, line).strip()}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {str(error)[:300]}{where}"


def main(arguments: Sequence[str]) -> int:
    """Reads the job, runs it with everything that cells print kept back."""
    job = Job(**json.load(sys.stdin))
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    if "--loud" not in arguments:
        os.dup2(1, 2)

    def tell(result: dict[str, Any]) -> None:
        print(json.dumps(result), file=out, flush=True)

    replay(job, tell)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
