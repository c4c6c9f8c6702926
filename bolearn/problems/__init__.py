"""Test problems with a known best value, and how it is known.

A problem is a function to maximise over a box, with its noise. Regret needs the truth, so every
problem here carries the value of its optimum, the points that attain it, and the reason why we
believe both: a closed form, a polish to machine precision, or the enumeration of a table.

Taught in part_4/tutorial_03.
"""

from .classic import (
    Beale,
    Branin,
    Bukin,
    Cosine8,
    DropWave,
    EggHolder,
    Forrester,
    GoldsteinPrice,
    Hartmann3,
    Hartmann6,
    Himmelblau,
    Shekel,
    SixHumpCamel,
    ThreeHumpCamel,
)
from .constrained import (
    ConstrainedBranin,
    Gardner,
    Gramacy,
    PressureVessel,
    Spring,
    Townsend,
    WeldedBeam,
)
from .core import Budget, Problem
from .digits import DigitsSVM, DigitsTable, digits_table
from .fidelity import AugmentedBranin, AugmentedHartmann6, Borehole, Currin
from .landscapes import DoubleWell, FourWell, Quadratic
from .multi_objective import (
    BNH,
    C2DTLZ2,
    DTLZ1,
    DTLZ2,
    ZDT1,
    ZDT2,
    ZDT3,
    BraninCurrin,
    VehicleSafety,
)
from .one_input import GoldMine1d, GPDraw, Hard1d, Needle1d, Step1d, TwoScale1d, TwoWells
from .reactor import BatchReactor, arrhenius, batch_concentrations, batch_concentrations_rk4
from .scalable import (
    Ackley,
    DixonPrice,
    EffectiveDim,
    Griewank,
    Levy,
    Michalewicz,
    Powell,
    Rastrigin,
    Rosenbrock,
    Schwefel,
    StyblinskiTang,
)

__all__ = [
    "Ackley",
    "AugmentedBranin",
    "AugmentedHartmann6",
    "BNH",
    "BatchReactor",
    "Beale",
    "Borehole",
    "Branin",
    "BraninCurrin",
    "Budget",
    "Bukin",
    "C2DTLZ2",
    "ConstrainedBranin",
    "Cosine8",
    "Currin",
    "DTLZ1",
    "DTLZ2",
    "DigitsSVM",
    "DigitsTable",
    "DixonPrice",
    "DoubleWell",
    "DropWave",
    "EffectiveDim",
    "EggHolder",
    "Forrester",
    "FourWell",
    "GPDraw",
    "Gardner",
    "GoldMine1d",
    "GoldsteinPrice",
    "Gramacy",
    "Griewank",
    "Hard1d",
    "Hartmann3",
    "Hartmann6",
    "Himmelblau",
    "Levy",
    "Michalewicz",
    "Needle1d",
    "Powell",
    "PressureVessel",
    "Problem",
    "Quadratic",
    "Rastrigin",
    "Rosenbrock",
    "Schwefel",
    "Shekel",
    "SixHumpCamel",
    "Spring",
    "Step1d",
    "StyblinskiTang",
    "ThreeHumpCamel",
    "Townsend",
    "TwoScale1d",
    "TwoWells",
    "VehicleSafety",
    "WeldedBeam",
    "ZDT1",
    "ZDT2",
    "ZDT3",
    "arrhenius",
    "batch_concentrations",
    "batch_concentrations_rk4",
    "digits_table",
]
