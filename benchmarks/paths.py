"""Path samples against BoTorch's: drawing, asking shared points, climbing every path.

    python -m benchmarks.paths [--repeats 15] [--out FILE]

Both arms have the same hyperparameters and 1024 features, and alternate within each repetition.
Ratios are of processor time, medians over the repetitions.
"""

import argparse
import datetime
import itertools
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.sampling.pathwise import draw_matheron_paths
from torch import Tensor

import bolearn as bl
from bolearn.seeds import uniform

from .arms import versions

BARS = {"draw": 2.0, "shared points": 8.0, "one point a path, gradient": 3.0}
BARRED = 64  # paths at which the bars are read; the other sizes show how ratios move
CASES = ((50, 6, 64, 512), (200, 6, 64, 512), (50, 20, 64, 512), (50, 6, 512, 512), (50, 6, 4, 512))


def arms(n: int, d: int, s: int, p: int) -> dict[str, tuple[Callable[[], object], ...]]:
    """For each piece of work, bolearn's and BoTorch's way of doing it."""
    X = uniform([1], (n, d))[0]
    Y = torch.sin(3 * (X * torch.arange(1, d + 1)).sum(-1, keepdim=True) / d)
    box = torch.tensor([[0.0] * d, [1.0] * d], dtype=torch.float64)
    ours = bl.fit_mll(bl.ExactGP(X, Y, box))
    own = ours.hyperparameters()
    theirs = SingleTaskGP(
        X, Y, input_transform=Normalize(d, bounds=box), outcome_transform=Standardize(1)
    )
    theirs.covar_module.lengthscale = own["lengthscale"]
    theirs.likelihood.noise = own["noise_var"]
    theirs.mean_module.constant = own["mean"][0]
    theirs.eval()
    theirs.posterior(X[:1])  # caches, as ours has them from the fit
    count = itertools.count()
    mine = bl.draw_paths(ours, s, seed=0)
    other = draw_matheron_paths(theirs, torch.Size([s]))
    shared, own_points = uniform([2], (p, d))[0], uniform([3], (s, 1, d))[0]

    def ask(f: Callable[[Tensor], Tensor], at: Tensor) -> Callable[[], object]:
        def work() -> None:
            with torch.no_grad():
                f(at)

        return work

    def climb(f: Callable[[Tensor], Tensor], at: Tensor) -> Callable[[], object]:
        def work() -> None:
            x = at.clone().requires_grad_(True)
            torch.autograd.grad(f(x).sum(), x)

        return work

    return {
        "draw": (
            lambda: bl.draw_paths(ours, s, seed=next(count)),
            lambda: draw_matheron_paths(theirs, torch.Size([s])),
        ),
        "shared points": (ask(mine, shared), ask(other, shared)),
        "one point a path, gradient": (climb(mine.at_each, own_points), climb(other, own_points)),
    }


def seconds(work: Callable[[], object], calls: int = 5) -> float:
    """Processor time of a call."""
    started = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - started) / calls


def main() -> None:
    """Run, print and store the table."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--repeats", type=int, default=15)
    ask.add_argument("--cases", type=int, default=len(CASES), help="how many, smallest first")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/paths.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if options.report:
        print(report(json.loads(options.out.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for n, d, s, p in CASES[: options.cases]:
        for name, pair in arms(n, d, s, p).items():
            for work in pair:
                work()
            times = [[seconds(work) for work in pair] for _ in range(options.repeats)]
            rows.append([n, d, s, p, name, times])
    stored = {
        "command": f"python -m benchmarks.paths --repeats {options.repeats}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "python": platform.python_version(),
        "versions": versions(),
        "columns": "n, d, paths, shared points, work, [bolearn, BoTorch] processor seconds",
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(report(stored))


def report(stored: dict) -> str:  # type: ignore[type-arg]
    """The table of a stored run."""
    head = f"{'n':>4}{'d':>4}{'paths':>7}{'points':>8}  {'work':<28}"
    lines = [head + f"{'bolearn':>10}{'BoTorch':>10}{'ratio':>8}{'quartiles':>14}{'bar':>6}"]
    for n, d, s, p, name, times in stored["rows"]:
        t = torch.tensor(times, dtype=torch.float64)
        ratio = t[:, 1] / t[:, 0]
        low, middle, high = ratio.quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
        ours, theirs = (t.median(0).values * 1e3).tolist()
        lines.append(
            f"{n:>4}{d:>4}{s:>7}{p:>8}  {name:<28}{ours:>7.2f} ms{theirs:>7.1f} ms{middle:>8.1f}"
            f"{f'{low:.1f} to {high:.1f}':>14}{f'{BARS[name]:.0f}' if s == BARRED else '':>6}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
