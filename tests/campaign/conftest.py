"""A PostgreSQL server of the tests' own, and the kinds of places in which a campaign is kept."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def _programs() -> Path | None:
    """Where PostgreSQL's programs are; Debian keeps them off the path."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "pg_ctl").exists():
            return folder
    found = shutil.which("pg_ctl")
    return None if found is None else Path(found).resolve().parent


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a fresh server; it refuses to run as root, so root runs it as another user."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: nothing about it was tested")
    as_user: dict[str, int] = {}
    folder = Path(tempfile.mkdtemp(prefix="bolearn-pg-"))
    if os.getuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres'")
        as_user = {"user": user.pw_uid, "group": user.pw_gid}
        os.chown(folder, user.pw_uid, user.pw_gid)

    def run(*command: str) -> None:
        subprocess.run(
            command, check=True, cwd=folder, capture_output=True, env={"LC_ALL": "C"}, **as_user
        )

    data, port = str(folder / "data"), _free_port()
    try:
        run(str(programs / "initdb"), "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "-N")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = str(folder / "log")
        run(str(programs / "pg_ctl"), "-D", data, "-o", options, "-l", log, "-w", "start")
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
        run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], tuple[str, str]]:
    """Makes a place and a name for one campaign, in a file or on the server."""
    if request.param == "sqlite":
        return lambda name: (str(tmp_path / f"{name}.db"), name)
    url = request.getfixturevalue("postgresql")
    return lambda name: (url, f"{name} of {tmp_path.name}")
