"""Strategies for studies: functions that look at the data and say where to evaluate next.

A strategy is any callable ``(data, bounds, q, seed) -> X`` or ``-> (X, state)``; your own method
joins a study in five lines. `data` is a `StudyData` with a leading replicate axis, `seed` holds one
int for each replicate and is already specific to the round. Three optional attributes:

    batched          True: trusted with all replicates at once; False: called replicate by
                     replicate with ``X: n d``, ``seed: int`` and returns ``q d``; absent: found out
    recommend(data)  the point ``R d`` it would hand over now; gives inference regret
    state            what it returns beside X comes back as ``data.state`` in the next round

Those with a model are frozen dataclasses and take any surrogate: `dataclasses.replace(log_ei,
model=build)`, where ``build(X, Y, bounds, observed)`` returns a Gaussian process that is not
fitted; ``replace(log_ei, model=bolearn.SAASGP, fit=None)`` for models that are ready when they are
made. Whole examples, a forest among them: ``docs/your_own.md``.

Classical designs of experiments (`fractional_factorial`, `central_composite`, ...) take part like
others, and `Staged` starts one strategy from another.

Taught in part_4/tutorial_03.
"""

from .baselines import NelderMead, nelder_mead, random, sobol
from .classical import (
    CentralComposite,
    FractionalFactorial,
    OneFactorAtATime,
    SimplexLattice,
    central_composite,
    fractional_factorial,
    one_factor_at_a_time,
    simplex_lattice,
)
from .constrained import ConstrainedLogEI, constrained_log_ei
from .information import (
    AboutMaximum,
    EntropySearch,
    KnowledgeGradient,
    gibbon,
    joint_entropy,
    knowledge_gradient,
    max_value_entropy,
)
from .modelling import BuildModel, FitModel, matern_gp, rbf_gp
from .multi_objective import (
    BuildForGoal,
    Goal,
    MultiObjective,
    log_ehvi,
    log_nehvi,
    parego,
    q_log_nehvi,
)
from .protocol import Strategy, StudyData
from .staged import Staged
from .standard import (
    BuildAcquisition,
    ModelBased,
    Thompson,
    log_ei,
    q_log_ei,
    q_log_nei,
    thompson,
    ucb,
)
from .trust_region import TuRBO, scbo, turbo

__all__ = [
    "Strategy",
    "StudyData",
    "random",
    "sobol",
    "nelder_mead",
    "NelderMead",
    "one_factor_at_a_time",
    "OneFactorAtATime",
    "fractional_factorial",
    "FractionalFactorial",
    "central_composite",
    "CentralComposite",
    "simplex_lattice",
    "SimplexLattice",
    "Staged",
    "log_ei",
    "q_log_ei",
    "q_log_nei",
    "constrained_log_ei",
    "ConstrainedLogEI",
    "ucb",
    "thompson",
    "Thompson",
    "turbo",
    "scbo",
    "TuRBO",
    "knowledge_gradient",
    "KnowledgeGradient",
    "max_value_entropy",
    "gibbon",
    "joint_entropy",
    "EntropySearch",
    "AboutMaximum",
    "log_ehvi",
    "log_nehvi",
    "q_log_nehvi",
    "parego",
    "MultiObjective",
    "Goal",
    "BuildForGoal",
    "ModelBased",
    "BuildModel",
    "FitModel",
    "BuildAcquisition",
    "matern_gp",
    "rbf_gp",
]
