"""Effects of five modelling choices on two functions, from 32 seeds each: stored, not recomputed.

``python -m bolearn.teach.choices`` recomputes ``data/choices.json``, in some minutes.
The choices are the five columns of a two-level factorial in 16 arms (resolution V): kernel,
lengthscale prior, what is said of the noise, outputs warped, effort of the search. Part 4, tutorial
4 builds the same arms and runs one of the functions with 16 seeds.
"""

import itertools
import json
import platform
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel
from torch import Tensor

from ..models.exact import ExactGP
from ..models.priors import default_kernel, matern_kernel
from ..problems import Hartmann3, Rosenbrock
from ..problems.core import Problem
from ..sampling import sobol_points
from ..strategies import log_ei
from ..strategies.designs import two_level_factorial
from ..studies.loop import study
from ..transforms import PowerWarp

STORED = Path(__file__).parents[1] / "data" / "choices.json"
CHOICES = ("kernel", "lengthscale prior", "noise", "outputs", "search")
SEEDS = 32


@dataclass(frozen=True)
class Chosen:
    """A model by its choices: each True or False, as +1 and -1 in the table."""

    matern: bool
    prior: bool
    exact: bool
    warped: bool

    def __call__(
        self, X: Tensor, Y: Tensor, bounds: Tensor, observed: Tensor | None = None
    ) -> ExactGP:
        """The model of these data, not fitted."""
        Y = PowerWarp.fit(Y, observed).encode(Y) if self.warped else Y
        lead = (*X.shape[:-2], Y.shape[-1])
        kernel = self._kernel(X.shape[-1], lead)
        return ExactGP(X, Y, bounds, observed=observed, kernel=kernel, noise_free=self.exact)

    def _kernel(self, d: int, lead: tuple[int, ...]) -> Kernel:
        if self.prior:
            return matern_kernel(d, lead) if self.matern else default_kernel(d, lead)
        floor = GreaterThan(0.025, transform=None, initial_value=0.5)
        given: dict[str, Any] = {"ard_num_dims": d, "lengthscale_constraint": floor}
        given["batch_shape"] = torch.Size(lead)
        kernel = MaternKernel(nu=2.5, **given) if self.matern else RBFKernel(**given)
        return kernel.double()


def effects(problem: Problem, n_init: int, n_iter: int) -> dict[str, list[float]]:
    """Gain in decades of regret from -1 to 1, for each choice and each pair: mean and its error."""
    table = two_level_factorial(5, halvings=1)
    arms = {}
    for i, row in enumerate((table > 0).tolist()):
        arm = replace(log_ei, model=Chosen(*row[:4]))
        arms[str(i)] = arm if row[4] else replace(arm, choices=64)
    kind: Any = "inference" if problem.noise_std else "simple"
    result = study(problem, arms, n_init=n_init, n_iter=n_iter, replicates=SEEDS, seed=1000)
    gain = -torch.stack([result.scores(name, kind=kind) for name in arms], dim=-1)  # R 16
    found = {}
    for size in (1, 2):
        for chosen in itertools.combinations(range(5), size):
            effect = 2 * (gain * table[:, list(chosen)].prod(-1)).mean(-1)
            error = effect.std().item() / SEEDS**0.5
            found[" x ".join(CHOICES[i] for i in chosen)] = [effect.mean().item(), error]
    return found


def noisy_hartmann() -> Problem:
    """Hartmann's function of three inputs, with noise of 30 % of its spread over the box."""
    exact = Hartmann3()
    spread = exact.noiseless(sobol_points(exact.bounds, 4096, seed=0)).std().item()
    return Hartmann3(noise_std=0.3 * spread)


def main() -> None:
    """Recompute both, and store them."""
    torch.set_num_threads(1)
    found = {
        "Rosenbrock, 4 inputs, exact": effects(Rosenbrock(4), 10, 15),
        "Hartmann, 3 inputs, noisy": effects(noisy_hartmann(), 10, 15),
    }
    about = {
        "command": "python -m bolearn.teach.choices",
        "seeds": f"{SEEDS}, derived from 1000",
        "machine": f"{platform.machine()}, one thread",
        "versions": {n: metadata.version(n) for n in ("torch", "gpytorch", "numpy", "scipy")},
    }
    rounded = {p: {n: [round(v, 4) for v in e] for n, e in own.items()} for p, own in found.items()}
    text = json.dumps(about | {"effects": rounded}, indent=1)
    STORED.write_text(text + "\n", encoding="utf-8")


def stored() -> dict[str, dict[str, list[float]]]:
    """Mean effect and its standard error, by function and by choice or pair.

    Example:
        >>> sorted(stored())[0], len(stored()["Rosenbrock, 4 inputs, exact"])
        ('Hartmann, 3 inputs, noisy', 15)
    """
    found: dict[str, dict[str, list[float]]] = json.loads(STORED.read_text("utf-8"))["effects"]
    return found


if __name__ == "__main__":
    main()
