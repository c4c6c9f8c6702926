"""A campaign on one page: for the chemist who runs it, and for whoever pays for it.

    campaign.html("report.html")

The page needs no network and no other file: figures, their script and all texts are inside. What
it says is what the store holds and what the model of today believes; what was believed when a
point was proposed comes from the store.

Taught in part_5/tutorial_04.
"""

import html
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import BolearnError, DataError, NotFittedError, StorageError
from ..space.parameters import Value
from . import tables
from .campaign import Campaign
from .sensitivity import Sensitivity, sobol_indices
from .store import Snapshot
from .trial import Trial

_SLICES = 8  # parameters that get a slice; of more, those that matter most
_EVENTS = 200  # lines of the history that are shown, the newest
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:"
)
_DRAW = """
for (const place of document.querySelectorAll('.plot')) {
  const found = JSON.parse(document.getElementById(place.id + '-data').textContent);
  Plotly.newPlot(place, found.data, found.layout, {displayModeBar: false, responsive: true});
}
addEventListener('beforeprint', () => {
  for (const place of document.querySelectorAll('.plot')) Plotly.Plots.resize(place);
});
"""


def write_html(campaign: Campaign, path: object) -> Path:
    """Write the report.

    Args:
        campaign: which.
        path: of the page; one that is there is replaced.

    Returns:
        The path.

    Raises:
        DataError: no path.
        StorageError: it cannot be written, or a package is missing.
    """
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise DataError(f"path: expected the path of a page, got {path!r}")
    target = Path(os.fsdecode(path))
    text = page(campaign)
    part = target.with_name(f"{target.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, target)
    except OSError as error:
        raise StorageError(f"{target}: cannot be written: {error}") from error
    return target


def page(campaign: Campaign) -> str:
    """The report as text.

    Raises:
        StorageError: plotly is missing.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise StorageError("report: needs plotly; pip install 'bolearn[campaign]'") from error
    maker = _Page(campaign)
    body = maker.body()
    css = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    script = f"<script>{get_plotlyjs()}</script>\n<script>{_DRAW}</script>" if maker.count else ""
    title = html.escape(campaign.name)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{title}: report</title>
<style>
{css}</style>
</head>
<body>
{body}
{script}
</body>
</html>
"""


class _Page:
    """The parts of one report."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.view: Snapshot = campaign._view()
        self.trials = [self.view.trials[i] for i in sorted(self.view.trials)]
        self.aims = self.view.revision.goals.objectives
        self.count = 0  # figures so far
        self._found: dict[str, dict[str, Sensitivity] | None] = {}

    def body(self) -> str:
        """All sections that have something to say."""
        sections = [
            self.head(),
            "<main>",
            self.progress(),
            self.front(),
            self.proposals(),
            self.beliefs(),
            self.trust(),
            self.limits(),
            self.costs(),
            self.health(),
            self.table(),
            self.history(),
            "</main>",
            self.foot(),
        ]
        return "\n".join(section for section in sections if section)

    # ------------------------------------------------------------ pieces

    def figure(self, figure: Any, caption: str) -> str:
        """A figure with its words; nothing for None."""
        if figure is None:
            return ""
        self.count += 1
        name = f"figure-{self.count}"
        layout = figure.layout.meta["alt"]
        found = json.dumps(json.loads(figure.to_json()), separators=(",", ":"), allow_nan=False)
        found = found.replace("<", "\\u003c")
        return (
            f'<figure><div class="plot" id="{name}" role="img" aria-label="{_text(layout)}" '
            f'style="min-height:{int(figure.layout.height)}px"></div>'
            f'<script type="application/json" id="{name}-data">{found}</script>'
            f"<figcaption>{_text(caption)}</figcaption></figure>"
        )

    def rows(
        self, label: str, heads: Sequence[str], rows: Iterable[Sequence[object]], *, wide: str = ""
    ) -> str:
        """A table that can be scrolled with keys."""
        lines = []
        for row in rows:
            cells = []
            for name, cell in zip(heads, row, strict=True):
                kind = ' class="wide"' if name == wide else ""
                mark = f' class="{cell}"' if cell in ("warning", "ok") else ""
                cells.append(f"<td{kind or mark}>{_text(_shown(cell))}</td>")
            lines.append(f"<tr>{''.join(cells)}</tr>")
        head = "".join(f'<th scope="col">{_text(name)}</th>' for name in heads)
        long = " long" if len(lines) > 12 else ""
        return (
            f'<div class="scroll{long}" role="region" aria-label="{_text(label)}" tabindex="0">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        )

    # ------------------------------------------------------------ sections

    def head(self) -> str:
        """What it is after, how far it is, what was found."""
        c = self.campaign
        ended = [t for t in self.trials if not t.pending]
        failed = sum(t.state == "failed" for t in ended)
        budget = c.budget or {}
        of = f" of {budget['trials']}" if "trials" in budget else ""
        count = sum(t.origin != "data" and t.state != "abandoned" for t in ended)
        tiles = [("Trials ended", f"{count}{of}" + (f", {failed} failed" if failed else ""))]
        waiting = sum(t.pending for t in self.trials)
        if waiting:
            tiles.append(("On their way", f"{waiting}"))
        tiles += self._best_tiles()
        stop = c.stop_reason()
        tiles.append(("Go on?", f"Stop: {stop}" if stop else "Yes, no reason to stop"))
        shown = "".join(
            f"<div><dl><dt>{_text(k)}</dt><dd>{_text(v)}</dd></dl></div>" for k, v in tiles
        )
        note = self.view.settings.get("note") or ""
        return (
            f"<header><h1>{_text(c.name)}</h1><p>{_text('; '.join(c.goals))}</p>"
            + (f"<p>{_text(note)}</p>" if note else "")
            + f'<div class="tiles">{shown}</div></header>'
        )

    def _best_tiles(self) -> list[tuple[str, str]]:
        from .figures import best_point

        good = self.campaign.pareto()
        if not good:
            limits = " keeps all limits" if self.view.revision.goals.limits else " has a value"
            return [("Best", f"no trial{limits} yet")]
        if len(self.aims) > 1:
            return [("Pareto front", f"{len(good)} trials: no other beats them in all goals")]
        best, name = good[0], self.aims[0].outcome
        tiles = [(f"Best {name}, trial {best.id}", f"{tables.values(best)[name]:.5g}")]
        point = best_point(self.campaign, name)
        with suppress(NotFittedError, DataError):
            if point is not None:
                p = self.campaign.predict(point)[name]
                tiles.append((f"{name} there, with 95 % interval", f"{p}"))
        tiles.append(("Its setting", _setting(best.parameters)))
        return tiles

    def progress(self) -> str:
        """Values as they came."""
        from . import figures

        shown = [
            self.figure(
                figures.progress(self.campaign, aim.outcome),
                f"Each mark is a trial; the line is the best {aim.outcome} so far that keeps all "
                "limits. Grey marks break a limit or are not complete.",
            )
            for aim in self.aims
        ]
        if not any(shown):
            return "<h2>Progress</h2><p>Nothing has been measured yet.</p>"
        return "<h2>Progress</h2>" + "".join(shown)

    def front(self) -> str:
        """Several goals against each other."""
        from . import figures

        found = figures.front(self.campaign)
        words = "A trial on the front can be improved in one goal only by giving up another."
        return "<h2>Trade-offs</h2>" + self.figure(found, words) if found else ""

    def proposals(self) -> str:
        """What is on its way, and why."""
        waiting = [t for t in self.trials if t.pending]
        parts = [f"<h2>What is next</h2><p>Rule: {_text(self.campaign.strategy)}.</p>"]
        if not waiting:
            return "".join(parts) + "<p>Nothing is on its way.</p>"
        names = list(self.campaign.space.names)
        heads = ["trial", "state", *names, "expected", "why"]
        rows = []
        for t in waiting:
            expected, why = self._reason(t)
            own = [t.parameters.get(n) for n in names]
            rows.append([t.id, t.state, *own, expected, why])
        return "".join(parts) + self.rows("What is on its way", heads, rows, wide="why")

    def _reason(self, trial: Trial) -> tuple[str, str]:
        """What was expected of a trial when it was proposed, and why it was."""
        try:
            found = self.campaign.explain(trial)
        except BolearnError:
            return "", trial.note or "added by a person"
        expected = "; ".join(f"{name} {p}" for name, p in found.predicted.items())
        words = {
            "exploit": "promises more than the best so far",
            "explore": "little is known there, it may be better than the best so far",
            "design": "initial design: points that spread evenly",
            "strategy": found.rule,
        }[found.kind]
        if found.nearest is not None and found.distance is not None:
            words += f"; nearest is trial {found.nearest}, at distance {found.distance:.2g}"
        if found.success is not None:
            words += f"; works with probability {found.success:.0%}"
        return expected, words

    def beliefs(self) -> str:
        """Which parameters matter, and how."""
        from . import figures

        parts = []
        for aim in self.aims:
            indices = self._indices(aim.outcome)
            if indices is None:
                continue
            found = figures.sensitivity(self.campaign, aim.outcome, found=indices)
            caption = (
                f"Share of the variation of {aim.outcome}, as the model expects it over the whole "
                "space, that a parameter explains alone and together with others. The intervals "
                "are those of the computation; constraints are ignored."
            )
            parts.append(self.figure(found, caption))
            shown = self._ranked(aim.outcome)
            slices = [figures.slice_through(self.campaign, n, aim.outcome) for n in shown[:_SLICES]]
            drawn = "".join(
                self.figure(f, f"{aim.outcome} along {n}")
                for n, f in zip(shown[:_SLICES], slices, strict=True)
            )
            words = (
                "The model along each parameter, the most important first. The others are as in "
                "the best trial, marked by a dotted line; the bands are the model's 95 %."
            )
            parts.append(f'<p>{words}</p><div class="grid">{drawn}</div>' if drawn else "")
            numbers = [n for n in shown if n in figures.numeric(self.campaign.space)]
            if len(numbers) > 1:
                found = figures.pair_map(self.campaign, numbers[0], numbers[1], aim.outcome)
                words = "The two numbers that matter most. The star is the best trial; blank places"
                parts.append(self.figure(found, f"{words} break a constraint."))
        return "<h2>What matters</h2>" + "".join(parts) if any(parts) else ""

    def _indices(self, outcome: str) -> dict[str, Sensitivity] | None:
        """Sobol indices, worked out once."""
        if outcome not in self._found:
            self._found[outcome] = sobol_indices(self.campaign, outcome)
        return self._found[outcome]

    def _ranked(self, outcome: str) -> list[str]:
        """Parameters, the most important first."""
        found = self._indices(outcome) or {}
        names = self.campaign.space.names
        return sorted(names, key=lambda n: -found[n].total if n in found else 0.0)

    def trust(self) -> str:
        """Did the model predict?"""
        from . import figures

        parts = []
        for aim in self.aims:
            for make, words in (
                (
                    figures.calibration,
                    "What the model expected when it proposed a trial, and what came out of it.",
                ),
                (
                    figures.leave_one_out,
                    "Each value as the model of today expects it from all others.",
                ),
            ):
                parts.append(self.figure(make(self.campaign, aim.outcome), words))
        if not any(parts):
            return ""
        return f'<h2>Is the model to be trusted?</h2><div class="grid">{"".join(parts)}</div>'

    def limits(self) -> str:
        """Which limits were kept."""
        from . import figures
        from .acquisitions import baseline_of

        rows, base = [], baseline_of(self.trials)
        for limit in self.view.revision.goals.limits:
            found = [
                v for t in self.trials if (v := tables.values(t).get(limit.outcome)) is not None
            ]
            if limit.relative and limit.outcome not in base:
                rows.append([str(limit), len(found), "no baseline yet"])
                continue
            kept = sum(limit.holds(v, base.get(limit.outcome)) for v in found)
            rows.append([str(limit), len(found), f"{kept} ({kept / max(1, len(found)):.0%})"])
        failed = [[t.id, _setting(t.parameters), t.reason] for t in self.trials
                  if t.state == "failed"]  # fmt: skip
        parts, names = list[str](), self._ranked(self.aims[0].outcome)[:3]
        drawn = "".join(
            self.figure(figures.feasibility(self.campaign, n), f"Chance of a good trial along {n}")
            for n in names
        )
        if drawn:
            words = "How probable it is that a trial works and keeps all limits, near the best one."
            parts.append(f'<p>{words}</p><div class="grid">{drawn}</div>')
        if rows:
            parts.append(self.rows("Limits", ["limit", "measured", "kept"], rows))
        if failed:
            heads = ["trial", "setting", "why it failed"]
            parts.append(self.rows("Failed trials", heads, failed, wide="setting"))
        return "<h2>Limits and failures</h2>" + "".join(parts) if parts else ""

    def costs(self) -> str:
        """What was spent."""
        from . import figures

        found = figures.costs(self.campaign)
        return "<h2>Costs</h2>" + self.figure(found, "Summed over trials.") if found else ""

    def health(self) -> str:
        """Named checks."""
        found = self.campaign.health()
        rows = [[c.level, c.name, c.message, c.advice] for c in found]
        heads = ["level", "check", "found", "advice"]
        return "<h2>Health</h2>" + self.rows("Checks", heads, rows, wide="advice")

    def table(self) -> str:
        """All trials."""
        if not self.trials:
            return ""
        found = self.campaign.table().reset_index()
        rows = [[None if _missing(v) else v for v in row] for row in found.itertuples(index=False)]
        heads = [self._with_unit(str(n)) for n in found.columns]
        return "<h2>All trials</h2>" + self.rows("All trials", heads, rows)

    def _with_unit(self, name: str) -> str:
        space = self.campaign.space
        unit = getattr(space[name], "unit", None) if name in space.names else None
        return f"{name} ({unit})" if unit else name

    def history(self) -> str:
        """Who did what."""
        found = self.campaign.history()
        rows = [[e.seq, f"{e.at:%Y-%m-%d %H:%M}", e.by, e.kind, e.trial] for e in found[-_EVENTS:]]
        more = f"<p>The newest {_EVENTS} of {len(found)} lines.</p>" if len(found) > _EVENTS else ""
        heads = ["line", "when (UTC)", "who", "what", "trial"]
        return "<h2>History</h2>" + more + self.rows("History", heads, rows[::-1])

    def foot(self) -> str:
        """When, and of which state."""
        now = datetime.now(UTC)
        return (
            f'<footer><p class="soft">Written {now:%Y-%m-%d %H:%M} UTC by bolearn '
            f"after {self.view.next_seq} lines of history, seed {self.campaign.seed}.</p></footer>"
        )


def _text(text: object) -> str:
    """Text for HTML, in attributes, too."""
    return html.escape(str(text))


def _shown(cell: object) -> str:
    """A cell: numbers with six digits, nothing for None."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else ""
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)


def _missing(value: object) -> bool:
    """Whether a cell of a table is empty."""
    return value is None or value != value


def _setting(parameters: dict[str, Value]) -> str:
    return ", ".join(f"{k} = {_shown(v)}" for k, v in parameters.items())
