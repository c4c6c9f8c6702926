"""A kernel that bends its inputs first: for functions that change faster at one end of an axis.

A stationary kernel believes that f changes at the same rate everywhere. Bending each axis of the
unit cube by an increasing map, and letting the likelihood choose the map, lifts that.

Taught in part_5/tutorial_01.
"""

from functools import partial
from typing import Any

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.priors import LogNormalPrior, Prior
from torch import Tensor, nn

from ..errors import DataError
from ..linalg import gram
from ..shapes import check_count
from ..transforms import kumaraswamy


def _get(name: str, module: Kernel) -> Tensor:
    return getattr(module, name)  # type: ignore[no-any-return]


def _set(name: str, module: Kernel, value: Tensor) -> None:
    module.initialize(**{name: value})


class WarpedKernel(Kernel):  # type: ignore[misc]
    """k(w(x), w(x')) with w(x) = 1 - (1 - x^a)^b for each input, a and b learned.

    Takes part in fits, replicates and conditioning as any kernel does. The default prior has its
    median at a = b = 1, where nothing is bent. Outside the box inputs are left as they are.

    Args:
        base: the kernel that is asked at the warped inputs.
        d: number of inputs.
        prior: of every a and b; default LogNormal(0, 0.75), which keeps the bend moderate.

    Raises:
        DataError: a base that is no kernel, or has batch axes already; d < 1.

    Example:
        >>> from gpytorch.kernels import RBFKernel
        >>> kernel = WarpedKernel(RBFKernel(ard_num_dims=2), d=2)
        >>> kernel.a.shape
        torch.Size([1, 2])

    Source: Snoek, Swersky, Zemel & Adams 2014, arXiv:1402.0929, section 3.1.
    """

    def __init__(self, base: Kernel, d: int, prior: Prior | None = None) -> None:
        if not isinstance(base, Kernel) or len(base.batch_shape):
            raise DataError(
                "base: expected a gpytorch kernel without batch shape (the model adds its own), "
                f"got {type(base).__name__}"
            )
        check_count("d", d)
        if prior is not None and not isinstance(prior, Prior):
            raise DataError(
                f"prior: expected a gpytorch prior such as LogNormalPrior(0.0, 0.75), got {prior!r}"
            )
        super().__init__()
        self.base_kernel = base
        for name in ("a", "b"):
            self.register_parameter(f"raw_{name}", nn.Parameter(torch.ones(1, d).double()))
            limits = GreaterThan(0.05, transform=None, initial_value=1.0)
            self.register_constraint(f"raw_{name}", limits)
            own = LogNormalPrior(0.0, 0.75) if prior is None else prior
            raw = f"raw_{name}"  # by functions that can be pickled, unlike those for a name
            self.register_prior(f"{name}_prior", own, partial(_get, raw), partial(_set, raw))

    @property
    def a(self) -> Tensor:
        """First shape parameter of each input, ``*batch 1 d``."""
        value: Tensor = self.raw_a
        return value

    @a.setter
    def a(self, value: Tensor | float) -> None:
        self.initialize(raw_a=value)

    @property
    def b(self) -> Tensor:
        """Second shape parameter of each input, ``*batch 1 d``."""
        value: Tensor = self.raw_b
        return value

    @b.setter
    def b(self, value: Tensor | float) -> None:
        self.initialize(raw_b=value)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Kernel values at the warped inputs."""
        u, v = (kumaraswamy(x, self.raw_a, self.raw_b) for x in (x1, x2))
        if diag:
            variance: Tensor = self.base_kernel(u, v, diag=True)
            return variance
        return gram(self.base_kernel, u, v)
