"""Test problems with a known best value, and how it is known.

A problem is a function to maximise over a box, with its noise. Regret needs the truth, so every
problem here carries the value of its optimum, the points that attain it, and the reason why we
believe both: a closed form, a polish to machine precision, or the enumeration of a table.

Taught in part_4/tutorial_03.
"""

from .classic import Ackley, Branin, Forrester, Hartmann6, Rastrigin, Rosenbrock
from .core import Problem
from .digits import DigitsSVM, DigitsTable, digits_table
from .landscapes import DoubleWell, FourWell, Quadratic
from .reactor import BatchReactor, arrhenius, batch_concentrations, batch_concentrations_rk4

__all__ = [
    "Ackley",
    "BatchReactor",
    "Branin",
    "DigitsSVM",
    "DigitsTable",
    "DoubleWell",
    "Forrester",
    "FourWell",
    "Hartmann6",
    "Problem",
    "Quadratic",
    "Rastrigin",
    "Rosenbrock",
    "arrhenius",
    "batch_concentrations",
    "batch_concentrations_rk4",
    "digits_table",
]
