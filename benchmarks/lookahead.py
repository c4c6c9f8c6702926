"""Knowledge gradient and entropy search against BoTorch's: value and gradient, and KG end to end.

    python -m benchmarks.lookahead [--rounds 15] [--cases 20]

Both arms have the same model and hyperparameters, entropies the same samples of the optimum. One-
shot qKG has 64 fantasies; ours is exact over the observed points, 16 maxima of the mean and 64 path
maxima. A search end to end is judged by one measure for both: KG of its end by nested optimisation
(64 outcomes, the mean after each climbed from 8 starts). Ratios are of processor time; the arms
alternate.
"""

import argparse
import datetime
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from botorch.acquisition.joint_entropy_search import qJointEntropySearch
from botorch.acquisition.knowledge_gradient import qKnowledgeGradient
from botorch.acquisition.max_value_entropy_search import (
    qLowerBoundMaxValueEntropy,
    qMaxValueEntropy,
)
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf
from torch import Tensor

import bolearn as bl

from .arms import versions

SIZES = ((2, 20), (6, 40), (10, 60))  # inputs, observations
FANTASIES, RESTARTS, RAW = 64, 10, 512
BARS = {"KG 2": 20, "KG 6": 60, "KG 10": 100, "MES": 5, "GIBBON": 8, "JES": 15, "search": 10}


def problem(d: int) -> bl.Problem:
    """A noisy problem of d inputs."""
    if d == 2:
        return bl.problems.Branin(noise_std=2.0)
    return bl.problems.Hartmann6(noise_std=0.1) if d == 6 else bl.problems.Ackley(d, noise_std=0.2)


def pair(d: int, n: int, seed: int) -> tuple[bl.ExactGP, SingleTaskGP, Tensor]:
    """The same model twice: a fitted bolearn model and BoTorch's with its hyperparameters."""
    case = problem(d)
    X = bl.sobol_points(case.bounds, n=n, seed=seed)
    ours = bl.fit_mll(bl.ExactGP(X, case(X, seed=seed), case.bounds))
    values = ours.hyperparameters()
    theirs = SingleTaskGP(
        X,
        ours.Y,
        input_transform=Normalize(d, bounds=case.bounds),
        outcome_transform=Standardize(1),
    )
    theirs.covar_module.lengthscale = values["lengthscale"]
    theirs.mean_module.initialize(constant=values["mean"].reshape(()))
    theirs.likelihood.noise_covar.initialize(noise=values["noise_var"].reshape(1))
    return ours, theirs.eval(), case.bounds


def value_and_gradient(acq: Callable[[Tensor], Tensor], X: Tensor) -> Callable[[], object]:
    """What an optimiser asks for at every step."""

    def work() -> Tensor:
        leaf = X.detach().requires_grad_(True)
        value = acq(leaf)
        torch.autograd.grad(value.sum(), leaf)
        return value.detach()

    return work


def entropies(
    ours: bl.ExactGP, theirs: SingleTaskGP, bounds: Tensor, samples: int
) -> dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]]:
    """Either library's acquisitions with the same samples of the optimum."""
    optima = bl.sample_optima(ours, bounds, samples, seed=0)
    grid = bl.sobol_points(bounds, n=64, seed=0)
    made = {}
    for name, mine, kind in (
        ("MES", bl.MaxValueEntropySearch(ours, optima.value), qMaxValueEntropy),
        ("GIBBON", bl.GIBBON(ours, optima.value), qLowerBoundMaxValueEntropy),
    ):
        other = kind(theirs, grid, num_mv_samples=samples)
        other.posterior_max_values = optima.value.unsqueeze(-1)
        made[name] = (mine, other)
    mine = bl.JointEntropySearch(ours, optima.x, optima.value)
    made["JES"] = (mine, qJointEntropySearch(theirs, optima.x, optima.value.unsqueeze(-1)))
    return made


def works(d: int, n: int) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name -> a value with its gradient at 10 points, by either library."""
    ours, theirs, bounds = pair(d, n, seed=0)
    X = bl.sobol_points(bounds, n=RESTARTS, seed=1).unsqueeze(-2)
    found = {}
    one_shot = qKnowledgeGradient(theirs, num_fantasies=FANTASIES)
    inner = bl.sobol_points(bounds, n=RESTARTS * FANTASIES, seed=2).reshape(RESTARTS, FANTASIES, d)
    points = bl.knowledge_gradient_points(ours, bounds, seed=0)
    found[f"KG, d = {d}"] = (
        value_and_gradient(bl.qLogKnowledgeGradient(ours, points), X),
        value_and_gradient(one_shot, torch.cat([X, inner], dim=-2)),
    )
    for samples in (16, 64) if d == 2 else (16,):
        for name, (a, b) in entropies(ours, theirs, bounds, samples).items():
            key = f"{name}, d = {d}, {samples} samples"
            found[key] = (value_and_gradient(a, X), value_and_gradient(b, X))
    return found


def seconds(work: Callable[[], object], calls: int) -> float:
    """Processor time of a call."""
    started = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - started) / calls


def nested(model: bl.ExactGP, bounds: Tensor, x: Tensor) -> float:
    """KG by its definition: the mean after each of 64 outcomes at x ``1 d``, climbed."""
    z = torch.special.ndtri((torch.arange(FANTASIES, dtype=x.dtype) + 0.5) / FANTASIES)
    with torch.no_grad():
        p = model.posterior(x, observation_noise=True)
        after = model.condition(x, (p.mean + p.variance.sqrt() * z[:, None])[..., None])
    now = bl.recommend(model, bounds, seed=0).value
    top = bl.recommend(after, bounds, num_restarts=8, seed=0).value
    return float(top.mean() - now)


def end_to_end(d: int, n: int, seed: int) -> list[float]:
    """Processor seconds of a search, ours and BoTorch's; nested values of either end."""
    ours, theirs, bounds = pair(d, n, seed)
    started = time.process_time()
    mine = bl.optimize_knowledge_gradient(ours, bounds, seed=seed).x
    spent = time.process_time() - started
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        started = time.process_time()
        acq = qKnowledgeGradient(theirs, num_fantasies=FANTASIES)
        other, _ = optimize_acqf(acq, bounds, q=1, num_restarts=RESTARTS, raw_samples=RAW)
        other_spent = time.process_time() - started
    values = [nested(ours, bounds, x) for x in (mine, other.detach())]
    return [spent, other_spent, *values]


def main() -> None:
    """Run, print and store the table."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--rounds", type=int, default=15, help="repetitions of values and gradients")
    ask.add_argument("--calls", type=int, default=10, help="calls of ours in each, of theirs one")
    ask.add_argument("--cases", type=int, default=20, help="searches for each number of inputs")
    ask.add_argument("--sizes", type=int, default=len(SIZES), help="how many, smallest first")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/lookahead.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if options.report:
        print(report(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    torch.manual_seed(0)
    timed: dict[str, list[list[float]]] = {}
    for d, n in SIZES[: options.sizes]:
        for name, (a, b) in works(d, n).items():
            a(), b()
            timed[name] = [
                [seconds(a, options.calls), seconds(b, 1)] for _ in range(options.rounds)
            ]
            print(f"{name} done", flush=True)
    searches = {}
    for d, n in SIZES[: options.sizes]:
        searches[str(d)] = [end_to_end(d, n, seed) for seed in range(options.cases)]
        print(f"searches, d = {d} done", flush=True)
    stored = {
        "command": f"python -m benchmarks.lookahead --rounds {options.rounds} "
        f"--cases {options.cases}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "python": platform.python_version(),
        "versions": versions(),
        "columns": "processor seconds: bolearn, BoTorch; for searches also nested KG of both ends",
        "timed": timed,
        "searches": searches,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(report(stored))


def report(stored: dict) -> str:  # type: ignore[type-arg]
    """The table of a stored run."""
    lines = [f"{'value and gradient at 10 points':34}{'bolearn':>11}{'BoTorch':>11}{'ratio':>8}"]
    for name, rows in stored["timed"].items():
        t = torch.tensor(rows, dtype=torch.float64)
        ours, theirs = (t.median(0).values * 1e3).tolist()
        ratio = (t[:, 1] / t[:, 0]).median().item()
        lines.append(f"{name:34}{ours:>8.2f} ms{theirs:>8.1f} ms{ratio:>8.1f}")
    lines.append("")
    lines.append(
        f"{'KG end to end':34}{'bolearn':>10}{'BoTorch':>10}{'ratio':>8}  nested value, ours over "
        "theirs: median (least), cases not worse by 1 %"
    )
    for d, rows in stored["searches"].items():
        t = torch.tensor(rows, dtype=torch.float64)
        ours, theirs = t[:, :2].median(0).values.tolist()
        quotient = t[:, 2] / t[:, 3].clamp(min=1e-300)
        fine = int((t[:, 2] >= 0.99 * t[:, 3]).sum())
        lines.append(
            f"{f'd = {d}':34}{ours:>8.2f} s{theirs:>8.1f} s{theirs / ours:>8.1f}  "
            f"{quotient.median():.3f} ({quotient.min():.3f}), {fine} of {len(rows)}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
