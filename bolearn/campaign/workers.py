"""What workers need: a trial of their own for a while, and what becomes of it when they are gone.

A lease is a promise to report within some seconds. Whoever works renews it; of a worker that died
it runs out, by the database's clock, and the trial is given to the next, or failed after some
attempts. A value that comes late all the same is accepted: nothing measured is thrown away.

Taught in part_5/tutorial_06.
"""

from dataclasses import replace

from ..errors import DataError
from ..shapes import check_count, check_number
from . import changes
from .store import Store
from .trial import Trial


def claim(store: Store, actor: str, lease: float | int | None) -> Trial | None:
    """The trial that has waited longest, now running; None if none waits."""
    term = None if lease is None else check_number("lease", lease, least=0.0)
    if not any(t.state == "queued" for t in store.read().trials.values()):
        return None  # without disturbing those who write
    with store.writing(actor) as w:
        waiting = [t for t in w.trials.values() if t.state == "queued"]
        if not waiting:
            return None
        first = min(waiting, key=lambda t: (t.attempt, t.id))
        until = None if term is None else w.now_us + round(term * 1e6)
        made = replace(first, state="running", owner=actor, lease_us=until)
        return w.save(made, "claim", {"lease": term, "attempt": first.attempt})


def renew(store: Store, trial: object, lease: float | int, actor: str) -> bool:
    """Prolong a lease; False if the trial is no longer the caller's to run."""
    term = check_number("lease", lease, least=0.0)
    with store.writing(actor) as w:
        found = changes.find(w.view, trial)
        if found.state != "running" or found.owner != actor:
            return False
        w.lease(found.id, w.now_us + round(term * 1e6))
    return True


def requeue(store: Store, trial: object, reason: str, actor: str) -> Trial:
    """A running trial waits again, for whoever comes.

    Raises:
        DataError: it is not running.
    """
    with store.writing(actor) as w:
        found = changes.find(w.view, trial)
        if found.state == "queued":
            return found
        if found.state != "running":
            raise DataError(f"requeue: trial {found.id} is {found.state}, not running")
        return w.save(_waiting(found), "requeue", {"reason": reason})


def expire(store: Store, retries: int, actor: str) -> list[Trial]:
    """What becomes of running trials whose lease has run out: queued again, or failed."""
    most = check_count("retries", retries, least=0)
    now = store.read()
    if not any(t.state == "running" and t.lease_us is not None for t in now.trials.values()):
        return []
    done = []
    with store.writing(actor) as w:
        for t in w.overdue():
            why = f"no report from {t.owner or 'its worker'} within its lease"
            if t.attempt < most:
                done.append(w.save(_waiting(t), "requeue", {"reason": why}))
            else:
                failed = changes.failed(t, f"{why}, {t.attempt + 1} times", w.now_us)
                done.append(w.save(failed, "fail", {"reason": failed.reason}))
    return done


def _waiting(trial: Trial) -> Trial:
    return replace(trial, state="queued", owner=None, lease_us=None, attempt=trial.attempt + 1)
