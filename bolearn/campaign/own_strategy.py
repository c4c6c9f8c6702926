"""Who chooses points: the rule, a strategy of the package by name, or a function of one's own.

A strategy sees `StudyData` as in a study: codes of the space, the objectives as outputs to
maximise, and which rows count. Failed trials, trials on their way and those that break a limit are
rows that do not count, which the strategies of the package meet with a lie. What a strategy
remembers is stored as JSON with its proposals; what cannot be written so is forgotten.

Taught in part_5/tutorial_04.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import strategies
from ..errors import DataError, UnsupportedError
from ..seeds import derive
from ..space.parameters import Value, close_to
from ..strategies.protocol import StudyData
from .acquisitions import baseline_of
from .beliefs import Encoder, counted
from .proposals import Proposal, Proposer, Rule, design_size, rule
from .values import dumps, loads
from .writer import Snapshot

_DESIGNS = {"sobol": strategies.sobol, "random": strategies.random}
_NAMED = {
    name: found
    for name in strategies.__all__
    if callable(found := getattr(strategies, name)) and not isinstance(found, type)
    if name not in ("matern_gp", "rbf_gp", "ucb", "turbo", "nelder_mead", "Strategy")
    and name[0].islower()
}


@dataclass(frozen=True)
class Chosen:
    """How points are chosen.

    Attributes:
        name: for people.
        stored: for the store: a name, ``{"own": name}``, or None for the rule.
        callable: the strategy, where there is one.
        own: whether a strategy is asked, and not the rule.
        design: whether only the Sobol design is.
    """

    name: str
    stored: Any
    callable: Any = None
    own: bool = False
    design: bool = False

    def propose(
        self,
        view: Snapshot,
        encoder: Encoder,
        n: int,
        fixed: Mapping[str, Value],
        same: Sequence[str],
        *,
        seed: int,
        deterministic: bool,
    ) -> tuple[list[Proposal], str | None]:
        """n proposals, and what the strategy wants to remember.

        Raises:
            DataError: a strategy of one's own that is not there, or whose points are not legal.
            InfeasibleError: no legal point is left.
            UnsupportedError: fixed values with a strategy of one's own.
        """
        first = sum(t.origin in ("design", "model", "strategy") for t in view.trials.values())
        proposer = Proposer(view, encoder, seed=seed, first=first, deterministic=deterministic)
        if self.own and self.callable is None:
            raise DataError(
                f"ask: this campaign chooses by {self.name}, a strategy of your own; pass it to "
                "Campaign.open(..., strategy=...)"
            )
        if self.own:
            data = _data(view, proposer, seed)
            if int(data.observed.sum()) >= data.n_init:
                if fixed or same:
                    raise UnsupportedError(
                        "ask: fixed and same need the campaign's own rule, got a strategy; leave "
                        "them out, or create the campaign with strategy=None"
                    )
                return self._asked(view, proposer, data, n, seed)
        held, found = dict(fixed), []
        how = Rule("design", f"Sobol design ({self.name})")
        if not (self.design or self.own):
            how = rule(view, deterministic=deterministic)
        for _ in range(n):
            found.append(proposer.propose(how, held))
            held |= {name: found[0].point[name] for name in same}
        return found, view.memory

    def _asked(
        self, view: Snapshot, proposer: Proposer, data: StudyData, n: int, seed: int
    ) -> tuple[list[Proposal], str | None]:
        """What the strategy says, checked."""
        own = derive(seed, "ask", proposer.number)
        out = self.callable(data, proposer.space.bounds, n, own)
        X, state = out if isinstance(out, tuple) and len(out) == 2 else (out, data.state)
        if not isinstance(X, Tensor) or tuple(X.shape) != (n, proposer.space.d):
            raise DataError(
                f"{self.name}: expected a tensor of shape {(n, proposer.space.d)}, got "
                f"{tuple(X.shape) if isinstance(X, Tensor) else type(X).__name__}"
            )
        points = proposer.space.decode(X.detach())
        text = f"strategy {self.name}"
        found = [
            Proposal(p, "strategy", {"rule": text, "seed": own, **proposer._nearest(x)})
            for p, x in zip(points, X.detach(), strict=True)
        ]
        return found, packed(state)


def chosen(strategy: Any, stored: Any) -> Chosen:
    """A strategy from what the user gave and what the store says.

    Raises:
        DataError: an unknown name, or no function.
    """
    if strategy is None and stored is None:
        return Chosen("rule", None)
    if strategy is None:
        if isinstance(stored, dict):
            return Chosen(str(stored["own"]), stored, None, own=True)
        strategy = stored
    for name, known in _NAMED.items():
        if strategy is known or strategy == name:
            return Chosen(name, name, known, own=name not in _DESIGNS, design=name in _DESIGNS)
    if isinstance(strategy, str) or not callable(strategy):
        raise DataError(
            f"strategy: expected None, a function, or one of {', '.join(sorted(_NAMED))}, got "
            f"{strategy!r}{close_to(strategy, list(_NAMED))}"
        )
    kind = strategy if hasattr(strategy, "__qualname__") else type(strategy)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if stored is not None and stored != {"own": name}:
        known_as = stored["own"] if isinstance(stored, dict) else stored
        raise DataError(f"strategy: this campaign was created with {known_as}, got {name}")
    return Chosen(name, {"own": name}, strategy, own=True)


def _data(view: Snapshot, proposer: Proposer, seed: int) -> StudyData:
    """A campaign as a strategy sees it, without a replicate axis."""
    goals, trials = proposer.goals, proposer.trials
    baseline, names = baseline_of(trials), [o.outcome for o in goals.objectives]
    X, Y, observed = [], [], []
    for t in trials:
        code, values = proposer.encoder.code(t), {k: m.mean for k, m in counted(t).items()}
        whole = all(n in values for n in names) and not goals.broken(values, baseline)
        known = whole or t.pending or (t.state == "failed" and not t.excluded) or bool(values)
        if code is None or not known:
            continue
        X.append(code)
        Y.append([o.sign * values[o.outcome] if whole else torch.nan for o in goals.objectives])
        observed.append(whole)
    m, limit = len(names), (view.revision.settings.get("budget") or {}).get("trials")
    pending = torch.stack(proposer.pending) if proposer.pending else None
    return StudyData(
        torch.stack(X) if X else torch.zeros(0, proposer.space.d, dtype=torch.float64),
        torch.tensor(Y, dtype=torch.float64).reshape(-1, m),
        torch.tensor(observed, dtype=torch.bool),
        proposer.space.bounds,
        pending,
        round=proposer.number,
        n_init=design_size(proposer.space, limit),
        state=unpacked(view.memory),
        noise_free=proposer.deterministic,
        space=proposer.space,
        unavailable=proposer.taken(),
        deterministic=proposer.deterministic,
    )


def packed(state: object) -> str | None:
    """What a strategy remembers, as JSON; None for what has no such form."""
    try:
        return dumps({"version": 1, "state": _packed(state)})
    except (TypeError, ValueError):
        return None


def _packed(x: Any) -> Any:
    if isinstance(x, Tensor):
        kind = str(x.dtype).removeprefix("torch.")
        if kind not in ("float64", "int64", "bool"):
            raise TypeError(kind)
        return {
            "tensor": x.detach().cpu().reshape(-1).tolist(),
            "shape": list(x.shape),
            "dtype": kind,
        }
    if isinstance(x, dict):
        if not all(isinstance(k, str) for k in x):
            raise TypeError("keys")
        return {"dict": {k: _packed(v) for k, v in x.items()}}
    if isinstance(x, tuple):
        return {"tuple": [_packed(v) for v in x]}
    if isinstance(x, list):
        return {"list": [_packed(v) for v in x]}
    if x is None or type(x) in (bool, int, float, str):
        return x
    raise TypeError(type(x).__name__)


def unpacked(text: str | None) -> Any:
    """Undo `packed`; None where there is nothing, or of another version."""
    if text is None:
        return None
    found = loads(text, "memory")
    return _unpacked(found["state"]) if found.get("version") == 1 else None


def _unpacked(x: Any) -> Any:
    if not isinstance(x, dict):
        return x
    if "tensor" in x:
        dtype = getattr(torch, x["dtype"])
        return torch.tensor(x["tensor"], dtype=dtype).reshape(x["shape"])
    if "dict" in x:
        return {k: _unpacked(v) for k, v in x["dict"].items()}
    if "tuple" in x:
        return tuple(_unpacked(v) for v in x["tuple"])
    return [_unpacked(v) for v in x["list"]]
