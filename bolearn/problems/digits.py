"""Tuning a real classifier, looked up in a stored table of cross-validation results.

Taught in part_4/tutorial_03.
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..data import digits_svm
from ..errors import DataError, StorageError
from ..shapes import check_tensor
from .core import Problem


@dataclass(frozen=True, eq=False)
class DigitsTable:
    """The stored cross-validation results: how many of the images each setting gets right."""

    log10_C: Float[Tensor, " rows"]
    log10_gamma: Float[Tensor, " columns"]
    correct: Int[Tensor, "rows columns"]
    images: int
    scheme: str
    command: str
    versions: dict[str, str]

    @property
    def accuracy(self) -> Float[Tensor, "rows columns"]:
        """Share of the images classified correctly when held out."""
        return self.correct.double() / self.images

    @property
    def best(self) -> Bool[Tensor, "rows columns"]:
        """The entries that attain the table's maximum."""
        return self.correct == self.correct.max()

    @property
    def ties_at_optimum(self) -> int:
        """How many entries attain the table's maximum."""
        return int(self.best.sum())

    def points(self, mask: Bool[Tensor, "rows columns"] | None = None) -> Float[Tensor, "k 2"]:
        """(log10 C, log10 gamma) of the entries where the mask is true, by default of all."""
        rows, columns = torch.meshgrid(self.log10_C, self.log10_gamma, indexing="ij")
        chosen = torch.ones_like(self.best) if mask is None else mask
        return torch.stack([rows[chosen], columns[chosen]], dim=-1)


@lru_cache(maxsize=1)
def digits_table(path: Path = digits_svm.TABLE) -> DigitsTable:
    """Read the stored table of `DigitsSVM`.

    Raises:
        StorageError: the file is missing or is not such a table.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return DigitsTable(
            torch.tensor(stored["log10_C"], dtype=torch.float64),
            torch.tensor(stored["log10_gamma"], dtype=torch.float64),
            torch.tensor(stored["correct"]),
            stored["images"],
            stored["scheme"],
            stored["command"],
            stored["versions"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"expected the digits table at {path.name}, got {error!r}; "
            "python -m bolearn.data.digits_svm recomputes it"
        ) from error


def _looked_up(X: Tensor) -> Tensor:
    accuracy: Tensor = digits_table().accuracy.to(X.device)[DigitsSVM._entry(X)]
    return accuracy


class DigitsSVM(Problem):
    """Tuning a real classifier: C and gamma of an RBF support vector machine on handwritten digits.

    Maximised is the share of 1,797 digits (scikit-learn's `load_digits`, 8 x 8 pixels) classified
    correctly in five-fold cross-validation. Inputs: log10 C in -2 .. 3 and log10 gamma in -4 .. 1.
    A call looks its answer up: it rounds each point to the nearest entry of a stored 41 x 41 table
    (an eighth of a decade apart), so that studies over many seeds cost nothing. `live` runs the
    cross-validation itself, about 0.3 s. The table leaves out the luck of the split: other folds
    would move each entry by a few images, so its best entry is the best for these folds only.

    Example:
        >>> problem = DigitsSVM()
        >>> bool(problem(problem.optimal_points).max() == problem.optimal_value)
        True
    """

    def __init__(self) -> None:
        table = digits_table()
        super().__init__(
            _looked_up,
            torch.stack([torch.stack([g[0], g[-1]]) for g in (table.log10_C, table.log10_gamma)]).T,
            optimal_value=float(table.accuracy.max()),
            optimal_points=table.points(table.best),
            how=f"the maximum of the stored table of {table.correct.numel()} entries, attained by "
            f"{table.ties_at_optimum} of them",
            name="digits SVM (table)",
            inputs=("log10 C", "log10 gamma"),
            output="cross-validated accuracy",
            noise_free=False,  # the luck of one split into folds is in every entry
        )

    @property
    def table(self) -> DigitsTable:
        """The stored table."""
        return digits_table()

    @staticmethod
    def _entry(X: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column of the nearest entries."""

        def nearest(x: Tensor, grid: Tensor) -> Tensor:
            steps = (x - grid[0].item()) * digits_svm.STEPS_PER_DECADE
            return steps.round().long().clamp(0, len(grid) - 1)

        table = digits_table()
        return nearest(X[..., 0], table.log10_C), nearest(X[..., 1], table.log10_gamma)

    def snap(self, X: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 2"]:
        """The nearest entries of the table: where a looked-up point was really evaluated."""
        rows, columns = self._entry(check_tensor("X", X))
        C, gamma = (g.to(X.device) for g in (self.table.log10_C, self.table.log10_gamma))
        return torch.stack([C[rows], gamma[columns]], dim=-1)

    @staticmethod
    def live(C: float, gamma: float) -> float:
        """Cross-validated accuracy, computed now (needs scikit-learn, about 0.3 s).

        Args:
            C: penalty of margin violations, dimensionless.
            gamma: inverse squared width of the kernel, pixels scaled to [0, 1].

        Raises:
            DataError: C or gamma is not a positive finite number.
        """
        for name, value in (("C", C), ("gamma", gamma)):
            if not 0 < value < math.inf:
                raise DataError(f"{name}: expected a positive finite number, got {value!r}")
        return digits_svm.correct_images(C, gamma) / digits_svm.IMAGES
