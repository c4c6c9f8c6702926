"""A user's kernel or mean, copied for every replicate and output: checked before it is trusted.

A gpytorch kernel written for one data set usually works for a batch of them if its parameters get
batch axes. Usually: a kernel that ignores ``batch_shape`` would silently share one lengthscale
between all replicates. So batched and single evaluation are compared once, on a probe with
different parameters in every entry, and a kernel that fails is run entry by entry. Means likewise.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from gpytorch.kernels import Kernel
from gpytorch.means import Mean
from torch import Tensor, nn

from .. import seeds
from ..errors import ShapeError
from ..linalg import gram


class KernelByEntry(Kernel):  # type: ignore[misc]
    """One independent copy of a kernel for each batch entry, evaluated in a loop.

    The honest way to run a kernel that cannot batch: slower, never wrong.
    """

    def __init__(self, kernel: Kernel, batch_shape: Sequence[int]) -> None:
        super().__init__(batch_shape=torch.Size(batch_shape))
        count = math.prod(batch_shape)
        self.copies = nn.ModuleList(copy.deepcopy(kernel) for _ in range(count))

    def repeated(self, shape: Sequence[int]) -> "KernelByEntry":
        """A copy with ``shape`` before the batch axes, every entry with a kernel of its own."""
        twin = KernelByEntry(self.copies[0], (*shape, *self.batch_shape))
        twin.copies = nn.ModuleList(
            copy.deepcopy(kernel) for _ in range(math.prod(shape)) for kernel in self.copies
        )
        return twin

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Kernel values of each entry, stacked."""
        lead = torch.broadcast_shapes(x1.shape[:-2], x2.shape[:-2], self.batch_shape)
        extra = lead[: len(lead) - len(self.batch_shape)]
        k = len(self.copies)
        a = x1.expand(*lead, *x1.shape[-2:]).reshape(-1, k, *x1.shape[-2:])
        b = x2.expand(*lead, *x2.shape[-2:]).reshape(-1, k, *x2.shape[-2:])
        entries = []
        for i, kernel in enumerate(self.copies):
            if diag:
                entries.append(kernel(a[:, i], b[:, i], diag=True))
            else:
                entries.append(gram(kernel, a[:, i], b[:, i]))
        out = torch.stack(entries, dim=1)
        return out.reshape(*extra, *self.batch_shape, *out.shape[2:])


class MeanByEntry(Mean):  # type: ignore[misc]
    """One independent copy of a mean for each batch entry, evaluated in a loop."""

    def __init__(self, mean: Mean, batch_shape: Sequence[int]) -> None:
        super().__init__()
        self.batch_shape = torch.Size(batch_shape)
        self.copies = nn.ModuleList(copy.deepcopy(mean) for _ in range(math.prod(batch_shape)))

    def repeated(self, shape: Sequence[int]) -> "MeanByEntry":
        """A copy with ``shape`` before the batch axes, every entry with a mean of its own."""
        twin = MeanByEntry(self.copies[0], (*shape, *self.batch_shape))
        twin.copies = nn.ModuleList(
            copy.deepcopy(mean) for _ in range(math.prod(shape)) for mean in self.copies
        )
        return twin

    def forward(self, x: Tensor) -> Tensor:
        """Means of each entry, stacked."""
        lead = torch.broadcast_shapes(x.shape[:-2], self.batch_shape)
        rows = x.expand(*lead, *x.shape[-2:]).reshape(-1, len(self.copies), *x.shape[-2:])
        entries = [mean(rows[:, i]) for i, mean in enumerate(self.copies)]
        return torch.stack(entries, dim=1).reshape(*lead, x.shape[-2])


def replicate_kernel(kernel: Kernel, batch: Sequence[int], d: int) -> Kernel:
    """``kernel`` with batch shape ``batch`` = ``(*r, m)`` and parameters of its own in each entry.

    Args:
        kernel: a kernel without batch shape, or one that already has ``batch``.
        batch: replicate axes and the number of outputs.
        d: number of inputs, for the probe.

    Raises:
        ShapeError: the kernel has another batch shape.
    """
    kernel = copy.deepcopy(kernel).double()
    shape = torch.Size(batch)
    _check_inputs(kernel, d)
    if kernel.batch_shape == shape:
        return kernel
    if len(kernel.batch_shape):
        raise ShapeError(
            f"kernel: expected batch shape () or {tuple(shape)} (replicates and outputs), "
            f"got {tuple(kernel.batch_shape)}"
        )
    expanded = expand_module(kernel, shape)
    if _batches_truly(kernel, expanded, shape, d):
        return expanded
    return KernelByEntry(kernel, shape)


def _check_inputs(kernel: Kernel, d: int) -> None:
    """Check that a kernel accepts points with d inputs.

    Raises:
        ShapeError: it does not.
    """
    for part in kernel.modules():
        active = part.active_dims if isinstance(part, Kernel) else None
        if active is not None and not -d <= int(active.min()) <= int(active.max()) < d:
            raise ShapeError(
                f"kernel: expected active_dims between 0 and {d - 1} for X with {d} inputs, "
                f"got {active.tolist()} in {type(part).__name__}"
            )
    try:
        with torch.no_grad():
            gram(kernel, torch.full((2, d), 0.5, dtype=torch.float64))
    except (RuntimeError, IndexError) as cause:
        raise ShapeError(
            f"kernel: expected a kernel for {d} inputs, but {type(kernel).__name__} failed on two "
            f"points with {d} inputs: {cause}; look at ard_num_dims"
        ) from cause


def replicate_mean(mean: Mean, batch: Sequence[int], d: int) -> Mean:
    """``mean`` with batch shape ``batch`` and parameters of its own (see `replicate_kernel`).

    Raises:
        ShapeError: the mean has another batch shape, or is not one for points with d inputs.
    """
    shape = torch.Size(batch)
    mean = copy.deepcopy(mean).double()
    own = getattr(mean, "batch_shape", torch.Size())
    if len(own) and own != shape:
        raise ShapeError(
            f"mean: expected batch shape () or {tuple(shape)} (replicates and outputs), "
            f"got {tuple(own)}"
        )
    points = seeds.uniform(range(shape.numel()), (3, d)).reshape(*shape, 3, d)
    points = points if len(own) else points.reshape(-1, 3, d)[0]
    try:
        with torch.no_grad():
            value = mean(points)
    except Exception as cause:  # any failure of foreign code
        raise ShapeError(
            f"mean: expected a mean for {d} inputs, but {type(mean).__name__} failed on three "
            f"points with {d} inputs: {cause}"
        ) from cause
    if not isinstance(value, Tensor) or value.shape != points.shape[:-1]:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(
            f"mean: expected a function of points ... n d with values ... n, here "
            f"{tuple(points.shape)} -> {tuple(points.shape[:-1])}, got {got} from "
            f"{type(mean).__name__}"
        )
    if len(own):
        return mean
    expanded = expand_module(mean, shape)
    # With more axes before them: those of conditioning on several outcomes.
    more = torch.Size((2, *shape))
    if _batches_truly(mean, expand_module(mean, more), more, d):
        return expanded
    return MeanByEntry(mean, shape)


def expand_module(module: Any, shape: torch.Size) -> Any:
    """A copy of a gpytorch module whose parameters all have ``shape`` before their own axes.

    Priors keep theirs: they broadcast.
    """
    if isinstance(module, KernelByEntry | MeanByEntry):
        return module.repeated(shape)
    twin = copy.deepcopy(module)
    for part in twin.modules():
        own = dict(part.named_parameters(recurse=False))
        for name, parameter in own.items():
            value = parameter.detach().expand(*shape, *parameter.shape).clone()
            setattr(part, name, nn.Parameter(value, requires_grad=parameter.requires_grad))
    for part, inner in batch_shapes(twin):
        set_batch_shape(part, torch.Size((*shape, *inner)))
    return twin


def batch_shapes(module: nn.Module) -> list[tuple[Any, torch.Size]]:
    """The parts of a gpytorch module that know a batch shape which can be set, with it."""
    found = []
    for part in module.modules():
        if isinstance(part, Kernel):
            found.append((part, part._batch_shape))
        elif hasattr(part, "batch_shape") and not isinstance(
            getattr(type(part), "batch_shape", None), property
        ):
            found.append((part, part.batch_shape))
    return found


def set_batch_shape(part: Any, shape: torch.Size) -> None:
    """Give one of the `batch_shapes` another value; its parameters are not touched."""
    if isinstance(part, Kernel):
        part._batch_shape = shape
    else:
        part.batch_shape = shape


def _batches_truly(single: Any, expanded: Any, shape: torch.Size, d: int) -> bool:
    """Whether the expanded kernel or mean gives in each entry what the single one gives there."""
    count = shape.numel()
    probe = seeds.uniform(range(count), (3, d)).reshape(*shape, 1, 3, d).squeeze(-3)
    trial, single = copy.deepcopy(expanded), copy.deepcopy(single)
    evaluate = gram if isinstance(single, Kernel) else lambda mean, x: mean(x)
    factors = 1 + 0.3 * torch.arange(count, dtype=torch.float64) / count
    with torch.no_grad():
        shapes = {name: p.shape for name, p in single.named_parameters()}
        for parameter in trial.parameters():
            f = factors.view(*shape, *(1,) * (parameter.ndim - len(shape)))
            parameter.copy_(parameter * f + 0.05 * (f - 1))
        try:
            together = evaluate(trial, probe)
            together = together.reshape(count, *together.shape[len(shape) :])
        except Exception:  # any failure of foreign code on a batch means: it does not batch
            return False
        values = {name: p.reshape(count, *shapes[name]) for name, p in trial.named_parameters()}
        for i in range(count):
            for name, parameter in single.named_parameters():
                parameter.copy_(values[name][i])
            alone = evaluate(single, probe.reshape(count, 3, d)[i])
            same = alone.shape == together[i].shape
            if not same or not torch.allclose(alone, together[i], rtol=1e-9, atol=1e-12):
                return False
    return True
