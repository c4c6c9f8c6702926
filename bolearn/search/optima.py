"""Samples of where the maximum is and how high: what entropy search averages over.

Each sample is a path of the belief, climbed to its top (`thompson`). A Gumbel distribution fitted
to the maxima over a finite grid is the usual shortcut; in six inputs a thousand grid points miss
the tops, and its maxima lie below the best posterior mean.

Taught in part_4/tutorial_05.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..acquisition.incumbent import incumbent
from ..protocols import Surrogate, has_training_data
from ..seeds import Seed
from ..shapes import check_count
from .thompson import thompson

# By how much a maximum exceeds the best posterior mean of the data at least, in output scales.
_ABOVE = 1e-6


@dataclass(frozen=True, eq=False)
class Optima:
    """Samples of the maximum; unpacks as ``x, value``.

    Attributes:
        x: where, ``k *r d`` in user units.
        value: how high, ``k *r``.
    """

    x: Float[Tensor, "k *r d"]
    value: Float[Tensor, "k *r"]

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x, self.value))


def sample_optima(
    model: Surrogate,
    bounds: Float[Tensor, "*b 2 d"],
    num_samples: int = 32,
    *,
    num_restarts: int = 4,
    raw_samples: int = 256,
    num_features: int = 512,
    seed: Seed,
) -> Optima:
    """Samples of (x*, f*): the maxima of ``num_samples`` functions drawn from the belief.

    A path is known to be above the data's best posterior mean only up to the error of its
    features, so no sampled value is below that mean.

    Args:
        model: a surrogate with one output that has paths (`draw_paths`).
        bounds: the search box, ``2 d`` or ``*r 2 d``.
        num_samples: k.
        num_restarts, raw_samples: for each path, as in `optimize_acqf`.
        num_features: as in `draw_paths`.
        seed: an int, or one for each replicate.

    Returns:
        Points and values.

    Raises:
        DataError, ShapeError, UnsupportedError: as in `thompson`.

    Example:
        >>> from bolearn import ExactGP, MaxValueEntropySearch
        >>> X = torch.tensor([[0.0], [0.4], [1.0]], dtype=torch.float64)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> model = ExactGP(X, X * (1 - X), box)
        >>> optima = sample_optima(model, box, 8, seed=0)
        >>> MaxValueEntropySearch(model, optima.value)(X.unsqueeze(-2)).shape
        torch.Size([3])

    Source: Hernandez-Lobato, Hoffman & Ghahramani, "Predictive entropy search for efficient global
    optimization of black-box functions", NeurIPS 2014, arXiv:1406.2541, section 2.1.
    """
    found = thompson(
        model,
        bounds,
        check_count("num_samples", num_samples),
        num_restarts=num_restarts,
        raw_samples=raw_samples,
        num_features=num_features,
        seed=seed,
    )
    x, value = found.x.movedim(-2, 0), found.value.movedim(-1, 0)
    known = model.X if has_training_data(model) else None
    if known is not None:
        least = incumbent(model, known).value
        scale = getattr(model, "output_scale", None)
        if scale is not None:
            least = least + _ABOVE * scale.squeeze(-1)
        value = torch.maximum(value, least)
    return Optima(x, value)
