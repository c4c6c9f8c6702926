"""A campaign: what to measure next, asked and told over months, by people and by workers.

    c = bl.Campaign.create("reaction.db", space, goals=["maximize yield"], seed=7)
    (t,) = c.ask()
    c.tell(t.id, {"yield": 62.0})

Every call is one transaction: it is wholly stored when it returns, and wholly absent if its process
was killed before. Nothing lives in the object that is not in the store: open the file elsewhere, or
again after a crash, and go on.

Taught in part_5/tutorial_04.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import BudgetError, DataError, NotFittedError, UnsupportedError
from ..shapes import check_count, check_number
from ..space.parameters import Value
from ..space.space import Space
from . import changes, checks, proposals, revise, sheets, tables, workers
from .beliefs import Beliefs, believe
from .budget import check_budget, left
from .checks import Check
from .explain import Explanation, Prediction, explained
from .ledger import Ledger, actor_of, outcomes_of
from .trial import Trial
from .values import check_outcomes, check_text, digest, dumps
from .writer import Snapshot


class Campaign(Ledger):
    """Trials of one undertaking in a store; see `Campaign.create` and `Campaign.open`.

    Attributes:
        name: of the campaign within its file or database.
        seed: all chance comes from it.
    """

    # ---------------------------------------------------------------- ask and tell

    def ask(
        self,
        n: int = 1,
        *,
        fixed: Mapping[str, Value] | None = None,
        same: Sequence[str] = (),
        by: str | None = None,
        lease: float | int | None = None,
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
        n, actor = check_count("n", n), actor_of(by)
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
        spent: float | int | None = None,
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
        with self._store.writing(actor_of(by)) as w:
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
        spent: float | int | None = None,
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
        with self._store.writing(actor_of(by)) as w:
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
        with self._store.writing(actor_of(by)) as w:
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
        with self._store.writing(actor_of(by)) as w:
            found = changes.find(w.view, trial)
            made = change(found, why, w.now_us)
            return found if made == found else w.save(made, kind, {"reason": why})

    def report(
        self,
        trial: int | Trial,
        step: float | int,
        outcomes: Any,
        *,
        by: str | None = None,
    ) -> bool:
        """A partial result, and whether to stop there (the median rule, see `checks`).

        Args:
            trial: a running one.
            step: how far it is: an epoch, minutes.
            outcomes: as in `tell`, as of this step.

        Returns:
            True if it is behind most others at this step: it is stopped then, and its last values
            count for the models. What is told later all the same completes it.

        Raises:
            DataError: no running trial, a step or values that cannot be used.
        """
        told = check_outcomes(outcomes, self.outcomes)
        when = check_number("step", step, least=0.0)
        with self._store.writing(actor_of(by)) as w:
            found = changes.find(w.view, trial)
            if found.state == "stopped":
                return True
            stop = checks.should_stop(w.view, found, when, told)
            made = changes.reported(found, when, told, stop, w.now_us)
            stored = {k: m.stored() for k, m in told.items()}
            w.save(made, "report", {"step": when, "outcomes": stored, "stop": stop})
        return stop

    def change(
        self,
        *,
        space: Space | None = None,
        goals: Sequence[str] | None = None,
        fill: Mapping[str, Value] | None = None,
        rename: Mapping[str, str | None] | None = None,
        budget: Any = None,
        by: str | None = None,
        note: str | None = None,
    ) -> None:
        """Another space, other goals or another budget from now on; no trial is lost.

        Args:
            space: the new one. Limits may move and labels come and go without a word.
            goals: the new ones; old trials need not be measured again.
            fill: what earlier trials had where the space has a new parameter: ``{"pH": 7.0}``.
            rename: old names of parameters to new ones; to None to give one up.
            budget: as in `create`.
            by: who changes it.
            note: why.

        Raises:
            DataError: something that cannot be used, or a parameter that comes or goes without a
                word.
        """
        if all(x is None for x in (space, goals, budget)):
            raise DataError("change: expected a space, goals or a budget, got none")
        limits, remark = check_budget(budget), check_text("note", note)
        with self._store.writing(actor_of(by)) as w:
            old = w.view.revision
            settings = {**old.settings, **({"budget": limits} if budget is not None else {})}
            new = revise.revised(old, space, goals, fill, rename, settings)
            w.revise(new)
            details = {"revision": new.number, "goals": new.goals.texts, "note": remark}
            more = {"space": new.space.to_json(), "fill": new.fill, "rename": new.rename}
            w.event("change", None, {**details, **more, "settings": settings})

    # ---------------------------------------------------------------- what is known

    def best(self) -> Trial | None:
        """The trial with the best measured value (mean of repeats) that keeps all limits.

        Raises:
            UnsupportedError: several objectives: there is no best, see `pareto`.
        """
        goals = self._view().revision.goals
        if len(goals.objectives) > 1:
            raise UnsupportedError(
                f"best: expected one objective, got {len(goals.objectives)}; use pareto()"
            )
        found = self.pareto()
        return found[0] if found else None

    def pareto(self) -> list[Trial]:
        """Trials that keep all limits and that no other trial beats in every objective."""
        return tables.pareto(self._view())

    def predict(self, parameters: Any) -> Any:
        """What the models expect of a setting, or of a list of settings.

        Args:
            parameters: a dictionary, or a list of them; beyond the limits of the space, too.

        Returns:
            For each, outcome to `Prediction`: ``.mean``, ``.std``, ``.low``, ``.high``.

        Raises:
            NotFittedError: too few values for a model.
        """
        view = self._view()
        beliefs = self._beliefs(view)
        if beliefs is None:
            raise NotFittedError(
                "predict: expected two values of every outcome of the goals, got fewer; tell more"
            )
        one = isinstance(parameters, Mapping)
        points = [parameters] if one else list(parameters)
        X = view.revision.space.encode(points, allow_outside=True)
        found = beliefs.predict(X)
        each = [
            {name: Prediction(mean[i], std[i]) for name, (mean, std) in found.items()}
            for i in range(len(points))
        ]
        return each[0] if one else each

    def explain(self, trial: int | Trial) -> Explanation:
        """Why a trial was proposed, as it was believed then; later data do not change it.

        Raises:
            DataError: an unknown trial, or one that a person added.
        """
        view = self._view()
        found = changes.find(view, trial)
        return explained(found, view.revisions[found.revision].goals)

    def health(self) -> list[Check]:
        """Named checks: is the model to be trusted, are there enough data, what fails."""
        view = self._view()
        return checks.health(view, self._encoding(view), self._beliefs(view))

    def stop_reason(self) -> str | None:
        """Why there is nothing more to do: the budget, an exhausted space, nothing promised."""
        return checks.stop_reason(self._view(), deterministic=self.deterministic)

    def _beliefs(self, view: Snapshot) -> Beliefs | None:
        """The models of the present data; fitted once for each state of the store."""
        if not checks.enough_for_model(view):
            return None
        if self._last is None or self._last[0] != view.next_seq:
            exact = self.deterministic
            names = view.revision.goals.outcomes
            made = believe(view, self._encoding(view), names, deterministic=exact)
            self._last = (view.next_seq, made)
        return self._last[1]

    # ---------------------------------------------------------------- sheets

    def to_csv(self, path: Any, *, decimal: str = ".") -> Path:
        """All trials as a sheet to be filled in; an Excel file if the name ends in .xlsx.

        Args:
            path: of the file; one that is there is replaced.
            decimal: "," writes decimal commas and semicolons, as Excel expects in many countries.

        Raises:
            StorageError: it cannot be written.
        """
        return sheets.write(self._view(), path, decimal, self.outcomes)

    def read_csv(
        self, path: Any, *, dry_run: bool = False, replace: bool = False, by: str | None = None
    ) -> list[Trial]:
        """Read a sheet that was filled in: all of it, or nothing. Read twice, it counts once.

        Rows belong to trials by their number, whatever their order. Empty cells say nothing. A
        parameter that differs from what was asked is what was really set; a text in the column
        "failed" says why a trial failed.

        Args:
            path: CSV as Excel writes it (commas, semicolons or tabs, decimal point or comma), or
                .xlsx.
            dry_run: only check, and say what would change.
            replace: whether values may differ from those told before.
            by: who tells.

        Returns:
            The trials that changed, as they are then.

        Raises:
            DataError: every cell that cannot be used, with its row and column; nothing is stored.
            StorageError: no such file, or none that is a sheet.
        """
        sheet = sheets.read(path)
        with self._store.writing(actor_of(by)) as w:
            changed = sheets.changed(w.view, sheet, outcomes_of(w.view), bool(replace), w.now_us)
            if not dry_run:
                for trial, kind, details in changed:
                    w.save(trial, kind, details)
        return [trial for trial, _, _ in changed]

    def html(self, path: Any) -> Path:
        """Write the report: one page that needs no network; see `bolearn.campaign.report`.

        Raises:
            StorageError: it cannot be written, or plotly is missing.
        """
        from .report import write_html  # plotly is slow to load

        return write_html(self, path)

    # ---------------------------------------------------------------- for workers

    def claim(self, *, lease: float | int | None = None, by: str | None = None) -> Trial | None:
        """The queued trial that has waited longest, now running; None if none waits.

        Args:
            lease: seconds within which to report or to `renew`.
            by: who runs it.
        """
        return workers.claim(self._store, actor_of(by), lease)

    def renew(self, trial: int | Trial, lease: float | int, *, by: str | None = None) -> bool:
        """Prolong a lease; False if the trial is no longer the caller's to run."""
        return workers.renew(self._store, trial, lease, actor_of(by))

    def requeue(self, trial: int | Trial, reason: str, *, by: str | None = None) -> Trial:
        """A running trial waits again, for whoever comes."""
        why = check_text("reason", reason, needed=True) or ""
        return workers.requeue(self._store, trial, why, actor_of(by))

    def expire(self, *, retries: int = 1, by: str | None = None) -> list[Trial]:
        """Queue running trials whose lease has run out again; fail those that had their retries."""
        return workers.expire(self._store, retries, actor_of(by))


def _affordable(view: Snapshot, n: int) -> int:
    """How many of n the budget leaves.

    Raises:
        BudgetError: none.
    """
    room, why = left(view)
    if why is not None:
        raise BudgetError(f"ask: {why}; raise it by change(budget=...), or stop here")
    return int(min(n, room))
