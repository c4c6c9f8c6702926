"""Value and gradient of acquisitions, and their optimisation, against BoTorch's.

python -m benchmarks.acquisitions [--rounds 40]
"""

import argparse
import datetime
import json
import platform
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from botorch.acquisition import analytic, logei
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf
from botorch.sampling.normal import SobolQMCNormalSampler
from torch import Tensor

import bolearn as bl

from .arms import Stopwatch, versions

N, D, RESTARTS, SAMPLES, CALLS = 50, 6, 16, 128, 25

SETTINGS = f"""\
n = {N} observations, d = {D}, {RESTARTS} sets of q points, {SAMPLES} Sobol samples, float64,
one thread; both have the same hyperparameters, base samples, best_f, baseline (pruned by bolearn)
and temperatures. "value and gradient": f(X), then torch.autograd.grad, in alternating blocks of
{CALLS} calls. "optimised": {RESTARTS} restarts, 512 raw samples, defaults of each library"""


def pair() -> tuple[bl.ExactGP, SingleTaskGP, Tensor]:
    """The same model twice: a fitted bolearn model and BoTorch's with its hyperparameters."""
    problem = bl.problems.Hartmann6(noise_std=0.1)
    X = bl.sobol_points(problem.bounds, n=N, seed=0)
    ours = bl.fit_mll(bl.ExactGP(X, problem(X, seed=0), problem.bounds))
    values = ours.hyperparameters()
    theirs = SingleTaskGP(
        X,
        ours.Y,
        input_transform=Normalize(D, bounds=problem.bounds),
        outcome_transform=Standardize(1),
    )
    theirs.covar_module.lengthscale = values["lengthscale"]
    theirs.mean_module.initialize(constant=values["mean"].reshape(()))
    theirs.likelihood.noise_covar.initialize(noise=values["noise_var"].reshape(1))
    return ours, theirs.eval(), problem.bounds


def arms(ours: bl.ExactGP, theirs: SingleTaskGP) -> dict[str, tuple[int, Callable, Callable]]:  # type: ignore[type-arg]
    """Name -> q and the acquisition of either library."""
    best = bl.incumbent(ours, ours.X).value
    tau = 1e-6 * ours.output_scale.item()  # bolearn smooths in standardised units
    sampler = bl.Sampler(SAMPLES, seed=0)
    found = {
        "LogEI": (
            1,
            bl.LogExpectedImprovement(ours, best),
            analytic.LogExpectedImprovement(theirs, best),
        )
    }
    noisy = bl.qLogNoisyExpectedImprovement(ours, ours.X, sampler=sampler)
    for q in (1, 4, 16):
        found[f"qLogEI, q = {q}"] = (
            q,
            bl.qLogExpectedImprovement(ours, best, sampler=sampler),
            logei.qLogExpectedImprovement(theirs, best, _normals(), tau_relu=tau),
        )
        found[f"qLogNEI, q = {q}"] = (
            q,
            noisy,
            logei.qLogNoisyExpectedImprovement(
                theirs, noisy.baseline.points, _normals(), prune_baseline=False, tau_relu=tau
            ),
        )
    return found


def _normals() -> SobolQMCNormalSampler:
    return SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=0)


def value_and_gradient(acq: Callable[[Tensor], Tensor], X: Tensor) -> tuple[Tensor, Tensor]:
    """What an optimiser asks for at every step."""
    X = X.detach().requires_grad_(True)
    value = acq(X)
    (gradient,) = torch.autograd.grad(value.sum(), X)
    return value.detach(), gradient


def compare(name: str, q: int, a: Callable, b: Callable, bounds: Tensor, rounds: int) -> dict:  # type: ignore[type-arg]
    """Seconds per call in alternating blocks, and by how much the results differ."""
    X = bl.sobol_points(bounds, n=RESTARTS * q, seed=1).reshape(RESTARTS, q, D)
    (u, v), (s, t) = value_and_gradient(a, X), value_and_gradient(b, X)
    rows = []
    for _ in range(rounds):
        row = []
        for acq in (a, b):
            with Stopwatch() as watch:
                for _ in range(CALLS):
                    value_and_gradient(acq, X)
            row += [watch.clock.wall / CALLS, watch.clock.cpu / CALLS]
        rows.append(row)
    return {
        "name": name,
        "work": "value and gradient",
        "rows": rows[1:],  # the first round warms up
        "differs": max((u - s).abs().max().item(), (v - t).abs().max().item()),
    }


def optimise(name: str, q: int, a: Callable, b: Callable, bounds: Tensor, seeds: int) -> dict:  # type: ignore[type-arg]
    """Seconds per search, alternating; how far BoTorch's end falls short by bolearn's values."""
    rows, gaps = [], []
    for seed in range(seeds):
        with Stopwatch() as mine:
            found = bl.optimize_acqf(
                a, bounds, q=q, num_restarts=RESTARTS, raw_samples=512, seed=seed
            )
        with torch.random.fork_rng(), Stopwatch() as other:
            torch.manual_seed(seed)
            x, _ = optimize_acqf(b, bounds, q=q, num_restarts=RESTARTS, raw_samples=512)
        rows.append([mine.clock.wall, mine.clock.cpu, other.clock.wall, other.clock.cpu])
        gaps.append(found.value.item() - a(x.unsqueeze(0)).item())
    return {"name": name, "work": "optimised", "rows": rows, "gap": statistics.median(gaps)}


def main() -> None:
    """Measure, print and store the table."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--rounds", type=int, default=40)
    ask.add_argument("--only", default="", help="only acquisitions whose name begins like this")
    ask.add_argument("--seeds", type=int, default=5, help="searches per acquisition")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/acquisitions.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if options.report:
        print(report(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    ours, theirs, bounds = pair()
    results = []
    for name, (q, a, b) in arms(ours, theirs).items():
        if not name.startswith(options.only):
            continue
        results.append(compare(name, q, a, b, bounds, options.rounds))
        if q <= 4:
            results.append(optimise(name, q, a, b, bounds, options.seeds))
        print(f"{name} done", flush=True)
    stored = {
        "command": f"python -m benchmarks.acquisitions --rounds {options.rounds} "
        f"--seeds {options.seeds}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "python": platform.python_version(),
        "versions": versions(),
        "settings": SETTINGS,
        "columns": "seconds: bolearn wall, cpu; botorch wall, cpu",
        "results": results,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(report(stored))


def report(stored: dict) -> str:  # type: ignore[type-arg]
    """The table of ratios of a stored run."""
    lines = [
        stored["settings"],
        ", ".join(f"{name} {version}" for name, version in stored["versions"].items()),
        "",
        "| acquisition | work | ratio of run time, wall (processor) | bolearn, ms | agreement |",
        "|---|---|---|---|---|",
    ]
    for result in stored["results"]:
        t = torch.tensor(result["rows"], dtype=torch.float64)
        ratio = (t[:, 2:] / t[:, :2]).median(0).values
        agreement = (
            f"to {result['differs']:.0e}"
            if "differs" in result
            else f"log value {result['gap']:+.1e} (median)"
        )
        lines.append(
            f"| {result['name']} | {result['work']} | **{ratio[0]:.1f}** ({ratio[1]:.1f}) | "
            f"{1e3 * t[:, 0].median():.2f} | {agreement} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
