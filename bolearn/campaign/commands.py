"""The command line ``bolearn``: a campaign without a line of Python.

    bolearn new reaction.toml --example     write a file to begin with; edit it
    bolearn new reaction.toml               make reaction.db
    bolearn ask reaction.db 4               what to measure next
    bolearn tell reaction.db 0 yield=62.5   what came out
    bolearn report reaction.db              one page for people

Every command takes ``--json``. Exit codes: 0 done, 1 something cannot be used, 2 wrong usage,
3 nothing is left to ask for, 4 the file or database, 130 interrupted.

Taught in part_5/tutorial_04.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BolearnError, BudgetError, DataError, InfeasibleError, StorageError
from .pools import WorkerLost

if TYPE_CHECKING:
    from .campaign import Campaign
    from .trial import Trial

app = typer.Typer(
    help="Campaigns of experiments: what to measure next, asked and told.",
    epilog="Exit codes: 0 done, 1 something cannot be used, 2 wrong usage, 3 nothing is left to "
    "ask for, 4 the file or database, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_Where = Annotated[
    str, typer.Argument(metavar="FILE", help="the campaign's file, or postgresql://")
]
_Json = Annotated[bool, typer.Option("--json", help="JSON on standard output")]
_By = Annotated[str | None, typer.Option(help="who acts; default the user of this machine")]
_Name = Annotated[str | None, typer.Option(help="which campaign, if there are several")]
_Number = Annotated[int, typer.Argument(metavar="TRIAL", help="the number of the trial")]
_Reason = Annotated[str, typer.Argument(help="why; it is kept")]
_Settings = Annotated[
    list[str] | None, typer.Option("--set", help="what was really set: temperature=71.3")
]


@contextmanager
def _clear(as_json: bool) -> Iterator[None]:
    """Errors as one clear line and an exit code."""
    try:
        yield
    except (BolearnError, KeyboardInterrupt) as error:
        code, text = 1, str(error)
        if isinstance(error, StorageError):
            code = 4
        elif isinstance(error, BudgetError | InfeasibleError):
            code = 3
        elif isinstance(error, KeyboardInterrupt):
            code, text = 130, "interrupted; what was measured is stored, run again to go on"
        if as_json:
            _say(json.dumps({"error": text, "kind": type(error).__name__}), err=True)
        else:
            _say(f"error: {text}", err=True)
        raise typer.Exit(code) from None


def _say(text: str, *, err: bool = False) -> None:
    """Print, whatever the terminal can show."""
    stream = sys.stderr if err else sys.stdout
    shown = text.encode(stream.encoding or "utf-8", "replace").decode(stream.encoding or "utf-8")
    typer.echo(shown, err=err)


def _open(where: str, name: str | None, read_only: bool = False) -> "Campaign":
    from .campaign import Campaign

    return Campaign.open(where, name, read_only=read_only)


def _row(trial: "Trial") -> dict[str, Any]:
    """A trial for JSON."""
    return {
        "trial": trial.id,
        "state": trial.state,
        "parameters": trial.parameters,
        "asked": trial.asked,
        "outcomes": trial.outcomes,
        "spent": trial.spent,
        "origin": trial.origin,
        "attempt": trial.attempt,
        "reason": trial.reason,
        "note": trial.note,
    }


def _show(trials: "list[Trial]", as_json: bool) -> None:
    if as_json:
        _say(json.dumps([_row(t) for t in trials], ensure_ascii=False))
    else:
        for trial in trials:
            _say(str(trial))


def _pairs(texts: list[str] | None, what: str) -> dict[str, list[str]]:
    """``name=value`` texts; a name may come several times.

    Raises:
        DataError: no such text.
    """
    found: dict[str, list[str]] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign or not name.strip() or not value.strip():
            raise DataError(f"{what}: expected NAME=VALUE such as yield=62.5, got {text!r}")
        found.setdefault(name.strip(), []).append(value.strip())
    return found


def _number(name: str, text: str) -> float:
    """A number with a decimal point.

    Raises:
        DataError: something else.
    """
    try:
        return float(text)
    except ValueError:
        hint = "; decimals with a point, repeats as yield=62 yield=64" if "," in text else ""
        raise DataError(f"{name}: expected a number, got {text!r}{hint}") from None


def _told(texts: list[str] | None) -> dict[str, Any]:
    """Outcomes as they are typed: a number, several, or ``62.5+-0.4``."""
    found: dict[str, Any] = {}
    for name, values in _pairs(texts, "outcomes").items():
        parts = [v.replace("±", "+-").split("+-") for v in values]
        if len(values) == 1 and len(parts[0]) == 2:
            found[name] = tuple(_number(name, p) for p in parts[0])
            continue
        numbers = [_number(name, v) for v in values]
        found[name] = numbers[0] if len(numbers) == 1 else numbers
    return found


def _set(campaign: "Campaign", texts: list[str] | None, what: str) -> dict[str, Any] | None:
    """Parameters as they are typed."""
    from ..space.parameters import Categorical

    found: dict[str, Any] = {}
    for name, values in _pairs(texts, what).items():
        parameter = campaign.space[name]
        if len(values) > 1:
            raise DataError(f"{what}: expected {name} once, got {', '.join(values)}")
        if isinstance(parameter, Categorical):
            labels = {str(label): label for label in parameter.values}
            found[name] = labels.get(values[0], values[0])
        else:
            number = _number(name, values[0])
            found[name] = int(number) if number == int(number) else number
    return found or None


# ---------------------------------------------------------------- making and asking


@app.command()
def new(
    plan: Annotated[Path, typer.Argument(help="a TOML file that says what may be run and why")],
    to: Annotated[str | None, typer.Option(help="the file to make; default PLAN.db")] = None,
    example: Annotated[bool, typer.Option(help="write an example of such a TOML file")] = False,
    json_: _Json = False,
) -> None:
    """Make a campaign from a TOML file, or write such a file to begin with."""
    from . import plan as plans

    with _clear(json_):
        if example:
            try:
                with plan.open("x", encoding="utf-8") as file:
                    file.write(plans.EXAMPLE)
            except OSError as error:
                raise StorageError(f"{plan}: cannot be written: {error.strerror}") from error
            _say(json.dumps({"plan": str(plan)}) if json_ else f"wrote {plan}: edit it, then run "
                 f"bolearn new {plan}")  # fmt: skip
            return
        from .campaign import Campaign

        space, options = plans.read(plan)
        where = to or str(plan.with_suffix(".db"))
        with Campaign.create(where, space, options.pop("goals"), **options) as c:
            found = {"file": where, "name": c.name, "goals": list(c.goals), "strategy": c.strategy}
            _say(json.dumps(found) if json_ else f"made {where}: {c!r}\n{space}")


@app.command()
def ask(
    where: _Where,
    n: Annotated[int, typer.Argument(help="how many")] = 1,
    fixed: Annotated[list[str] | None, typer.Option(help="held at a value: solvent=THF")] = None,
    same: Annotated[list[str] | None, typer.Option(help="one value in all of them")] = None,
    by: _By = None,
    name: _Name = None,
    json_: _Json = False,
) -> None:
    """What to measure next."""
    with _clear(json_), _open(where, name) as c:
        _show(c.ask(n, fixed=_set(c, fixed, "fixed"), same=same or (), by=by), json_)


@app.command()
def tell(
    where: _Where,
    trial: _Number,
    outcomes: Annotated[
        list[str] | None,
        typer.Argument(help="yield=62.5; repeats: yield=62 yield=64; with error: yield=62+-0.5"),
    ] = None,
    settings: _Settings = None,
    spent: Annotated[float | None, typer.Option(help="what it cost to run")] = None,
    replace: Annotated[bool, typer.Option(help="correct what was told before")] = False,
    token: Annotated[str | None, typer.Option(help="told twice under one, it counts once")] = None,
    note: Annotated[str | None, typer.Option(help="a remark")] = None,
    by: _By = None,
    name: _Name = None,
    json_: _Json = False,
) -> None:
    """What came out."""
    with _clear(json_), _open(where, name) as c:
        told = c.tell(
            trial,
            _told(outcomes) or None,
            parameters=_set(c, settings, "--set"),
            spent=spent,
            replace=replace,
            token=token,
            by=by,
            note=note,
        )
        _show([told], json_)


@app.command()
def fail(
    where: _Where,
    trial: _Number,
    reason: _Reason,
    by: _By = None,
    name: _Name = None,
    json_: _Json = False,
) -> None:
    """It went wrong: no value, and less hope for points near it."""
    with _clear(json_), _open(where, name) as c:
        _show([c.fail(trial, reason, by=by)], json_)


@app.command()
def abandon(
    where: _Where,
    trial: _Number,
    reason: _Reason,
    by: _By = None,
    name: _Name = None,
    json_: _Json = False,
) -> None:
    """It will not be run."""
    with _clear(json_), _open(where, name) as c:
        _show([c.abandon(trial, reason, by=by)], json_)


@app.command()
def approve(
    where: _Where,
    trial: _Number,
    settings: _Settings = None,
    by: _By = None,
    name: _Name = None,
    json_: _Json = False,
) -> None:
    """A candidate may be run, with --set so changed."""
    with _clear(json_), _open(where, name) as c:
        _show([c.approve(trial, _set(c, settings, "--set"), by=by)], json_)


@app.command()
def reject(
    where: _Where,
    trial: _Number,
    reason: _Reason,
    by: _By = None,
    name: _Name = None,
    json_: _Json = False,
) -> None:
    """A candidate is not to be run."""
    with _clear(json_), _open(where, name) as c:
        _show([c.reject(trial, reason, by=by)], json_)


# ---------------------------------------------------------------- looking


@app.command()
def status(where: _Where, name: _Name = None, json_: _Json = False) -> None:
    """Where it stands: goals, strategy, the best, health, whether to stop."""
    with _clear(json_), _open(where, name) as c:
        best, checks, stop = c.pareto(), c.health(), c.stop_reason()
        if json_:
            found = {
                "name": c.name,
                "goals": list(c.goals),
                "budget": c.budget,
                "strategy": c.strategy,
                "trials": len(c),
                "best": [_row(t) for t in best],
                "health": [vars(check) for check in checks],
                "stop": stop,
            }
            _say(json.dumps(found, ensure_ascii=False))
            return
        _say(f"{c!r}\nnext: {c.strategy}\nbest:")
        for t in best:
            _say(f"  {t}")
        _say("health:\n" + "\n".join(f"  {check}" for check in checks))
        _say(f"stop: {stop or 'no reason to'}")


@app.command()
def table(where: _Where, name: _Name = None, json_: _Json = False) -> None:
    """All trials, a row each."""
    with _clear(json_), _open(where, name, read_only=True) as c:
        if json_:
            _show(c.trials, True)
        else:
            _say(c.table().fillna("").to_string())


@app.command()
def history(where: _Where, name: _Name = None, json_: _Json = False) -> None:
    """Who did what, and when."""
    with _clear(json_), _open(where, name, read_only=True) as c:
        for event in c.history():
            if json_:
                _say(json.dumps({**vars(event), "at": event.at.isoformat()}, ensure_ascii=False))
            else:
                _say(str(event))


@app.command()
def report(
    where: _Where,
    to: Annotated[Path | None, typer.Argument(help="default FILE.html")] = None,
    name: _Name = None,
    json_: _Json = False,
) -> None:
    """One page that a chemist reads and a boss understands."""
    from .report import write_html

    with _clear(json_), _open(where, name) as c:
        target = Path(where).with_suffix(".html") if to is None and "://" not in where else to
        if target is None:
            raise DataError("report: expected the path of a page, got none")
        write_html(c, target)
        _say(json.dumps({"report": str(target)}) if json_ else f"wrote {target}")


# ---------------------------------------------------------------- sheets and files


@app.command("export")
def export_(
    where: _Where,
    sheet: Annotated[Path, typer.Argument(help="a .csv or .xlsx file to write")],
    decimal: Annotated[str, typer.Option(help="'.' or ',': what your Excel expects")] = ".",
    name: _Name = None,
    json_: _Json = False,
) -> None:
    """Write all trials as a sheet to be filled in."""
    with _clear(json_), _open(where, name, read_only=True) as c:
        c.to_csv(sheet, decimal=decimal)
        _say(json.dumps({"sheet": str(sheet), "trials": len(c)}) if json_ else f"wrote {sheet}")


@app.command("import")
def import_(
    where: _Where,
    sheet: Annotated[Path, typer.Argument(help="a .csv or .xlsx file that was filled in")],
    dry_run: Annotated[bool, typer.Option(help="only say what would change")] = False,
    replace: Annotated[bool, typer.Option(help="values may differ from those of before")] = False,
    by: _By = None,
    name: _Name = None,
    json_: _Json = False,
) -> None:
    """Read a sheet that was filled in: all of it, or nothing."""
    with _clear(json_), _open(where, name) as c:
        found = c.read_csv(sheet, dry_run=dry_run, replace=replace, by=by)
        if not json_:
            _say(f"{len(found)} trials {'would change' if dry_run else 'changed'}")
        _show(found, json_)


@app.command()
def backup(where: _Where, to: Path, name: _Name = None, json_: _Json = False) -> None:
    """Copy the file while others work on it."""
    with _clear(json_), _open(where, name) as c:
        c.backup(to)
        _say(json.dumps({"backup": str(to)}) if json_ else f"wrote {to}")


@app.command()
def upgrade(where: _Where, name: _Name = None, json_: _Json = False) -> None:
    """Bring a file of an older version to this one; a copy of the old file is kept."""
    with _clear(json_), _open(where, name) as c:
        found = {"file": where, "name": c.name, "trials": len(c)}
        _say(json.dumps(found) if json_ else f"{where} is of this version: {c!r}")


# ---------------------------------------------------------------- running a program


@app.command()
def run(
    where: _Where,
    command: Annotated[str, typer.Argument(help="a program that prints JSON: 'sim {temperature}'")],
    workers: Annotated[int, typer.Option(help="how many at a time")] = 1,
    budget: Annotated[int | None, typer.Option(help="trials in all; default the file's")] = None,
    timeout: Annotated[float | None, typer.Option(help="seconds for one")] = None,
    retries: Annotated[int, typer.Option(help="of one that was killed or took too long")] = 1,
    name: _Name = None,
    json_: _Json = False,
) -> None:
    """Run a program for every trial until the budget is used.

    {NAME} becomes the value of a parameter; all of them come as JSON on standard input, too. The
    last line that the program prints is a number, or an object of outcomes. A program that ends
    with another code than 0 has failed, and the last line of its errors says why.
    """
    from .running import run as run_

    with _clear(json_), _open(where, name) as c:
        measure = program(command, c.space.names, timeout)
        run_(c, measure, executor="threads", workers=workers, budget=budget, retries=retries)
        _show(c.pareto(), json_)


def program(
    command: str, names: tuple[str, ...], timeout: float | None = None
) -> Callable[[dict[str, Any]], Any]:
    """A function of a dictionary that runs a program; no shell is asked.

    Raises:
        DataError: text that is no command, or that names no parameter.
    """
    safe = command  # names may hold spaces, on which a command line is split
    for i, name in enumerate(names):
        for end in "}:":
            safe = safe.replace(f"{{{name}{end}", f"{{p{i}{end}")
    try:
        parts = shlex.split(safe)
        if not parts:
            raise ValueError("it is empty")
        for part in parts:
            part.format_map({f"p{i}": 1 for i in range(len(names))})
    except (ValueError, IndexError, AttributeError) as error:
        raise DataError(f"command: expected a command line, got {command!r}: {error}") from None
    except KeyError as error:
        raise DataError(
            f"command: expected parameters among {', '.join(names)}; got {{{error.args[0]}}}"
        ) from None

    def measure(parameters: dict[str, Any]) -> Any:
        values = {f"p{i}": parameters[name] for i, name in enumerate(names)}
        words = [part.format_map(values) for part in parts]
        try:
            done = subprocess.run(
                words,
                input=json.dumps(parameters),
                capture_output=True,
                text=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired:
            raise WorkerLost(f"no result within {timeout:g} s") from None
        except OSError as error:
            raise DataError(f"{words[0]}: {error.strerror}") from None
        if done.returncode < 0:
            raise WorkerLost(f"the program was killed by signal {-done.returncode}")
        if done.returncode > 0:
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            raise RuntimeError(f"exit code {done.returncode}: {last}")
        return _answer(done.stdout)

    return measure


def _answer(text: str) -> Any:
    """The last line of what a program printed.

    Raises:
        ValueError: it is no number and no object.
    """
    lines = text.strip().splitlines()
    for candidate in (text, lines[-1] if lines else ""):
        try:
            found = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(found, dict | int | float) and not isinstance(found, bool):
            return found
    shown = lines[-1] if lines else "nothing"
    raise ValueError(f"expected a number or a JSON object on the last line, got {shown[:200]!r}")
