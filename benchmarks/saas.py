"""SAASGP on 30 inputs of which 3 matter: time, diagnostics, and one best fit beside it.

python -m benchmarks.saas [--datasets 4]

Both models see the same 50 noisy observations. The log score is the average log density of the
noise-free function at 1,000 fresh points, the rank that of the worst active input (3 is best).
"""

import argparse
import datetime
import json
import math
import platform
import time
from pathlib import Path

import torch
from gpytorch.kernels import MaternKernel
from torch import Tensor

import bolearn as bl
from bolearn import seeds
from bolearn.models.priors import lengthscale_prior
from bolearn.posteriors import gaussian_members

D, N, ACTIVE = 30, 50, (3, 11, 20)


def surface(X: Tensor) -> Tensor:
    """Three inputs, two of which interact: ``n d`` -> ``n 1``."""
    a, b, c = (X[:, i] for i in ACTIVE)
    y = torch.sin(5 * a) + 6 * (b - 0.4).square() + torch.cos(4 * c * (1 + a))
    return y.unsqueeze(-1)


def log_score(posterior: bl.Posterior, truth: Tensor) -> float:
    """Average log density of the truth under a belief, a mixture's included."""
    mean, variance = gaussian_members(posterior)
    density = torch.distributions.Normal(mean, variance.sqrt()).log_prob(truth)
    return (density.logsumexp(0) - math.log(len(mean))).mean().item()


def worst_rank(lengthscale: Tensor) -> int:
    """Rank, by lengthscale, of the active input with the longest."""
    order = lengthscale.argsort().tolist()
    return 1 + max(order.index(i) for i in ACTIVE)


def run(seed: int, draws: int = 256) -> dict[str, float]:
    """One data set."""
    box = torch.tensor([[0.0] * D, [1.0] * D], dtype=torch.float64)
    X = bl.sobol_points(box, n=N, seed=seed)
    Y = surface(X) + 0.05 * seeds.normal([seed], (N, 1))[0]
    fresh = bl.sobol_points(box, n=1000, seed=1000 + seed)
    truth = surface(fresh)
    wall, cpu = time.perf_counter(), time.process_time()
    model = bl.SAASGP(X, Y, box, num_samples=draws, warmup=draws, seed=seed)
    row = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    report = model.sampling_report
    row |= {
        "r_hat": report.r_hat.max().item(),
        "ess": report.ess.min().item(),
        "divergences": int(report.divergences.sum()),
        "saas": log_score(model.posterior(fresh), truth),
        "saas_thinned": log_score(model.thinned(16).posterior(fresh), truth),
        "saas_rank": worst_rank(model.median_lengthscale[0]),
    }
    matern = MaternKernel(nu=2.5, ard_num_dims=D, lengthscale_prior=lengthscale_prior(D))
    for name, kernel in (("rbf", None), ("matern", matern)):
        fit = bl.fit_mll(bl.ExactGP(X, Y, bounds=box, kernel=kernel))
        row[name] = log_score(fit.posterior(fresh), truth)
        row[f"{name}_rank"] = worst_rank(fit.hyperparameters()["lengthscale"][0])
    return row


def report(stored: dict) -> str:
    """The table of a stored run."""
    lines = [
        f"{D} inputs, {len(ACTIVE)} active, {N} observations; 4 chains, 256 transitions of warm-up,"
        " 128 more, 256 draws kept",
        "",
        "        seconds (processor)   R-hat   ESS   div.  log score: SAAS / of 16   MAP RBF / "
        "Matern   rank: SAAS  RBF  Matern",
    ]
    for i, row in enumerate(stored["rows"]):
        lines.append(
            f"data {i}  {row['wall']:7.1f}  {row['cpu']:7.1f}     {row['r_hat']:6.3f}  "
            f"{row['ess']:4.0f}   {row['divergences']:3d}        {row['saas']:8.2f} / "
            f"{row['saas_thinned']:5.2f}       {row['rbf']:6.2f} / {row['matern']:6.2f}   "
            f"{row['saas_rank']:8d}  {row['rbf_rank']:5d}  {row['matern_rank']:5d}"
        )
    return "\n".join([*lines, "", f"{stored['date']}, {stored['machine']}, {stored['versions']}"])


def main() -> None:
    """Run, print and store."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--datasets", type=int, default=4)
    ask.add_argument("--draws", type=int, default=256, help="kept, and as many to adapt")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/saas.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if not options.report:
        torch.set_num_threads(1)
        stored = {
            "command": f"python -m benchmarks.saas --datasets {options.datasets}",
            "date": datetime.date.today().isoformat(),
            "machine": f"{platform.processor() or platform.machine()}, one thread",
            "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
            "rows": [run(seed, options.draws) for seed in range(options.datasets)],
        }
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(report(json.loads(options.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
