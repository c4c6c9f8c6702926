"""Long studies survive: the state after every round in one file, and the way back.

A checkpoint says what study it belongs to, down to the code of the strategies (`identity`), and
goes on with no other. What was measured is taken from it, not measured again. It holds tensors and
plain types only, so that reading it runs no code, and a checksum that finds any bit that changed.

Taught in part_4/tutorial_03.
"""

import io
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import DataError, StorageError
from ..strategies.protocol import Strategy
from .arm import Arm
from .files import checksum, write_whole
from .identity import Lines, NotComparable, describe, difference
from .results import Failure
from .trials import Batch, Plan, Record, Trials, short

_SEAL = b"\nbolearn.checkpoint/2 "  # the file's last line, with the checksum of what is before it
_SAME_VALUE = 1e-9  # relative: a value that was measured again, perhaps on another machine
_ATOMS = (type(None), bool, int, float, str, Tensor, torch.nn.Parameter, torch.Size)
_MEASURED = ("X", "Y", "observed", "values", "outcomes")


class Checkpoint:
    """Saves every round of a study in one file, and brings a study back to where it was.

    `content` is what the file holds: the `settings` of the study, lines that say what the
    `problem` and the `strategies` are, the `design` as it was measured, and the `arms`.
    """

    def __init__(self, path: Path | None, plan: Plan, content: dict[str, Any]) -> None:
        self.path, self.plan, self.content = path, plan, content
        self.problem: Lines = {}

    @classmethod
    def open(
        cls, path: Path | None, plan: Plan, strategies: Mapping[str, Strategy]
    ) -> "Checkpoint":
        """What is in the file, if it belongs to this study; nothing if there is none yet."""
        if path is None:
            return cls(None, plan, {"arms": {}})
        settings = {
            "problem": plan.name,
            "bounds": plan.bounds.tolist(),
            "noise_std": float(plan.problem.noise_std),
            "n_init": plan.n_init,
            "n_iter": plan.n_iter,
            "q": plan.q,
            "seeds": list(plan.seeds),
            "strategies": sorted(strategies),
        }
        lines = {name: _lines_of(name, strategy) for name, strategy in strategies.items()}
        if path.exists():
            content = _read(path)
            _check_same_settings(path, content["settings"], settings)
            _check_same_strategies(path, content, lines)
            found = cls(path, plan, content)
        else:
            found = cls(path, plan, {"settings": settings, "strategies": {}, "arms": {}})
        found.content["strategies"] = lines
        found.problem = _lines_of_problem(plan.problem)
        return found

    def design(self, trials: Trials) -> Batch:
        """The initial design and its values: from the file, or measured and put there.

        Values in the file are believed if the problem is the same by its code and numbers. If not,
        or if that cannot be told, the design is measured again and has to give the same values.
        """
        saved = self.content.get("design")
        if saved is None:
            start = trials.evaluate(self.plan.design(), first=0)
            if self.path is not None and bool(start.observed.any(-1).all()):
                self.content["design"] = _plain_batch(start)
                self.content["problem"] = self.problem
                self._write()
            return start
        found = difference(self.content["problem"], self.problem)
        with _guarded(self.path):
            start = _batch_from(saved, self.plan)
        if found or not self.problem:
            self._check_measured_again(start, trials, found)
        return start

    def _check_measured_again(self, saved: Batch, trials: Trials, found: str) -> None:
        again = trials.evaluate(self.plan.design(), first=0)
        for key in _MEASURED:
            before, now = (getattr(batch, key).double() for batch in (saved, again))
            if before.shape == now.shape and torch.allclose(
                before, now, rtol=_SAME_VALUE, atol=0.0, equal_nan=True
            ):
                continue
            raise StorageError(
                f"{self.path}: the checkpoint belongs to another problem"
                + (f" ({found})" if found else "")
                + f": its initial design, measured again, gives other numbers ({key}); use another "
                "file. If it is the same problem with noise of its own, give the function that "
                "measures an attribute checkpoint_version = 1 from the start"
            )

    def store(self, name: str, record: Record, arm: Arm) -> None:
        """Save one strategy's progress; the file is replaced as a whole or not at all."""
        if self.path is None:
            return
        content = vars(record) | {"failures": _plain_failures(record.failures)}
        self.content["arms"][name] = {
            "record": {k: v.clone() if isinstance(v, Tensor) else v for k, v in content.items()},
            "arm": {"mode": arm.mode, "note": arm.note, "state": arm.state},
        }
        self._write()

    def store_failure(self, name: str, reason: str) -> None:
        """Remember that a strategy raised: another one may take its place from the start."""
        if self.path is not None:
            self.content["arms"].setdefault(name, {})["raised"] = reason
            self._write()

    def _write(self) -> None:
        assert self.path is not None
        file = io.BytesIO()
        try:
            torch.save(self.content, file)
            content = file.getvalue()
            write_whole(self.path, content + _SEAL + checksum(content).encode() + b"\n")
        except (OSError, RuntimeError) as error:
            raise StorageError(
                f"{self.path}: the checkpoint cannot be written ({error}); choose another place"
            ) from error

    def restore(self, name: str, record: Record, arm: Arm) -> None:
        """Bring record and arm to the saved round, if there is one."""
        saved = self.content["arms"].get(name, {})
        if "record" not in saved:
            return
        with _guarded(self.path):
            values = dict(saved["record"])
            for key, value in vars(record).items():
                fits = type(values[key]) is type(value)
                if not fits or (isinstance(value, Tensor) and value.shape != values[key].shape):
                    raise ValueError(f"{key} of strategy {name!r} is {short(values[key])}")
            values["failures"] = [Failure(*entry) for entry in values["failures"]]
            total = record.X.shape[1]
            if not (0 <= values["rounds"] <= self.plan.n_iter + 1 and values["used"] <= total):
                raise ValueError(f"strategy {name!r} is in round {values['rounds']}")
            mode, note, state = (saved["arm"][key] for key in ("mode", "note", "state"))
            if mode not in ("batch", "axis", "plain") or not isinstance(note, str):
                raise ValueError(f"strategy {name!r} is called {mode!r}")
        vars(record).update(values)
        arm.mode, arm.note, arm.state, arm.seconds = mode, note, state, record.seconds


def check_place(path: str | os.PathLike[str] | None) -> Path | None:
    """Where a checkpoint may be: a file in a folder that exists; None for none.

    Raises:
        DataError: not a path.
        StorageError: no such folder, or a folder of this name.
    """
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike):
        raise DataError(f"checkpoint: expected the path of a file, got {path!r}")
    file = Path(path)
    if not file.parent.is_dir():
        raise StorageError(f"checkpoint: the folder of {file} does not exist; create it first")
    if file.is_dir():
        raise StorageError(f"{file}: expected a file, got a folder; move it away, or add a name")
    return file


def check_state(name: str, arm: Arm) -> None:
    """Whether the state of a strategy would come back from a file as it is.

    Raises:
        StorageError: it would not.
    """
    odd = _not_plain(arm.state, "state")
    if odd:
        raise StorageError(
            f"strategy {name!r}: a checkpoint needs a state made of tensors, numbers, strings, "
            f"lists, tuples and dictionaries (those types exactly), got {odd}; convert it in "
            "the strategy, for example by float(...), or run the study without checkpoint="
        )


def _read(path: Path) -> dict[str, Any]:
    """What the file holds, if it is a whole checkpoint."""
    with _guarded(path):
        raw = path.read_bytes()
        content, seal, found = raw.rpartition(_SEAL)
        if not seal:
            raise ValueError("it has no checksum, so it is of another version or damaged")
        if found != checksum(content).encode() + b"\n":
            raise ValueError("its checksum is wrong, so it is damaged")
        stored = torch.load(io.BytesIO(content), weights_only=True)
        for key in ("settings", "strategies", "arms", "problem", "design"):
            if not isinstance(stored[key], dict):
                raise ValueError(f"its {key} are {short(stored[key])}")
        for key in ("arms", "strategies"):
            if not all(isinstance(entry, dict) for entry in stored[key].values()):
                raise ValueError(f"its {key} are no tables")
    return cast("dict[str, Any]", stored)


@contextmanager
def _guarded(path: Path | None) -> Iterator[None]:
    """Whatever is wrong with the content of a file is said in one way."""
    try:
        yield
    except Exception as error:
        raise StorageError(
            f"{path}: expected the checkpoint of a study ({error or type(error).__name__}); move "
            "it away to start anew"
        ) from error


def _lines_of(name: str, strategy: Strategy) -> Lines:
    try:
        return describe(strategy)
    except NotComparable as error:
        raise StorageError(
            f"strategy {name!r}: a checkpoint goes on only with the same strategy, and {error} has "
            "no value that could be compared; give the strategy an attribute checkpoint_version = "
            "1 and count it up when you change it, or run the study without checkpoint="
        ) from error


def _lines_of_problem(problem: object) -> Lines:
    """What the problem is; nothing if that cannot be told, then measurements tell."""
    try:
        return describe(problem, measuring=True)
    except NotComparable:
        return {}


def _check_same_settings(file: Path, found: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse a checkpoint with other settings."""
    for key, here in settings.items():
        there = found.get(key)
        if there == here:
            continue
        raise StorageError(
            f"{file}: the checkpoint belongs to another study: {key} is {short(there)} there "
            f"and {short(here)} here; use another file"
        )


def _check_same_strategies(file: Path, content: dict[str, Any], here: dict[str, Lines]) -> None:
    """Refuse other strategies under the old names, but where nothing was done or it raised."""
    there, arms = content["strategies"], content["arms"]
    for name, lines in here.items():
        if name not in arms:
            continue
        found = difference(there.get(name, {}), lines)
        if found and "raised" in arms[name]:
            del arms[name]
        elif found:
            raise StorageError(
                f"{file}: the checkpoint belongs to another study: of its strategies, {name!r} is "
                f"not the same: {found}; use another file"
            )


def _plain_failures(failures: list[Failure]) -> list[tuple[int, int, str]]:
    return [(f.replicate, f.evaluation, f.reason) for f in failures]


def _plain_batch(batch: Batch) -> dict[str, Any]:
    tensors = {key: getattr(batch, key).clone() for key in _MEASURED}
    return {**tensors, "failures": _plain_failures(batch.failures)}


def _batch_from(saved: dict[str, Any], plan: Plan) -> Batch:
    """The measured design in a file, checked; ValueError and the like if it is none."""
    R, n, d = len(plan.seeds), plan.n_init, plan.bounds.shape[-1]
    X, Y, observed, values, outcomes = (saved[key] for key in _MEASURED)
    shapes = [tuple(x.shape) for x in (X, observed, values)]
    tables = all(x.ndim == 3 and x.shape[:2] == (R, n) for x in (Y, outcomes))
    if shapes != [(R, n, d), (R, n), (R, n)] or not tables:
        raise ValueError(f"its design has the shapes {shapes} and {tuple(Y.shape)}")
    if observed.dtype != torch.bool or not bool(observed.any(-1).all()):
        raise ValueError("its design has nothing observed")
    failures = [Failure(*entry) for entry in saved["failures"]]
    return Batch(X, Y, observed, values, outcomes, failures, None)


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
