"""Randomness from explicit seeds: named sub-seeds, and streams that are batched over replicates.

Nothing in the package reads or writes torch's global random state. Whatever draws takes ``seed``:
an int, or a sequence of R ints, one for each replicate. With an int, replicate i of R gets the seed
``derive(seed, i)``; a run without a replicate axis uses the int itself. So replicate i of a batch
seeded with ``seed`` draws what a single run seeded with ``derive(seed, i)`` draws.

`uniform` is counter-based (SplitMix64: Steele, Lea & Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014, https://doi.org/10.1145/2660193.2660195): entry j of stream k is a hash
of (k, j). Streams of many replicates are therefore one tensor expression, equal on every device.

Taught in part_1/tutorial_06.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .errors import DataError
from .shapes import is_whole

Seed = int | Sequence[int]
"""A whole number, or one for each replicate; NumPy's whole numbers and arrays will do."""

_WORD = 1 << 64


def check_seed(seed: object) -> int | tuple[int, ...]:
    """Check that ``seed`` is a non-negative int below 2**63, or a sequence of such ints.

    Returns:
        An int or a tuple of ints, whichever kind of whole numbers they came as.

    Raises:
        DataError: it is not.
    """
    if isinstance(seed, np.ndarray):
        many = seed.ndim == 1
    else:
        many = isinstance(seed, Sequence) and not isinstance(seed, str | bytes)
    entries: tuple[object, ...] = tuple(seed) if many else (seed,)  # type: ignore[arg-type]
    good = []
    for entry in entries:
        if not is_whole(entry) or not 0 <= entry < 1 << 63:
            raise DataError(
                f"seed: expected an int in [0, 2**63) or a sequence of them, got {entry!r}"
            )
        good.append(int(entry))
    return tuple(good) if many else good[0]


def check_one_seed(seed: object) -> int:
    """Check that ``seed`` is a single int, where replicates have no streams of their own.

    Raises:
        DataError: it is not.
    """
    checked = check_seed(seed)
    if isinstance(checked, tuple):
        raise DataError(f"seed: expected a single int, got {seed!r}")
    return checked


def derive(seed: int, *names: int | str) -> int:
    """An independent seed for each path of names: ``derive(7, "fit", 3)``.

    Args:
        seed: the parent seed.
        names: ints or strings; another path gives an unrelated seed.

    Returns:
        An int in [0, 2**53), exact in JSON and in JavaScript.

    Example:
        >>> derive(0, "fit", 1) == derive(0, "fit", 1)
        True
        >>> derive(0, "fit", 1) == derive(0, "fit", 2)
        False
    """
    path = (int(name) if is_whole(name) else name for name in names)
    digest = hashlib.blake2b(repr((check_one_seed(seed), *path)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 11


def replicate_seeds(seed: Seed, replicates: Sequence[int]) -> list[int]:
    """One seed for each replicate, in row-major order of the replicate shape ``*r``.

    Args:
        seed: an int (replicate i gets ``derive(seed, i)``; with no replicate axis the int itself)
            or one int for each replicate.
        replicates: the replicate shape; ``()`` means a single run.

    Raises:
        DataError: a sequence of another length than the number of replicates.
    """
    checked, count = check_seed(seed), math.prod(replicates)
    if isinstance(checked, int):
        return [derive(checked, i) for i in range(count)] if len(replicates) else [checked]
    if len(checked) != count:
        raise DataError(
            f"seed: expected {count} seeds for replicates {tuple(replicates)}, got {len(checked)}"
        )
    return list(checked)


def derive_each(seed: Seed, *names: int | str) -> int | tuple[int, ...]:
    """`derive` for an int, or for each entry of a sequence of seeds."""
    checked = check_seed(seed)
    if isinstance(checked, int):
        return derive(checked, *names)
    return tuple(derive(entry, *names) for entry in checked)


def _signed(word: int) -> int:
    """The int64 with the same bits as an unsigned 64-bit word."""
    word %= _WORD
    return word - _WORD if word >= _WORD // 2 else word


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own shift copies the sign bit)."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def random_words(seeds: Sequence[int], count: int, device: torch.device | None = None) -> Tensor:
    """``count`` random 64-bit words for each seed, as int64 of shape ``len(seeds) count``.

    SplitMix64: word j of stream k is mix(k + (j + 1) * golden), with wrap-around arithmetic.
    The seed itself is mixed first, so that neighbouring seeds do not give shifted streams.
    """
    golden = 0x9E3779B97F4A7C15
    start = torch.tensor([_signed(int(seed) * 0xD1342543DE82EF95 + golden) for seed in seeds])
    counter = torch.arange(1, count + 1, device=device) * _signed(golden)
    z = _mix(start.to(device)).unsqueeze(-1) + counter
    return _mix(z)


def _mix(z: Tensor) -> Tensor:
    """The words mixed, in place."""
    z.bitwise_xor_(_shift_right(z, 30)).mul_(_signed(0xBF58476D1CE4E5B9))
    z.bitwise_xor_(_shift_right(z, 27)).mul_(_signed(0x94D049BB133111EB))
    return z.bitwise_xor_(_shift_right(z, 31))


def uniform(
    seeds: Sequence[int], shape: Sequence[int], device: torch.device | None = None
) -> Tensor:
    """Uniform numbers in the open interval (0, 1), a stream for each seed.

    Args:
        seeds: R seeds.
        shape: what each stream fills, row-major.
        device: where the result lives; the numbers do not depend on it.

    Returns:
        ``R *shape``, odd multiples of 2**-53, so never 0 or 1.

    Example:
        >>> a, b = uniform([1, 2], [3]), uniform([2], [3])
        >>> torch.equal(a[1], b[0])
        True
    """
    words = random_words(seeds, math.prod(shape), device)
    u = _shift_right(words, 12).double().add_(0.5).mul_(2.0**-52)
    return u.reshape(len(seeds), *shape)


def normal(
    seeds: Sequence[int], shape: Sequence[int], device: torch.device | None = None
) -> Tensor:
    """Standard normal numbers ``R *shape`` by inverting the distribution function of `uniform`."""
    z: Tensor = torch.special.ndtri(uniform(seeds, shape, device))
    return z


def normal_of_rows(
    seeds: Sequence[int],
    count: int,
    observed: Bool[Tensor, "R n"],
    width: int = 1,
    device: torch.device | None = None,
) -> Float[Tensor, "R count n width"]:
    """Standard normal numbers for the observed rows of data, ``count`` times.

    Masked rows take none, so that data with masked rows get the numbers that the same data get
    without them; what stands in masked rows is of no account.

    Example:
        >>> seen = torch.tensor([[True, False, True]])
        >>> padded = normal_of_rows([1], 2, seen)[:, :, seen[0]]
        >>> torch.equal(padded, normal_of_rows([1], 2, torch.tensor([[True, True]])))
        True
    """
    R, n = observed.shape
    z = normal(seeds, (count * n * width,), device)
    if observed.all():
        return z.reshape(R, count, n, width)
    seen = observed.sum(-1).reshape(R, 1, 1, 1)
    row = (observed.cumsum(-1) - 1).clamp(min=0).reshape(R, 1, n, 1)
    first = torch.arange(count, device=z.device).reshape(1, count, 1, 1) * seen
    at = (first + row) * width + torch.arange(width, device=z.device)
    return z.gather(-1, at.reshape(R, -1)).reshape(R, count, n, width)
