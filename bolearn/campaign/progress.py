"""How far a run is: one line on standard error, written over.

Taught in part_5/tutorial_06.
"""

import os
import sys
import time

from .campaign import Campaign
from .tables import pareto, values

_REDRAW = 0.2  # seconds between two looks


class CampaignLine:
    """Trials ended, the best so far, what is under way, time elapsed and left.

    Args:
        wanted: whether to write it; None: on a terminal.
    """

    def __init__(self, wanted: bool | None) -> None:
        terminal = sys.stderr.isatty() and not os.environ.get("CI")
        self.wanted = terminal if wanted is None else bool(wanted)
        self.why: str | None = None
        self.began = self.drawn = 0.0
        self.before = self.width = 0

    def begin(self, campaign: Campaign) -> None:
        """The run begins."""
        self.began = time.monotonic()
        if self.wanted:
            self.before = sum(not t.pending for t in campaign.trials)

    def show(self, campaign: Campaign, running: int, *, last: bool = False) -> None:
        """Write the line, if it is time."""
        now = time.monotonic()
        if not self.wanted or (now - self.drawn < _REDRAW and not last):
            return
        text = self._text(campaign, running, now)
        end = "\n" if last else ""
        print(f"\r{text.ljust(self.width)}", end=end, file=sys.stderr, flush=True)
        self.drawn, self.width = now, len(text)

    def _text(self, campaign: Campaign, running: int, now: float) -> str:
        view = campaign._view()
        trials = [t for t in view.trials.values() if t.origin != "data"]
        ended = sum(not t.pending and t.state != "abandoned" for t in trials)
        failed = sum(t.state == "failed" for t in trials)
        limit = (view.revision.settings.get("budget") or {}).get("trials")
        words = [f"{campaign.name}: {ended}{f'/{limit}' if limit else ''} trials"]
        words += [f"{failed} failed"] if failed else []
        words += [f"{running} running"] if running else []
        front, aims = pareto(view), view.revision.goals.objectives
        if front and len(aims) == 1:
            name = aims[0].outcome
            words.append(f"best {name} {values(front[0])[name]:.4g} (trial {front[0].id})")
        elif front:
            words.append(f"{len(front)} on the front")
        passed, new = now - self.began, sum(not t.pending for t in view.trials.values())
        words.append(f"{_clock(passed)} elapsed")
        new -= self.before
        if limit and new > 0 and ended < limit:
            words.append(f"about {_clock(passed / new * (limit - ended))} left")
        return ", ".join(words)

    def end(self, campaign: Campaign) -> None:
        """The last line."""
        if self.wanted and self.began:
            self.show(campaign, 0, last=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
