"""A batch reactor: when to stop, how hot to run, how concentrated to feed.

Taught in part_4/tutorial_03.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from .core import Problem

_GAS_CONSTANT = 8.314462618e-3  # kJ / (mol K)


def batch_concentrations(
    k1: Float[Tensor, "*#b"],
    k2: Float[Tensor, "*#b"],
    feed: Float[Tensor, "*#b"],
    t: Float[Tensor, "*#b"],
) -> Float[Tensor, "*#b 3"]:
    """Concentrations of A, B and C at time t in the batch reaction A -> B -> C, in closed form.

    C_A = c0 exp(-k1 t) and C_B = c0 k1 (exp(-k1 t) - exp(-k2 t)) / (k2 - k1); C_C is the rest.
    The quotient loses its digits when k1 and k2 are close; with a = k1 t, b = k2 t, u = |b - a| it
    is t exp(-min(a, b)) (1 - exp(-u)) / u, which does not.

    Args:
        k1: rate of A -> B in 1/min.
        k2: rate of B -> C in 1/min.
        feed: concentration c0 of A at time 0 in mol/L.
        t: time in min.

    Returns:
        C_A, C_B, C_C in mol/L in the last axis.

    Example:
        >>> one = torch.ones((), dtype=torch.float64)
        >>> batch_concentrations(one, one, one, one)
        tensor([0.3679, 0.3679, 0.2642], dtype=torch.float64)
    """
    a, b = k1 * t, k2 * t
    u = (b - a).abs()
    small = u < 1e-5
    safe = torch.where(small, 1.0, u)
    # (1 - exp(-u)) / u, by its series where the quotient would be 0 / 0
    ratio = torch.where(small, 1 - u / 2 + u**2 / 6, -torch.expm1(-safe) / safe)
    A = feed * torch.exp(-a)
    B = feed * a * torch.exp(-torch.minimum(a, b)) * ratio
    return torch.stack([A, B, feed - A - B], dim=-1)


def batch_concentrations_rk4(
    k1: Float[Tensor, "*#b"],
    k2: Float[Tensor, "*#b"],
    feed: Float[Tensor, "*#b"],
    t: Float[Tensor, "*#b"],
    steps: int = 400,
) -> Float[Tensor, "*#b 3"]:
    """The same concentrations by integrating dA/dt = -k1 A, dB/dt = k1 A - k2 B, dC/dt = k2 B.

    The classical Runge-Kutta method of fourth order: another route to the numbers of
    `batch_concentrations`, and the one that still works when the kinetics have no closed form.

    Args:
        k1: rate of A -> B in 1/min.
        k2: rate of B -> C in 1/min.
        feed: concentration of A at time 0 in mol/L.
        t: time in min.
        steps: number of equal steps.
    """

    def slope(c: Tensor) -> Tensor:
        r1, r2 = k1 * c[..., 0], k2 * c[..., 1]
        return torch.stack([-r1, r1 - r2, r2], dim=-1)

    k1, k2, feed, t = torch.broadcast_tensors(k1, k2, feed, t)
    h = (t / steps).unsqueeze(-1)
    c = torch.stack([feed, torch.zeros_like(feed), torch.zeros_like(feed)], dim=-1)
    for _ in range(steps):
        s1 = slope(c)
        s2 = slope(c + h / 2 * s1)
        s3 = slope(c + h / 2 * s2)
        s4 = slope(c + h * s3)
        c = c + h / 6 * (s1 + 2 * s2 + 2 * s3 + s4)
    return c


def arrhenius(
    T: Float[Tensor, "*b"], rate: float, activation: float, reference: float = 350.0
) -> Float[Tensor, "*b"]:
    """Rate at temperature T: ``rate * exp(-activation / R (1/T - 1/reference))``.

    Args:
        T: temperature in K.
        rate: the rate at the reference temperature in 1/min.
        activation: activation energy in kJ/mol.
        reference: the reference temperature in K.
    """
    return rate * torch.exp(-activation / _GAS_CONSTANT * (1 / T - 1 / reference))


def _batch_reactor(X: Tensor) -> Tensor:
    T, t, feed = X.unbind(-1)
    k1, k2 = BatchReactor.rates(T)
    A, B, C = batch_concentrations(k1, k2, feed, t).unbind(-1)
    cost = 0.1 / feed + 0.1 * (A + C) + 0.0015 * t
    return B / feed - cost


class BatchReactor(Problem):
    """When to stop A -> B -> C, how hot to run it, how concentrated to feed it.

    Both steps are first order and follow Arrhenius; B is the product, C is waste. Maximised is the
    yield of B minus the cost of separating it, both as fractions of the feed's value:

        C_B / c0 - (0.1 mol/L) / c0 - (0.1 L/mol) (C_A + C_C) - (0.0015 / min) t

    solvent to evaporate, impurities to remove, reactor time. Inputs: temperature T in 310 .. 410 K,
    time t in 5 .. 120 min, feed concentration c0 in 0.5 .. 4 mol/L. All constants are synthetic. It
    leaves out heat: a real batch takes time to warm up, and its own reaction heats it further.

    Example:
        >>> reactor = BatchReactor()
        >>> round(reactor.optimal_value, 4)
        0.5827
    """

    def __init__(self, noise_std: float = 0.0) -> None:
        super().__init__(
            _batch_reactor,
            torch.tensor([[310.0, 5.0, 0.5], [410.0, 120.0, 4.0]], dtype=torch.float64),
            optimal_value=0.58274429424767829,
            optimal_points=torch.tensor(
                [[346.428143297538679, 54.2569752332416549, 2.04872969294051394]],
                dtype=torch.float64,
            ),
            noise_std=noise_std,
            how="L-BFGS-B from many starts, the best polished by Newton's method with 40 digits",
            name="batch reactor",
            inputs=("temperature (K)", "time (min)", "feed (mol/L)"),
            output="yield of B minus separation cost",
        )

    @staticmethod
    def rates(T: Float[Tensor, "*b"]) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
        """k1 and k2 in 1/min at temperature T in K; the second step gains more from heat."""
        return arrhenius(T, 0.05, 60.0), arrhenius(T, 0.006, 95.0)
