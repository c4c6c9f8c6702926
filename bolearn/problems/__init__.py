"""Test problems with a known best value, and how it is known.

A problem is a function to maximise over a box, with its noise. Regret needs the truth, so every
problem here carries the value of its optimum, the points that attain it, and in `how` the reason
why we believe both: a closed form, a polish to machine precision, or an enumeration; where only a
bracket is known, it says so. Your own is ``Problem(f, bounds)``; `Budget` counts what is measured.

The literature's functions are losses. As problems their signs are flipped (`problem.loss` flips
them back), so the best values below are minus those of the sources.

| problem | d | best value | known by | good for |
|---|---|---|---|---|
| `Quadratic` | any | 0 | closed form | stability, conditioning |
| `DoubleWell` | 1 | 1/4 | closed form | basins of a map |
| `FourWell` | 2 | 3.30625 | closed form | saddles, escape, restarts |
| `Rosenbrock` | ≥ 2 | 0 | closed form | a curved valley; warped outputs |
| `Rastrigin` | any | 0 | closed form | 11^d local optima, separable |
| `Ackley` | any | 0 | closed form | a hole in a plain; trust regions |
| `Levy` | any | 0 | closed form | waves on a bowl, separable |
| `Griewank` | any | 0 | closed form | two scales |
| `StyblinskiTang` | any | 39.166 d | closed form | 2^d wells, separable |
| `Schwefel` | any | 418.983 d | Newton | the second best is far away |
| `Michalewicz` | any | 1.8013 (2) | Newton | no gradient to follow |
| `Powell` | 4 k | 0 | closed form | a singular Hessian |
| `DixonPrice` | any | 0 | closed form | a chain of parabolas |
| `EffectiveDim` | any | 3.86278 | Newton | few of many inputs matter |
| `Branin` | 2 | -0.397887 | closed form | the first test; three optima |
| `UnevenBranin` | 2 | -0.397887 | closed form | noise that depends on the place |
| `SixHumpCamel`, `ThreeHumpCamel` | 2 | 1.03163, 0 | Newton, closed form | few optima |
| `Himmelblau` | 2 | 0 | closed form | four equal optima |
| `GoldsteinPrice` | 2 | -3 | exact, search | six decades of values; its logarithm |
| `Beale` | 2 | 0 | closed form | plateaus and steep corners |
| `Bukin` | 2 | 0 | closed form | a ridge that no smooth model follows |
| `DropWave` | 2 | 1 | closed form | rings |
| `EggHolder` | 2 | 959.641 | Newton | an optimum on the edge |
| `Hartmann3`, `Hartmann6` | 3, 6 | 3.86278, 3.32237 | Newton | the standard comparisons |
| `Shekel` | 4 | 10.5364 | Newton | foxholes |
| `Cosine8` | 8 | 0.8 | closed form | ripples in eight inputs |
| `Forrester` | 1 | 6.02074 | Newton | figures |
| `TwoScale1d` | 1 | 0.70553 | Newton | figures; slow and fast at once |
| `GoldMine1d` | 1 | 8.17647 | Newton | figures; greed gets trapped |
| `Hard1d` | 1 | 0.38799 | Newton | figures; a narrow second best |
| `Needle1d` | 1 | 1 | closed form | what no method can do |
| `Step1d` | 1 | 1.5 | closed form | a wrong model |
| `TwoWells` | any | 1.0089 (1) | Newton | noise; robust settings |
| `GPDraw` | any | by seed | bracketed | a true model |
| `BatchReactor` | 3 | 0.58274 | Newton | chemistry with units |
| `DigitsSVM` | 2 | 0.99110 | enumerated | tuning on real data |
| `DiabetesSVR` | 3 | 0.51560 | enumerated | tuning on real data; lines to beat |

Constrained (output 0 to maximise, the others feasible where <= 0):

| problem | d | outputs | best feasible value | known by |
|---|---|---|---|---|
| `ConstrainedBranin` | 2 | 2 | -0.397887 | closed form |
| `Gardner` | 2 | 2 | -0.253236 | closed form, search |
| `Gramacy` | 2 | 3 | -0.599788 | KKT conditions by Newton |
| `Townsend` | 2 | 2 | 2.023988 | KKT conditions by Newton |
| `PressureVessel` | 4 | 4 | -6059.714335 | enumerated |
| `WeldedBeam` | 4 | 7 | -1.724852 | KKT conditions by Newton |
| `Spring` | 3 | 5 | -0.012665 | KKT conditions by Newton |

Several objectives, all maximised (the hypervolume above `ref_point`):

| problem | d | objectives | hypervolume | known by |
|---|---|---|---|---|
| `ZDT1`, `ZDT2` | ≥ 2 | 2 | 120.6667, 120.3333 | closed form |
| `ZDT3` | ≥ 2 | 2 | 128.7781 | quadrature |
| `DTLZ1`, `DTLZ2` | ≥ m | m | by m | closed form |
| `C2DTLZ2` | ≥ 2 | 2, constrained | 0.382334 | closed form |
| `BNH` | 2 | 2, constrained | 5285.3333 | closed form |
| `BraninCurrin` | 2 | 2 | 59.4053 ± 0.0012 | bracketed |
| `VehicleSafety` | 5 | 3 | not known |  |

With a fidelity (the last input; 1 is the truth, for which the best value is stated):

| problem | d | best value | known by | the cheap version |
|---|---|---|---|---|
| `AugmentedBranin` | 2 + 1 | -0.397887 | closed form | is bent |
| `AugmentedHartmann6` | 6 + 1 | 3.32237 | Newton | is nearly right |
| `Currin` | 2 + 1 | 13.79872 | closed form | is blurred |
| `Borehole` | 8 + 1 | 309.5756 | enumerated | is a misfit |

Over a space, of categories and steps (`bolearn.Space`):

| problem | parameters | best value | known by | good for |
|---|---|---|---|---|
| `SpaceProblem` | yours |  |  | your function of a dictionary |
| `TableProblem` | yours | the best entry | enumerated | your table of measured experiments |
| `BuchwaldHartwig` | 4 x 3 x 22 | by halide | enumerated | categories of a real reaction |
| `Suzuki` | 4 x 4 x 4 x 4 | 96.9 | enumerated | ordered inputs, missing entries |
| `Blends` | 4 parts of one total | -0.001623 | enumerated | a mixture; proposals from a list |
| `Fullerenes` | 6 x 6 x 6 | 0.953133 | enumerated | a flat top; repeats |
| `ReizmanSuzuki` | 8, and 3 numbers | by case | enumerated | mixed inputs that are no grid |

Taught in part_2/tutorial_01, part_3/tutorial_01, part_4/tutorial_03, part_5/tutorial_03,
part_6/tutorial_02 and part_6/tutorial_03.
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
    UnevenBranin,
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
from .diabetes import DiabetesSVR, DiabetesTable, diabetes_table
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
from .spaces import SpaceProblem, TableProblem
from .tables import Blends, BuchwaldHartwig, Fullerenes, ReizmanSuzuki, Suzuki

__all__ = [
    "Ackley",
    "AugmentedBranin",
    "AugmentedHartmann6",
    "BNH",
    "BatchReactor",
    "Blends",
    "Beale",
    "Borehole",
    "Branin",
    "BraninCurrin",
    "Budget",
    "BuchwaldHartwig",
    "Bukin",
    "C2DTLZ2",
    "ConstrainedBranin",
    "Cosine8",
    "Currin",
    "DTLZ1",
    "DTLZ2",
    "DiabetesSVR",
    "DiabetesTable",
    "diabetes_table",
    "DigitsSVM",
    "DigitsTable",
    "DixonPrice",
    "DoubleWell",
    "DropWave",
    "EffectiveDim",
    "EggHolder",
    "Forrester",
    "FourWell",
    "Fullerenes",
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
    "ReizmanSuzuki",
    "Rosenbrock",
    "Schwefel",
    "Shekel",
    "SixHumpCamel",
    "SpaceProblem",
    "Spring",
    "Step1d",
    "StyblinskiTang",
    "Suzuki",
    "TableProblem",
    "ThreeHumpCamel",
    "Townsend",
    "TwoScale1d",
    "TwoWells",
    "UnevenBranin",
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
