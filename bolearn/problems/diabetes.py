"""Tuning a real regression, looked up in a stored table of cross-validation results.

Taught in part_4/tutorial_03.
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data import diabetes_svr
from ..errors import DataError, StorageError
from ..shapes import check_tensor
from .core import Problem

_INPUTS = ("log10 C", "log10 gamma", "log10 epsilon")


@dataclass(frozen=True, eq=False)
class DiabetesTable:
    """The stored cross-validation results: the held-out R^2 of each setting."""

    axes: tuple[Float[Tensor, "_"], ...]  # log10 of C, gamma, epsilon
    explained: Float[Tensor, "kC kgamma kepsilon"]
    patients: int
    scheme: str
    command: str
    versions: dict[str, str]

    @property
    def best_point(self) -> Float[Tensor, "k 3"]:
        """The settings that attain the table's maximum, as logarithms."""
        rows = (self.explained == self.explained.max()).nonzero()
        return torch.stack([axis[rows[:, i]] for i, axis in enumerate(self.axes)], dim=-1)

    def entry(self, X: Float[Tensor, "*b 3"]) -> tuple[Int[Tensor, "*b"], ...]:
        """The indices of the nearest entries."""
        nearest = []
        for i, axis in enumerate(self.axes):
            step = (axis[1] - axis[0]).item()
            nearest.append(((X[..., i] - axis[0].item()) / step).round().long())
        return tuple(k.clamp(0, len(a) - 1) for k, a in zip(nearest, self.axes, strict=True))


@lru_cache(maxsize=1)
def diabetes_table(path: Path = diabetes_svr.TABLE) -> DiabetesTable:
    """Read the stored table of `DiabetesSVR`.

    Raises:
        StorageError: the file is missing or is not such a table.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        table = DiabetesTable(
            tuple(
                torch.tensor(stored[f"log10_{name}"], dtype=torch.float64)
                for name, *_ in diabetes_svr.AXES
            ),
            torch.tensor(stored["explained"], dtype=torch.float64),
            stored["patients"],
            stored["scheme"],
            stored["command"],
            stored["versions"],
        )
        if table.explained.shape != tuple(map(len, table.axes)):
            raise ValueError(f"{tuple(table.explained.shape)} values for {len(table.axes)} axes")
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"expected the diabetes table at {path.name}, got {error!r}; "
            "python -m bolearn.data.diabetes_svr recomputes it"
        ) from error
    return table


def _looked_up(X: Tensor) -> Tensor:
    table = diabetes_table()
    return table.explained.to(X.device)[table.entry(X)]


class DiabetesSVR(Problem):
    """Tuning a real regression: C, gamma and epsilon of support vectors on the diabetes data.

    Maximised is R^2, the share of the variance of 442 patients' disease progression that
    scikit-learn's `SVR` with an RBF kernel explains when they are held out (five folds; inputs
    standardised, outputs as they are). Inputs: log10 C in -1 .. 4, log10 gamma in -5 .. 1 and log10
    epsilon in -1 .. 2. A call looks its answer up: it rounds each point to the nearest entry of a
    stored table (a quarter of a decade apart, half a decade for epsilon), so that studies over many
    seeds cost nothing. `live` runs the cross-validation itself, about 0.1 s. The table leaves out
    the luck of the split: its best entry is the best for these folds only.

    Example:
        >>> problem = DiabetesSVR()
        >>> bool(problem(problem.optimal_points).max() == problem.optimal_value)
        True
    """

    def __init__(self) -> None:
        table = diabetes_table()
        super().__init__(
            _looked_up,
            torch.stack([torch.stack([axis[0], axis[-1]]) for axis in table.axes]).T,
            optimal_value=float(table.explained.max()),
            optimal_points=table.best_point,
            how=f"the maximum of the stored table of {table.explained.numel()} entries",
            name="diabetes SVR (table)",
            inputs=_INPUTS,
            output="held-out R^2",
            noise_free=False,  # the luck of one split into folds is in every entry
        )

    @property
    def table(self) -> DiabetesTable:
        """The stored table."""
        return diabetes_table()

    def snap(self, X: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        """The nearest entries of the table: where a looked-up point was really evaluated."""
        index = self.table.entry(check_tensor("X", X))
        axes = (axis.to(X.device) for axis in self.table.axes)
        return torch.stack([axis[k] for axis, k in zip(axes, index, strict=True)], dim=-1)

    @property
    def progress(self) -> Float[Tensor, "442"]:
        """The measured progress of each patient."""
        return torch.as_tensor(diabetes_svr.progress(), dtype=torch.float64)

    @staticmethod
    def held_out(regressor: Any) -> Float[Tensor, "442"]:
        """What a scikit-learn regressor predicts for each patient when held out, on these folds."""
        return torch.as_tensor(diabetes_svr.held_out_predictions(regressor), dtype=torch.float64)

    @staticmethod
    def explained(predictions: Float[Tensor, "442"]) -> float:
        """R^2 of predictions: the share of the patients' variance that they explain."""
        return diabetes_svr.explained(predictions.numpy())

    @staticmethod
    def predictions(C: float, gamma: float, epsilon: float) -> Float[Tensor, "442"]:
        """Held-out predictions of `SVR` with these settings (needs scikit-learn, about 0.1 s).

        Args:
            C: penalty of an error beyond epsilon.
            gamma: inverse squared width of the kernel, in standardised inputs.
            epsilon: errors that cost nothing, in units of the progression score.

        Raises:
            DataError: a setting that is not a positive finite number.
        """
        for name, value in (("C", C), ("gamma", gamma), ("epsilon", epsilon)):
            if not 0 < value < math.inf:
                raise DataError(f"{name}: expected a positive finite number, got {value!r}")
        return DiabetesSVR.held_out(diabetes_svr.support_vectors(C, gamma, epsilon))

    @staticmethod
    def live(C: float, gamma: float, epsilon: float) -> float:
        """Held-out R^2, computed now; see `predictions`."""
        return DiabetesSVR.explained(DiabetesSVR.predictions(C, gamma, epsilon))
