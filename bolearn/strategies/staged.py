"""One strategy after another: a design first, a model from then on.

Taught in part_4/tutorial_04.
"""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from ..seeds import Seed
from ..shapes import check_count
from .protocol import Strategy, StudyData


@dataclass(frozen=True)
class Staged:
    """One strategy for the first runs after the initial design, another from then on.

    Args:
        first: proposes until `runs` evaluations are asked for.
        runs: how many.
        then: goes on, with the data of both.

    Example:
        >>> import bolearn as bl
        >>> s = bl.strategies
        >>> begun = s.Staged(s.fractional_factorial, runs=8, then=s.log_ei)
    """

    first: Strategy
    runs: int
    then: Strategy

    @property
    def batched(self) -> bool | None:
        """False if either stage is called replicate by replicate; None: to be found out."""
        declared = [getattr(s, "batched", None) for s in (self.first, self.then)]
        return False if False in declared else (True if None not in declared else None)

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """What the strategy of this stage proposes; the state says which stage it was."""
        stage = int(data.X.shape[-2] - data.n_init >= check_count("runs", self.runs, least=0))
        last, state = data.state if isinstance(data.state, tuple) else (0, None)
        seen = replace(data, state=state if last == stage else None)
        answer = (self.first, self.then)[stage](seen, bounds, q, seed)
        X, state = answer if isinstance(answer, tuple) else (answer, None)
        return X, (stage, state)
