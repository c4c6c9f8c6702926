"""Long studies survive: the state after every round in one file, and the way back.

A checkpoint says what study it belongs to, down to the attributes of the strategies, and goes on
with no other. It holds tensors and plain types only, so that reading it runs no code.

Taught in part_4/tutorial_03.
"""

import io
import os
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError, StorageError
from ..strategies.protocol import Strategy
from .arm import Arm
from .results import FORMAT, Failure, write_whole
from .trials import Plan, Record, short

_SAME_VALUE = 1e-9  # relative: a value that was measured again, perhaps on another machine
_ATOMS = (type(None), bool, int, float, str, Tensor, torch.nn.Parameter, torch.Size)


class Checkpoint:
    """Saves every round of a study in one file, and brings a study back to where it was."""

    def __init__(self, path: Path | None, settings: dict[str, Any], arms: dict[str, Any]) -> None:
        self.path, self.settings, self.arms = path, settings, arms

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None,
        plan: Plan,
        strategies: Mapping[str, Strategy],
    ) -> "Checkpoint":
        """What is in the file, if it belongs to this study; nothing if there is none yet."""
        if path is None:
            return cls(None, {}, {})
        if not isinstance(path, str | os.PathLike):
            raise DataError(f"checkpoint: expected the path of a file, got {path!r}")
        settings = {
            "format": FORMAT,
            "problem": plan.name,
            "bounds": plan.bounds.tolist(),
            "noise_std": float(plan.problem.noise_std),
            "n_init": plan.n_init,
            "n_iter": plan.n_iter,
            "q": plan.q,
            "seeds": list(plan.seeds),
            "strategies": {name: _recipe(strategy) for name, strategy in strategies.items()},
        }
        file = Path(path)
        if not file.parent.is_dir():
            raise StorageError(f"checkpoint: the folder of {file} does not exist; create it first")
        if not file.exists():
            return cls(file, settings, {})
        try:
            content = torch.load(file, weights_only=True)
            found, arms = dict(content["settings"]), dict(content["arms"])
        except Exception as error:
            raise StorageError(
                f"{file}: expected the checkpoint of a study ({error}); move it away to start anew"
            ) from error
        _check_same_study(file, found, settings)
        return cls(file, settings, arms)

    def store(self, name: str, record: Record, arm: Arm) -> None:
        """Save one strategy's progress; the file is replaced as a whole or not at all."""
        if self.path is None:
            return
        odd = _not_plain(arm.state, "state")
        if odd:
            raise StorageError(
                f"strategy {name!r}: a checkpoint needs a state made of tensors, numbers, strings, "
                f"lists, tuples and dictionaries (those types exactly), got {odd}; convert it in "
                "the strategy, for example by float(...), or run the study without checkpoint="
            )
        content = vars(record) | {
            "failures": [(f.replicate, f.evaluation, f.reason) for f in record.failures]
        }
        self.arms[name] = {
            "record": {k: v.clone() if isinstance(v, Tensor) else v for k, v in content.items()},
            "arm": {"mode": arm.mode, "note": arm.note, "state": arm.state},
        }
        file = io.BytesIO()
        try:
            torch.save({"settings": self.settings, "arms": self.arms}, file)
            write_whole(self.path, file.getvalue())
        except (OSError, RuntimeError) as error:
            raise StorageError(
                f"{self.path}: the checkpoint cannot be written ({error}); choose another place"
            ) from error

    def restore(self, name: str, record: Record, arm: Arm) -> None:
        """Bring record and arm to the saved round, if there is one."""
        if name not in self.arms:
            return
        saved, n = self.arms[name], record.used
        for key in ("X", "Y", "observed", "values"):
            before, now = (x[:, :n].double() for x in (saved["record"][key], getattr(record, key)))
            if before.shape != now.shape or not torch.allclose(
                before, now, rtol=_SAME_VALUE, atol=0.0, equal_nan=True
            ):
                raise StorageError(
                    f"{self.path}: the checkpoint belongs to another problem: its initial design, "
                    f"measured again, gives other numbers ({key}); use another file. A problem "
                    "that draws numbers of its own has to take them from the seed it is given"
                )
        for key, value in saved["record"].items():
            setattr(record, key, value)
        record.failures = [Failure(*entry) for entry in saved["record"]["failures"]]
        for key, value in saved["arm"].items():
            setattr(arm, key, value)
        arm.seconds = record.seconds


def _check_same_study(file: Path, found: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse a checkpoint with other settings; of dictionaries, show only what differs."""
    for key, here in settings.items():
        there = found.get(key)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            both = there.items() & here.items()
            there, here = dict(there.items() - both), dict(here.items() - both)
        raise StorageError(
            f"{file}: the checkpoint belongs to another study: {key} is {short(there)} there "
            f"and {short(here)} here; use another file"
        )


def _not_plain(x: object, where: str) -> str:
    """What in a state would not come back from a file as it is; "" if all would.

    Types have to be exact: a subclass (a NumPy number, a named tuple) would be read as something
    else, or not at all.
    """
    parts: list[tuple[object, str]] = []
    if type(x) in (list, tuple):
        parts = [(entry, f"{where}[{i}]") for i, entry in enumerate(cast("list[object]", x))]
    elif type(x) in (dict, OrderedDict):
        pairs = cast("dict[object, object]", x)
        parts = [(key, f"the key {key!r} of {where}") for key in pairs]
        parts += [(entry, f"{where}[{key!r}]") for key, entry in pairs.items()]
    elif type(x) not in _ATOMS:
        return f"{type(x).__module__}.{type(x).__qualname__} as {where}"
    return next(filter(None, (_not_plain(*part) for part in parts)), "")


def _recipe(x: object, depth: int = 6) -> str:
    """What a strategy is made of, as far as can be told: names of functions, attributes, numbers.

    Attributes of attributes are followed six levels deep, in case they lead back.
    """
    if isinstance(x, MethodType) and depth > 0:
        return f"{_recipe(x.__self__, depth - 1)}.{x.__name__}"
    if isinstance(x, type) or (callable(x) and hasattr(x, "__qualname__")):
        return f"{x.__module__}.{x.__qualname__}"
    if x is None or isinstance(x, int | float | str):
        return repr(x)
    kind = _recipe(type(x))
    if depth == 0:
        return kind
    if isinstance(x, Tensor | np.ndarray | np.generic):
        numbers = torch.as_tensor(x).detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return f"{kind}({x.dtype}, {tuple(x.shape)}, {zlib.crc32(numbers.numpy().tobytes()):x})"
    if isinstance(x, partial):
        inside = {"": (x.func, *x.args), **x.keywords}
    elif isinstance(x, list | tuple):
        return f"[{', '.join(_recipe(entry, depth - 1) for entry in x)}]"
    elif isinstance(x, dict):
        inside = {repr(key): entry for key, entry in x.items()}
    elif is_dataclass(x):
        inside = {f.name: getattr(x, f.name) for f in fields(x)}
    else:
        inside = getattr(x, "__dict__", {})
    return f"{kind}({', '.join(f'{k}={_recipe(v, depth - 1)}' for k, v in inside.items())})"
