"""The two ways of running the same loop: BoTorch seed by seed, bolearn for one seed or for many.

Both start from the same designs, fit the same model (RBF, dimension-scaled priors) and maximise
LogEI with the same number of restarts and raw samples.
"""

import time
from dataclasses import dataclass

import botorch
import gpytorch
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

import bolearn as bl
from bolearn.seeds import uniform

NUM_RESTARTS, RAW_SAMPLES = 16, 512

SETTINGS = """\
both      {restarts} restarts, {raw} raw samples, float64, one thread
BoTorch   {botorch}: SingleTaskGP, Normalize + Standardize; fit by L-BFGS-B from the priors' modes
          (one start), gtol 1e-5, ftol 2.2e-9; acquisition: Boltzmann starts (eta 1), L-BFGS-B,
          gtol 1e-5, ftol 2.2e-9, at most 2000 iterations; best_f = best observation.
          "warm": each fit starts from the last round's hyperparameters instead
bolearn   fit from {starts};
          acquisition: Boltzmann starts (eta 2), an eighth of the raw samples near the best
          observations; batched L-BFGS for fit and acquisition, gtol 1e-5, ftol 2.2e-9, at most
          500 iterations; best_f = best posterior mean"""


def settings(starts: str) -> str:
    """What each arm does, to be printed beside every ratio."""
    return SETTINGS.format(
        restarts=NUM_RESTARTS, raw=RAW_SAMPLES, botorch=botorch.__version__, starts=starts
    )


def versions() -> dict[str, str]:
    """Versions that a stored number belongs to."""
    return {
        "torch": torch.__version__,
        "gpytorch": gpytorch.__version__,
        "botorch": botorch.__version__,
        "bolearn": bl.__version__,
    }


@dataclass(frozen=True)
class Clock:
    """Wall-clock and processor seconds of one piece of work."""

    wall: float
    cpu: float


def compare_regret(
    a: Tensor, b: Tensor, name: str, *, ours: str = "bolearn", resamples: int = 9_999
) -> str:
    """Two 95 % intervals for log10 regret, ours minus theirs, resampling seeds (pairs).

    The median of the paired differences uses the design: both arms started from the same points.
    The difference of the two medians does not, and is wide where runs fall into two heaps.

    Args:
        a: final regret of each seed of our arm.
        b: the same seeds, from the same designs, of the other arm.
        name: what the other arm is called.
        ours: what our arm is called.
        resamples: of the bootstrap.
    """
    logs = torch.stack([a, b]).clamp(min=1e-12).log10()
    n = logs.shape[-1]
    pick = (uniform([0], (resamples, n))[0] * n).long()
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)

    def middle(x: Tensor) -> Tensor:
        return x.quantile(0.5, dim=-1)

    paired = middle((logs[0] - logs[1])[pick]).quantile(ends)
    apart = (middle(logs[0, pick]) - middle(logs[1, pick])).quantile(ends)
    medians = middle(logs)
    wins = int((logs[0] < logs[1]).sum())
    return (
        f"median log10 regret: {ours} {medians[0]:.3f}, {name} {medians[1]:.3f} ({n} seeds)\n"
        f"  paired differences: median {middle(logs[0] - logs[1]):+.3f}, 95 % interval "
        f"[{paired[0]:+.3f}, {paired[1]:+.3f}], lower in {wins} of {n}\n"
        f"  difference of the medians: {medians[0] - medians[1]:+.3f}, 95 % interval "
        f"[{apart[0]:+.3f}, {apart[1]:+.3f}]"
    )


class Stopwatch:
    """``with Stopwatch() as watch: ...`` then ``watch.clock``."""

    def __enter__(self) -> "Stopwatch":
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.clock = Clock(
            time.perf_counter() - self._start[0], time.process_time() - self._start[1]
        )


def botorch_loop(
    problem: bl.Problem, X: Tensor, n_iter: int, seed: int, *, warm: bool
) -> tuple[Tensor, Tensor]:
    """BoTorch's documented loop from the design X; returns all X and Y."""
    Y = problem(X)
    state = None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(n_iter):
            model = SingleTaskGP(
                X,
                Y,
                input_transform=Normalize(X.shape[-1], bounds=problem.bounds),
                outcome_transform=Standardize(1),
            )
            if warm and state is not None:
                for name, parameter in model.named_parameters():
                    parameter.data.copy_(state[name])
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            state = {name: p.detach().clone() for name, p in model.named_parameters()}
            x, _ = optimize_acqf(
                LogExpectedImprovement(model, best_f=Y.max()),
                problem.bounds,
                q=1,
                num_restarts=NUM_RESTARTS,
                raw_samples=RAW_SAMPLES,
            )
            X, Y = torch.cat([X, x]), torch.cat([Y, problem(x)])
    return X, Y


def bolearn_loop(problem: bl.Problem, X: Tensor, n_iter: int, seed: int) -> tuple[Tensor, Tensor]:
    """The loop of the README: fits from the fixed starts, no warm start."""
    Y = problem(X)
    for t in range(n_iter):
        model = bl.fit_mll(bl.ExactGP(X, Y, bounds=problem.bounds))
        acq = bl.LogExpectedImprovement(model, best_f=bl.incumbent(model, X).value)
        x, _ = bl.optimize_acqf(
            acq,
            problem.bounds,
            num_restarts=NUM_RESTARTS,
            raw_samples=RAW_SAMPLES,
            seed=seed * 1000 + t,
        )
        X, Y = torch.cat([X, x]), torch.cat([Y, problem(x)])
    return X, Y
