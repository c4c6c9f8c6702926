"""How far a study is: one line on standard error, with the time that is left."""

import os
import sys
import time

_BAR, _REDRAW = 20, 0.1  # characters of the bar, and seconds between two looks


class ProgressLine:
    """One line that is written over until a strategy is done: rounds, time elapsed, time left."""

    def __init__(self, wanted: bool | None, names: list[str], n_iter: int) -> None:
        terminal = sys.stderr.isatty() and not os.environ.get("CI")
        self.wanted = terminal if wanted is None else wanted
        self.names, self.n_iter = names, n_iter
        self.name, self.drawn, self.width = "", 0.0, 0
        self.times: list[float] = []  # when rounds ended, with the beginning in front

    def show(self, name: str, t: int) -> None:
        """Round t of a strategy is done; the last, t = n_iter, only recommends."""
        if not self.wanted:
            return
        now = time.monotonic()
        if name != self.name:
            began = self.times[-1] if self.times else now
            self.name, self.times, self.drawn = name, [began], 0.0
        self.times.append(now)
        last = t == self.n_iter
        if not last and now - self.drawn < _REDRAW:
            return
        done = min(t + 1, self.n_iter)
        # rounds get slower as data grow: the last ones tell best how long the next will take
        recent = self.times[-6:]
        each = (recent[-1] - recent[0]) / (len(recent) - 1)
        filled = done * _BAR // self.n_iter
        place = f" ({self.names.index(name) + 1} of {len(self.names)})"
        text = (
            f"{name}{place if len(self.names) > 1 else ''} "
            f"[{'#' * filled}{'.' * (_BAR - filled)}] {done}/{self.n_iter} rounds, "
            f"{_clock(now - self.times[0])} elapsed"
            + ("" if last else f", {_clock(each * (self.n_iter - done))} left")
        )
        end = "\n" if last else ""
        print(f"\r{text.ljust(self.width)}", end=end, file=sys.stderr, flush=True)
        self.drawn, self.width = now, 0 if last else len(text)


def _clock(seconds: float) -> str:
    """0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
