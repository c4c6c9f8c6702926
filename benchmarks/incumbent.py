"""Which incumbent expected improvement should have to beat when observations are noisy.

    python -m benchmarks.incumbent [--seeds 64] [--problems 'Branin;Hartmann6'] [--levels 0.05,0.3]
    python -m benchmarks.incumbent --seed 1 --problems GoldMine1d --levels 0.3     once more, afresh
    python -m benchmarks.incumbent --report

Every arm runs the same loop with the same model from the same designs; only what is to be beaten
differs:

    believed   log EI over the highest posterior mean at the points evaluated so far
    seen       log EI over the highest observation
    again      as "believed", but a believed best point that was evaluated only once is evaluated
               again first
    qLogNEI    noisy EI with q = 1: the best of the evaluated points in each joint sample

Noise has a standard deviation of 5 % and 30 % of that of the function over its box. The score of a
run is the regret, without noise, of the point that it recommends: the evaluated point with the
highest posterior mean. Cells already stored are not run again. Verdicts are those of
`bolearn.stats.verdict`: four standard errors of the mean.
"""

import argparse
import datetime
import itertools
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

import bolearn as bl
from bolearn.strategies import ModelBased, StudyData

from .arms import versions

P = bl.problems
N_INIT, ROUNDS = {1: 3, 2: 6, 3: 8, 4: 10, 6: 14}, 20
PROBLEMS: dict[str, Callable[[float], bl.Problem]] = {
    "GoldMine1d": lambda sd: P.GoldMine1d(noise_std=sd),
    "Branin": lambda sd: P.Branin(noise_std=sd),
    "SixHumpCamel": lambda sd: P.SixHumpCamel(noise_std=sd),
    "Hartmann3": lambda sd: P.Hartmann3(noise_std=sd),
    "Levy 4": lambda sd: P.Levy(4, noise_std=sd),
    "Hartmann6": lambda sd: P.Hartmann6(noise_std=sd),
}


def _seen(model: bl.ExactGP, best_f: Tensor, seed: object) -> bl.Acquisition:
    return bl.LogExpectedImprovement(model, best_f=model.Y[..., 0].amax(-1))


@dataclass(frozen=True)
class Again:
    """Log EI over the best posterior mean; a believed best seen only once is evaluated again."""

    batched: ClassVar[bool] = True

    def __call__(
        self, data: StudyData, bounds: Tensor, q: int, seed: object
    ) -> tuple[Tensor, object]:
        """EI's point, or the believed best one where that was evaluated only once."""
        x, state = bl.strategies.log_ei(data, bounds, q, seed)  # type: ignore[arg-type]
        best = bl.strategies.log_ei.recommend(
            StudyData(
                data.X, data.Y, data.observed, data.bounds, None, data.round, data.n_init, state
            )
        )
        count = (best.unsqueeze(-2) == data.X).all(-1).sum(-1)  # R
        return torch.where((count < 2)[:, None, None], best.unsqueeze(-2), x), state

    def recommend(self, data: StudyData) -> Tensor:
        """As all arms."""
        return bl.strategies.log_ei.recommend(data)


ARMS = {
    "believed": bl.strategies.log_ei,
    "seen": ModelBased(_seen),
    "again": Again(),
    "qLogNEI": bl.strategies.q_log_nei,
}


def spread(make: Callable[[float], bl.Problem]) -> float:
    """Standard deviation of the function over its box."""
    problem = make(0.0)
    return float(problem.noiseless(bl.sobol_points(problem.bounds, 4096, seed=0)).std())


def run(name: str, level: float, seeds: int, rounds: int, seed: int) -> dict[str, list[float]]:
    """Final regrets of every arm."""
    make = PROBLEMS[name]
    problem = make(level * spread(make))
    result = bl.study(
        problem,
        ARMS,
        n_init=N_INIT[problem.bounds.shape[-1]],
        n_iter=rounds,
        replicates=seeds,
        seed=seed,
    )
    return {arm: result.regret(arm, "inference")[:, -1].tolist() for arm in ARMS}


def main() -> None:
    """Run what is missing, store it, print the table."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--seeds", type=int, default=64)
    ask.add_argument("--problems", default=";".join(PROBLEMS), help="names, separated by ;")
    ask.add_argument("--levels", default="0.05,0.3")
    ask.add_argument("--rounds", type=int, default=ROUNDS)
    ask.add_argument("--seed", type=int, default=0, help="other than 0: cells of their own")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/incumbent.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    torch.set_num_threads(1)
    stored = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    cells = stored.setdefault("regret", {})
    if not options.report:
        levels = [float(level) for level in options.levels.split(",")]
        for level, name in itertools.product(levels, options.problems.split(";")):
            key = f"{name}, noise {level:g}" + (f", seed {options.seed}" if options.seed else "")
            if key in cells:
                continue
            cells[key] = {
                "spread": spread(PROBLEMS[name]),
                **run(name, level, options.seeds, options.rounds, options.seed),
            }
            stored |= {
                "command": f"python -m benchmarks.incumbent --seeds {options.seeds}",
                "date": datetime.date.today().isoformat(),
                "machine": f"{platform.processor() or platform.machine()}, one thread",
                "python": platform.python_version(),
                "versions": versions(),
            }
            options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
            print(key, flush=True)
    print(report(cells))


def report(cells: dict[str, dict[str, list[float]]]) -> str:
    """Regrets in units of the function's spread, and paired differences to "believed"."""
    others = [arm for arm in ARMS if arm != "believed"]
    lines = [
        "final regret / spread of the function: mean of each arm, and the paired difference to",
        '"believed" in standard errors of its mean (negative: better than "believed")',
        f"{'':<28}" + "".join(f"{arm:>10}" for arm in ARMS) + "".join(f"{a:>16}" for a in others),
    ]
    total = {arm: [] for arm in others}  # type: dict[str, list[Tensor]]
    for name, cell in cells.items():
        scaled = {a: torch.tensor(cell[a], dtype=torch.float64) / cell["spread"] for a in ARMS}  # type: ignore[operator]
        row = f"{name:<28}" + "".join(f"{scaled[a].mean():>10.3f}" for a in ARMS)
        for arm in others:
            gain = scaled["believed"] - scaled[arm]
            if "seed" not in name:  # the cells with a seed of their own were chosen by the others
                total[arm].append(gain)
            wins, losses = int((gain > 0).sum()), int((gain < 0).sum())
            row += f"{-_errors(gain):>+7.1f} ({wins}:{losses})".rjust(16)
        lines.append(row)
    row = f"{'all, problems weighted alike':<28}" + " " * 10 * len(ARMS)
    mean = {arm: torch.stack(gains).mean(0) for arm, gains in total.items() if gains}
    for gain in mean.values():
        row += f"{-_errors(gain):>+7.1f}".rjust(16)
    verdicts = [f"{arm}, over all: {bl.stats.verdict(gain)}" for arm, gain in mean.items()]
    return "\n".join([*lines, row, *verdicts])


def _errors(gain: Tensor) -> float:
    """The mean in standard errors."""
    errors = bl.stats.verdict(gain).errors
    return errors if errors == errors else 0.0


if __name__ == "__main__":
    main()
