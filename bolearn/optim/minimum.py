"""What the minimisers of this folder ask and answer.

Taught in part_2/tutorial_05.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

ValueAndGradient = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""``f(x: k D, rows: k) -> (values k, gradients k D)``; rows says which problems are asked."""

RUNNING, GRADIENT, DECREASE, STUCK, LIMIT, BAD_START, BEHIND, SAME_END = range(8)
MESSAGES = (
    "still running",
    "converged: projected gradient below gtol",
    "converged: relative decrease below ftol",
    "stopped: no step along steepest descent improves; the gradient may be wrong or noisy",
    "stopped: iteration limit reached; raise max_iter",
    "failed: value or gradient is not finite at the start",
    "given up: at its pace it would not have reached the best of its rivals",
    "given up: on its way to the very end that a rival has reached",
)


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where each row ended.

    Attributes:
        x: best points ``N D``.
        value: their values ``N``; NaN for a row that could not start.
        gradient: largest entry of the projected gradient ``N``.
        status: codes ``N``; `message` puts them in words.
        iterations: accepted steps ``N``.
        evaluations: calls of the objective (each for all rows still running).
        points: rows evaluated in total.
    """

    x: Float[Tensor, "N D"]
    value: Float[Tensor, "N"]
    gradient: Float[Tensor, "N"]
    status: Int[Tensor, "N"]
    iterations: Int[Tensor, "N"]
    evaluations: int
    points: int

    @property
    def converged(self) -> Tensor:
        """Which rows met a convergence test, ``N``."""
        return (self.status == GRADIENT) | (self.status == DECREASE)

    def message(self, row: int) -> str:
        """The verdict on one row, with what to do about it."""
        return MESSAGES[int(self.status[row])]
