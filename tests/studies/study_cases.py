"""Small problems and strategies that several tests of studies share."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bolearn.problems import Problem
from bolearn.seeds import Seed
from bolearn.strategies import StudyData, nelder_mead, random, sobol

BASELINES = {"random": random, "Sobol": sobol, "simplex": nelder_mead}


def center(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
    """A strategy that does nothing clever: the mean of all points of the replicate."""
    return data.X.mean(-2, keepdim=True).expand(*data.X.shape[:-2], q, -1)


def fragile(X: Tensor) -> Tensor:
    """-|x|^2 on [-1, 1]^2; NaN in one corner."""
    value = -(X**2).sum(-1)
    return torch.where((X > 0.3).all(-1), math.nan, value)


def raising(x: Tensor) -> float:
    """The same for one point; raises in that corner."""
    if (x > 0.3).all():
        raise RuntimeError("the flask broke")
    return float(-(x**2).sum())


SQUARE = torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)


@dataclass
class Fuse:
    """A problem that is interrupted at one of its evaluations."""

    problem: Problem
    left: int

    def __getattr__(self, name: str) -> object:
        return getattr(self.problem, name)

    def __call__(self, X: Tensor, seed: Seed | None = None) -> Tensor:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.problem(X, seed)
