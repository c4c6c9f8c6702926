"""Maximising LogEI over a mixed space: bolearn against BoTorch's alternating search, paired.

    OMP_NUM_THREADS=1 python -m benchmarks.mixed [--cases 20]

Two real inputs, two whole numbers, categories of 5 and 12 labels. Both arms maximise the same
acquisition of the same fitted model: a Matern kernel on one-hot codes, which BoTorch's model makes
of numbered categories (hyperparameters are copied). They alternate case by case, with the same
numbers of restarts and raw samples. What each found is judged by bolearn's acquisition.
"""

import argparse
import datetime
import json
import os
import platform
from functools import partial
from pathlib import Path

import botorch
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.models.transforms.input import ChainedInputTransform, NumericToCategoricalEncoding
from botorch.optim.optimize_mixed import optimize_acqf_mixed_alternating
from gpytorch.kernels import MaternKernel
from torch import Tensor
from torch.nn.functional import one_hot

import bolearn as bl

from .arms import NUM_RESTARTS, RAW_SAMPLES, Stopwatch, versions

N = 60
BETTER = 1e-4  # differences of log values below this are ties
LABELS = (5, 12)

SETTINGS = f"""\
both      n = {N} noisy observations, float64, one thread, {NUM_RESTARTS} restarts,
          {RAW_SAMPLES} raw samples; 2 real inputs, whole numbers 0 to 5 and 1 to 8, categories of
          5 and 12 labels: 2,880 combinations; time is that of the search, not of the fit
BoTorch   {botorch.__version__}: optimize_acqf_mixed_alternating with its defaults
bolearn   optimize_acqf(acq, space=space)"""

SPACE = bl.Space(
    [
        bl.Real("a", 0, 1),
        bl.Real("b", 0, 1),
        bl.Integer("n", 0, 5),
        bl.Integer("m", 1, 8),
        *(
            bl.Categorical(name, [f"{name}{i}" for i in range(k)])
            for name, k in zip("cd", LABELS, strict=True)
        ),
    ]
)
BOX = torch.tensor([[0.0, 0, 0, 1, 0, 0], [1.0, 1, 5, 8, 4, 11]], dtype=torch.float64)


def fitted(seed: int) -> bl.ExactGP:
    """A model of noisy observations: optima that move with the categories."""
    X = SPACE.sobol(N, seed)
    streams = [bl.seeds.derive(seed, name) for name in ("effects", "noise")]
    effects = bl.seeds.uniform([streams[0]], (4, SPACE.d))[0]
    cats = X[:, 4:]
    shift = cats @ effects[:3, 4:].T / 2  # n 3
    centred = X[:, :3] - 0.2 - shift
    Y = -centred.square().sum(-1) + cats @ effects[3, 4:] - (X[:, 3] - 0.5).square()
    noise = 0.05 * bl.seeds.normal([streams[1]], (N,))[0]
    return bl.fit_mll(bl.strategies.matern_gp(X, (Y + noise).unsqueeze(-1), SPACE.bounds))


def numbered(codes: Tensor) -> Tensor:
    """Codes ``n 21`` with whole numbers in their units and categories as numbers, ``n 6``."""
    parts = [codes[:, :2], codes[:, 2:3] * 5, 1 + codes[:, 3:4] * 7]
    parts += [codes[:, 4:9].argmax(-1, keepdim=True), codes[:, 9:].argmax(-1, keepdim=True)]
    return torch.cat([part.double() for part in parts], dim=-1)


def coded(z: Tensor) -> Tensor:
    """Undoes `numbered`."""
    hot = [one_hot(z[:, 4 + i].round().long(), k).double() for i, k in enumerate(LABELS)]
    return torch.cat([z[:, :2], z[:, 2:3] / 5, (z[:, 3:4] - 1) / 7, *hot], dim=-1)


def twin(model: bl.ExactGP) -> SingleTaskGP:
    """BoTorch's model with the same data and hyperparameters, of numbered categories."""
    encode = NumericToCategoricalEncoding(
        dim=6,
        categorical_features=dict(zip((4, 5), LABELS, strict=True)),
        encoders={4 + i: partial(one_hot, num_classes=k) for i, k in enumerate(LABELS)},
    )
    scale = Normalize(6, indices=[0, 1, 2, 3], bounds=BOX)
    kernel = MaternKernel(nu=2.5, ard_num_dims=SPACE.d)
    theirs = SingleTaskGP(
        numbered(model.X),
        model.Y,
        covar_module=kernel,
        input_transform=ChainedInputTransform(scale=scale, encode=encode),
        outcome_transform=Standardize(1),
    )
    values, noise = model.hyperparameters(), theirs.likelihood.noise_covar
    kernel.lengthscale = values["lengthscale"].reshape(kernel.lengthscale.shape)
    theirs.mean_module.initialize(constant=values["mean"].squeeze())
    noise.initialize(noise=values["noise_var"].reshape(noise.noise.shape))
    return theirs.double().eval()


def run(seed: int) -> list[float]:
    """Seconds of both arms [wall, cpu, wall, cpu], the gain, and how far their models differ."""
    model = fitted(seed)
    best = bl.incumbent(model, model.X).value
    ours, other = bl.LogExpectedImprovement(model, best), twin(model)
    theirs = LogExpectedImprovement(other, best)
    with Stopwatch() as mine:
        x = bl.optimize_acqf(
            ours, space=SPACE, num_restarts=NUM_RESTARTS, raw_samples=RAW_SAMPLES, seed=seed
        ).x
    with torch.random.fork_rng(), Stopwatch() as botorchs:
        torch.manual_seed(seed)
        z, _ = optimize_acqf_mixed_alternating(
            theirs,
            BOX,
            discrete_dims={2: list(range(6)), 3: list(range(1, 9))},
            cat_dims={4: list(range(5)), 5: list(range(12))},
            q=1,
            num_restarts=NUM_RESTARTS,
            raw_samples=RAW_SAMPLES,
        )
    probe = SPACE.sobol(32, seed)
    with torch.no_grad():
        off = (model.posterior(probe).mean - other.posterior(numbered(probe)).mean).abs().max()
        gain = float(ours(x) - ours(coded(z)))
    clocks = (mine.clock.wall, mine.clock.cpu, botorchs.clock.wall, botorchs.clock.cpu)
    return [*clocks, gain, float(off)]


def main() -> None:
    """Run the cases, alternating the arms; print and store the table."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--cases", type=int, default=20)
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/mixed.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    if not options.report:
        torch.set_num_threads(1)
        if os.environ.get("OMP_NUM_THREADS") != "1":  # BLAS inside SciPy would take more
            raise SystemExit("set OMP_NUM_THREADS=1: the comparison is of one thread each")
        run(10**6)  # both arms import what they need
        rows = [run(seed) for seed in range(options.cases)]
        store(rows, options.cases, options.out)
    print(report(json.loads(options.out.read_text(encoding="utf-8"))))


def store(rows: list[list[float]], cases: int, out: Path) -> None:
    """Write what has been run."""
    stored = {
        "command": f"OMP_NUM_THREADS=1 python -m benchmarks.mixed --cases {cases}",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "python": platform.python_version(),
        "versions": versions(),
        "settings": SETTINGS,
        "columns": "bolearn wall, cpu; botorch wall, cpu; log value, ours minus theirs; "
        "largest difference of the models' means",
        "rows": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def report(stored: dict) -> str:  # type: ignore[type-arg]
    """The table of a stored run."""
    t = torch.tensor(stored["rows"], dtype=torch.float64)
    wall, cpu, gain = t[:, 2] / t[:, 0], t[:, 3] / t[:, 1], t[:, 4]
    wins, losses = int((gain > BETTER).sum()), int((gain < -BETTER).sum())
    lines = [
        stored["settings"],
        "",
        f"seconds (median): bolearn {t[:, 0].median():.3f}, BoTorch {t[:, 2].median():.3f}",
        f"ratio (median): wall {wall.median():.1f}, processor {cpu.median():.1f}; processor from "
        f"{cpu.min():.1f} to {cpu.max():.1f}",
        f"log value, ours - theirs: median {gain.median():+.1e}, least {gain.min():+.1e}, most "
        f"{gain.max():+.1e}; {wins} wins, {losses} losses above {BETTER:g}, of {len(t)} pairs",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
