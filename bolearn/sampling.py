"""Points and normals that fill space evenly: Sobol sequences, scrambled by explicit seeds.

Averages over scrambled Sobol points converge about like 1/s instead of 1/sqrt(s), which is why
Monte-Carlo acquisitions get by with a hundred samples.

Taught in part_1/tutorial_06 and part_4/tutorial_02.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.quasirandom import SobolEngine

from . import seeds
from .errors import DataError, ShapeError
from .shapes import check_bounds, check_count

_SOBOL_BITS = 30  # torch's Sobol points are multiples of 2**-30
_SHARED_SCRAMBLE = 20190706


def _check_sobol(dimension: int, what: str) -> None:
    if dimension > SobolEngine.MAXDIM:
        raise DataError(
            f"{what}: Sobol sequences have at most {SobolEngine.MAXDIM} dimensions, "
            f"got {dimension}; use kind='iid'"
        )


def sobol_points(
    bounds: Float[Tensor, "*r 2 d"],
    n: int,
    *,
    seed: seeds.Seed,
    replicates: int | None = None,
) -> Float[Tensor, "*rr n d"]:
    """The first n points of a scrambled Sobol sequence in a box: an initial design.

    Args:
        bounds: ``2 d``, or ``*r 2 d`` for a box of its own in each replicate.
        n: number of points; powers of two balance best.
        seed: an int, or one for each replicate.
        replicates: R for independent designs ``R n d``; default: as the bounds have it.

    Returns:
        Points in user units, ``*r n d`` (``R n d`` with ``replicates=R``).

    Raises:
        DataError: bad bounds, n < 1, or replicates that contradict the bounds.

    Example:
        >>> box = torch.tensor([[0.0, 0.0], [1.0, 10.0]], dtype=torch.float64)
        >>> sobol_points(box, n=8, seed=0, replicates=4).shape
        torch.Size([4, 8, 2])
    """
    box = check_bounds(bounds)
    n = check_count("n", n)
    r = tuple(box.shape[:-2])
    if replicates is not None:
        replicates = check_count("replicates", replicates)
        if r not in ((), (replicates,)):
            raise DataError(
                f"replicates: the bounds have replicate shape {r}, got replicates={replicates}"
            )
        r = (replicates,)
    d = box.shape[-1]
    _check_sobol(d, "sobol_points")
    streams = seeds.replicate_seeds(seed, r)
    cube = torch.stack([_scrambled(d, n, s) for s in streams]).reshape(*r, n, d).to(box.device)
    return box[..., :1, :] + cube * (box[..., 1:, :] - box[..., :1, :])


def _scrambled(d: int, n: int, seed: int) -> Tensor:
    """Owen-type scrambled Sobol points (Matousek's linear scramble and a digital shift)."""
    return SobolEngine(d, scramble=True, seed=seed).draw(n, dtype=torch.float64)


@lru_cache(maxsize=64)
def _shared_sobol_bits(d: int, n: int) -> Tensor:
    points = _scrambled(d, n, _SHARED_SCRAMBLE)
    return (points * 2.0**_SOBOL_BITS).long()


def shifted_sobol(
    streams: Sequence[int], n: int, d: int, device: torch.device | None = None
) -> Float[Tensor, "R n d"]:
    """Sobol points in the open unit cube for many replicates at once.

    One scrambled sequence, moved by an independent random digital shift (exclusive or of the
    binary digits) in each replicate: every replicate is a net of the same quality and uniform in
    distribution, for the cost of one tensor operation.

    Sobol sequences end at 21,201 dimensions. Beyond, no number of points that one could afford
    fills space more evenly than independent ones, and independent uniform numbers it is.

    Source: L'Ecuyer & Lemieux, "Recent advances in randomized quasi-Monte Carlo methods", 2002.
    """
    if d > SobolEngine.MAXDIM:
        return seeds.uniform(streams, (n, d), device)
    bits = _shared_sobol_bits(d, n).to(device) if device is not None else _shared_sobol_bits(d, n)
    words = seeds.random_words(streams, d, device) & ((1 << _SOBOL_BITS) - 1)
    return ((bits ^ words.unsqueeze(-2)).double() + 0.5) * 2.0**-_SOBOL_BITS


@dataclass(frozen=True)
class Sampler:
    """Where the standard normals of a Monte-Carlo acquisition come from.

    The same normals serve every candidate and every restart (common random numbers: the estimate
    is a smooth function of the candidates), but each replicate has its own.

    Args:
        num_samples: s; a power of two balances Sobol samples.
        seed: an int, or one for each replicate.
        kind: "sobol" (scrambled Sobol through the inverse normal distribution) or "iid".

    Raises:
        DataError: num_samples < 1, an unknown kind, a bad seed.

    Example:
        >>> Sampler(128, seed=0).base_samples((4, 1)).shape
        torch.Size([128, 4, 1])
    """

    num_samples: int = 128
    seed: seeds.Seed = 0
    kind: str = "sobol"

    def __post_init__(self) -> None:
        # samplers are keys of caches: what is equal has to be of one type
        object.__setattr__(self, "num_samples", check_count("num_samples", self.num_samples))
        object.__setattr__(self, "seed", seeds.check_seed(self.seed))
        if not isinstance(self.kind, str) or self.kind not in ("sobol", "iid"):
            raise DataError(f"kind: expected 'sobol' or 'iid', got {self.kind!r}")

    def base_samples(
        self,
        event_shape: Sequence[int],
        replicates: Sequence[int] = (),
        device: torch.device | None = None,
    ) -> Float[Tensor, "s ..."]:
        """Standard normals ``s *r *event``.

        Args:
            event_shape: what one joint draw consumes, for example ``(q, m)``.
            replicates: the replicate shape ``*r``.
            device: where they live.

        Raises:
            ShapeError: an empty event.
            DataError: more dimensions than Sobol sequences have.
        """
        try:
            size = int(torch.Size(event_shape).numel())
        except TypeError:
            raise ShapeError(
                f"event_shape: expected a tuple of sizes such as (q, m), got {event_shape!r}"
            ) from None
        if size < 1:
            raise ShapeError(f"event_shape: expected positive sizes, got {tuple(event_shape)}")
        streams = seeds.replicate_seeds(self.seed, replicates)
        if self.kind == "iid":
            z = seeds.normal(streams, (self.num_samples, size))
        else:
            _check_sobol(size, "Sampler")
            u = torch.stack([_scrambled(size, self.num_samples, k) for k in streams])
            # keep 0 and 1 out of the inverse distribution function, symmetrically
            eps = torch.finfo(torch.float64).eps
            z = torch.special.ndtri(0.5 + (1 - eps) * (u - 0.5))
        z = z.transpose(0, 1).reshape(self.num_samples, *replicates, *event_shape)
        return z.to(device) if device is not None else z
