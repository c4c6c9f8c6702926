"""Changes the package in one place at a time and sees whether its tests notice.

    python tests/mutate.py              all mutations of tests/mutations.toml, two at a time
    python tests/mutate.py linalg 12    those whose file or description says so, or by number

Each mutation is tried in a copy of the checkout, by the tests that the table names for it; the
checkout itself is never touched. A mutation that no test notices is a test that is missing. Not
part of `make test`: run it (`make mutations`) after writing tests, or changing what they test.

Every process is forked from one that has imported torch and its kin, which saves most of the time
(so: Linux or macOS). `make test` holds that the table fits the code (`test_mutations.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "mutations.toml"
LIMIT = 90  # seconds of processor time; a mutation that runs for ever counts as noticed
COPIED = ("bolearn", "course", "docs", "sources", "tests", "pyproject.toml", "README.md")
# What the tests import anyway and no mutation changes
ANYWAY = (
    "torch", "gpytorch", "botorch.acquisition", "botorch.optim", "scipy.stats", "scipy.optimize",
    "mpmath", "numpy", "matplotlib.pyplot", "hypothesis", "jaxtyping", "beartype", "pytest",
)  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """One change and the tests that have to notice it."""

    number: int
    file: str
    what: str
    text: str
    replacement: str
    tests: tuple[str, ...]
    only: str

    def fault(self, root: Path) -> str | None:
        """Why the entry is of no use, if it is."""
        where = f"mutation {self.number}, {self.file}"
        if not (root / self.file).is_file():
            return f"{where}: no such file"
        count = (root / self.file).read_text(encoding="utf-8").count(self.text)
        if count != 1:
            return f"{where}: expected its text exactly once, found {count} times: {self.text!r}"
        if missing := [test for test in self.tests if not (root / test).exists()]:
            return f"{where}: no such tests: {', '.join(missing)}"
        if self.text == self.replacement:
            return f"{where}: it changes nothing"
        return None


@dataclass(frozen=True)
class Outcome:
    """What the tests made of a mutation."""

    noticed: bool
    how: str
    seconds: float


def table(path: Path = TABLE) -> list[Mutation]:
    """The mutations, numbered from 1 in the order of the file."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutation"]
    return [
        Mutation(
            number, e["file"], e["what"], e["text"], e["replacement"], tuple(e["tests"]),
            e.get("only", ""),
        )
        for number, e in enumerate(entries, 1)
    ]  # fmt: skip


@contextlib.contextmanager
def changed(tree: Path, mutation: Mutation) -> Iterator[None]:
    """The mutation, made in a copied tree and taken back."""
    file = tree / mutation.file
    before, times = file.read_bytes(), file.stat()
    text = before.decode().replace(mutation.text, mutation.replacement)
    file.write_bytes(text.encode())
    try:
        yield
    finally:
        file.write_bytes(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def _run_tests(tree: Path, mutation: Mutation, log: Path) -> None:
    """In a forked process: the mutation's tests, up to the first that fails."""
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(tree)
    os.environ["CI"] = "1"  # Hypothesis draws the same examples every time
    sys.path[:] = [str(tree), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
    sys.dont_write_bytecode = True
    used = int(sum(os.times()[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + LIMIT, resource.RLIM_INFINITY))
    import pytest

    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"]
    selected = ["-k", mutation.only] if mutation.only else []
    code = pytest.main([*options, *mutation.tests, *selected])
    sys.stdout.flush()
    os._exit(int(code))


def judge(tree: Path, mutation: Mutation) -> Outcome:
    """Whether the tests notice the mutation."""
    start, log = time.perf_counter(), tree / "mutation.log"
    fork = multiprocessing.get_context("fork")
    with changed(tree, mutation):
        process = fork.Process(target=_run_tests, args=(tree, mutation, log))
        process.start()
        process.join()
    seconds = time.perf_counter() - start
    if process.exitcode == -signal.SIGXCPU:
        return Outcome(True, f"no end within {LIMIT} s of processor time", seconds)
    said = log.read_text(encoding="utf-8", errors="replace")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+::\S+)", said, re.MULTILINE)
    if process.exitcode == 1 and failed:
        return Outcome(True, failed[1], seconds)
    if process.exitcode == 0:
        return Outcome(False, "SURVIVED", seconds)
    tail = said.strip().splitlines()[-1:] or [""]
    return Outcome(False, f"NOT JUDGED (exit code {process.exitcode}): {tail[0]}", seconds)


def copies(folder: Path, count: int) -> Queue[Path]:
    """Copied trees to try mutations in, with their compiled files."""
    trees: Queue[Path] = Queue()
    for k in range(count):
        tree = folder / str(k)
        tree.mkdir()
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, tree / name)
        trees.put(tree)
    return trees


def chosen(mutations: list[Mutation], words: list[str]) -> list[Mutation]:
    """Those that a number or a part of file or description means; all for no words."""
    if not words:
        return mutations
    return [
        m for m in mutations
        if any(w == str(m.number) or (not w.isdigit() and w in f"{m.file} {m.what}") for w in words)
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Try the mutations; 0 if the tests notice every one, 1 if not, 2 for a table out of date."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="numbers, or parts of files and descriptions")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="how many at a time (2)")
    options = parser.parse_args(arguments)
    mutations = chosen(table(), options.words)
    if faults := [fault for m in mutations if (fault := m.fault(ROOT))]:
        print("\n".join(faults), file=sys.stderr)
        return 2
    for module in ANYWAY:
        importlib.import_module(module)
    start, survivors = time.perf_counter(), 0
    with tempfile.TemporaryDirectory(prefix="bolearn-mutations-") as name:
        trees = copies(Path(name), options.jobs)

        def one(mutation: Mutation) -> tuple[Mutation, Outcome]:
            tree = trees.get()
            try:
                return mutation, judge(tree, mutation)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(options.jobs) as pool:
            for done in as_completed([pool.submit(one, m) for m in mutations]):
                mutation, outcome = done.result()
                survivors += not outcome.noticed
                print(
                    f"{mutation.number:3d} {outcome.seconds:6.1f} s  "
                    f"{'' if outcome.noticed else '!! '}{mutation.file}: {mutation.what}\n"
                    f"{'':14}{outcome.how}",
                    flush=True,
                )
    noticed = len(mutations) - survivors
    print(f"{noticed} of {len(mutations)} noticed, {time.perf_counter() - start:.0f} s")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
