"""One table: every measured ratio of BoTorch's run time to bolearn's, beside what we aim at.

    python -m benchmarks            what is stored in benchmarks/results
    python -m benchmarks --run      measure all of it again first; hours, on a quiet machine

The settings of both arms stand in each benchmark's own output (``--report``).
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor, tensor

RESULTS = Path("benchmarks/results")
COMMANDS = (
    "fit", "composite", "acquisitions", "optimise", "mixed", "lookahead", "paths", "loop", "study",
    "replicates",
)  # fmt: skip

Row = tuple[str, float | None, float | None, float, str]
"""Work, bar, stretch, measured ratio (processor time), and what else to know."""


def stored(name: str) -> dict[str, Any]:
    """The last run of one benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def fit() -> Iterator[Row]:
    """One data set, from the data to the fitted model."""
    run = stored("fit")
    gain = min(row["gain"] for row in run["ends"])
    for n in sorted({row["n"] for row in run["timed"]}):
        rows = [row for row in run["timed"] if row["n"] == n]
        ratio = median([row["BoTorch cpu"] / row["bolearn cpu"] for row in rows])
        bar, stretch = (6, 15) if n <= 50 else (3, 8)
        yield f"fit, n = {n}", bar, stretch, ratio, f"objective never lower than by {-gain:.0e}"


def composite() -> Iterator[Row]:
    """Composite kernels: one data set, and many as one batch."""
    run = stored("composite")
    worst = min(row["gain"] for row in run["ends"] if row["gain"] is not None)
    note = f"objective lower by {max(-worst, 0.0):.0e} at most, {len(run['ends'])} data sets"
    for work, key, bar, stretch in (
        ("one model", "ends", 1.2, 2),
        ("{} replicates", "batches", 8, 15),
    ):
        rows = run[key]
        ratio = median([row["BoTorch cpu"] / row["bolearn cpu"] for row in rows])
        name = work.format(rows[0].get("replicates", ""))
        yield f"fit, composite kernels, {name}", bar, stretch, ratio, note
        note = ""


def acquisitions() -> Iterator[Row]:
    """Value and gradient of 16 sets of q points."""
    bars = {"LogEI": (7, 10), "q = 1": (6, 8), "q = 4": (3, 5), "q = 16": (2.5, 4)}
    for entry in stored("acquisitions")["results"]:
        if entry["work"] != "value and gradient":
            continue
        own = entry["name"].startswith(("LogEI", "qLogEI"))
        bar, stretch = bars[entry["name"].split(", ")[-1]] if own else (None, None)
        ratio = median([row[3] / row[1] for row in entry["rows"]])
        yield f"{entry['name']}: value and gradient", bar, stretch, ratio, ""


def optimise() -> Iterator[Row]:
    """One acquisition maximised."""
    for name, rows in stored("optimise")["rows"].items():
        listed = not name.endswith(("limited", "sequential"))
        bar, stretch = ((5, 8) if name.startswith("LogEI") else (3, 5)) if listed else (None, None)
        gain = [row[4] for row in rows]
        note = f"log value: median {median(gain):+.0e}, least {min(gain):+.0e}, {len(rows)} pairs"
        yield f"optimise {name}", bar, stretch, median([row[3] / row[1] for row in rows]), note


def mixed() -> Iterator[Row]:
    """LogEI maximised over a space of real and whole numbers and categories."""
    rows = stored("mixed")["rows"]
    gain = [row[4] for row in rows]
    note = f"log value: median {median(gain):+.0e}, least {min(gain):+.0e}, {len(rows)} pairs"
    yield "optimise LogEI, mixed space", 5, 15, median([row[3] / row[1] for row in rows]), note


def paths() -> Iterator[Row]:
    """Path samples; the bars are read at 64 paths."""
    bars = {"draw": (2, 4), "shared points": (8, 12), "one point a path, gradient": (3, 5)}
    for n, d, count, _, work, rows in stored("paths")["rows"]:
        ratio = median([row[1] / row[0] for row in rows])
        aims = bars[work] if count == 64 else (None, None)
        yield f"{count} paths, n = {n}, d = {d}: {work}", *aims, ratio, ""


def loop() -> Iterator[Row]:
    """The loop of 10 + 30 evaluations."""
    rows = tensor(stored("loop")["rows"]).double()
    gain = median((rows[:, 4].log10() - rows[:, 5].log10()).tolist())
    note = f"log10 regret, ours minus theirs: median {gain:+.2f}, {len(rows)} seeds"
    yield "one loop, 10 + 30 evaluations", 5, 8, median((rows[:, 3] / rows[:, 1]).tolist()), note


def study() -> Iterator[Row]:
    """Many loops of 12 + 30 evaluations as one batch, against BoTorch's loop seed by seed."""
    cpu: dict[str, Tensor] = {
        arm: tensor(rows).double().mean(0)[1]
        for arm, rows in stored("study")["seconds per run [wall, cpu]"].items()
    }
    for arm, model in (("bolearn rbf", "BoTorch's model"), ("bolearn", "our model")):
        ratio = (cpu["botorch"] / cpu[arm]).item()
        yield f"study of 64, {model}", 70, 120, ratio, "BoTorch with its defaults"
        ratio = (cpu["botorch warm"] / cpu[arm]).item()
        yield f"study of 64, {model}, warm", None, None, ratio, "BoTorch warm-started as well"
    largest = max(stored("replicates")["rows"], key=lambda row: row["replicates"])
    ratio = cpu["botorch"].item() / (largest["cpu"] / largest["replicates"])
    note = "the two arms from two runs"
    yield f"study of {largest['replicates']}, our model", 90, 150, ratio, note


def lookahead() -> Iterator[Row]:
    """Knowledge gradient and entropy search: values with gradients, and searches."""
    bars = {"MES": (5, 10), "GIBBON": (8, 12), "JES": (15, 40)}
    one_shot = {"2": (20, 40), "6": (60, 120), "10": (100, 200)}
    run = stored("lookahead")
    for name, rows in run["timed"].items():
        kind, size = name.split(", d = ")[0], name.split(", d = ")[1].split(",")[0]
        bar, stretch = one_shot[size] if kind == "KG" else bars[kind]
        note = "one-shot qKG, 64 fantasies" if kind == "KG" else ""
        yield f"{name}: value and gradient", bar, stretch, median([b / a for a, b in rows]), note
    for size, rows in run["searches"].items():
        ratio = median([row[1] / row[0] for row in rows])
        fine = sum(row[2] >= 0.99 * row[3] for row in rows)
        gain = median([row[2] / row[3] for row in rows])
        note = f"nested KG: x {gain:.3f} (median), not worse by 1 % in {fine} of {len(rows)}"
        yield f"KG maximised, d = {size}", 10, 20, ratio, note


def main() -> None:
    """Print the table; with --run, measure first."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--run", action="store_true", help="run every benchmark first")
    if ask.parse_args().run:
        for name in COMMANDS:
            print(f"== {name}", flush=True)
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    print(f"{'BoTorch / bolearn, processor time':54s}{'ratio':>6s}{'bar':>6s}{'stretch':>9s}")
    for part in (
        fit, composite, acquisitions, optimise, mixed, lookahead, paths, loop, study
    ):  # fmt: skip
        for work, bar, stretch, ratio, note in part():
            mark = "" if bar is None else "met" if ratio >= bar else "missed"
            aims = "".join(f"{'' if x is None else format(x, 'g'):>{w}s}" for x, w in
                           ((bar, 6), (stretch, 9)))  # fmt: skip
            print(f"{work:54s}{ratio:6.1f}{aims}  {mark:8s}{note}".rstrip())
    runs = {name: stored(name) for name in COMMANDS}
    made = {f"{run['machine']}, {_versions(run['versions'])}" for run in runs.values()}
    print("\n" + "\n".join(sorted(made)))
    print("; ".join(f"{name} {run['date']}" for name, run in runs.items()))


def _versions(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


if __name__ == "__main__":
    main()
