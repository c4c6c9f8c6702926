"""What a campaign is, apart from what is done with it: made, found, looked at, put away.

Taught in part_5/tutorial_04.
"""

import getpass
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ..errors import DataError, StorageError
from ..seeds import check_one_seed
from ..space.parameters import plain
from ..space.space import Space
from . import changes, proposals, tables
from .beliefs import Beliefs, Encoder
from .budget import check_budget
from .goals import Goals, check_outcome_name
from .own_strategy import Chosen, chosen
from .schema import Place
from .store import Store
from .trial import Event, Trial
from .values import check_parameter_texts, check_text
from .writer import Revision, Snapshot

_Own = TypeVar("_Own", bound="Ledger")


class Ledger:
    """A campaign as it is kept; `Campaign` adds what is done with it.

    Attributes:
        name: of the campaign within its file or database.
        seed: all chance comes from it.
        review: whether what is asked for has to be approved.
        deterministic: whether measuring again gives the same value.
    """

    def __init__(self, store: Store, strategy: Chosen | None = None) -> None:
        """Use `create` or `open`."""
        self._store = store
        settings = store.read().settings
        self.name, self.seed = store.read().name, int(settings["seed"])
        self.review, self.deterministic = settings["review"], settings["deterministic"]
        self._strategy = chosen(None, settings["strategy"]) if strategy is None else strategy
        self._encoder: Encoder | None = None
        self._last: tuple[int, Beliefs | None] | None = None  # models, and of which state

    @classmethod
    def create(
        cls: type[_Own],
        where: Any,
        space: Space,
        goals: Sequence[str],
        *,
        name: str | None = None,
        seed: int,
        strategy: Any = None,
        budget: Any = None,
        review: bool = False,
        deterministic: bool = False,
        outcomes: Sequence[str] = (),
        note: str = "",
    ) -> _Own:
        """Begin a campaign.

        Args:
            where: path of an SQLite file, made where there is none; ``postgresql://...``; None: in
                memory.
            space: what may be run.
            goals: texts such as ``"maximize yield"``, ``"cost <= 5"``,
                ``"purity >= 1.05 * baseline"``.
            name: of the campaign, where a file or database holds several; default "campaign".
            seed: all chance comes from it.
            strategy: None for the rule of `bolearn.campaign.proposals`; one of
                `bolearn.strategies`, or its name; or a function ``(data, bounds, q, seed) -> X``.
            budget: number of trials, or ``{"trials": 60, "cost": 500.0, "hours": 72}``.
            review: whether what is asked for has to be approved before it is run.
            deterministic: whether measuring again gives the same value: nothing is then proposed
                twice, and models have no noise.
            outcomes: measured beside those of the goals.
            note: what it is about.

        Raises:
            DataError: something that cannot be used; the message says what.
            StorageError: the place cannot be used, or has a campaign of that name.

        Example:
            >>> import bolearn as bl
            >>> space = bl.Space([bl.Real("temperature", 20, 90, unit="°C", step=0.5)])
            >>> c = bl.Campaign.create(None, space, ["maximize yield"], seed=7)
            >>> (t,) = c.ask()
            >>> c.tell(t.id, {"yield": 62.0}).state
            'completed'
        """
        if not isinstance(space, Space):
            raise DataError(f"space: expected a bolearn.Space, got {type(space).__name__}")
        read = Goals.read(goals)
        more = _extra_outcomes(outcomes, read, space)
        for flag, value in (("review", review), ("deterministic", deterministic)):
            if not isinstance(plain(value), bool):
                raise DataError(f"{flag}: expected True or False, got {value!r}")
        how = chosen(strategy, None)
        settings = {
            "seed": check_one_seed(seed),
            "strategy": how.stored,
            "review": bool(review),
            "deterministic": bool(deterministic),
            "note": check_text("note", note, needed=False) or "",
        }
        for p in space:
            for label in getattr(p, "values", ()):
                check_parameter_texts({p.name: label})
        first = Revision(0, space, read, more, {"budget": check_budget(budget)}, {}, {})
        called = "campaign" if name is None else check_text("name", name, needed=True)
        assert called is not None
        details = {"goals": read.texts, "space": space.to_json(), "settings": settings}
        details["budget"] = first.settings["budget"]
        actor = actor_of(None)
        store = Store.create(Place(where), called.strip(), settings, first, actor, details)
        return cls(store, how)

    @classmethod
    def open(
        cls: type[_Own],
        where: Any,
        name: str | None = None,
        *,
        read_only: bool = False,
        strategy: Any = None,
    ) -> _Own:
        """A campaign that is there.

        Args:
            where: as in `create`.
            name: which one, where there are several.
            read_only: whether only to look.
            strategy: the function that `create` was given, if it was one of your own.

        Raises:
            StorageError: there is none, or it is damaged, or written by newer code; what is there
                stays as it is.
        """
        store = Store.open(Place(where), name, bool(read_only))
        stored = store.read().settings["strategy"]
        return cls(store, chosen(strategy, stored))

    # ---------------------------------------------------------------- what it is

    @property
    def space(self) -> Space:
        """What may be run, as of the present revision."""
        return self._view().revision.space

    @property
    def goals(self) -> tuple[str, ...]:
        """What it is after, as of the present revision."""
        return tuple(self._view().revision.goals.texts)

    @property
    def outcomes(self) -> tuple[str, ...]:
        """All outcomes that can be told, those of the goals first."""
        return outcomes_of(self._view())

    @property
    def budget(self) -> dict[str, int | float] | None:
        """What may be used up."""
        return self._view().revision.settings.get("budget")

    @property
    def strategy(self) -> str:
        """How the next point is chosen, in words."""
        view = self._view()
        if self._strategy.own:
            return f"strategy {self._strategy.name}"
        if self._strategy.design:
            return f"{self._strategy.name}: points that spread evenly, without a model"
        return proposals.rule(view, deterministic=self.deterministic).text

    @property
    def trials(self) -> list[Trial]:
        """All trials, in order."""
        view = self._view()
        return [view.trials[i] for i in sorted(view.trials)]

    def queue(self) -> list[Trial]:
        """Trials that wait to be run."""
        return [t for t in self.trials if t.state == "queued"]

    def __getitem__(self, trial: int) -> Trial:
        """A trial by its number."""
        return changes.find(self._view(), trial)

    def __len__(self) -> int:
        return len(self._view().trials)

    def __repr__(self) -> str:
        view = self._view()
        states = [t.state for t in view.trials.values()]
        counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(sorted(states)))
        return (
            f"Campaign {self.name!r} ({self._store.place}): {view.revision.goals}; "
            f"{len(states)} trials{': ' if counts else ''}{counts}"
        )

    def table(self) -> Any:
        """All trials as a pandas table, a row each."""
        return tables.table(self._view())

    def history(self) -> list[Event]:
        """All that happened, in order: who, when, what. Nothing is ever removed from it."""
        return self._store.history()

    # ---------------------------------------------------------------- the store

    def backup(self, path: Any) -> Path:
        """A whole copy in a new SQLite file, while others go on working.

        Of a PostgreSQL database, the copy holds this campaign.

        Args:
            path: of a file that does not exist yet.

        Raises:
            StorageError: it exists, or cannot be written.
        """
        return self._store.backup(path)

    def close(self) -> None:
        """Give the connections back. The file then holds everything by itself."""
        self._store.close()

    def __enter__(self: _Own) -> _Own:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        """In another process: the same campaign, opened there."""
        if self._store.place.memory:
            raise StorageError("a campaign in memory cannot go to another process; give a path")
        place = self._store.place
        where: str | Path = place.url if place.path is None else place.path
        how = (where, self.name, self._store.read_only, self._strategy.callable)
        return _opened, (type(self), *how)

    def _view(self) -> Snapshot:
        return self._store.read()

    def _encoding(self, view: Snapshot) -> Encoder:
        """The codes of trials; kept as long as the space stays."""
        if self._encoder is None or len(self._encoder.revisions) != len(view.revisions):
            self._encoder = Encoder(view.revisions)
        return self._encoder


def _opened(kind: type[Ledger], where: Any, name: str, read_only: bool, strategy: Any) -> Ledger:
    return kind.open(where, name, read_only=read_only, strategy=strategy)


def actor_of(by: object) -> str:
    """Who acts: a name, by default that of the user of this machine."""
    if by is not None:
        name = check_text("by", by, needed=True)
        assert name is not None
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def outcomes_of(view: Snapshot) -> tuple[str, ...]:
    """Outcomes of the present goals, further ones, and those of earlier goals."""
    names = list(view.revision.goals.outcomes)
    for r in reversed(view.revisions):
        names += [*r.goals.outcomes, *r.outcomes]
    return tuple(dict.fromkeys(names))


def _extra_outcomes(outcomes: object, goals: Goals, space: Space) -> tuple[str, ...]:
    """Names of further outcomes; no outcome may be called as a parameter is.

    Raises:
        DataError: something else.
    """
    if isinstance(outcomes, str) or not isinstance(outcomes, Sequence):
        raise DataError(f"outcomes: expected a list of names, got {outcomes!r}")
    more = tuple(dict.fromkeys(check_outcome_name(name) for name in outcomes))
    for name in (*goals.outcomes, *more):
        if name in space.names:
            raise DataError(f"outcome {name!r}: expected a name that no parameter has; rename one")
    return tuple(name for name in more if name not in goals.outcomes)
