"""Run a campaign: a free worker gets a proposal at once, results are told as they come.

    bl.run(campaign, measure, executor="processes", workers=8, budget=60)

One thread of this process hands out trials and tells results, another makes proposals, a third
prolongs leases. Trials are taken from the queue first (wishes, approved candidates, those whose
worker was lost), then asked for. While proposals take long compared with measurements, some are
made ahead, as many as workers will probably be free before the next is ready.

Nothing of a run lives in it alone: killed at any moment, it leaves trials whose leases run out, and
the next `run` goes on. Several may work on one file or database at once.

Taught in part_5/tutorial_06.
"""

import itertools
import math
import os
import pickle
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..errors import BolearnError, BudgetError, DataError, InfeasibleError, StorageError
from ..shapes import check_count, check_number
from ..space.parameters import close_to, plain
from .budget import check_budget
from .campaign import Campaign
from .pools import (
    Answer,
    Given,
    Inline,
    Measure,
    Pool,
    Processes,
    Threads,
    WorkerUnfit,
    can_rebuild,
    isolated,
    size_of,
)
from .progress import CampaignLine
from .trial import Trial
from .values import check_outcomes

_UNSENT = (pickle.PicklingError, AttributeError, TypeError, ImportError)
_NEVER = 3e8  # seconds, ten years: a lease of a trial that nobody runs and that waits for a value
_RUNS = itertools.count()


def run(
    campaign: Campaign,
    measure: Measure,
    *,
    executor: Executor | str | None = None,
    workers: int | None = None,
    budget: Any = None,
    timeout: float | int | None = None,
    retries: int = 1,
    lease: float | int = 60.0,
    progress: bool | None = None,
) -> Campaign:
    """Ask, measure and tell until the budget is used.

    Args:
        campaign: which.
        measure: takes one dictionary of parameters; returns a number where there is one outcome, or
            a dictionary of outcomes as `Campaign.tell` takes them, with what it cost as "spent" if
            that is known. What it raises, and values that are not finite, make the trial failed;
            the reason is kept.
        executor: None or "threads": threads of this process; "processes": processes, of which one
            that dies costs only its trial; or any `concurrent.futures.Executor`, such as Dask's
            ``client.get_executor()``.
        workers: how many measure at a time; default 1, that of the executor, or as many as there
            are cores for "processes".
        budget: as in `Campaign.create`; it becomes the campaign's, counted in its store over all
            who work on it. None: the campaign's own.
        timeout: seconds for one measurement; one that takes longer is given up.
        retries: how often a trial is handed out again whose worker died or took too long; then it
            has failed.
        lease: seconds after which others may take over what a killed run leaves behind.
        progress: whether a line on standard error tells how far it is; None: on a terminal.

    Returns:
        The campaign. On Ctrl-C, what was measured is told, what was under way is queued again, and
        KeyboardInterrupt is raised.

    Raises:
        DataError: arguments that cannot be used; a function that cannot be sent to a worker, or
            that returns something else than outcomes.
        StorageError: a result cannot be stored; the error shows it.

    Example:
        >>> import bolearn as bl
        >>> c = bl.Campaign.create(
        ...     None, bl.Space([bl.Real("x", -1, 2)]), ["maximize y"], seed=0, strategy="sobol"
        ... )
        >>> len(bl.run(c, lambda p: -p["x"] ** 2, workers=4, budget=12))
        12
    """
    if not isinstance(campaign, Campaign):
        raise DataError(f"campaign: expected a Campaign, got {type(campaign).__name__}")
    if not callable(measure):
        raise DataError(
            "measure: expected a function of one dictionary of parameters, got "
            f"{type(measure).__name__}"
        )
    limits = check_budget(budget)
    term = check_number("lease", lease, least=0.1)
    longest = None if timeout is None else check_number("timeout", timeout, least=0.0)
    most = check_count("retries", retries, least=0)
    pool, size = _pool(executor, workers, longest, measure)
    if limits is not None and limits != campaign.budget:
        campaign.change(budget=limits, note="run(budget=...)")
    if campaign.budget is None and not campaign.review:
        raise DataError("budget: expected one, here or in Campaign.create; for example budget=60")
    line = CampaignLine(progress)
    _Runner(campaign, measure, pool, size, term, longest, most, line).run()
    return campaign


def _pool(
    executor: object, workers: int | None, timeout: float | None, measure: Measure
) -> tuple[Pool, int]:
    """Where to measure, and how many at a time.

    Raises:
        DataError: no such place.
    """
    wanted = None if workers is None else check_count("workers", workers)
    if executor is None or executor == "threads":
        size = wanted or 1
        return (Inline() if size == 1 and timeout is None else Threads()), size
    if executor == "processes":
        return Processes(), wanted or os.cpu_count() or 1
    if not isinstance(executor, Executor):
        raise DataError(
            "executor: expected None, 'threads', 'processes' or a concurrent.futures.Executor "
            f"(Dask: client.get_executor()), got {executor!r}"
        )
    found = wanted or size_of(executor)
    if found is None:
        kind = type(executor).__name__
        raise DataError(f"workers: expected a number; {kind} does not say how many it has")
    if isinstance(executor, ProcessPoolExecutor):
        try:
            pickle.dumps(measure)
        except _UNSENT as error:
            raise _unsent(error) from error
    return Given(executor), found


def _unsent(error: object) -> DataError:
    return DataError(
        f"measure: cannot be sent to a worker process: {error}; define it at the top level of a "
        "module or script, start the run below `if __name__ == '__main__':`, or use threads"
    )


@dataclass(eq=False)
class _Flight:
    """A trial that a worker has."""

    trial: Trial
    began: float


class _Runner:
    """One `run`."""

    def __init__(
        self,
        campaign: Campaign,
        measure: Measure,
        pool: Pool,
        size: int,
        lease: float,
        timeout: float | None,
        retries: int,
        line: CampaignLine,
    ) -> None:
        self.campaign, self.measure, self.pool, self.size = campaign, measure, pool, size
        self.lease, self.timeout, self.retries, self.line = lease, timeout, retries, line
        self.by = f"run {next(_RUNS)} of process {os.getpid()} on {socket.gethostname()}"
        self.ready: deque[Trial] = deque()  # handed to us, waiting for a worker
        self.flying: dict[Future[Answer], _Flight] = {}
        self.late: dict[Future[Answer], Trial] = {}  # given up, but their workers go on
        self.asking: Future[list[Trial]] | None = None
        self.dry = False  # nothing was left to ask for; until something changes
        self.stirred = False  # something has changed since the last question
        self.ask_seconds = self.seconds = 0.0
        self.told = 0
        self.expired = -math.inf
        self.asker = ThreadPoolExecutor(1, thread_name_prefix="ask")
        self.stop = threading.Event()

    # ---------------------------------------------------------------- the loop

    def run(self) -> None:
        """Until nothing is left to do."""
        heart = threading.Thread(target=self._prolong, daemon=True, name="leases")
        heart.start()
        self.line.begin(self.campaign)
        try:
            while self._step():
                self.line.show(self.campaign, len(self.flying))
        except BaseException:
            self._give_up()
            raise
        finally:
            self.stop.set()
            self.asker.shutdown(wait=False, cancel_futures=True)
            self.pool.close()
            self.line.end(self.campaign)

    def _step(self) -> bool:
        """Start, ask, wait, collect; False when all is done."""
        self._take_over()
        self._start()
        self._ask()
        self._start()
        waiting: list[Future[Any]] = [*self.flying, *self.late]
        waiting += [self.asking] if self.asking is not None else []
        if not self.flying and not self.asking and not self.ready:
            if not self._others():
                return False
            self._stir()
            self.stop.wait(min(0.5, self.lease / 4))
            return True
        wait(waiting, timeout=self._patience(), return_when=FIRST_COMPLETED)
        for future in [f for f in self.flying if f.done()]:
            flight = self.flying.pop(future, None)
            if flight is None:  # its executor broke: it was handed out again
                continue
            try:
                self._collect(future, flight)
            except BaseException:
                self.flying[future] = flight  # to be queued again
                raise
        for future in [f for f in self.late if f.done()]:
            self._collect_late(future, self.late.pop(future))
        self._time_out()
        return True

    def _patience(self) -> float:
        """How long to wait for something to happen."""
        ends = [self.lease / 3, 1.0]
        if self.timeout is not None:
            now = time.monotonic()
            begun = [self.pool.began(future, f.began) for future, f in self.flying.items()]
            ends += [b + self.timeout - now for b in begun if b is not None]
        return max(0.0, min(ends))

    # ---------------------------------------------------------------- work comes

    def _free(self) -> int:
        return self.size - len(self.flying) - len(self.late)

    def _start(self) -> None:
        """Hand trials to free workers."""
        pool, hanging = self.pool, self._free() <= 0 and not self.flying
        if hanging and isinstance(pool, Given) and can_rebuild(pool.executor):
            self.pool, self.size = isolated(pool.executor), self.size + len(self.late)
        while self.ready and self._free() > 0:
            trial = self.ready.popleft()
            self._submit(trial)
            if isinstance(self.pool, Inline):
                break  # it has ended: tell it before the next

    def _submit(self, trial: Trial) -> None:
        try:
            began = time.monotonic()
            future = self.pool.submit(self.measure, trial.parameters)
        except BrokenExecutor as error:
            self._rebuild(error)
            self._submit(trial)
        except BaseException as error:
            self.ready.appendleft(trial)
            if isinstance(error, _UNSENT):
                raise _unsent(error) from error
            raise
        else:
            self.flying[future] = _Flight(trial, began)

    def _ask(self) -> None:
        """Take from the queue and ask; in a thread of its own where workers must not wait."""
        if self.asking is not None and self.asking.done():
            done, self.asking = self.asking, None
            found = done.result()
            self.ready.extend(found)
            self.dry = not found and not self.stirred
        wanted = self._free() + self._ahead() - len(self.ready)
        if self.asking is not None or self.dry or wanted <= 0:
            return
        self.stirred = False
        if isinstance(self.pool, Inline):
            found = self._more(1)
            self.ready.extend(found)
            self.dry = not found
        else:
            self.asking = self.asker.submit(self._more, wanted)

    def _ahead(self) -> int:
        """How many workers will be free before the next proposal is ready."""
        if self.size == 1 or self.seconds == 0 or self.ask_seconds < 0.02 * self.seconds:
            return 0
        return min(self.size, math.ceil(self.size * self.ask_seconds / self.seconds))

    def _more(self, wanted: int) -> list[Trial]:
        """Trials to run: those that wait, then new ones; none if nothing is left."""
        found: list[Trial] = []
        while len(found) < wanted:
            trial = self.campaign.claim(lease=self.lease, by=self.by)
            if trial is None:
                break
            found.append(trial)
        if len(found) == wanted or self.campaign.review:
            return found
        began = time.monotonic()
        try:
            found += self.campaign.ask(wanted - len(found), lease=self.lease, by=self.by)
        except (BudgetError, InfeasibleError) as error:
            self.line.why = str(error).removeprefix("ask: ").split(";")[0]
            return found
        self.ask_seconds = time.monotonic() - began
        return found

    def _take_over(self) -> None:
        """Queue what runs that were killed have left behind, once their leases have run out."""
        now = time.monotonic()
        if now - self.expired >= self.lease / 4:
            self.expired = now
            if self.campaign.expire(retries=self.retries, by=self.by):
                self._stir()

    def _stir(self) -> None:
        """Something has changed: asking may help again."""
        self.dry, self.stirred = False, True

    def _others(self) -> bool:
        """Whether others have trials that may come back to the queue soon."""
        view = self.campaign._view()
        soon = view.now_us + 2e6 * self.lease
        return any(
            t.state == "running"
            and t.lease_us is not None
            and t.lease_us < soon
            and t.owner != self.by
            for t in view.trials.values()
        )

    # ---------------------------------------------------------------- results come

    def _collect(self, future: "Future[Answer]", flight: _Flight) -> None:
        """Tell what came out, or see what happened to the worker."""
        self._stir()
        trial = flight.trial
        error = None if future.cancelled() else future.exception()
        if future.cancelled() or isinstance(error, CancelledError):
            self._lost(trial, "the executor cancelled it")
        elif error is None:
            took = time.monotonic() - flight.began
            self.told += 1
            self.seconds += (took - self.seconds) / min(self.told, 20)
            self._tell(trial, *future.result())
        elif isinstance(error, BrokenExecutor):
            self._rebuild(error)  # whose fault it was cannot be seen: try again, one by one
            self._submit(trial)
        elif isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt
        elif isinstance(error, (WorkerUnfit, *_UNSENT)):
            raise _unsent(error) from error
        else:
            self._lost(trial, f"{error}" or type(error).__name__)

    def _rebuild(self, error: BaseException) -> None:
        """Replace an executor that broke, and hand out again what it had."""
        if not isinstance(self.pool, Given):
            return
        if not can_rebuild(self.pool.executor):
            raise error
        self.pool = isolated(self.pool.executor)
        flights, self.flying = list(self.flying.items()), {}
        for future, flight in flights:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._collect(future, flight)
            else:
                self._submit(flight.trial)

    def _lost(self, trial: Trial, why: str) -> None:
        """A worker is gone: another tries, or the trial has failed."""
        with suppress(DataError):  # somebody else may have told or ended it
            if trial.attempt < self.retries:
                self.campaign.requeue(trial.id, why, by=self.by)
            else:
                often = f", {trial.attempt + 1} times" if trial.attempt else ""
                self.campaign.fail(trial.id, f"{why}{often}", by=self.by)
        self._stir()

    def _time_out(self) -> None:
        if self.timeout is None:
            return
        now = time.monotonic()
        for future, flight in list(self.flying.items()):
            began = self.pool.began(future, flight.began)
            if began is None or now - began < self.timeout or future.done():
                continue
            del self.flying[future]
            if not self.pool.drop(future):
                self.late[future] = flight.trial
            self._lost(flight.trial, f"no result within {self.timeout:g} s")

    def _collect_late(self, future: "Future[Answer]", trial: Trial) -> None:
        """A value that comes late is accepted, unless there is one already."""
        if future.cancelled() or future.exception() is not None:
            return
        kind, found = future.result()
        if kind == "told" and self.campaign[trial.id].state != "completed":
            self._tell(trial, kind, found)

    def _tell(self, trial: Trial, kind: str, found: Any) -> None:
        """Store a result.

        Raises:
            DataError: the function returns something else than outcomes: all trials would fail.
            StorageError: it cannot be stored.
        """
        if kind == "failed":
            with suppress(DataError):
                self.campaign.fail(trial.id, str(found), by=self.by)
            return
        outcomes, spent = self._outcomes(found)
        try:
            checked = check_outcomes(outcomes, self.campaign.outcomes)
            paid = None if spent is None else check_number("spent", spent, least=0.0)
        except DataError as error:
            with suppress(DataError):
                self.campaign.fail(trial.id, str(error).split("; use fail")[0], by=self.by)
            return
        told = {name: m.told for name, m in checked.items()}
        try:
            made = self.campaign.tell(trial.id, told, spent=paid, by=self.by)
        except DataError as error:
            if self.campaign[trial.id].state in ("running", "queued"):
                raise DataError(f"trial {trial.id}: {error}") from error
        except StorageError as error:
            error.add_note(f"trial {trial.id} was measured, but not stored: {told}")
            raise
        else:
            if made.state == "running":  # an outcome is missing that somebody will tell later
                self.campaign.renew(trial.id, _NEVER, by=self.by)

    def _outcomes(self, found: Any) -> tuple[dict[str, Any], Any]:
        """What a function returned, as outcomes and what it cost.

        Raises:
            DataError: no outcomes.
        """
        known = self.campaign.outcomes
        if not isinstance(found, Mapping):
            if len(known) > 1 or found is None or isinstance(found, str):
                names = ", ".join(map(repr, known))
                what = "a number" if len(known) == 1 else f"a dictionary with {names}"
                raise DataError(f"measure: expected {what} to be returned, got {found!r}")
            return {known[0]: found}, None
        outcomes = {str(name): value for name, value in found.items()}
        spent = None if "spent" in known else plain(outcomes.pop("spent", None))
        for name in outcomes:
            if name not in known:
                raise DataError(
                    f"measure: returned an unknown outcome {name!r}; the campaign has "
                    f"{', '.join(map(repr, known))}{close_to(name, known)}"
                )
        return outcomes, spent

    # ---------------------------------------------------------------- the end

    def _prolong(self) -> None:
        """Prolong the leases of what we have, until the run ends."""
        while not self.stop.wait(self.lease / 3):
            for trial in [*(f.trial for f in list(self.flying.values())), *list(self.ready)]:
                with suppress(BolearnError):  # a lease that runs out loses nothing
                    self.campaign.renew(trial.id, self.lease, by=self.by)

    def _give_up(self) -> None:
        """Tell what is there, queue the rest again."""
        trials = list(self.ready)
        if self.asking is not None:
            with suppress(Exception):
                trials += self.asking.result(timeout=20)
        for future, flight in self.flying.items():
            done = future.done() and not future.cancelled() and future.exception() is None
            try:
                if not done:
                    raise DataError("not measured")
                self._tell(flight.trial, *future.result())
            except BolearnError:
                self.pool.drop(future)
                trials.append(flight.trial)
        for trial in trials:
            with suppress(BolearnError):
                if self.campaign[trial.id].state == "running":
                    self.campaign.requeue(trial.id, "the run was stopped", by=self.by)
