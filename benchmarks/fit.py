"""Fitting one data set: time and final objective beside BoTorch's `fit_gpytorch_mll`.

python -m benchmarks.fit [--sets 84]
"""

import argparse
import datetime
import json
import math
import platform
from pathlib import Path

import botorch
import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

import bolearn as bl
from bolearn.seeds import derive, normal, uniform

from .arms import Clock, Stopwatch, versions

SETTINGS = f"""\
both      RBF, one lengthscale per input, dimension-scaled priors, float64, one thread; MAP
BoTorch   {botorch.__version__}: SingleTaskGP, Normalize + Standardize; SciPy's L-BFGS-B from the
          priors' modes (one start), gtol 1e-5, ftol 2.2e-9
bolearn   batched L-BFGS from five starts at once (two for n > 128), gtol 1e-5, ftol 2.2e-9
objective log posterior density of the hyperparameters per observation, computed by one function
          at both ends"""

KINDS = ("smooth", "wiggly", "noisy", "clustered", "step", "few inputs matter")
SIZES = ((10, 2), (20, 6), (50, 6), (200, 6), (500, 6))


def dataset(kind: str, n: int, d: int, seed: int) -> tuple[Tensor, Tensor]:
    """X in the unit cube and Y, of one of the `KINDS`."""
    X = uniform([derive(seed, "X")], (n, d))[0]
    w, e = normal([derive(seed, "w")], (d,))[0], normal([derive(seed, "e")], (n,))[0]
    t = (X * w).sum(-1)
    if kind == "clustered":
        centres = uniform([derive(seed, "centres")], (3, d))[0]
        X = (centres[torch.arange(n) % 3] + 0.02 * (X - 0.5)).clamp(0, 1)
        t = (X * w).sum(-1)
    y = {
        "smooth": torch.sin(2 * t) + 0.3 * X[:, 0].square() + 0.01 * e,
        "wiggly": torch.sin(15 * t + 3) + X[:, 0] * torch.cos(9 * X[:, -1]) + 0.01 * e,
        "noisy": torch.sin(4 * t) + 0.7 * e,
        "clustered": torch.sin(6 * t) + 0.02 * e,
        "step": (t > w.sum() / 2).double() + 0.05 * e,
        "few inputs matter": torch.sin(8 * X[:, 0]) + 5 * (X[:, -1] - 0.3).square() + 0.05 * e,
    }[kind]
    return X, y.unsqueeze(-1)


def fit_ours(X: Tensor, Y: Tensor, box: Tensor) -> tuple[bl.ExactGP, Clock]:
    """bolearn's fit, from the data to the fitted model."""
    with Stopwatch() as watch:
        model = bl.fit_mll(bl.ExactGP(X, Y, box))
    return model, watch.clock


def fit_theirs(X: Tensor, Y: Tensor, box: Tensor, seed: int) -> tuple[dict[str, Tensor], Clock]:
    """BoTorch's fit; the hyperparameters it found, by bolearn's names."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # its retries draw from the global state
        with Stopwatch() as watch:
            model = SingleTaskGP(
                X,
                Y,
                input_transform=Normalize(X.shape[-1], bounds=box),
                outcome_transform=Standardize(1),
            )
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    found = {
        "lengthscale": model.covar_module.lengthscale.detach(),
        "noise_var": model.likelihood.noise.detach(),
        "mean": model.mean_module.constant.detach(),
    }
    return found, watch.clock


def objective(model: bl.ExactGP) -> float:
    """Log posterior density per observation, from the likelihood and the priors."""
    value = bl.log_marginal_likelihood(model)
    for part in (model.kernel, model.likelihood):
        for _, module, prior, closure, _ in part.named_priors():  # type: ignore[union-attr]
            value = value + prior.log_prob(closure(module)).sum()
    return value.item() / model.X.shape[-2]


def pair(kind: str, n: int, d: int, seed: int) -> dict[str, float | int | str]:
    """Both fits of one data set."""
    X, Y = dataset(kind, n, d, seed)
    box = torch.stack([torch.zeros(d), torch.ones(d)]).double()
    model, ours = fit_ours(X, Y, box)
    found, theirs = fit_theirs(X, Y, box, seed)
    gain = objective(model) - objective(model.with_hyperparameters(**found))
    return {
        "kind": kind,
        "n": n,
        "d": d,
        "bolearn wall": ours.wall,
        "bolearn cpu": ours.cpu,
        "BoTorch wall": theirs.wall,
        "BoTorch cpu": theirs.cpu,
        "gain": gain,
        "evaluations": model.fit_report.evaluations,
    }


def main() -> None:
    """Time fits of given sizes, compare ends on varied data sets, alternating; print and store."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--sets", type=int, default=84, help="data sets whose ends are compared")
    ask.add_argument("--repeats", type=int, default=7, help="data sets of each size, timed")
    ask.add_argument("--largest", type=int, default=500, help="observations of the largest size")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/fit.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if options.report:
        print(report(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    pair("smooth", 10, 2, 0)  # both libraries import the rest of themselves
    timed = []
    for n, d in (size for size in SIZES if size[0] <= options.largest):
        rows = [pair("few inputs matter", n, d, derive(1, n, i)) for i in range(options.repeats)]
        timed += rows
        print(f"n = {n}, d = {d}: ratio {_ratio(rows, 'wall'):.1f}", flush=True)
    ends = []
    for i in range(options.sets):
        u = uniform([derive(2, "size", i)], (1,)).item()
        n = int(math.exp(math.log(5) + u * math.log(20)))
        ends.append(pair(KINDS[i % len(KINDS)], n, 1 + i % 10, derive(2, "data", i)))
    stored = {
        "command": f"python -m benchmarks.fit --sets {options.sets} --repeats {options.repeats}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "python": platform.python_version(),
        "versions": versions(),
        "settings": SETTINGS,
        "timed": timed,
        "ends": ends,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(report(stored))


def _ratio(rows: list, clock: str) -> float:  # type: ignore[type-arg]
    ratios = torch.tensor([row[f"BoTorch {clock}"] / row[f"bolearn {clock}"] for row in rows])
    return ratios.median().item()


def report(stored: dict) -> str:  # type: ignore[type-arg]
    """The summary of a stored run."""
    lines = [
        stored["settings"],
        "",
        "    n   d   ratio of run time, wall (processor)   evaluations",
    ]
    sizes = sorted({(row["n"], row["d"]) for row in stored["timed"]})
    for n, d in sizes:
        rows = [row for row in stored["timed"] if (row["n"], row["d"]) == (n, d)]
        calls = torch.tensor([float(row["evaluations"]) for row in rows]).median()
        lines.append(
            f"{n:5d} {d:3d}   {_ratio(rows, 'wall'):10.1f} ({_ratio(rows, 'cpu'):.1f})"
            f"{int(calls):31d}"
        )
    gain = torch.tensor([row["gain"] for row in stored["ends"]], dtype=torch.float64)
    lines += [
        "",
        f"objective, bolearn minus BoTorch, {len(gain)} data sets (d = 1 to 10, n = 5 to 99): "
        f"smallest {gain.min():.1e}, largest {gain.max():.2f}",
        f"  lower by more than 1e-6: {int((gain < -1e-6).sum())}, "
        f"higher by more than 1e-6: {int((gain > 1e-6).sum())}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
