"""What a model should believe about noise before it has seen data: one prior for both ends?

    python -m benchmarks.noise [--seeds 32] [--tasks 'Branin;diabetes, n = 60'] [--rules 'botorch']
    python -m benchmarks.noise --tables FOLDER      measured tables (CSV files) to be scored, too
    python -m benchmarks.noise --report

Every rule is a belief about the noise variance of standardised outputs (`RULES`); all else is the
strategies' usual model, or with "RBF" in the name `ExactGP`'s default kernel.

*Searches* are studies: the same designs and the same noise for all rules; `log_ei` where values are
exact, `q_log_nei` where they are noisy. Noise has a standard deviation in per cent of that of the
function over its box. The score of a run is log10 of its final regret without noise, in units of
that spread: of the best evaluated point where values are exact, else of the recommended one.

*Predictions* are held-out scores over 20 random splits: the negative log predictive density of new
observations, in nats for each, and the share that falls within the central 95 % intervals. Splits
of one table share rows, so that their standard errors are somewhat too small.

Verdicts are those of `bolearn.stats.verdict`: four standard errors of the mean of paired
differences to "botorch". Cells already stored are not run again (``--again`` forgets a rule first).
"""

import argparse
import csv
import datetime
import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gpytorch.priors import LogNormalPrior
from torch import Tensor

import bolearn as bl
from bolearn.models.noise import NoiseBelief, botorch, noise_free, noisy

from .arms import versions

P = bl.problems
SPLITS = 20
LEAST = {True: 1e-6, False: 1e-3}  # regrets below it, in units of the spread, count as it; if exact


@dataclass(frozen=True, eq=False)
class Rule:
    """Beliefs about the noise; of several, each is fitted and the better evidence counts."""

    beliefs: tuple[NoiseBelief, ...]

    def model(
        self, X: Tensor, Y: Tensor, bounds: Tensor, observed: Tensor | None = None
    ) -> bl.ExactGP:
        """The strategies' model under the first belief."""
        return bl.strategies.matern_gp(X, Y, bounds, observed, noise_prior=self.beliefs[0])

    def rbf(self, X: Tensor, Y: Tensor, bounds: Tensor) -> bl.ExactGP:
        """`ExactGP` with its own kernel."""
        return bl.strategies.rbf_gp(X, Y, bounds, noise_prior=self.beliefs[0])

    def fit(self, model: bl.ExactGP, *, start: dict[str, Tensor] | None = None) -> bl.ExactGP:
        """The best fit; the first belief has the lowest floor."""
        best = bl.fit_mll(model, start=start)
        if start is not None:  # its noise may lie below the other floors
            start = {name: value for name, value in start.items() if name != "noise_var"}
        for belief in self.beliefs[1:]:
            other = bl.ExactGP(model.X, model.Y, model.bounds, observed=model.observed,
                               kernel=model.kernel, noise_prior=belief)  # fmt: skip
            other = bl.fit_mll(other, start=start)
            better = bl.log_marginal_likelihood(other) > bl.log_marginal_likelihood(best)
            pairs = zip(best.hyperparameters().items(), other.hyperparameters().values(),
                        strict=True)  # fmt: skip
            best = best.with_hyperparameters(
                **{
                    name: torch.where(
                        better.view(*better.shape, *(1,) * (a.ndim - better.ndim)), b, a
                    )
                    for (name, a), b in pairs
                }
            )
        return best


def log_normal(loc: float, scale: float, floor: float) -> NoiseBelief:
    """LogNormal(loc, scale), starting where BoTorch's does."""
    return NoiseBelief(LogNormalPrior(loc, scale), floor, botorch().typical)


RULES = {
    "botorch": Rule((botorch(),)),
    "LN(-4,3) 1e-6": Rule((log_normal(-4.0, 3.0, 1e-6),)),
    "LN(-4,3) 1e-8": Rule((log_normal(-4.0, 3.0, 1e-8),)),
    "LN(8,4) 1e-8": Rule((log_normal(8.0, 4.0, 1e-8),)),
    "noise_free": Rule((noise_free(),)),
    "two ends": Rule((noise_free(), log_normal(-1.0, 1.0, 1e-4))),
    "LN(-2,1) 1e-4": Rule((log_normal(-2.0, 1.0, 1e-4),)),
    "LN(-1,1) 1e-4": Rule((noisy(),)),
}


# -- searches ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Search:
    """A function with its budget; ``level`` is the noise in units of the function's spread."""

    make: Callable[..., bl.Problem]
    n_init: int
    rounds: int
    level: float = 0.0

    def run(self, rule: Rule, seeds: int, rounds: int | None) -> dict[str, Any]:
        """Final regrets, one for each seed, in units of the spread."""
        size = spread(self.make())
        problem = self.make(noise_std=self.level * size)
        strategy = bl.strategies.q_log_nei if self.level else bl.strategies.log_ei
        arm = replace(strategy, model=rule.model, fit=rule.fit)
        result = bl.study(problem, {"arm": arm}, n_init=self.n_init,
                          n_iter=rounds or self.rounds, replicates=seeds, seed=0)  # fmt: skip
        return {
            kind: (result.regret("arm", kind)[:, -1] / size).tolist()
            for kind in ("simple", "inference")
        } | {"seconds": result.seconds["arm"]}


def spread(problem: bl.Problem) -> float:
    """Standard deviation of the function over its box."""
    return float(problem.noiseless(bl.sobol_points(problem.bounds, 4096, seed=0)).std())


def levy4(noise_std: float = 0.0) -> bl.Problem:
    return P.Levy(4, noise_std=noise_std)


def rosenbrock5(noise_std: float = 0.0) -> bl.Problem:
    return P.Rosenbrock(5, noise_std=noise_std)


SEARCHES = {
    "Branin": Search(P.Branin, 6, 24),
    "Hartmann6": Search(P.Hartmann6, 14, 36),
    "Levy 4": Search(levy4, 10, 30),
    "Rosenbrock 5": Search(rosenbrock5, 12, 36),
    "Branin, 5 %": Search(P.Branin, 6, 24, 0.05),
    "Hartmann3, 5 %": Search(P.Hartmann3, 8, 24, 0.05),
    "Branin, 30 %": Search(P.Branin, 6, 24, 0.3),
    "Hartmann3, 30 %": Search(P.Hartmann3, 8, 24, 0.3),
    "Branin, 70 %": Search(P.Branin, 6, 24, 0.7),
    "Hartmann3, 70 %": Search(P.Hartmann3, 8, 24, 0.7),
}


# -- predictions ---------------------------------------------------------------------------------

Table = tuple[Tensor, Tensor, Tensor]
"""X, Y and bounds of all rows that may be split."""


@dataclass(frozen=True)
class Prediction:
    """n rows of a table to learn from, up to ``test`` others to be predicted."""

    table: Callable[[], Table]
    n: int
    kernel: str = "Matern"
    test: int = 300

    def run(self, rule: Rule) -> dict[str, list[float]]:
        """Scores of each split, and the noise variance learnt."""
        X, Y, bounds = self.table()
        keys = bl.seeds.uniform([bl.seeds.derive(0, "split", i) for i in range(SPLITS)], (len(X),))
        rows = keys.argsort(-1)
        train, rest = rows[:, : self.n], rows[:, self.n : self.n + self.test]
        make = rule.rbf if self.kernel == "RBF" else rule.model
        model = rule.fit(make(X[train], Y[train], bounds))
        belief = model.posterior(X[rest], observation_noise=True)
        size = Y.std()
        mean, variance = (v.detach() for v in (belief.mean / size, belief.variance / size**2))
        y = Y[rest] / size
        score = bl.diagnostics.negative_log_predictive_density(y, mean, variance)
        inside = (y - mean).abs() < 1.959964 * variance.sqrt()
        return {
            "nlpd": score.mean((-1, -2)).tolist(),
            "coverage": inside.double().mean((-1, -2)).tolist(),
            "noise": model.hyperparameters()["noise_var"][:, 0].tolist(),
        }


def of_function(make: Callable[..., bl.Problem], level: float) -> Callable[[], Table]:
    """1,000 random points of a function with noise."""

    def table() -> Table:
        problem = make(noise_std=level * spread(make()))
        X = bl.seeds.uniform([bl.seeds.derive(0, "points")], (1000, problem.d))[0]
        X = problem.bounds[0] + (problem.bounds[1] - problem.bounds[0]) * X
        return X, problem(X, seed=1), problem.bounds

    return table


def diabetes() -> Table:
    """442 patients, 10 measurements of each, and how far the disease has come a year later."""
    from sklearn.datasets import load_diabetes

    X, y = (torch.as_tensor(v, dtype=torch.float64) for v in load_diabetes(return_X_y=True))
    return X, y.unsqueeze(-1), torch.stack([X.amin(0), X.amax(0)])


TABLES: dict[str, Path] = {}
FILES = {"fullerenes": 3, "suzuki": 4, "photo_pce10": 3}  # inputs; of fractions, all but the last


def of_file(name: str) -> Callable[[], Table]:
    """A measured table; of repeats of one setting the first."""

    def table() -> Table:
        with TABLES[name].open(encoding="utf-8", newline="") as lines:
            rows = [[float(v) for v in row] for row in list(csv.reader(lines))[1:]]
        first = {tuple(row[:-1]): row for row in reversed(rows)}
        data = torch.tensor(list(first.values()), dtype=torch.float64)
        X, y = data[:, : FILES[name]], data[:, -1:]
        return X, y, torch.stack([X.amin(0), X.amax(0)])

    return table


PREDICTIONS = {
    "Branin, exact, n = 20": Prediction(of_function(P.Branin, 0.0), 20),
    "Hartmann6, exact, n = 60": Prediction(of_function(P.Hartmann6, 0.0), 60),
    "Branin, 30 %, n = 10": Prediction(of_function(P.Branin, 0.3), 10),
    "Hartmann3, 30 %, n = 12": Prediction(of_function(P.Hartmann3, 0.3), 12),
    "Hartmann6, 5 %, n = 60": Prediction(of_function(P.Hartmann6, 0.05), 60),
    "Hartmann6, 30 %, n = 60": Prediction(of_function(P.Hartmann6, 0.3), 60),
    "Hartmann6, 70 %, n = 60": Prediction(of_function(P.Hartmann6, 0.7), 60),
    "diabetes, n = 20": Prediction(diabetes, 20),
    "diabetes, n = 60": Prediction(diabetes, 60),
    "diabetes, n = 60, RBF": Prediction(diabetes, 60, "RBF"),
    "diabetes, n = 200": Prediction(diabetes, 200),
    "fullerenes, n = 60": Prediction(of_file("fullerenes"), 60),
    "suzuki, n = 40": Prediction(of_file("suzuki"), 40),
    "photo_pce10, n = 60": Prediction(of_file("photo_pce10"), 60),
}
TASKS: dict[str, Search | Prediction] = {**SEARCHES, **PREDICTIONS}


# -- runs and reports ------------------------------------------------------------------------------


def main() -> None:
    """Run what is missing, store it, print the tables."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--seeds", type=int, default=32, help="of searches")
    ask.add_argument("--tasks", default=";".join(TASKS), help="names, separated by ;")
    ask.add_argument("--rules", default=";".join(RULES), help="names, separated by ;")
    ask.add_argument("--rounds", type=int, help="instead of those of each search; to try it out")
    ask.add_argument("--tables", type=Path, help=f"where {', '.join(FILES)} (.csv) are")
    ask.add_argument("--again", default="", help="a rule whose stored cells are forgotten first")
    ask.add_argument("--out", type=Path, default=Path("benchmarks/results/noise.json"))
    ask.add_argument("--report", action="store_true", help="print what --out holds; no run")
    options = ask.parse_args()
    torch.set_num_threads(1)
    stored = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    cells = stored.setdefault("cells", {})
    if options.tables is not None:
        TABLES.update({name: options.tables / f"{name}.csv" for name in FILES})
    for name in [] if options.report else options.tasks.split(";"):
        if name.split(",")[0] in FILES and not TABLES:
            continue
        own = cells.setdefault(name, {})
        own.pop(options.again, None)
        for rule in options.rules.split(";"):
            if rule in own:
                continue
            task = TASKS[name]
            if isinstance(task, Search):
                own[rule] = task.run(RULES[rule], options.seeds, options.rounds)
            else:
                own[rule] = task.run(RULES[rule])
            stored |= {
                "command": f"python -m benchmarks.noise --seeds {options.seeds}",
                "date": datetime.date.today().isoformat(),
                "machine": f"{platform.processor() or platform.machine()}, one thread",
                "python": platform.python_version(),
                "versions": versions(),
            }
            options.out.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
            print(f"{name}: {rule}", flush=True)
    print(report(cells))


def report(cells: dict[str, Any]) -> str:
    """One block for each task: scores of every rule, and its gain over "botorch"."""
    lines = [
        "gain over botorch: mean of paired differences, in standard errors, and the verdict",
        "searches: log10 of the final regret in units of the function's spread",
        f"{'':<26}{'rule':<16}{'median':>8}{'mean':>8}{'gain':>8}{'errors':>8}  verdict",
    ]
    searched = {name: _regrets(name, cells[name]) for name in cells if name in SEARCHES}
    for name, scores in searched.items():
        for rule, score in scores.items():
            row = f"{score.median():>+8.2f}{score.mean():>+8.2f}"
            lines.append(_line(name, rule, row, scores))
    for title, exact in (("all, exact", True), ("all, noisy", False)):
        these = [s for name, s in searched.items() if (SEARCHES[name].level == 0) == exact]
        pooled = _weighted_alike(these)
        for rule, score in pooled.items():
            lines.append(_line(title, rule, f"{'':>8}{score.mean():>+8.2f}", pooled))
    lines += ["", "predictions: negative log predictive density, coverage of 95 %, median noise"]
    lines.append(
        f"{'':<26}{'rule':<16}{'nlpd':>8}{'within':>8}{'noise':>9}{'gain':>8}{'errors':>8}"
    )
    for name in (name for name in cells if name in PREDICTIONS):
        scores = {rule: _tensor(cell["nlpd"]) for rule, cell in cells[name].items()}
        for rule, score in scores.items():
            within, noise = (_tensor(cells[name][rule][key]) for key in ("coverage", "noise"))
            row = f"{score.mean():>+8.2f}{within.mean():>8.3f}{noise.median():>9.1e}"
            lines.append(_line(name, rule, row, scores))
    return "\n".join(lines)


def _tensor(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _regrets(name: str, cell: dict[str, Any]) -> dict[str, Tensor]:
    """log10 of the final regrets of each rule."""
    exact = SEARCHES[name].level == 0
    kind = "simple" if exact else "inference"
    return {rule: _tensor(c[kind]).clamp(min=LEAST[exact]).log10() for rule, c in cell.items()}


def _weighted_alike(tasks: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Each replicate's mean over several searches, for the rules that all of them have."""
    shared = [rule for rule in (tasks[0] if tasks else ()) if all(rule in task for task in tasks)]
    if len({len(task[rule]) for task in tasks for rule in shared}) != 1:
        return {}
    return {rule: torch.stack([task[rule] for task in tasks]).mean(0) for rule in shared}


def _line(name: str, rule: str, row: str, scores: dict[str, Tensor]) -> str:
    """A rule's scores, and how far it is ahead of "botorch"."""
    text = f"{name:<26}{rule:<16}{row}"
    base = scores.get("botorch")
    if rule == "botorch" or base is None or len(base) != len(scores[rule]):
        return text
    found = bl.stats.verdict(base - scores[rule])
    errors = found.errors
    needed = f" ({found.needed} pairs)" if found.decision == "undecided" and found.needed else ""
    return f"{text}{found.mean:>+8.3f}{errors:>+8.1f}  {found.decision}{needed}"


if __name__ == "__main__":
    main()
