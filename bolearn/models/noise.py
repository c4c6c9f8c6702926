r"""How much noise a model expects: priors of the noise variance by name, your own, or none at all.

A standardised output has variance 1, so its noise variance lies between 0 (a simulator) and 1
(nothing but noise). The prior says where. Densities are of the variance v, not of log v: that of
LogNormal(m, s) has its mode at exp(m - s^2), and a factor of v costs log v more than it would
in the logarithm.

Taught in part_4/tutorial_01 and part_4/tutorial_04.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.priors import LogNormalPrior, Prior

from ..errors import DataError
from .priors import (
    EXACT_FLOOR,
    EXACT_NOISE,
    NOISE_FLOOR,
    NOISE_MODE,
    common_range,
    noise_prior,
    support,
)


@dataclass(frozen=True, eq=False)
class NoiseBelief:
    """What is believed of the noise variance of a standardised output before there are data.

    Attributes:
        prior: its density.
        floor: the least variance that a fit may find.
        typical: where a model starts; the starts of a fit are multiples of it.
    """

    prior: Prior
    floor: float
    typical: float

    def likelihood(self, batch_shape: Sequence[int] = ()) -> GaussianLikelihood:
        """Gaussian noise under this belief, one variance for each entry of the batch shape."""
        floor = GreaterThan(self.floor, transform=None, initial_value=self.typical)
        return GaussianLikelihood(
            noise_prior=self.prior, batch_shape=torch.Size(batch_shape), noise_constraint=floor
        ).double()


def noise_free() -> NoiseBelief:
    """LogNormal(-12, 3), floor 1e-8: for values that are exact, such as a simulator's."""
    return NoiseBelief(LogNormalPrior(-12.0, 3.0), EXACT_FLOOR, EXACT_NOISE)


def botorch() -> NoiseBelief:
    """LogNormal(-4, 1), floor 1e-4: the default of BoTorch's ``SingleTaskGP``, and ours."""
    return NoiseBelief(noise_prior(), NOISE_FLOOR, NOISE_MODE)


def noisy() -> NoiseBelief:
    """LogNormal(-1, 1), floor 1e-4: for measurements whose noise is a good part of what varies.

    Few data in many directions are explained as well by short lengthscales as by noise, and the
    default prior takes the lengthscales' side. Measured on held-out data (``benchmarks/noise.py``):
    better than the default on the diabetes table (n = 20, 60 and 200), on a table of polymer blends
    and on functions with 30 % noise, by up to 0.49 nats for each observation; worse on exact values
    (Branin, by 0.26). In searches the two are undecided.
    """
    return NoiseBelief(LogNormalPrior(-1.0, 1.0), NOISE_FLOOR, NOISE_MODE)


NAMED = {"botorch": botorch, "noisy": noisy}
DEFAULT = "botorch"


def noise_belief(
    prior: str | Prior | NoiseBelief | None, exact: bool, known: bool
) -> NoiseBelief | None:
    """The belief that the arguments of a model ask for; None where the noise is known.

    Args:
        prior: ``noise_prior`` of `ExactGP`.
        exact: its ``noise_free``.
        known: whether it was given a ``noise_var``.

    Raises:
        DataError: arguments that contradict each other, an unknown name, a prior of no use.
    """
    if not isinstance(exact, bool):
        raise DataError(f"noise_free: expected True or False, got {exact!r}")
    if known and exact:
        raise DataError(
            "noise_free: expected either noise_free=True or a known noise_var, got both; leave "
            "out noise_var where values are exact, or noise_free where they are not"
        )
    if known and prior is not None:
        raise DataError(
            f"noise_prior: expected either a prior or a known noise_var, got both ({prior!r}): a "
            "known variance is not learnt; leave out one of them"
        )
    if exact and prior is not None:
        raise DataError(
            f"noise_prior: expected either a prior or noise_free=True, got both ({prior!r}); "
            "noise_free brings a prior of its own: leave out one of them"
        )
    if known:
        return None
    if exact:
        return noise_free()
    if isinstance(prior, NoiseBelief):
        return prior
    if isinstance(prior, Prior):
        return _own(prior)
    if prior is not None and not (isinstance(prior, str) and prior in NAMED):
        raise DataError(
            f"noise_prior: expected None, one of {sorted(NAMED)} or a gpytorch prior such as "
            f"gpytorch.priors.LogNormalPrior(-4.0, 1.0), got {prior!r}"
        )
    return NAMED[DEFAULT if prior is None else prior]()


def _own(prior: Prior) -> NoiseBelief:
    """A prior of the user's, copied; nothing but rounding limits what a fit may find.

    Raises:
        DataError: one prior for several numbers, or one without support above the floor.
    """
    if math.prod(prior.batch_shape) * math.prod(prior.event_shape) != 1:
        raise DataError(
            f"noise_prior: expected a prior of one number, used for every replicate and output, "
            f"got one of shape {tuple(prior.batch_shape + prior.event_shape)}; for outputs with "
            "priors of their own make a ModelList"
        )
    like = torch.zeros((), dtype=torch.float64)
    ends = (like + EXACT_FLOOR, like + torch.inf)
    low, high = common_range("noise_prior", ends, support(prior, like))
    typical = min(max(NOISE_MODE, low.item()), high.item())
    return NoiseBelief(copy.deepcopy(prior), EXACT_FLOOR, typical)
