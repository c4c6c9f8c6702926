r"""Maximise an acquisition that can only be sampled anew: Adam in a box, all restarts at once.

Use it where fixing the base samples does not work: few samples for many points, a model whose
draws cannot be repeated, gradients from random subsets of data. Where they can be fixed (every
acquisition shipped here), `optimize_acqf` is faster and more exact.

Each step asks a *fresh* acquisition a_t and moves u in the unit cube by

    m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2,
    u = project(u + eta_t m_hat / (sqrt v_hat + e))

with the bias-corrected m_hat and v_hat, and step lengths eta_t that fall to zero along half a
cosine, so that the noise of single steps dies out. (Averaging the last iterates of constant steps
does as well; both together do no better than either.)

Taught in part_2/tutorial_05.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .. import seeds
from ..errors import UnsupportedError
from ..protocols import Acquisition
from ..shapes import check_count, check_number
from .arguments import check_search, exactly, unit_limits
from .batches import UnitAcquisition, level_and_spread
from .constraints import InputConstraint
from .report import Candidates, SearchReport
from .starts import pick_starts, raw_candidates

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8
_JUDGES = 16  # fresh acquisitions that the ends are compared by


def optimize_acqf_stochastic(
    draw: Callable[[int], Acquisition],
    bounds: Float[Tensor, "*r 2 d"],
    q: int = 1,
    *,
    steps: int = 200,
    step_size: float = 0.05,
    num_restarts: int = 16,
    raw_samples: int = 512,
    fixed: dict[int, float | Float[Tensor, "..."]] | None = None,
    input_constraints: Sequence[InputConstraint] = (),
    batch_shape: Sequence[int] | None = None,
    seed: int,
) -> Candidates:
    """Maximise the expectation of random acquisitions over a box, for all replicates at once.

    Args:
        draw: a seed to an acquisition; what it returns for different seeds are independent,
            unbiased estimates of what is to be maximised. For example
            ``lambda seed: qLogExpectedImprovement(model, best_f, sampler=Sampler(8, seed))``.
        bounds: the search box, ``2 d`` or ``*r 2 d``.
        q: number of points chosen, jointly.
        steps: of Adam, each with a fresh acquisition.
        step_size: largest move of one coordinate in the first steps, in box widths.
        num_restarts: climbs for each replicate.
        raw_samples: candidates looked at before climbing.
        fixed: inputs held at a value, by index, as for `optimize_acqf`.
        input_constraints: none; `optimize_acqf` takes some.
        batch_shape: as for `optimize_acqf`.
        seed: an int.

    Returns:
        Points, value and report. Values are averages over fresh acquisitions, the same for all
        restarts; that of the best restart is too high by about the error of such an average.

    Raises:
        DataError, ShapeError, OptimizationError: as `optimize_acqf`; steps < 1, step_size <= 0.
        UnsupportedError: ``draw`` is not a function of a seed; input constraints.

    Example:
        >>> from ..seeds import normal
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> def noisy(seed):  # expectation -(x - 0.3)^2, but for a constant
        ...     shift = 0.1 * normal([seed], [1])[0]
        ...     return lambda X: -(X - 0.3 - shift).square().sum((-2, -1))
        >>> round(optimize_acqf_stochastic(noisy, box, seed=0).x.item(), 1)
        0.3

    Source: Kingma & Ba, "Adam: a method for stochastic optimization", 2015, arXiv:1412.6980,
    algorithm 1; step lengths along a cosine: Loshchilov & Hutter, "SGDR: stochastic gradient
    descent with warm restarts", 2017, arXiv:1608.03983, equation 5, without the restarts.
    """
    if not callable(draw):
        raise UnsupportedError(
            f"draw: expected a function seed -> acquisition, got {type(draw).__name__}"
        )
    if len(input_constraints):
        raise UnsupportedError(
            "input_constraints: expected none, Adam's steps know only the box; fix the base "
            "samples and use optimize_acqf(acq, bounds, input_constraints=...)"
        )
    steps = check_count("steps", steps)
    step_size = check_number("step_size", step_size, above=0.0)
    seed = seeds.check_one_seed(seed)
    first = draw(seeds.derive(seed, "step", 0))
    search = check_search(first, bounds, q, num_restarts, raw_samples, fixed, (), batch_shape, seed)
    cube, r, R, q = search.cube, search.r, math.prod(search.r), int(q)
    num_restarts, raw_samples = search.num_restarts, search.raw_samples
    low, high = (v.repeat(1, q).unsqueeze(1) for v in unit_limits(search))  # R' 1 qd
    raw, _ = raw_candidates(first, cube, q, r, raw_samples, search.streams)
    raw = torch.minimum(torch.maximum(raw, low), high)
    on_cube = UnitAcquisition(first, cube, q, r)
    values = on_cube.values(raw)
    level, spread = level_and_spread(values)
    picked = pick_starts(values, num_restarts, search.streams)
    u = raw.gather(1, picked.unsqueeze(-1).expand(-1, -1, raw.shape[-1]))  # R restarts qd
    start, rows = u, torch.arange(num_restarts * R, device=u.device)
    m, v = torch.zeros_like(u), torch.zeros_like(u)
    for t in range(steps):
        on_cube.ask(draw(seeds.derive(seed, "step", t)))
        flat = u.transpose(0, 1).reshape(len(rows), -1)
        _, slope = on_cube.objective(level, spread.clamp(max=1))(flat, rows)
        g = -slope.reshape(num_restarts, R, -1).transpose(0, 1)
        # A gradient that is not a number is no reason to move.
        g = g.nan_to_num(0.0, 0.0, 0.0)
        m, v = _BETA1 * m + (1 - _BETA1) * g, _BETA2 * v + (1 - _BETA2) * g.square()
        m_hat, v_hat = m / (1 - _BETA1 ** (t + 1)), v / (1 - _BETA2 ** (t + 1))
        eta = step_size * 0.5 * (1 + math.cos(math.pi * t / steps))
        u = u + eta * m_hat / (v_hat.sqrt() + _EPS)
        u = torch.minimum(torch.maximum(u, low), high)
    before, after = torch.zeros_like(u[..., 0]), torch.zeros_like(u[..., 0])
    for j in range(_JUDGES):
        on_cube.ask(draw(seeds.derive(seed, "judge", j)))
        before = before + on_cube.values(start) / _JUDGES
        after = after + on_cube.values(u) / _JUDGES
    # Not worse than where it started, as far as the judges can tell.
    worse = ~(after >= before)
    ends = torch.where(worse.unsqueeze(-1), start, u)
    reached = torch.where(worse, before, after)  # R restarts
    best = reached.nan_to_num(-torch.inf, torch.inf, -torch.inf).argmax(1)
    x = ends[torch.arange(R, device=u.device), best]
    shape = (num_restarts, *r)
    report = SearchReport(
        start_values=before.mT.reshape(shape),
        values=reached.mT.reshape(shape),
        converged=torch.zeros(shape, dtype=torch.bool, device=u.device),
        iterations=torch.full(shape, steps, device=u.device),
        violation=u.new_zeros(shape),
        evaluations=steps,
        messages={f"stopped: after {steps} steps, as asked": num_restarts * R},
        halvings=on_cube.halvings,
    )
    x = exactly(cube.decode(x.reshape(*r, q, -1)), search)
    return Candidates(x, reached.gather(1, best.unsqueeze(1)).reshape(r), report)
