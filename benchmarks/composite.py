"""Fits of composite kernels: time and final objective beside BoTorch's `fit_gpytorch_mll`.

python -m benchmarks.composite [--sets 40]
"""

import argparse
import datetime
import json
import math
import platform
import warnings
from collections.abc import Callable
from pathlib import Path

import botorch
import torch
from botorch.exceptions import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from gpytorch.kernels import (
    Kernel,
    LinearKernel,
    MaternKernel,
    PeriodicKernel,
    RBFKernel,
    RQKernel,
    ScaleKernel,
)
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

import bolearn as bl
from bolearn.seeds import derive, normal, uniform

from .arms import Clock, Stopwatch, versions
from .fit import objective

SETTINGS = f"""\
both      the kernel as gpytorch makes it, the noise prior of both libraries, float64, one thread
BoTorch   {botorch.__version__}: SingleTaskGP, Normalize + Standardize; SciPy's L-BFGS-B from the
          kernel's own values (one start), inverse softplus values of what is positive; replicates
          one after the other
bolearn   batched L-BFGS from several starts at once, logarithms of what is positive; replicates
          as one batch
objective log posterior density of the hyperparameters per observation, computed by one function
          at both ends; sets that BoTorch's fit gave up are counted, and not compared"""


def matern(d: int) -> MaternKernel:
    """Matern-5/2 with a lengthscale for each input."""
    return MaternKernel(nu=2.5, ard_num_dims=d)


KERNELS: dict[str, Callable[[int], Kernel]] = {
    "periodic x linear": lambda d: PeriodicKernel() * LinearKernel(),
    "RQ + linear": lambda d: RQKernel() + LinearKernel(),
    "scaled sum": lambda d: ScaleKernel(ScaleKernel(RBFKernel()) + ScaleKernel(PeriodicKernel())),
    "ARD Matern + periodic": lambda d: matern(d) + PeriodicKernel(),
}


def dataset(n: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """A trend, a season and a bump in d inputs, in proportions that the seed chooses."""
    X = uniform([derive(seed, "X")], (n, d))[0]
    u, e = uniform([derive(seed, "u")], (6,))[0], normal([derive(seed, "e")], (n,))[0]
    w = normal([derive(seed, "w")], (d,))[0]
    t = 10 * X[:, 0]
    season = torch.sin((1 + 3 * u[0]) * t + 6 * u[1]) * (1 + u[2] * t)
    y = season + 3 * u[3] * (X @ w) + 2 * u[4] * torch.sin(3 * X.sum(-1)) + 0.3 * u[5] * e
    return X, y.unsqueeze(-1)


def fit_ours(X: Tensor, Y: Tensor, box: Tensor, kernel: Kernel) -> tuple[bl.ExactGP, Clock]:
    """bolearn's fit, from the data to the fitted model."""
    with Stopwatch() as watch:
        model = bl.fit_mll(bl.ExactGP(X, Y, box, kernel=kernel.double()))
    return model, watch.clock


def fit_theirs(
    X: Tensor, Y: Tensor, box: Tensor, kernel: Kernel, seed: int
) -> tuple[SingleTaskGP | None, Clock]:
    """BoTorch's fit; None where it gave up."""
    model = None
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BoTorch tells of each retry
        torch.manual_seed(seed)  # its retries draw from the global state
        with Stopwatch() as watch:
            try:
                model = SingleTaskGP(
                    X,
                    Y,
                    covar_module=kernel.double(),
                    input_transform=Normalize(X.shape[-1], bounds=box),
                    outcome_transform=Standardize(1),
                )
                fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            except (ModelFittingError, RuntimeError):
                model = None
    return model, watch.clock


def at(model: bl.ExactGP, theirs: SingleTaskGP) -> bl.ExactGP:
    """Our model with the hyperparameters that BoTorch found."""
    values = {"mean": theirs.mean_module.constant, "noise_var": theirs.likelihood.noise}
    own = dict(theirs.covar_module.named_parameters())
    for name in model.hyperparameters():
        if name.startswith("kernel."):
            path, _, leaf = name.removeprefix("kernel.").rpartition(".")
            part = theirs.covar_module.get_submodule(path)
            values[name] = getattr(part, leaf)
    assert own
    have = model.hyperparameters()
    return model.with_hyperparameters(
        **{name: v.detach().reshape(have[name].shape) for name, v in values.items()}
    )


def pair(name: str, n: int, d: int, seed: int) -> dict[str, float | int | str | None]:
    """Both fits of one data set."""
    X, Y = dataset(n, d, seed)
    box = torch.stack([torch.zeros(d), torch.ones(d)]).double()
    model, ours = fit_ours(X, Y, box, KERNELS[name](d))
    theirs, clock = fit_theirs(X, Y, box, KERNELS[name](d), seed)
    gain = None
    if theirs is not None:
        other = objective(at(model, theirs))
        gain = objective(model) - other if math.isfinite(other) else None
    return {
        "kernel": name,
        "n": n,
        "d": d,
        "bolearn wall": ours.wall,
        "bolearn cpu": ours.cpu,
        "BoTorch wall": clock.wall,
        "BoTorch cpu": clock.cpu,
        "gain": gain,
        "evaluations": model.fit_report.evaluations,
    }


def batch(name: str, n: int, d: int, seed: int, replicates: int = 32) -> dict[str, float | str]:
    """Many data sets: ours as one batch, BoTorch's one after the other."""
    sets = [dataset(n, d, derive(seed, i)) for i in range(replicates)]
    box = torch.stack([torch.zeros(d), torch.ones(d)]).double()
    X, Y = (torch.stack(parts) for parts in zip(*sets, strict=True))
    model, ours = fit_ours(X, Y, box, KERNELS[name](d))
    clocks = [
        fit_theirs(x, y, box, KERNELS[name](d), derive(seed, i))[1] for i, (x, y) in enumerate(sets)
    ]
    return {
        "kernel": name,
        "n": n,
        "d": d,
        "replicates": replicates,
        "bolearn wall": ours.wall,
        "bolearn cpu": ours.cpu,
        "BoTorch wall": sum(clock.wall for clock in clocks),
        "BoTorch cpu": sum(clock.cpu for clock in clocks),
        "evaluations": model.fit_report.evaluations,
    }


def main() -> None:
    """Compare ends on varied data sets, time single fits and batches; print and store."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--sets", type=int, default=40, help="data sets, shared by the kernels")
    ask.add_argument("--batches", type=int, default=1, help="batches of each kernel")
    ask.add_argument("--replicates", type=int, default=32, help="data sets of a batch")
    ask.add_argument("--kernels", type=int, default=len(KERNELS), help="only the first of them")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/composite.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if options.report:
        print(report(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    pair("RQ + linear", 8, 1, 0)  # both libraries import the rest of themselves
    names = list(KERNELS)[: options.kernels]
    ends = []
    for i in range(options.sets):
        ends.append(pair(names[i % len(names)], 10 + 5 * (i % 5), 1 + i // 4 % 3, derive(1, i)))
        print(ends[-1]["kernel"], ends[-1]["gain"], flush=True)
    batches = [
        batch(name, 14, 1, derive(2, name, i), options.replicates)
        for name in names
        for i in range(options.batches)
    ]
    stored = {
        "command": f"python -m benchmarks.composite --sets {options.sets} "
        f"--batches {options.batches} --replicates {options.replicates}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "python": platform.python_version(),
        "versions": versions(),
        "settings": SETTINGS,
        "ends": ends,
        "batches": batches,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(report(stored))


def ratio(rows: list, clock: str) -> float:  # type: ignore[type-arg]
    """Median of BoTorch's time over ours."""
    ratios = torch.tensor([row[f"BoTorch {clock}"] / row[f"bolearn {clock}"] for row in rows])
    return ratios.median().item()


def report(stored: dict) -> str:  # type: ignore[type-arg]
    """The summary of a stored run."""
    lines = [stored["settings"], "", f"{'ratio of run time, wall (processor)':26s}   one   batch"]
    for name in KERNELS:
        parts = [
            [row for row in stored[kind] if row["kernel"] == name] for kind in ("ends", "batches")
        ]
        one, many = (
            f"{ratio(rows, 'wall'):.1f} ({ratio(rows, 'cpu'):.1f})" if rows else "-"
            for rows in parts
        )
        lines.append(f"{name:26s} {one:>14s} {many:>14s}")
    gains = [row["gain"] for row in stored["ends"] if row["gain"] is not None]
    gain = torch.tensor(gains, dtype=torch.float64)
    lines += [
        "",
        f"objective, bolearn minus BoTorch, {len(gain)} data sets that BoTorch fitted (of "
        f"{len(stored['ends'])}): smallest {gain.min():.1e}, largest {gain.max():.2f}",
        f"  lower by more than 1e-6: {int((gain < -1e-6).sum())}, "
        f"higher by more than 1e-6: {int((gain > 1e-6).sum())}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
