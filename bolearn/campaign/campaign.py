"""A campaign: what to measure next, asked and told over months, by people and by workers.

    c = bl.Campaign.create("reaction.db", space, goals=["maximize yield"], seed=7)
    (t,) = c.ask()
    c.tell(t.id, {"yield": 62.0})

Every call is one transaction: it is wholly stored when it returns, and wholly absent if its process
was killed before. Nothing lives in the object that is not in the store: open the file elsewhere, or
again after a crash, and go on.

Taught in part_5/tutorial_04.
"""

import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import BudgetError, DataError, StorageError, UnsupportedError
from ..seeds import check_one_seed
from ..shapes import check_count, check_number
from ..space.parameters import Value, plain
from ..space.space import Space
from . import changes, proposals, tables
from .beliefs import Encoder
from .budget import check_budget, left
from .goals import Goals, check_outcome_name
from .own_strategy import Chosen, chosen
from .schema import Place
from .store import Revision, Snapshot, Store
from .trial import Event, Trial
from .values import check_outcomes, check_parameter_texts, check_text, digest, dumps


class Campaign:
    """Trials of one undertaking in a store; see `Campaign.create` and `Campaign.open`.

    Attributes:
        name: of the campaign within its file or database.
        seed: all chance comes from it.
    """

    def __init__(self, store: Store, strategy: Chosen | None = None) -> None:
        """Use `create` or `open`."""
        self._store = store
        settings = store.read().settings
        self.name, self.seed = store.read().name, int(settings["seed"])
        self.review, self.deterministic = settings["review"], settings["deterministic"]
        self._strategy = chosen(None, settings["strategy"]) if strategy is None else strategy
        self._encoder: Encoder | None = None

    @classmethod
    def create(
        cls,
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
    ) -> "Campaign":
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
        store = Store.create(Place(where), called.strip(), settings, first)
        made = cls(store, how)
        with store.writing(_actor(None)) as w:
            details = {"goals": read.texts, "space": space.to_json(), "settings": settings}
            w.event("create", None, {**details, "budget": first.settings["budget"]})
        return made

    @classmethod
    def open(
        cls, where: Any, name: str | None = None, *, read_only: bool = False, strategy: Any = None
    ) -> "Campaign":
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
        return _outcomes(self._view())

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

    # ---------------------------------------------------------------- ask and tell

    def ask(
        self,
        n: int = 1,
        *,
        fixed: Mapping[str, Value] | None = None,
        same: Sequence[str] = (),
        by: str | None = None,
        lease: float | None = None,
    ) -> list[Trial]:
        """What to measure next: n new trials, running, or candidates where there is a review.

        All that is on its way counts, whoever asked for it: nothing is proposed twice.

        Args:
            n: how many.
            fixed: parameters held at a value, by name.
            same: parameters that have one value in all n, such as the temperature of an oven.
            by: who asks; default the user of this machine.
            lease: seconds within which to report, for workers; see `claim`.

        Returns:
            n trials; fewer where the budget leaves fewer.

        Raises:
            BudgetError: the budget leaves none.
            DataError: bad arguments, a fixed value outside the space, a baseline that is missing.
            InfeasibleError: no legal point is left.
        """
        n, actor = check_count("n", n), _actor(by)
        term = None if lease is None else check_number("lease", lease, least=0.0)
        with self._store.asking():
            view = self._view()
            space, encoder = view.revision.space, self._encoding(view)
            alike = proposals.check_names("same", same, space)
            space.limited(fixed)
            held = {k: space[k].value(space[k].position(v)) for k, v in (fixed or {}).items()}
            n = _affordable(view, n)
            proposals.check_baseline(view.revision.goals, list(view.trials.values()))
            found, memory = self._strategy.propose(
                view, encoder, n, held, alike, seed=self.seed, deterministic=self.deterministic
            )
            batch = sum(t.origin in ("design", "model", "strategy") for t in view.trials.values())
            with self._store.writing(actor) as w:
                n = _affordable(w.view, len(found))
                asked = []
                for p in found[:n]:
                    trial = changes.proposed(p, batch, self.review, actor, w.now_us, term)
                    details = {"parameters": p.point, "fixed": held, "same": list(alike)}
                    asked.append(w.add(trial, "ask", {**details, "seen": view.next_seq}))
                w.remember(memory)
        return asked

    def tell(
        self,
        trial: int | Trial,
        outcomes: Any = None,
        *,
        parameters: Mapping[str, Value] | None = None,
        spent: float | None = None,
        replace: bool = False,
        token: str | None = None,
        by: str | None = None,
        note: str | None = None,
    ) -> Trial:
        """What came out.

        A trial is completed when all outcomes of the goals are there; until then it is running,
        and what is known of it counts already.

        Args:
            trial: its number.
            outcomes: a dictionary, outcome to a number, ``(mean, standard error)`` or a list of
                repeats; a value alone where there is one outcome.
            parameters: what was really set, where that differs from what was asked; beyond the
                limits of the space, too.
            spent: what it cost to run.
            replace: whether to correct what was told before; both stay in the history.
            token: any text of your own; told twice under one token, it is stored once.
            by: who tells.
            note: a remark, kept with the trial.

        Returns:
            The trial as it is now.

        Raises:
            DataError: an unknown trial or outcome, a value that is no finite number, a trial that
                was told otherwise already. Nothing is stored then.
        """
        told = {} if outcomes is None else check_outcomes(outcomes, self.outcomes)
        paid = None if spent is None else check_number("spent", spent, least=0.0)
        remark, mark = check_text("note", note), check_text("token", token)
        if not told and parameters is None and paid is None and remark is None:
            raise DataError("tell: expected outcomes, got none; give a dictionary")
        with self._store.writing(_actor(by)) as w:
            found = changes.find(w.view, trial)
            space = w.view.revisions[found.revision].space
            used = None if parameters is None else changes.used(found, parameters, space)
            stored = {k: m.stored() for k, m in told.items()}
            content = digest(found.id, dumps([stored, used, paid, remark]))
            if mark is not None and changes.known_token(w, mark, content):
                return found
            made, details = changes.told(
                found, told, used, paid, remark, bool(replace), w.view.revision.goals, w.now_us
            )
            if mark is not None:
                w.use_token(mark, found.id, content)
                details["token"] = mark
            if made == found and mark is None:
                return found
            return w.save(made, "correct" if details.get("before") else "tell", details)

    def add(
        self,
        parameters: Mapping[str, Value],
        outcomes: Any = None,
        *,
        label: str | None = None,
        baseline: bool = False,
        allow_outside: bool = False,
        spent: float | None = None,
        by: str | None = None,
        note: str | None = None,
    ) -> Trial:
        """Data from before, or a wish: a setting that somebody wants to be run.

        Args:
            parameters: all of them, by name.
            outcomes: as in `tell`; without any, the trial is queued.
            label: such as the number in a lab book.
            baseline: whether this is what goals such as ``"yield >= 1.05 * baseline"`` mean.
            allow_outside: whether numbers may lie beyond the limits, between steps and against
                constraints: models learn from them, proposals stay inside.
            spent: what it cost; such data count for no budget.
            by: who adds.
            note: a remark.

        Raises:
            DataError: a point or a value that cannot be used.
        """
        told = {} if outcomes is None else check_outcomes(outcomes, self.outcomes)
        paid = None if spent is None else check_number("spent", spent, least=0.0)
        texts = check_text("label", label), check_text("note", note)
        with self._store.writing(_actor(by)) as w:
            point = changes.checked(w.view.revision.space, parameters, bool(allow_outside))
            trial = Trial(
                id=-1,
                state="completed" if told else "queued",
                asked=point,
                measured=told,
                spent=paid,
                label=texts[0],
                note=texts[1],
                origin="data" if told else "wish",
                baseline=bool(baseline),
                ended_us=w.now_us if told else None,
            )
            stored = {k: m.stored() for k, m in told.items()}
            details = {"parameters": point, "outcomes": stored, "baseline": bool(baseline)}
            return w.add(trial, "add", details)

    def fail(self, trial: int | Trial, reason: str, *, by: str | None = None) -> Trial:
        """It went wrong: no value, and less hope for points near it. It may be proposed again."""
        return self._change(trial, changes.failed, "fail", reason, by)

    def abandon(self, trial: int | Trial, reason: str, *, by: str | None = None) -> Trial:
        """It will not be run, and is never proposed again; nothing is learnt from it."""
        return self._change(trial, changes.abandoned, "abandon", reason, by)

    def exclude(self, trial: int | Trial, reason: str, *, by: str | None = None) -> Trial:
        """Keep its values from the models and from `best`; they stay in the table."""
        return self._change(trial, changes.excluded, "exclude", reason, by)

    def include(self, trial: int | Trial, reason: str = "", *, by: str | None = None) -> Trial:
        """Undo `exclude`."""
        return self._change(trial, changes.included, "include", reason or "included", by)

    def approve(
        self,
        trial: int | Trial,
        parameters: Mapping[str, Value] | None = None,
        *,
        by: str | None = None,
    ) -> Trial:
        """A candidate may be run; with parameters, so changed: what was asked is kept beside."""
        with self._store.writing(_actor(by)) as w:
            found = changes.find(w.view, trial)
            space = w.view.revision.space
            edited = None if parameters is None else changes.edited(found, parameters, space)
            made = changes.approved(found, edited)
            return found if made == found else w.save(made, "approve", {"parameters": edited})

    def reject(self, trial: int | Trial, reason: str, *, by: str | None = None) -> Trial:
        """A candidate is not to be run; its point comes again only when no other is left."""
        return self._change(trial, changes.rejected, "reject", reason, by)

    def _change(
        self, trial: int | Trial, change: Any, kind: str, reason: str, by: str | None
    ) -> Trial:
        why = check_text("reason", reason, needed=True)
        with self._store.writing(_actor(by)) as w:
            found = changes.find(w.view, trial)
            made = change(found, why, w.now_us)
            return found if made == found else w.save(made, kind, {"reason": why})

    # ---------------------------------------------------------------- what is known

    def best(self) -> Trial | None:
        """The trial with the best measured value (mean of repeats) that keeps all limits.

        Raises:
            UnsupportedError: several objectives: there is no best, see `pareto`.
        """
        view = self._view()
        goals = view.revision.goals
        if len(goals.objectives) > 1:
            raise UnsupportedError(
                f"best: expected one objective, got {len(goals.objectives)}; use pareto()"
            )
        aim = goals.objectives[0]
        good = tables.feasible(view)
        return max(good, key=lambda t: aim.sign * tables.values(t)[aim.outcome], default=None)

    def table(self) -> Any:
        """All trials as a pandas table, a row each."""
        return tables.table(self._view())

    def history(self) -> list[Event]:
        """All that happened, in order: who, when, what. Nothing is ever removed from it."""
        return self._store.history()

    # ---------------------------------------------------------------- the store

    def close(self) -> None:
        """Give the connections back. The file then holds everything by itself."""
        self._store.close()

    def __enter__(self) -> "Campaign":
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
        return _opened, (where, self.name, self._store.read_only, self._strategy.callable)

    def _view(self) -> Snapshot:
        return self._store.read()

    def _encoding(self, view: Snapshot) -> Encoder:
        """The codes of trials; kept as long as the space stays."""
        if self._encoder is None or len(self._encoder.revisions) != len(view.revisions):
            self._encoder = Encoder(view.revisions)
        return self._encoder


def _opened(where: Any, name: str, read_only: bool, strategy: Any) -> Campaign:
    return Campaign.open(where, name, read_only=read_only, strategy=strategy)


def _actor(by: object) -> str:
    """Who acts: a name, by default that of the user of this machine."""
    if by is not None:
        name = check_text("by", by, needed=True)
        assert name is not None
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def _affordable(view: Snapshot, n: int) -> int:
    """How many of n the budget leaves.

    Raises:
        BudgetError: none.
    """
    room, why = left(view)
    if why is not None:
        raise BudgetError(f"ask: {why}; raise it by change(budget=...), or stop here")
    return int(min(n, room))


def _outcomes(view: Snapshot) -> tuple[str, ...]:
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
