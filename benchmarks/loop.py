"""A single loop, 10 + 30 evaluations of Hartmann-6, against BoTorch's.

python -m benchmarks.loop [--seeds 20] [--iterations 30]
"""

import argparse
import datetime
import json
import platform
from pathlib import Path

import torch

import bolearn as bl

from .arms import Stopwatch, bolearn_loop, botorch_loop, compare_regret, settings, versions


def main() -> None:
    """Run both arms seed by seed, alternating; print and store the ratio."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--seeds", type=int, default=20)
    ask.add_argument("--iterations", type=int, default=30)
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/loop.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if options.report:
        print(report(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    problem = bl.problems.Hartmann6()
    rows = []
    for seed in range(options.seeds):
        X = bl.sobol_points(problem.bounds, n=10, seed=seed)
        with Stopwatch() as ours:
            _, Y = bolearn_loop(problem, X, options.iterations, seed)
        with Stopwatch() as theirs:
            _, Z = botorch_loop(problem, X, options.iterations, seed, warm=False)
        rows.append(
            [
                ours.clock.wall,
                ours.clock.cpu,
                theirs.clock.wall,
                theirs.clock.cpu,
                float(problem.optimal_value - Y.max()),
                float(problem.optimal_value - Z.max()),
            ]
        )
        print(f"seed {seed}: ratio {rows[-1][2] / rows[-1][0]:.1f}", flush=True)
    stored = {
        "command": f"python -m benchmarks.loop --seeds {options.seeds}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "python": platform.python_version(),
        "versions": versions(),
        "settings": settings("the fixed starts, no warm start"),
        "columns": "bolearn wall, cpu; botorch wall, cpu; final regret bolearn, botorch",
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(report(stored))


def report(stored: dict) -> str:  # type: ignore[type-arg]
    """The summary of a stored run."""
    t = torch.tensor(stored["rows"], dtype=torch.float64)
    ratio = t[:, 2:4] / t[:, :2]
    return "\n".join(
        [
            stored["settings"],
            "",
            f"seconds per loop: bolearn {t[:, 0].median():.2f}, BoTorch {t[:, 2].median():.2f}",
            f"ratio: median {ratio[:, 0].median():.1f} wall, {ratio[:, 1].median():.1f} cpu "
            f"(from {ratio[:, 0].min():.1f} to {ratio[:, 0].max():.1f} over {len(t)} seeds)",
            compare_regret(t[:, 4], t[:, 5], "BoTorch"),
        ]
    )


if __name__ == "__main__":
    main()
