"""``python -m bolearn``: campaigns from the command line; see `bolearn.campaign.commands`."""

import sys


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: always, with the exit code.
    """
    try:
        import typer  # noqa: F401
    except ImportError:
        sys.exit("the command line needs more packages: pip install 'bolearn[campaign]'")
    from .campaign.commands import app

    app(prog_name="bolearn")


if __name__ == "__main__":
    main()
