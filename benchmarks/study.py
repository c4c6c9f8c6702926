"""Replicated studies: 64 runs of 30 iterations as one batch, against BoTorch seed by seed.

    python -m benchmarks.study [--seeds 64] [--blocks 8] [--out FILE]

Every block runs bolearn's whole study twice, with its default model (Matern-5/2) and with BoTorch's
(RBF), and a share of BoTorch's seeds in both of its forms, so that whatever else the machine does
falls on all arms. Ratios are of runs per second.
"""

import argparse
import datetime
import json
import platform
import resource
from dataclasses import replace
from pathlib import Path

import torch

import bolearn as bl

from .arms import Stopwatch, botorch_loop, compare_regret, settings, versions

N_INIT, N_ITER = 12, 30
WARM_EVERY = 4  # BoTorch's warm-started form runs on one seed in four
OURS = {
    "bolearn": bl.strategies.log_ei,
    "bolearn rbf": replace(bl.strategies.log_ei, model=bl.strategies.rbf_gp),
}


def main() -> None:
    """Run, print and store the comparison."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--seeds", type=int, default=64)
    ask.add_argument("--blocks", type=int, default=8)
    ask.add_argument("--iterations", type=int, default=N_ITER)
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/study.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if options.report:
        print(report(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    problem, R = bl.problems.Hartmann6(), options.seeds
    arms = (*OURS, "botorch", "botorch warm")
    log: dict[str, list[list[float]]] = {name: [] for name in arms}
    regret: dict[str, list[float]] = {name: [] for name in arms}
    share = R // options.blocks
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    memory = 0.0
    for block in range(options.blocks):
        for name, strategy in OURS.items():
            with Stopwatch() as watch:
                result = bl.study(
                    problem,
                    {"LogEI": strategy},
                    n_init=N_INIT,
                    n_iter=options.iterations,
                    replicates=R,
                    seed=0,
                )
            log[name].append([watch.clock.wall / R, watch.clock.cpu / R])
            if block == 0:
                regret[name] = result.regret("LogEI")[:, -1].tolist()
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        designs = result.X["LogEI"][:, :N_INIT]
        for i in range(block * share, (block + 1) * share):
            theirs = [("botorch", False)] + [("botorch warm", True)] * (i % WARM_EVERY == 0)
            for name, warm in theirs:
                with Stopwatch() as watch:
                    _, Y = botorch_loop(problem, designs[i], options.iterations, i, warm=warm)
                log[name].append([watch.clock.wall, watch.clock.cpu])
                regret[name].append(float(problem.optimal_value - Y.max()))
        print(f"block {block + 1} of {options.blocks}", flush=True)
        stored = {
            "command": f"python -m benchmarks.study --seeds {R} --blocks {options.blocks}",
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.processor() or platform.machine()}, one thread",
            "python": platform.python_version(),
            "versions": versions(),
            "settings": settings("last round's hyperparameters and the priors' modes (two starts)"),
            "memory MB": {"imports": round(memory_before), "study": round(memory)},
            "seconds per run [wall, cpu]": log,
            "final regret": regret,
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(report(stored))


RATIOS = "".join(f"{'over ' + name:>19}" for name in OURS)  # wall (processor)


def report(stored: dict) -> str:  # type: ignore[type-arg]
    """The table of a stored run."""
    seconds = {
        name: torch.tensor(rows, dtype=torch.float64).mean(0)
        for name, rows in stored["seconds per run [wall, cpu]"].items()
    }
    lines = [stored["settings"], ""]
    lines.append("BoTorch's time over bolearn's")
    lines.append(f"{'arm':<14}{'s/run wall':>12}{'s/run cpu':>12}" + RATIOS)
    for name, pair in seconds.items():
        lines.append(f"{name:<14}{pair[0]:>12.3f}{pair[1]:>12.3f}")
        if name not in OURS:
            lines[-1] += "".join(
                f"{ratio[0]:>12.1f} ({ratio[1]:.1f})"
                for ratio in (pair / seconds[ours] for ours in OURS)
            )
    final = {
        name: torch.tensor(values, dtype=torch.float64)
        for name, values in stored["final regret"].items()
    }
    for ours in OURS:
        lines.append("")
        for name in ("botorch", "botorch warm"):
            same = final[ours][:: len(final[ours]) // len(final[name])]
            lines.append(compare_regret(same, final[name], name, ours=ours))
    used = stored["memory MB"]
    lines.append(f"peak memory {used['study']} MB, of which imports {used['imports']} MB")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
