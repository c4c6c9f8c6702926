"""An acquisition as functions of flat rows in the unit cube, evaluated within a memory budget.

The optimiser knows rows; the acquisition knows ``*batch q d`` in user units with the replicates at
the end of ``*batch``. This is the border between the two: decoding, packing, and cutting large
batches into chunks.

Taught in part_4/tutorial_02.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import DataError, OptimizationError, ShapeError
from ..optim.arrays import Array
from ..protocols import Acquisition, Rows, has_training_data
from ..transforms import UnitCube

BUDGET = 512 * 2**20
"""Bytes of temporaries that one evaluation of the acquisition may need, by estimate."""

_TEMPORARIES = 8  # tensors of the size of the samples, or of k(X, X_train), alive at once
_OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory has run out, on any device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(t in str(error) for t in _OUT_OF_MEMORY)


def level_and_spread(
    values: Float[Tensor, "R raw"],
) -> tuple[Float[Tensor, "R"], Float[Tensor, "R"]]:
    """The level and the spread of an acquisition over the box, from its values there.

    An acquisition may be in the outputs' units, far from 1 or from 0; the tolerances of a climb are
    not. Where it hardly varies, so that nothing can be said, the spread is 1.
    """
    finite = torch.isfinite(values)
    level = torch.where(finite, values, -torch.inf).amax(-1)
    level = torch.where(torch.isfinite(level), level, 0.0)
    least = torch.where(finite, values, torch.inf).amin(-1, keepdim=True)
    filled = torch.where(finite, values, torch.where(torch.isfinite(least), least, 0.0))
    spread = filled.std(-1, correction=0)
    clear = (spread > 1e-12 * level.abs()) & (spread > 1e-290)
    return level, torch.where(clear, spread, 1.0)


class UnitAcquisition:
    """The acquisition of all replicates, by rows ``restart * R + replicate``.

    Attributes:
        halvings: how often a chunk was halved because memory ran out.
    """

    def __init__(self, acq: Acquisition, cube: UnitCube, q: int, r: tuple[int, ...]) -> None:
        self.cube, self.q, self.r = cube, q, r
        self.R, self.d = math.prod(r), cube.bounds.shape[-1]
        self.halvings = 0
        self.ask(acq)

    def ask(self, acq: Acquisition) -> None:
        """From now on, evaluate this acquisition; its own ways are used where it has some."""
        self.acq = acq
        self.places = max(1, BUDGET // self._bytes())
        alike = tuple(getattr(getattr(acq, "model", None), "batch_shape", ())) == self.r
        self.in_one_piece = getattr(acq, "value_and_gradient", None) if alike else None
        on_rows = getattr(acq, "on_rows", None)
        self.rows: Rows | None = on_rows(self.cube) if on_rows and self.q == 1 and alike else None

    def _bytes(self) -> int:
        """Temporaries of one set of q points in every replicate, as far as can be known."""
        model: Any = getattr(self.acq, "model", None)
        pending = getattr(self.acq, "X_pending", None)
        q = self.q + (pending.shape[-2] if isinstance(pending, Tensor) else 0)
        n = model.X.shape[-2] if has_training_data(model) else 100
        m = getattr(model, "num_outputs", 1)
        samples = getattr(getattr(self.acq, "sampler", None), "num_samples", 1)
        return 8 * _TEMPORARIES * self.R * q * m * (max(n, 100) + samples)

    def decode(self, U: Float[Tensor, "b R qd"]) -> Float[Tensor, "b *r q d"]:
        """Rows of the unit cube as points in user units."""
        return self.cube.decode(U.reshape(len(U), *self.r, self.q, self.d))

    def at(self, X: Float[Tensor, "b *r q d"]) -> Float[Tensor, "b R"]:
        """The acquisition, with its result checked.

        Raises:
            DataError: its values are not float64.
            ShapeError: it does not return one value for each set of points.
        """
        value = self.acq(X)
        if not isinstance(value, Tensor) or value.shape != X.shape[:-2]:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"acquisition: expected values of shape *batch = {tuple(X.shape[:-2])} for X of "
                f"shape {tuple(X.shape)}, got {got}; a function of a replicated model needs "
                "batch_shape="
            )
        if value.dtype != torch.float64:
            raise DataError(
                f"acquisition: expected float64 values, got {value.dtype}; look for .float() or "
                "float32 constants inside"
            )
        return value.reshape(len(X), self.R)

    @torch.no_grad()
    def among(self, X: Float[Tensor, "b *r q d"]) -> Float[Tensor, "b R"]:
        """Values of points in user units."""
        (values,) = self._in_chunks(lambda X: (self.at(X),), X)
        return values

    @torch.no_grad()
    def values(self, raw: Float[Tensor, "R raw qd"]) -> Float[Tensor, "R raw"]:
        """Values of candidates."""
        if self.rows is not None:
            return self.rows.values(raw)
        return self.among(self.decode(raw.transpose(0, 1))).transpose(0, 1).contiguous()

    def _with_gradient(self, X: Float[Tensor, "b *r q d"]) -> tuple[Tensor, Tensor]:
        """Values ``b R`` and gradients like X."""
        if self.in_one_piece is not None:
            found = self.in_one_piece(X)
            if found is not None:
                return found[0].reshape(len(X), self.R), found[1]
        leaf = X.detach().requires_grad_(True)
        with torch.enable_grad():
            try:
                value = self.at(leaf)
            except RuntimeError as error:
                if "requires grad" not in str(error):  # torch's words for X.numpy()
                    raise
                raise DataError(
                    f"acquisition: expected a function that torch can differentiate in X, got "
                    f"'{error}'. A surrogate that works in NumPy has a finite set searched: "
                    "optimize_acqf(acq, choices=X)"
                ) from error
            if not value.requires_grad:
                raise DataError(
                    "acquisition: expected values that torch can differentiate in X, got some that "
                    "do not depend on it; look for detach(), .item(), NumPy or torch.no_grad() "
                    "inside. A surrogate without derivatives has a finite set searched: "
                    "optimize_acqf(acq, choices=X)"
                )
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient

    def _in_chunks(
        self, f: Callable[[Tensor], tuple[Tensor, ...]], X: Float[Tensor, "b *r q d"]
    ) -> tuple[Tensor, ...]:
        """f over the leading axis of X, in chunks that fit; halved where memory runs out.

        Raises:
            OptimizationError: not even one set of points for each replicate fits.
        """
        parts: list[tuple[Tensor, ...]] = []
        done = 0
        while done < len(X):
            chunk = X[done : done + self.places] if len(X) > self.places else X
            try:
                parts.append(f(chunk))
                done += len(chunk)
                continue
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(chunk) == 1:
                    raise OptimizationError(
                        "memory runs out for a single set of points in each of "
                        f"{self.R} replicates; use fewer replicates, samples or points"
                    ) from error
            # Outside the handler, where the failed attempt's tensors are no longer held.
            self.places, self.halvings = len(chunk) // 2, self.halvings + 1
        if len(parts) == 1:
            return parts[0]
        return tuple(torch.cat(pieces) for pieces in zip(*parts, strict=True))

    def objective(
        self, level: Float[Tensor, "R"], spread: Float[Tensor, "R"]
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """(level - acquisition) / spread and its gradient, for any rows restart * R + replicate.

        Rows of one replicate are packed next to each other: the acquisition always sees all
        replicates, and as many candidates of each as the busiest replicate still has.
        """
        if self.rows is not None:
            return self._of_rows(level, spread)
        width = self.cube.width
        # rows, their levels and spreads, their slots (None: in order), restarts packed
        last: list[Any] = [None, None, None, None, 0]

        def fun(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            if last[0] is not rows:
                own = rows % self.R
                last[:] = [rows, level[own], spread[own], *_pack(rows, self.R)]
            _, zero, size, slots, b = last
            packed = x
            if slots is not None:
                # Slots that no row needs repeat one that is asked: a point known to be allowed.
                packed = x[:1].repeat(b * self.R, 1)
                packed[slots] = x
            X = self.decode(packed.view(b, self.R, -1))
            value, gradient = self._in_chunks(self._with_gradient, X)
            value, gradient = value.reshape(-1), (gradient * -width).reshape(b * self.R, -1)
            if slots is not None:
                value, gradient = value[slots], gradient[slots]
            return (zero - value) / size, gradient / size.unsqueeze(-1)

        return fun

    def _of_rows(
        self, level: Float[Tensor, "R"], spread: Float[Tensor, "R"]
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The objective by the acquisition's own way with rows."""
        curved = self.curved(level, spread, order=1)

        def fun(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            f, g, _ = curved(x.numpy(), rows)
            return torch.from_numpy(f), torch.from_numpy(g)

        return fun

    def curved(
        self, level: Float[Tensor, "R"], spread: Float[Tensor, "R"], order: int = 2
    ) -> Callable[[Array, Array], tuple[Array, Array, Array]]:
        """The same on arrays with Hessians, for an acquisition that has its own way with rows."""
        assert self.rows is not None
        own_rows, zero, size = self.rows, level.numpy(), spread.numpy()
        last: list[Any] = [None, None, None]  # rows, their replicates, in groups

        def fun(x: Array, rows: Array) -> tuple[Array, Array, Array]:
            if last[0] is not rows:
                own = np.asarray(rows) % self.R
                last[:] = [rows, own, own_rows.groups(own)]
            _, own, groups = last
            f, g, H = own_rows.evaluate(x, groups, order)
            own_size = -size[own]
            H = H / own_size[:, None, None] if order > 1 else H
            return (f - zero[own]) / own_size, g / own_size[:, None], H

        return fun


def _pack(rows: Int[Tensor, "k"], R: int) -> tuple[Int[Tensor, "k"] | None, int]:
    """Slot ``place * R + replicate`` for each row, and the number of places.

    Places count the rows of each replicate from 0. None stands for slots 0, 1, 2, ...
    """
    if R == 1:
        return None, len(rows)
    replicate = rows % R
    order = torch.argsort(replicate, stable=True)
    counts = torch.bincount(replicate, minlength=R)
    first = torch.cumsum(counts, 0) - counts
    place = torch.empty_like(rows)
    place[order] = torch.arange(len(rows), device=rows.device) - first[replicate[order]]
    slots, b = place * R + replicate, int(counts.max())
    ordered = len(rows) == b * R and torch.equal(slots, torch.arange(b * R, device=rows.device))
    return None if ordered else slots, b
