"""Whether Markov chains have forgotten where they began, and what their draws are worth.

Taught in part_5/tutorial_05.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .errors import ShapeError


def split_r_hat(draws: Float[Tensor, "*g c t p"]) -> Float[Tensor, "*g p"]:
    r"""Split R-hat: spread of all draws over spread within half-chains; 1 when chains agree.

    The larger of two values: for the ranks of the draws (turned into normal scores) and for the
    ranks of their distances from the median. Ranks make it meaningful for heavy tails.

    Args:
        draws: t >= 4 draws of c chains.

    Raises:
        ShapeError: fewer than 4 draws.

    Source: Vehtari, Gelman, Simpson, Carpenter & Buerkner, "Rank-normalization, folding, and
    localization: an improved R-hat", Bayesian Analysis 16, 2021, arXiv:1903.08008, equations 1-4.
    """
    x = _split(draws)
    folded = (x - x.flatten(-3, -2).median(-2).values[..., None, None, :]).abs()
    values = []
    for scores in (_normal_scores(x), _normal_scores(folded)):
        within, total = _spreads(scores)
        values.append(torch.where(within > 0, (total / within).sqrt(), 1.0))
    return torch.maximum(*values)


def effective_sample_size(draws: Float[Tensor, "*g c t p"]) -> Float[Tensor, "*g p"]:
    """How many independent draws would estimate a mean as well: c t over the autocorrelation time.

    Of the ranks of the draws in half-chains ("bulk"); sums of neighbouring autocorrelations are
    cut where they turn negative and kept from growing (Geyer's initial monotone sequence).

    Args:
        draws: t >= 4 draws of c chains.

    Raises:
        ShapeError: fewer than 4 draws.

    Source: Vehtari et al. 2021, arXiv:1903.08008, equations 10-13.
    """
    x = _normal_scores(_split(draws))
    c, t = x.shape[-3], x.shape[-2]
    within, total = _spreads(x)
    centred = x - x.mean(-2, keepdim=True)
    # autocovariances by the Wiener-Khinchin theorem, padded so that nothing wraps around
    spectrum = torch.fft.rfft(centred, n=2 * t, dim=-2)
    autocovariance = torch.fft.irfft(spectrum.abs().square(), n=2 * t, dim=-2)[..., :t, :] / t
    gap = within.unsqueeze(-2) - autocovariance.mean(-3) * t / (t - 1)
    rho = 1 - gap / torch.where(total > 0, total, 1.0).unsqueeze(-2)
    rho[..., 0, :] = 1.0
    pairs = rho[..., : t // 2 * 2, :].unflatten(-2, (-1, 2)).sum(-2)
    positive = (pairs > 0).to(pairs).cumprod(-2)
    time = -1 + 2 * (pairs.cummin(-2).values * positive).sum(-2)
    effective: Tensor = c * t / time.clamp(min=1 / math.log10(c * t))
    return effective


def _split(draws: Tensor) -> Tensor:
    """Half-chains as chains of their own: ``*g c t p`` -> ``*g 2c t/2 p``."""
    if draws.ndim < 3 or draws.shape[-2] < 4:
        raise ShapeError(
            "draws: expected shape *g chains draws p with at least 4 draws of each chain, "
            f"got {tuple(draws.shape)}"
        )
    half = draws.shape[-2] // 2
    return torch.cat([draws[..., :half, :], draws[..., -half:, :]], dim=-3)


def _normal_scores(x: Tensor) -> Tensor:
    """Ranks among all draws of a coordinate (averaged over ties), as quantiles of the normal."""
    flat = x.flatten(-3, -2).mT.contiguous()
    ordered = flat.sort(-1).values
    below = torch.searchsorted(ordered, flat)
    rank = 0.5 * (below + torch.searchsorted(ordered, flat, right=True) + 1).to(x)
    scores: Tensor = torch.special.ndtri((rank - 0.375) / (flat.shape[-1] + 0.25))
    return scores.mT.reshape(x.shape)


def _spreads(x: Tensor) -> tuple[Tensor, Tensor]:
    """Variance within chains, and of all draws (between chains included), ``*g p``."""
    t = x.shape[-2]
    within = x.var(-2).mean(-2)
    return within, within * (t - 1) / t + x.mean(-2).var(-2)
