"""The command line: ``python -m course build | check | run | fresh | mutate | sync | lab``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from course.project import CourseError, Project

NAMES = "ids (p1.t1), paths or pieces of names (part_1, tensor); all tutorials by default"


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "lab":
        parser.error(f"unknown arguments: {' '.join(rest)}")
    project = Project(options.root.resolve())
    # Each command imports what it needs: `check` stays quick, and sync needs no kernel.
    try:
        if options.command == "sync":
            from course.sync import sync

            return sync(project, options.notebook)
        if options.command == "lab":
            from course.lab import lab

            return lab(project.root, rest)
        tutorials = project.select(options.names)
        if options.command == "check":
            from course.check import check

            return check(project, tutorials, whole=not options.names, claims=options.claims)
        if options.command == "mutate":
            from course.mutate import Options, mutate, skeleton

            if options.skeleton:
                return skeleton(tutorials)
            taken = ("force", "only", "seeds", "jobs", "limit", "loud")
            return mutate(project, tutorials, Options(**{k: getattr(options, k) for k in taken}))
        if options.command == "fresh":
            from course.plain import run_plain

            return run_plain(project, tutorials, jobs=options.jobs, limit=options.timeout)
        from course.execute import run_async

        if options.command == "build":
            from course.build import build

            return run_async(build(project, tutorials, force=options.force, jobs=options.jobs))
        from course.run import run

        return run_async(run(project, tutorials, jobs=options.jobs, timeout=options.timeout))
    except CourseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("course", "bolearn"):
            raise
        print(
            f"error: {error.name} is not installed for {sys.executable}; activate the course's "
            f"environment, or make one: python -m pip install -r requirements.txt",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m course", description=__doc__)
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(__file__).resolve().parents[1],
        help="the checkout to work on (default: the one this tool lies in)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="write the notebooks that do not match their source")
    build.add_argument("names", nargs="*", help=NAMES)
    build.add_argument("--force", action="store_true", help="execute again even what matches")

    check = commands.add_parser("check", help="find drift, stale outputs and broken rules; quick")
    check.add_argument("names", nargs="*", help=NAMES)

    check.add_argument("--claims", action="store_true", help="also: claims with too few changes")

    mutate = commands.add_parser(
        "mutate", help="try the changes that must make claims false, and other master seeds"
    )
    mutate.add_argument("names", nargs="*", help=NAMES)
    mutate.add_argument("--force", action="store_true", help="run again what was seen right")
    mutate.add_argument("--only", metavar="TEXT", help="only changes that hold this text; no seeds")
    mutate.add_argument("--no-seeds", dest="seeds", action="store_false", help="only the changes")
    mutate.add_argument("--skeleton", action="store_true", help="print the entries still to write")
    mutate.add_argument(
        "--limit", type=float, default=120, help="seconds of processor time a change may take (120)"
    )
    mutate.add_argument("--loud", action="store_true", help="show what goes to the error stream")

    run = commands.add_parser("run", help="execute fresh and worked notebooks; writes nothing")
    run.add_argument("names", nargs="*", help=NAMES)
    run.add_argument("--timeout", type=int, default=300, help="seconds a cell may take (300)")

    fresh = commands.add_parser(
        "fresh", help="execute the fresh notebooks without kernel and pictures; quick"
    )
    fresh.add_argument("names", nargs="*", help=NAMES)
    fresh.add_argument("--timeout", type=int, default=300, help="seconds a notebook may take (300)")
    for command in (build, run, fresh, mutate):
        what = "changes" if command is mutate else "notebooks"
        command.add_argument("-j", "--jobs", type=int, default=2, help=f"{what} at a time (2)")

    sync = commands.add_parser("sync", help="write what was edited in Jupyter back to the source")
    sync.add_argument("notebook", type=Path, help="a fresh or worked notebook of the course")

    commands.add_parser(
        "lab",
        help="open JupyterLab at the table of contents",
        epilog="other options, such as --port 9999, are passed on to JupyterLab",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
