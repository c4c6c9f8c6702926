"""Bayesian optimisation with a replicate axis: the companion package of the course.

Names in reading order. A model believes, an acquisition values, an optimiser searches; `study`
does it for many seeds at once. Everything is float64, lives where its tensors live, takes explicit
seeds, and maximises.

Modules are imported when one of their names is first used, so that ``import bolearn`` itself costs
next to nothing.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what a type checker, an editor and a reader see
    from . import (
        plotting as plotting,
        problems as problems,
        stats as stats,
        strategies as strategies,
        teach as teach,
    )
    from .errors import (
        BolearnError as BolearnError,
        BolearnWarning as BolearnWarning,
        BudgetError as BudgetError,
        DataError as DataError,
        FitError as FitError,
        FitWarning as FitWarning,
        InfeasibleError as InfeasibleError,
        NotFittedError as NotFittedError,
        NumericsError as NumericsError,
        OptimizationError as OptimizationError,
        ShapeError as ShapeError,
        StorageError as StorageError,
        UnsupportedError as UnsupportedError,
    )
    from .protocols import (
        Acquisition as Acquisition,
        Posterior as Posterior,
        Surrogate as Surrogate,
    )
    from .transforms import LogWarp as LogWarp, PowerWarp as PowerWarp
    from .posteriors import (
        GaussianPosterior as GaussianPosterior,
        MixturePosterior as MixturePosterior,
        SamplesPosterior as SamplesPosterior,
    )
    from .sampling import Sampler as Sampler, sobol_points as sobol_points
    from .pareto import (
        hypervolume as hypervolume,
        infer_reference_point as infer_reference_point,
        is_non_dominated as is_non_dominated,
    )
    from .boxes import box_decomposition as box_decomposition
    from .attainment import (
        attainment as attainment,
        attainment_surface as attainment_surface,
    )
    from .space.parameters import (
        Categorical as Categorical,
        Integer as Integer,
        Real as Real,
    )
    from .space.space import Space as Space
    from .models.exact import ExactGP as ExactGP
    from .models.evidence import log_marginal_likelihood as log_marginal_likelihood
    from .models.fit import FitReport as FitReport, fit_mll as fit_mll
    from .models.model_list import ModelList as ModelList
    from .models.warped import WarpedKernel as WarpedKernel
    from .models.saas import SAASGP as SAASGP
    from .models.deep_kernel import DeepKernel as DeepKernel, perceptron as perceptron
    from .models.ensemble import DeepEnsemble as DeepEnsemble
    from .mcmc import SamplingReport as SamplingReport, nuts as nuts
    from .paths import draw_paths as draw_paths
    from .acquisition.constrained import (
        LogConstrainedExpectedImprovement as LogConstrainedExpectedImprovement,
    )
    from .acquisition.incumbent import incumbent as incumbent
    from .acquisition.analytic import (
        ExpectedImprovement as ExpectedImprovement,
        LogExpectedImprovement as LogExpectedImprovement,
        LogProbabilityOfImprovement as LogProbabilityOfImprovement,
        PosteriorMean as PosteriorMean,
        ProbabilityOfImprovement as ProbabilityOfImprovement,
        UpperConfidenceBound as UpperConfidenceBound,
    )
    from .acquisition.templates import (
        LogMonteCarloAcquisition as LogMonteCarloAcquisition,
        MonteCarloAcquisition as MonteCarloAcquisition,
    )
    from .acquisition.monte_carlo import (
        qLogExpectedImprovement as qLogExpectedImprovement,
        qLogNoisyExpectedImprovement as qLogNoisyExpectedImprovement,
        qLogProbabilityOfFeasibility as qLogProbabilityOfFeasibility,
        qSimpleRegret as qSimpleRegret,
        qUpperConfidenceBound as qUpperConfidenceBound,
    )
    from .acquisition.hypervolume_analytic import (
        LogExpectedHypervolumeImprovement as LogExpectedHypervolumeImprovement,
        LogNoisyExpectedHypervolumeImprovement as LogNoisyExpectedHypervolumeImprovement,
    )
    from .acquisition.multi_objective import (
        qLogExpectedHypervolumeImprovement as qLogExpectedHypervolumeImprovement,
        qLogNoisyExpectedHypervolumeImprovement as qLogNoisyExpectedHypervolumeImprovement,
    )
    from .acquisition.entropy import (
        BALD as BALD,
        GIBBON as GIBBON,
        JointEntropySearch as JointEntropySearch,
        MaxValueEntropySearch as MaxValueEntropySearch,
    )
    from .acquisition.lookahead import (
        log_knowledge_gradient as log_knowledge_gradient,
        qKnowledgeGradient as qKnowledgeGradient,
        qLogKnowledgeGradient as qLogKnowledgeGradient,
    )
    from .acquisition.objectives import (
        Chebyshev as Chebyshev,
        at_least as at_least,
        at_most as at_most,
        output as output,
        weighted_sum as weighted_sum,
    )
    from .search.constraints import (
        linear_constraint as linear_constraint,
        nonlinear_constraint as nonlinear_constraint,
    )
    from .search.report import Candidates as Candidates
    from .search.multi_start import optimize_acqf as optimize_acqf
    from .search.stochastic import optimize_acqf_stochastic as optimize_acqf_stochastic
    from .search.thompson import thompson as thompson
    from .search.lookahead import (
        fantasy_maxima as fantasy_maxima,
        knowledge_gradient_points as knowledge_gradient_points,
        optimize_knowledge_gradient as optimize_knowledge_gradient,
    )
    from .search.fronts import draw_fronts as draw_fronts
    from .search.recommend import recommend as recommend
    from .search.optima import Optima as Optima, sample_optima as sample_optima
    from .problems import Problem as Problem
    from .diagnostics import (
        calibration as calibration,
        crps as crps,
        leave_one_out as leave_one_out,
        negative_log_predictive_density as negative_log_predictive_density,
    )
    from .studies.results import StudyResult as StudyResult
    from .studies.loop import study as study
    from .campaign.campaign import Campaign as Campaign
    from .campaign.running import run as run
    from .campaign.one_line import Optimum as Optimum, maximize as maximize, minimize as minimize


__version__ = "0.1.0"

# The same names at run time: a module, and what is public in it ("" are modules themselves).
_PUBLIC = {
    "": "plotting problems stats strategies teach",
    "errors": "BolearnError BolearnWarning BudgetError DataError FitError FitWarning "
    "InfeasibleError NotFittedError NumericsError OptimizationError ShapeError StorageError "
    "UnsupportedError",
    "protocols": "Acquisition Posterior Surrogate",
    "transforms": "LogWarp PowerWarp",
    "posteriors": "GaussianPosterior MixturePosterior SamplesPosterior",
    "sampling": "Sampler sobol_points",
    "pareto": "hypervolume infer_reference_point is_non_dominated",
    "boxes": "box_decomposition",
    "attainment": "attainment attainment_surface",
    "space.parameters": "Categorical Integer Real",
    "space.space": "Space",
    "models.exact": "ExactGP",
    "models.evidence": "log_marginal_likelihood",
    "models.fit": "FitReport fit_mll",
    "models.model_list": "ModelList",
    "models.warped": "WarpedKernel",
    "models.saas": "SAASGP",
    "models.deep_kernel": "DeepKernel perceptron",
    "models.ensemble": "DeepEnsemble",
    "mcmc": "SamplingReport nuts",
    "paths": "draw_paths",
    "acquisition.incumbent": "incumbent",
    "acquisition.analytic": "ExpectedImprovement LogExpectedImprovement "
    "LogProbabilityOfImprovement PosteriorMean ProbabilityOfImprovement UpperConfidenceBound",
    "acquisition.constrained": "LogConstrainedExpectedImprovement",
    "acquisition.templates": "LogMonteCarloAcquisition MonteCarloAcquisition",
    "acquisition.monte_carlo": "qLogExpectedImprovement qLogNoisyExpectedImprovement "
    "qLogProbabilityOfFeasibility qSimpleRegret qUpperConfidenceBound",
    "acquisition.hypervolume_analytic": "LogExpectedHypervolumeImprovement "
    "LogNoisyExpectedHypervolumeImprovement",
    "acquisition.multi_objective": "qLogExpectedHypervolumeImprovement "
    "qLogNoisyExpectedHypervolumeImprovement",
    "acquisition.entropy": "BALD GIBBON JointEntropySearch MaxValueEntropySearch",
    "acquisition.lookahead": "log_knowledge_gradient qKnowledgeGradient qLogKnowledgeGradient",
    "acquisition.objectives": "Chebyshev at_least at_most output weighted_sum",
    "search.constraints": "linear_constraint nonlinear_constraint",
    "search.report": "Candidates",
    "search.multi_start": "optimize_acqf",
    "search.stochastic": "optimize_acqf_stochastic",
    "search.thompson": "thompson",
    "search.lookahead": "fantasy_maxima knowledge_gradient_points optimize_knowledge_gradient",
    "search.fronts": "draw_fronts",
    "search.recommend": "recommend",
    "search.optima": "Optima sample_optima",
    "problems": "Problem",
    "diagnostics": "calibration crps leave_one_out negative_log_predictive_density",
    "studies.results": "StudyResult",
    "studies.loop": "study",
    "campaign.campaign": "Campaign",
    "campaign.running": "run",
    "campaign.one_line": "Optimum maximize minimize",
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names.split()}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    """Import a public name, or a module of the package, when it is first used."""
    home = _HOME.get(name)
    if home:
        value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value
    path = f"{__name__}.{name}"
    if name.startswith("_") or importlib.util.find_spec(path) is None:
        raise AttributeError(f"module 'bolearn' has no attribute {name!r}")
    return importlib.import_module(path)


def __dir__() -> list[str]:
    """Public names, whether imported yet or not."""
    return sorted({*globals(), *_HOME})
