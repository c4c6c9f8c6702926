"""Bayesian optimisation with a replicate axis: the companion package of the course.

Names in reading order. A model believes, an acquisition values, an optimiser searches; `study`
does it for many seeds at once. Everything is float64, lives where its tensors live, takes explicit
seeds, and maximises.
"""

from .errors import (
    BolearnError,
    DataError,
    FitError,
    InfeasibleError,
    NotFittedError,
    NumericsError,
    OptimizationError,
    ShapeError,
    StorageError,
    UnsupportedError,
)
from .protocols import Acquisition, Posterior, Surrogate
from .posteriors import GaussianPosterior
from .sampling import Sampler, sobol_points
from .models.exact import ExactGP, log_marginal_likelihood
from .models.fit import FitReport, fit_mll
from .acquisition.analytic import (
    ExpectedImprovement,
    LogExpectedImprovement,
    PosteriorMean,
    UpperConfidenceBound,
    incumbent,
)
from .acquisition.monte_carlo import LogMonteCarloAcquisition, qLogExpectedImprovement
from .acquisition.objectives import output, weighted_sum
from .optim.multi_start import Candidates, optimize_acqf
from .problems import Problem
from . import problems, strategies
from .study import StudyResult, study

__version__ = "0.1.0"

__all__ = [
    "BolearnError",
    "DataError",
    "FitError",
    "InfeasibleError",
    "NotFittedError",
    "NumericsError",
    "OptimizationError",
    "ShapeError",
    "StorageError",
    "UnsupportedError",
    "Acquisition",
    "Posterior",
    "Surrogate",
    "GaussianPosterior",
    "Sampler",
    "sobol_points",
    "ExactGP",
    "log_marginal_likelihood",
    "FitReport",
    "fit_mll",
    "ExpectedImprovement",
    "LogExpectedImprovement",
    "PosteriorMean",
    "UpperConfidenceBound",
    "incumbent",
    "LogMonteCarloAcquisition",
    "qLogExpectedImprovement",
    "output",
    "weighted_sum",
    "Candidates",
    "optimize_acqf",
    "Problem",
    "problems",
    "strategies",
    "StudyResult",
    "study",
]
