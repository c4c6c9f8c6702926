"""How good the answers are: bolearn's strategies against BoTorch's documented loop.

    python -m benchmarks.quality [--seeds 16] [--problems 'Branin;Hartmann6'] [--arms botorch]
    python -m benchmarks.quality --report

Both arms start from the same scrambled Sobol points and spend the same number of evaluations. The
score of a run is the regret, without noise, of the point it would hand over: the best evaluated
point, or with noise the evaluated point with the highest posterior mean. Cells already stored are
not run again (``--again`` forgets an arm first), so that a long run may be stopped and continued.
"""

import argparse
import datetime
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import botorch
import torch
from botorch.acquisition import LogExpectedImprovement, qLogNoisyExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

import bolearn as bl

from .arms import versions

FLOOR = 1e-8  # regrets below it count as this


@dataclass(frozen=True)
class Task:
    """A problem with its budget: ``n_init`` points of the design, then rounds of q."""

    make: Callable[[], bl.Problem]
    n_init: int
    rounds: int
    q: int = 1

    @property
    def sampled(self) -> bool:
        """Whether the acquisition is a Monte-Carlo one: noise, or several points at once."""
        return self.q > 1 or self.make().noise_std > 0


P = bl.problems
TASKS = {
    "Branin": Task(P.Branin, 6, 24),
    "SixHumpCamel": Task(P.SixHumpCamel, 6, 24),
    "Hartmann3": Task(P.Hartmann3, 8, 24),
    "Rastrigin 3": Task(lambda: P.Rastrigin(3), 8, 32),
    "StyblinskiTang 3": Task(lambda: P.StyblinskiTang(3), 8, 24),
    "Griewank 4": Task(lambda: P.Griewank(4), 10, 30),
    "Levy 4": Task(lambda: P.Levy(4), 10, 30),
    "Rosenbrock 5": Task(lambda: P.Rosenbrock(5), 12, 36),
    "Hartmann6": Task(P.Hartmann6, 14, 36),
    "Cosine8": Task(P.Cosine8, 18, 36),
    "Ackley 10": Task(lambda: P.Ackley(10), 20, 40),
    "Levy 20": Task(lambda: P.Levy(20), 20, 40),
    "Branin, noisy": Task(lambda: P.Branin(noise_std=5.0), 6, 24),
    "Hartmann6, noisy": Task(lambda: P.Hartmann6(noise_std=0.1), 14, 36),
    "Hartmann6, q = 4": Task(P.Hartmann6, 14, 10, q=4),
    "Ackley 5, q = 4": Task(lambda: P.Ackley(5), 12, 10, q=4),
    # looked at when nothing was left to decide: these had no part in the choice of defaults
    "GoldsteinPrice": Task(P.GoldsteinPrice, 6, 24),
    "Shekel": Task(P.Shekel, 10, 40),
    "Michalewicz 5": Task(lambda: P.Michalewicz(5), 12, 40),
    "DixonPrice 10": Task(lambda: P.DixonPrice(10), 20, 40),
    "Schwefel 4": Task(lambda: P.Schwefel(4), 10, 40),
    "Powell 8": Task(lambda: P.Powell(8), 18, 36),
    "Levy 6, noisy": Task(lambda: P.Levy(6, noise_std=1.0), 14, 36),
    "Rosenbrock 4, q = 4": Task(lambda: P.Rosenbrock(4), 10, 10, q=4),
    "EffectiveDim 30": Task(lambda: P.EffectiveDim(30), 20, 40),
}

SETTINGS = f"""\
both      16 restarts, 512 raw samples, float64, one thread; batches chosen one after the other
BoTorch   {botorch.__version__}: SingleTaskGP (RBF), Normalize + Standardize; LogEI over the best
          observation; with noise or q > 1 qLogNEI with its defaults, pruned baseline
bolearn   strategies.log_ei; with noise or q > 1 strategies.q_log_nei; their default model
          (Matern-5/2 under BoTorch's priors); the arm "bolearn rbf" has BoTorch's kernel"""


def bolearn_scores(task: Task, seeds: int, *, rbf: bool) -> list[float]:
    """Final regrets of a study, one for each seed."""
    strategy = bl.strategies.q_log_nei if task.sampled else bl.strategies.log_ei
    if rbf:
        strategy = replace(strategy, model=bl.strategies.rbf_gp)
    problem = task.make()
    result = bl.study(
        problem,
        {"ours": strategy},
        n_init=task.n_init,
        n_iter=task.rounds,
        q=task.q,
        replicates=seeds,
        seed=0,
    )
    kind = "inference" if problem.noise_std > 0 else "simple"
    return result.regret("ours", kind)[:, -1].tolist()


def botorch_score(task: Task, X: Tensor, Y: Tensor, seed: int) -> float:
    """Final regret of BoTorch's loop from the design X with its measurements Y."""
    problem = task.make()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for t in range(task.rounds):
            model = _fitted(problem, X, Y)
            acq = (
                qLogNoisyExpectedImprovement(model, X_baseline=X, prune_baseline=True)
                if task.sampled
                else LogExpectedImprovement(model, best_f=Y.max())
            )
            x, _ = optimize_acqf(
                acq,
                problem.bounds,
                q=task.q,
                num_restarts=16,
                raw_samples=512,
                sequential=True,
            )
            X = torch.cat([X, x])
            Y = torch.cat([Y, problem(x, seed=1_000_000 + 1000 * seed + t)])
        best = Y.argmax()
        if problem.noise_std > 0:
            best = _fitted(problem, X, Y).posterior(X).mean.argmax()
    return float(problem.optimal_value - problem.noiseless(X[best : best + 1]).squeeze())


def _fitted(problem: bl.Problem, X: Tensor, Y: Tensor) -> SingleTaskGP:
    model = SingleTaskGP(
        X,
        Y,
        input_transform=Normalize(X.shape[-1], bounds=problem.bounds),
        outcome_transform=Standardize(1),
    )
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def main() -> None:
    """Run what is missing, store it, print the table."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--seeds", type=int, default=16)
    ask.add_argument("--problems", default=";".join(TASKS), help="names, separated by ;")
    ask.add_argument("--arms", default="bolearn,bolearn rbf,botorch")
    ask.add_argument("--rounds", type=int, help="instead of those of each problem; to try it out")
    ask.add_argument("--again", default="", help="an arm whose stored cells are forgotten first")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/quality.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    torch.set_num_threads(1)
    stored = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    stored.setdefault("regret", {})
    if options.report:
        print(report(stored))
        return
    for name in options.problems.split(";"):
        cells = stored["regret"].setdefault(name, {})
        for arm in options.arms.split(","):
            if arm == options.again:
                cells.pop(arm, None)
            task = TASKS[name]
            if options.rounds:
                task = replace(task, rounds=options.rounds)
            _fill(cells, arm, task, options.seeds)
            stored |= {
                "command": f"python -m benchmarks.quality --seeds {options.seeds}",
                "date": datetime.date.today().isoformat(),
                "machine": f"{platform.processor() or platform.machine()}, one thread",
                "python": platform.python_version(),
                "versions": versions(),
                "settings": SETTINGS,
            }
            options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
            print(f"{name}: {arm}", flush=True)
    print(report(stored))


def _fill(cells: dict[str, list[float]], arm: str, task: Task, seeds: int) -> None:
    """Add the missing regrets of one arm."""
    if arm != "botorch":
        if len(cells.get(arm, ())) < seeds:
            cells[arm] = bolearn_scores(task, seeds, rbf=arm == "bolearn rbf")
        return
    have = cells.setdefault(arm, [])
    design = bl.study(
        task.make(),
        {"design": bl.strategies.random},
        n_init=task.n_init,
        n_iter=1,
        replicates=seeds,
        seed=0,
    )
    for seed in range(len(have), seeds):
        X, Y = (values["design"][seed, : task.n_init] for values in (design.X, design.Y))
        have.append(botorch_score(task, X, Y, seed))


def report(stored: dict) -> str:  # type: ignore[type-arg]
    """The tables: median regrets, paired differences of log10 regret, verdicts."""
    lines = [stored.get("settings", "")]
    for ours, theirs in (("bolearn", "botorch"), ("bolearn", "bolearn rbf")):
        lines += ["", f"{ours} against {theirs}"]
        lines.append(
            f"{'problem':<18}{'seeds':>6}{'median':>10}{'theirs':>10}{'log10 diff':>12}"
            f"{'95 % interval':>18}{'lower in':>10}  verdict"
        )
        for name, cells in stored["regret"].items():
            if ours in cells and theirs in cells:
                lines.append(_line(name, cells[ours], cells[theirs]))
    return "\n".join(lines)


def _line(name: str, ours: list[float], theirs: list[float]) -> str:
    """One problem; the verdict is *undecided* while the interval of the mean holds zero."""
    n = min(len(ours), len(theirs))
    a, b = (torch.tensor(v[:n], dtype=torch.float64).clamp(min=FLOOR) for v in (ours, theirs))
    difference = a.log10() - b.log10()
    interval = bl.stats.paired_bootstrap(difference, statistic="mean")
    verdict = "better" if interval.high < 0 else "worse" if interval.low > 0 else "undecided"
    return (
        f"{name:<18}{n:>6}{a.median():>10.2g}{b.median():>10.2g}{difference.mean():>+12.2f}"
        f"{f'[{interval.low:+.2f}, {interval.high:+.2f}]':>18}"
        f"{int((difference < 0).sum()):>7}/{n:<2}  {verdict}"
    )


if __name__ == "__main__":
    main()
