"""Every row of the page "from bolearn to BoTorch" is built with BoTorch, and is true."""
# ruff: noqa: F401  the expressions of the table use what is imported here

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from botorch.acquisition.acquisition import OneShotAcquisitionFunction
from botorch.acquisition.analytic import LogExpectedImprovement, UpperConfidenceBound
from botorch.acquisition.knowledge_gradient import qKnowledgeGradient
from botorch.acquisition.logei import qLogExpectedImprovement, qLogNoisyExpectedImprovement
from botorch.acquisition.max_value_entropy_search import qMaxValueEntropy
from botorch.acquisition.risk_measures import CVaR
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Normalize
from botorch.optim import optimize_acqf
from botorch.posteriors.ensemble import EnsemblePosterior
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.sampling import draw_sobol_samples
from gpytorch.mlls import ExactMarginalLogLikelihood

import bolearn as bl
from bolearn.bridge import exact_gp, from_botorch, single_task_gp, to_botorch

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("botorch_page", ROOT / "docs" / "botorch_page.py")
assert SPEC is not None and SPEC.loader is not None
PAGE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(PAGE)
ROWS = [row for section in PAGE.sections() for row in section["row"]]


def scope() -> dict[str, Any]:
    """What an expression of the table may use."""
    bounds = torch.tensor([[0.0, -1.0], [1.0, 3.0]], dtype=torch.float64)
    X = bl.sobol_points(bounds, n=9, seed=0)
    Y = 10 * (3 * X).sin().sum(-1, keepdim=True)
    model = bl.fit_mll(bl.ExactGP(X, Y, bounds))
    gp, P = single_task_gp(model), bl.sobol_points(bounds, n=8, seed=1).unsqueeze(-2)

    def train_output(gp: SingleTaskGP) -> Any:
        gp.train()
        return gp(*gp.train_inputs)

    def log_priors(gp: SingleTaskGP) -> Any:
        values = (prior.log_prob(value(part)) for _, part, prior, value, _ in gp.named_priors())
        return sum(v.sum() for v in values)

    def normals_of(sampler: SobolQMCNormalSampler, posterior: Any) -> Any:
        sampler(posterior)
        return sampler.base_samples.flatten(1)

    def conditioned(gp: SingleTaskGP, X: torch.Tensor, Y: torch.Tensor) -> Any:
        gp.posterior(X)
        return gp.condition_on_observations(X, Y)

    def pending(acq: Any, X: torch.Tensor) -> Any:
        acq.set_X_pending(X)
        return acq

    own = {
        "mask": torch.arange(9) < 7,
        "best": Y.max().item() - 1.0,
        "P2": P.reshape(4, 2, 2),
        "mean": lambda P: model.posterior(P).mean[..., 0, 0],
        "std": lambda P: model.posterior(P).variance[..., 0, 0].sqrt(),
    }
    return {**globals(), **locals(), **own}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["theirs"][:40])
def test_a_row_is_true(row: dict[str, str]) -> None:
    torch.manual_seed(0)
    names = scope()
    names["ours"] = eval(row["ours"], names)
    names["theirs"] = eval(row["theirs"], names)
    assert bool(eval(row["true"], names))


def test_the_page_is_that_of_the_table() -> None:
    assert PAGE.PAGE.read_text(encoding="utf-8") == PAGE.page(), "run: python docs/botorch_page.py"


def test_the_package_page_leads_to_it() -> None:
    text = (ROOT / "bolearn" / "README.md").read_text(encoding="utf-8")
    assert "](../docs/from_bolearn_to_botorch.md)" in text
