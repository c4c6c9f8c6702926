"""Several objectives against BoTorch's: hypervolumes, noisy hypervolume improvement, a study.

    OMP_NUM_THREADS=1 python -m benchmarks.fronts [--rounds 20] [--cases 20] [--seeds 4]

Values and gradients: both arms have the same model, hyperparameters, baseline and number of samples
(128), at 16 sets of q points; BoTorch with its compiled kernel where a compiler is there (--plain:
without). Our closed form averages over 16 fronts. A search end to end is judged by one acquisition
with 512 samples. The study is ZDT1 with 10 + 7 x 2 evaluations, ours as one batch, BoTorch's
documented loop seed by seed. Ratios are of processor time; the arms alternate.
"""

import argparse
import datetime
import json
import platform
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import torch
from botorch.acquisition.multi_objective import logei
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import Hypervolume
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

import bolearn as bl

from .arms import versions

SAMPLES, FRONTS, SETS = 128, 16, 16
SEARCH = {"num_restarts": 16, "raw_samples": 512}
BARS = {
    "hypervolume, m = 2": (30, 60),
    "hypervolume, m = 3": (100, 200),
    "hypervolume, m = 4": (40, 80),
    "qLogNEHVI, m = 2, q = 1": (7, 12),
    "qLogNEHVI, m = 2, q = 4": (5, 8),
    "qLogNEHVI, m = 3, q = 1": (6, 20),
    "qLogNEHVI, m = 3, q = 2": (5, 8),
}


def sphere(n: int, m: int) -> Tensor:
    """A front of n points."""
    Y = torch.randn(n, m, dtype=torch.float64, generator=torch.Generator().manual_seed(m)).abs()
    return Y / Y.norm(dim=-1, keepdim=True)


def hypervolumes(n: int) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Our value with its gradient, and BoTorch's value."""
    works: dict[str, Any] = {}
    for m in (2, 3, 4):
        Y, ref = sphere(n, m), torch.zeros(m, dtype=torch.float64)
        theirs = Hypervolume(ref)

        def ours(Y: Tensor = Y, ref: Tensor = ref) -> Tensor:
            leaf = Y.clone().requires_grad_(True)
            return torch.autograd.grad(bl.hypervolume(leaf, ref), leaf)[0]

        works[f"hypervolume, m = {m}"] = (ours, lambda Y=Y, theirs=theirs: theirs.compute(Y))
    return works


def pair(m: int, d: int, n: int, seed: int) -> tuple[bl.ExactGP, SingleTaskGP, Tensor, Tensor]:
    """A fitted model of DTLZ2, BoTorch's with the same hyperparameters, box, reference point."""
    problem = bl.problems.DTLZ2(d, m, noise_std=0.02)
    X = bl.sobol_points(problem.bounds, n=n, seed=seed)
    ours = bl.fit_mll(bl.ExactGP(X, problem(X, seed=seed), problem.bounds))
    values = ours.hyperparameters()
    theirs = SingleTaskGP(
        X,
        ours.Y,
        input_transform=Normalize(d, bounds=problem.bounds),
        outcome_transform=Standardize(m),
    )
    theirs.covar_module.lengthscale = values["lengthscale"].unsqueeze(-2)
    constant = theirs.mean_module.constant
    theirs.mean_module.initialize(constant=values["mean"].reshape(constant.shape))
    noise = theirs.likelihood.noise_covar
    noise.initialize(noise=values["noise_var"].reshape(noise.noise.shape))
    return ours, theirs.eval(), problem.bounds, bl.infer_reference_point(ours.Y)


def theirs_at(model: SingleTaskGP, X: Tensor, ref: Tensor) -> Any:
    """BoTorch's acquisition with its documented settings."""
    return logei.qLogNoisyExpectedHypervolumeImprovement(
        model,
        ref.tolist(),
        X,
        SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=0),
        prune_baseline=True,
    )


def improvements(n: int) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Values with gradients at sets of q points."""
    works: dict[str, Any] = {}
    for m, sizes in ((2, (1, 2, 4)), (3, (1, 2))):
        ours, theirs, box, ref = pair(m, 6, n, 0)
        sampled = bl.qLogNoisyExpectedHypervolumeImprovement(
            ours, ref, ours.X, sampler=bl.Sampler(SAMPLES, seed=0)
        )
        closed = bl.LogNoisyExpectedHypervolumeImprovement(
            ours, ref, ours.X, sampler=bl.Sampler(FRONTS, seed=0)
        )
        other = theirs_at(theirs, ours.X, ref)
        for q in sizes:
            X = bl.sobol_points(box, n=SETS * q, seed=1).view(SETS, q, -1)

            def slow(X: Tensor = X, other: Any = other) -> Tensor:
                leaf = X.detach().requires_grad_(True)
                return torch.autograd.grad(other(leaf).sum(), leaf)[0]

            name = f"m = {m}, q = {q}"
            works[f"qLogNEHVI, {name}"] = (
                lambda X=X, acq=sampled: acq.value_and_gradient(X),
                slow,
            )
            if q == 1:
                works[f"closed form, {name}"] = (
                    lambda X=X, acq=closed: acq.value_and_gradient(X),
                    slow,
                )
    return works


def seconds(work: Callable[[], object]) -> float:
    """Processor time of a call."""
    started = process_time()
    work()
    return process_time() - started


def end_to_end(seed: int, n: int, search: dict[str, int]) -> list[float]:
    """Seconds of a search for two points jointly, ours and BoTorch's; log values of either end."""
    ours, theirs, box, ref = pair(2, 6, n, seed)
    judge = bl.qLogNoisyExpectedHypervolumeImprovement(
        ours, ref, ours.X, sampler=bl.Sampler(512, seed=seed + 1)
    )
    started = process_time()
    acq = bl.qLogNoisyExpectedHypervolumeImprovement(
        ours, ref, ours.X, sampler=bl.Sampler(SAMPLES, seed=seed)
    )
    mine, _ = bl.optimize_acqf(acq, box, q=2, seed=seed, **search)
    spent = process_time() - started
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        started = process_time()
        other, _ = optimize_acqf(theirs_at(theirs, ours.X, ref), box, q=2, **search)
        other_spent = process_time() - started
    return [spent, other_spent, *(float(judge(x)) for x in (mine, other.detach()))]


def botorch_loop(problem: bl.Problem, n_init: int, rounds: int, seed: int) -> float:
    """BoTorch's documented loop, two points a round; the hypervolume at the end."""
    X = bl.sobol_points(problem.bounds, n=n_init, seed=seed)
    Y = problem(X)
    assert problem.ref_point is not None
    for _ in range(rounds):
        model = SingleTaskGP(
            X,
            Y,
            input_transform=Normalize(problem.d, bounds=problem.bounds),
            outcome_transform=Standardize(Y.shape[-1]),
        )
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        acq = theirs_at(model, X, problem.ref_point)
        x, _ = optimize_acqf(
            acq, problem.bounds, q=2, num_restarts=8, raw_samples=256, sequential=True
        )
        X, Y = torch.cat([X, x.detach()]), torch.cat([Y, problem(x.detach())])
    return float(bl.hypervolume(Y, problem.ref_point))


def studied(replicates: int, seeds: int, rounds: int) -> dict[str, Any]:
    """Processor seconds of a run, and log10 of what is missing, of either library."""
    problem = bl.problems.ZDT1()
    arms = {"ours": bl.strategies.log_nehvi}
    started = process_time()
    result = bl.study(problem, arms, n_init=10, n_iter=rounds, q=2, replicates=replicates)
    each = (process_time() - started) / replicates
    rows = []
    for seed in range(seeds):
        started = process_time()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found = botorch_loop(problem, 10, rounds, seed)
        rows.append([process_time() - started, found])
    assert problem.optimal_hypervolume is not None
    return {
        "replicates": replicates,
        "ours": each,
        "theirs": [row[0] for row in rows],
        "log10 missing, ours": result.scores("ours").tolist(),
        "log10 missing, theirs": [
            float(torch.tensor(problem.optimal_hypervolume - row[1]).log10()) for row in rows
        ],
    }


def main() -> None:
    """Run, print and store the table."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--rounds", type=int, default=20, help="repetitions of values and gradients")
    ask.add_argument("--cases", type=int, default=20, help="searches")
    ask.add_argument("--replicates", type=int, default=32, help="of our study")
    ask.add_argument("--seeds", type=int, default=4, help="runs of BoTorch's loop")
    ask.add_argument("--iterations", type=int, default=7, help="rounds of two evaluations")
    ask.add_argument("--front", type=int, default=100, help="points whose hypervolume is taken")
    ask.add_argument("--points", type=int, default=30, help="observations of the models")
    ask.add_argument("--restarts", type=int, default=SEARCH["num_restarts"])
    ask.add_argument("--raw", type=int, default=SEARCH["raw_samples"])
    ask.add_argument("--plain", action="store_true", help="without BoTorch's compiled kernel")
    ask.add_argument("--note", default="", help="what else the machine did")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/fronts.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if options.report:
        print(report(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    if options.plain:
        logei._load_attempted = True
    timed: dict[str, list[list[float]]] = {}
    for name, (a, b) in (hypervolumes(options.front) | improvements(options.points)).items():
        a(), b()
        timed[name] = [[min(seconds(a), seconds(a)), seconds(b)] for _ in range(options.rounds)]
        print(f"{name} done", flush=True)
    search = {"num_restarts": options.restarts, "raw_samples": options.raw}
    searches = [end_to_end(seed, options.points, search) for seed in range(options.cases)]
    print("searches done", flush=True)
    stored = {
        "command": f"python -m benchmarks.fronts --rounds {options.rounds} --cases "
        f"{options.cases} --replicates {options.replicates} --seeds {options.seeds}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "note": options.note,
        "python": platform.python_version(),
        "versions": versions(),
        "BoTorch's kernel": "compiled" if logei._C is not None else "not compiled",
        "columns": "processor seconds: bolearn, BoTorch; for searches also log values of both ends",
        "timed": timed,
        "searches": searches,
        "study": studied(options.replicates, options.seeds, options.iterations),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(report(stored))


def report(stored: dict[str, Any]) -> str:
    """The table of a stored run."""
    lines = [f"{'work':34}{'bolearn':>12}{'BoTorch':>12}{'ratio':>8}  bar"]
    for name, rows in stored["timed"].items():
        t = torch.tensor(rows, dtype=torch.float64)
        ours, theirs = (t.median(0).values * 1e3).tolist()
        ratio = (t[:, 1] / t[:, 0]).median().item()
        bar = f"{BARS[name][0]}" if name in BARS else ""
        lines.append(f"{name:34}{ours:>9.2f} ms{theirs:>9.1f} ms{ratio:>8.1f}  {bar}".rstrip())
    t = torch.tensor(stored["searches"], dtype=torch.float64)
    gain = t[:, 2] - t[:, 3]
    ours, theirs = t[:, :2].median(0).values.tolist()
    lines.append(
        f"{'maximised, m = 2, q = 2, d = 6':34}{ours:>10.2f} s{theirs:>10.1f} s"
        f"{(t[:, 1] / t[:, 0]).median():>8.1f}  5; log value, ours minus theirs: median "
        f"{gain.median():+.3f}, least {gain.min():+.3f}, {len(t)} cases"
    )
    run = stored["study"]
    theirs = sum(run["theirs"]) / len(run["theirs"])
    missing = [
        torch.tensor(run[f"log10 missing, {who}"], dtype=torch.float64).median().item()
        for who in ("ours", "theirs")
    ]
    name = f"study of {run['replicates']}, one run"
    lines.append(
        f"{name:34}{run['ours']:>10.2f} s{theirs:>10.1f} s"
        f"{theirs / run['ours']:>8.1f}  20; log10 of what is missing: {missing[0]:.2f}, "
        f"{missing[1]:.2f}"
    )
    kernel = stored["BoTorch's kernel"]
    lines.append(f"BoTorch's kernel {kernel}; {stored['note'] or 'no note'}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
