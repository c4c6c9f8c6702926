"""Studies as replicates grow: runs per second, peak memory, and where the time of a step goes.

    python -m benchmarks.replicates [--sizes 1 4 16 64 256] [--repeats 3] [--out FILE]

LogEI on Hartmann-6, 12 + 30 evaluations. Every size runs in a process of its own, so that its peak
memory is its own; the sizes take turns.
"""

import argparse
import datetime
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import bolearn as bl
from bolearn import strategies
from bolearn.strategies import standard

N_INIT, N_ITER = 12, 30


def one_size(replicates: int, iterations: int) -> dict[str, Any]:
    """A whole study in this process: seconds of each part, and peak memory."""
    torch.set_num_threads(1)
    spent: dict[str, float] = {}

    def timed(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            started = time.process_time()
            result = f(*args, **named)
            spent[name] = spent.get(name, 0.0) + time.process_time() - started
            return result

        return call

    problem = bl.problems.Hartmann6()
    arms = {"LogEI": replace(strategies.log_ei, fit=timed("fit_mll", bl.fit_mll))}
    bl.study(problem, arms, n_init=N_INIT, n_iter=2, replicates=2)  # imports, caches
    spent.clear()
    standard.optimize_acqf = timed("optimize_acqf", standard.optimize_acqf)
    strategies.ModelBased.recommend = timed("recommend", strategies.ModelBased.recommend)  # type: ignore[method-assign]
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started, cpu = time.perf_counter(), time.process_time()
    bl.study(problem, arms, n_init=N_INIT, n_iter=iterations, replicates=replicates)
    total = time.process_time() - cpu
    return {
        "replicates": replicates,
        "wall": time.perf_counter() - started,
        "cpu": total,
        "parts": spent | {"rest": total - sum(spent.values())},
        "memory MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "imports MB": memory_before,
    }


def main() -> None:
    """Run, print and store the table."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    ask.add_argument("--repeats", type=int, default=3)
    ask.add_argument("--iterations", type=int, default=N_ITER)
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/replicates.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    ask.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = ask.parse_args()
    if options.one:
        print(json.dumps(one_size(options.one, options.iterations)))
        return
    if options.report:
        print(report(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    rows = []
    for _ in range(options.repeats):
        for size in options.sizes:
            command = [sys.executable, "-m", "benchmarks.replicates", "--one", str(size)]
            command += ["--iterations", str(options.iterations)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout))
            print(f"{size} replicates: {rows[-1]['cpu']:.2f} s", flush=True)
    sizes = " ".join(map(str, options.sizes))
    stored = {
        "command": f"python -m benchmarks.replicates --sizes {sizes} --repeats {options.repeats}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "python": platform.python_version(),
        "versions": {"torch": torch.__version__, "bolearn": bl.__version__},
        "work": f"LogEI on Hartmann-6, {N_INIT} + {options.iterations} evaluations",
        "iterations": options.iterations,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(report(stored))


def report(stored: dict[str, Any]) -> str:
    """The table of a stored run: the fastest repetition of each size."""
    parts = ("fit_mll", "optimize_acqf", "recommend", "rest")
    lines = [
        stored["work"],
        f"{'replicates':>10}{'cpu s':>8}{'runs/s':>8}{'ms a step':>11}{'peak MB':>9}"
        f"{'of them its own':>17}   fit / acquisition / recommendation / rest",
    ]
    steps = stored.get("iterations", N_ITER)
    sizes = sorted({row["replicates"] for row in stored["rows"]})
    for size in sizes:
        mine = [row for row in stored["rows"] if row["replicates"] == size]
        best = min(mine, key=lambda row: row["cpu"])
        shares = " / ".join(f"{best['parts'].get(p, 0.0) / best['cpu']:.0%}" for p in parts)
        lines.append(
            f"{size:>10}{best['cpu']:>8.2f}{size / best['cpu']:>8.2f}"
            f"{best['cpu'] / steps * 1e3:>11.0f}{best['memory MB']:>9.0f}"
            f"{best['memory MB'] - best['imports MB']:>17.0f}   {shares}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
