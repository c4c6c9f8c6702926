"""Maximising one acquisition: bolearn's `optimize_acqf` against BoTorch's, paired.

    OMP_NUM_THREADS=1 python -m benchmarks.optimise [--cases 20] [--only NAME ...]

Both arms maximise the same acquisition of the same fitted model (the hyperparameters are copied),
from the same numbers of restarts and raw samples and to the same tolerances. They alternate case by
case. What each found is judged by one function, bolearn's acquisition: the differences of values
are paired.
"""

import argparse
import datetime
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import botorch
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.acquisition.logei import (
    qLogExpectedImprovement,
    qLogNoisyExpectedImprovement,
)
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf
from botorch.sampling.normal import SobolQMCNormalSampler
from torch import Tensor

import bolearn as bl

from .arms import NUM_RESTARTS, RAW_SAMPLES, Stopwatch, versions

N, SAMPLES = 50, 128
BETTER = 1e-4  # differences of log values below this are ties

SETTINGS = f"""\
both      n = {N} noisy observations, float64, one thread, {NUM_RESTARTS} restarts,
          {RAW_SAMPLES} raw samples, gtol 1e-5, ftol 2.2e-9, {SAMPLES} Sobol samples (q > 1);
          d = 6: Hartmann-6; d = 20: Hartmann-6 of six inputs, a weak bowl in all twenty;
          time includes raw samples, climbs and the head start, not the fit
BoTorch   {botorch.__version__}: Boltzmann starts (eta 1), L-BFGS-B, at most 2000 iterations
          (SLSQP where inputs are constrained)
bolearn   Boltzmann starts (eta 2), an eighth of the raw samples near the best observations; joint
          choice: one start chosen point by point; SciPy's L-BFGS-B core or batched L-BFGS, at most
          500 iterations; a restart that falls hopelessly behind is given up (augmented Lagrangian
          where inputs are constrained)"""


@dataclass(frozen=True)
class Case:
    """An acquisition and how it is maximised."""

    kind: str  # "LogEI", "qLogEI" or "qLogNEI"
    d: int
    q: int
    sequential: bool = False
    budget: float | None = None  # an upper limit for the sum of the inputs

    @property
    def name(self) -> str:
        """Its row in the table."""
        how = ", sequential" if self.sequential else ""
        limit = ", sum limited" if self.budget is not None else ""
        return f"{self.kind} d={self.d} q={self.q}{how}{limit}"


CASES = (
    Case("LogEI", 6, 1),
    Case("LogEI", 20, 1),
    Case("LogEI", 6, 1, budget=2.0),
    Case("qLogEI", 6, 4),
    Case("qLogEI", 20, 4),
    Case("qLogNEI", 6, 4),
    Case("qLogNEI", 20, 4),
    Case("qLogNEI", 6, 4, sequential=True),
)


def fitted(d: int, seed: int) -> bl.ExactGP:
    """A model of noisy observations on the unit cube."""
    bounds = torch.tensor([[0.0] * d, [1.0] * d], dtype=torch.float64)
    X = bl.sobol_points(bounds, n=N, seed=seed)
    inputs = X if d == 6 else X[:, ::3][:, :6]
    Y = bl.problems.Hartmann6(noise_std=0.05)(inputs, seed=seed)
    if d > 6:
        Y = Y - 0.3 * (X - 0.4).square().sum(-1, keepdim=True)
    return bl.fit_mll(bl.ExactGP(X, Y, bounds=bounds))


def twin(model: bl.ExactGP) -> SingleTaskGP:
    """BoTorch's model with the same data and hyperparameters."""
    theirs = SingleTaskGP(
        model.X,
        model.Y,
        input_transform=Normalize(model.X.shape[-1], bounds=model.bounds),
        outcome_transform=Standardize(1),
    )
    values = model.hyperparameters()
    kernel, noise = theirs.covar_module, theirs.likelihood.noise_covar
    kernel.lengthscale = values["lengthscale"].reshape(kernel.lengthscale.shape)
    theirs.mean_module.initialize(constant=values["mean"].squeeze())
    noise.initialize(noise=values["noise_var"].reshape(noise.noise.shape))
    return theirs.eval()


def pair(case: Case, model: bl.ExactGP, seed: int) -> tuple[Callable[[Tensor], Tensor], object]:
    """The acquisition in both libraries."""
    best = bl.incumbent(model, model.X).value
    sampler = bl.Sampler(SAMPLES, seed=seed)
    shape = torch.Size([SAMPLES])
    if case.kind == "LogEI":
        return bl.LogExpectedImprovement(model, best), LogExpectedImprovement(twin(model), best)
    if case.kind == "qLogEI":
        return (
            bl.qLogExpectedImprovement(model, best, sampler=sampler),
            qLogExpectedImprovement(
                twin(model), best, sampler=SobolQMCNormalSampler(shape, seed=seed)
            ),
        )
    return (
        bl.qLogNoisyExpectedImprovement(model, X_baseline=model.X, sampler=sampler),
        qLogNoisyExpectedImprovement(
            twin(model), model.X, sampler=SobolQMCNormalSampler(shape, seed=seed)
        ),
    )


def run(case: Case, seed: int) -> list[float]:
    """Seconds of both arms [wall, cpu, wall, cpu], and the difference of the values they found."""
    model = fitted(case.d, seed)
    ours, theirs = pair(case, model, seed)
    d, limit = case.d, case.budget
    linear = () if limit is None else (bl.linear_constraint(range(d), [1.0] * d, at_most=limit),)
    with Stopwatch() as mine:
        x = bl.optimize_acqf(
            ours,
            model.bounds,
            case.q,
            num_restarts=NUM_RESTARTS,
            raw_samples=RAW_SAMPLES,
            sequential=case.sequential,
            input_constraints=linear,
            seed=seed,
        ).x
    inequality = (
        None if limit is None else [(torch.arange(d), -torch.ones(d, dtype=torch.float64), -limit)]
    )
    with torch.random.fork_rng(), Stopwatch() as other:
        torch.manual_seed(seed)
        z, _ = optimize_acqf(
            theirs,
            model.bounds,
            q=case.q,
            num_restarts=NUM_RESTARTS,
            raw_samples=RAW_SAMPLES,
            sequential=case.sequential,
            inequality_constraints=inequality,
        )
    gain = float(ours(x) - ours(z))
    return [mine.clock.wall, mine.clock.cpu, other.clock.wall, other.clock.cpu, gain]


def main() -> None:
    """Run the cases, alternating the arms; print and store the table."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--cases", type=int, default=20)
    ask.add_argument("--only", nargs="*", help="only rows that contain one of these words")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/optimise.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if options.report:
        print(report(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    if os.environ.get("OMP_NUM_THREADS") != "1":  # BLAS inside SciPy would take more
        raise SystemExit("set OMP_NUM_THREADS=1: the comparison is of one thread each")
    rows: dict[str, list[list[float]]] = {}
    if options.only and options.out.exists():  # the other rows are kept
        rows = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
    for case in CASES:
        if options.only and not any(word in case.name for word in options.only):
            continue
        rows[case.name] = [run(case, seed) for seed in range(options.cases)]
        print(line(case.name, rows[case.name]), flush=True)
        store(rows, options.cases, options.out)
    print(report(json.loads(options.out.read_text(encoding="utf-8"))))


def store(rows: dict[str, list[list[float]]], cases: int, out: Path) -> None:
    """Write what has been run so far."""
    stored = {
        "command": f"OMP_NUM_THREADS=1 python -m benchmarks.optimise --cases {cases}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "python": platform.python_version(),
        "versions": versions(),
        "settings": SETTINGS,
        "columns": "bolearn wall, cpu; botorch wall, cpu; log value, ours minus theirs",
        "rows": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def line(name: str, rows: list[list[float]]) -> str:
    """One row of the table."""
    t = torch.tensor(rows, dtype=torch.float64)
    wall, cpu, gain = t[:, 2] / t[:, 0], t[:, 3] / t[:, 1], t[:, 4]
    wins, losses = int((gain > BETTER).sum()), int((gain < -BETTER).sum())
    return (
        f"{name:34} {t[:, 0].median():7.3f} {t[:, 2].median():8.3f} {wall.median():7.1f} "
        f"{cpu.median():6.1f}  {gain.median():+9.1e} {gain.min():+9.1e} {wins:5d} {losses:6d}"
    )


def report(stored: dict) -> str:  # type: ignore[type-arg]
    """The table of a stored run."""
    head = (
        f"{'':34} {'seconds (median)':>16} {'ratio (median)':>14}"
        f"  {'log value, ours - theirs':>32}\n"
        f"{'':34} {'bolearn':>7} {'BoTorch':>8} {'wall':>7} {'cpu':>6}"
        f"  {'median':>9} {'least':>9} {'wins':>5} {'losses':>6}"
    )
    table = [line(name, rows) for name, rows in stored["rows"].items()]
    pairs = len(next(iter(stored["rows"].values())))
    ties = f"wins and losses: differences above {BETTER:g}, of {pairs} pairs"
    return "\n".join([stored["settings"], "", head, *table, ties])


if __name__ == "__main__":
    main()
