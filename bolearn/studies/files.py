"""Files that are whole or not there: written at once, checked by their sum, one writer at a time.

Taught in part_4/tutorial_03.
"""

import errno
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from ..errors import StorageError

_FAR = 1 << 30  # Windows locks bytes, and what is locked cannot be read: lock one that is not there
_UNSET = "0" * 64


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, also if the machine stops; OSError if it fails.

    Each writer has a temporary file of its own, so that two never write into one.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def checksum(content: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def seal(text: str) -> bytes:
    """A JSON text whose ``"checksum": ""`` is filled in: that of the text with 64 zeros there."""
    content = text.replace('"checksum": ""', f'"checksum": "{_UNSET}"', 1).encode()
    return content.replace(_UNSET.encode(), checksum(content).encode(), 1)


def is_sealed(content: bytes, found: str) -> bool:
    """Whether a text is as it was sealed, with this checksum: no bit has changed since."""
    return checksum(content.replace(found.encode(), _UNSET.encode(), 1)) == found


@contextmanager
def only_writer(path: Path | None) -> Iterator[None]:
    """Hold the lock of a file, ``path.lock``; nothing for None.

    The lock is the operating system's: that of a process that died is free at once.

    Raises:
        StorageError: another process holds it; says which.
    """
    if path is None:
        yield
        return
    place = path.with_name(path.name + ".lock")
    file = _locked(path, place)
    try:
        for orphan in path.parent.glob(f"{_plain(path.name)}.*.part"):
            orphan.unlink(missing_ok=True)  # of a writer that died
        yield
    finally:
        # first the name, then the lock: whoever waits finds that its file is no longer the lock
        with suppress(OSError):
            place.unlink()
        file.close()


def _locked(path: Path, place: Path) -> IO[bytes]:
    """The lock's file, held; it may have been replaced while we took it, then once more."""
    while True:
        try:
            file = place.open("a+b")
        except OSError as error:
            raise _no_lock(path, place, error) from error
        try:
            _take(file)
            if os.path.exists(place) and os.path.samestat(os.fstat(file.fileno()), place.stat()):
                file.truncate(0)
                file.write(json.dumps(_myself()).encode())
                file.flush()
                return file
        except FileNotFoundError:
            pass  # removed between two looks
        except OSError as error:
            holder = _holder(place)
            file.close()
            if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                raise _no_lock(path, place, error) from error
            raise StorageError(
                f"{path}: another study writes to this checkpoint ({holder}); wait until it has "
                "ended, or use another file"
            ) from None
        file.close()


def _no_lock(path: Path, place: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path}: its lock {place.name} cannot be taken ({error}); choose a folder that you may "
        "write to, on a disk of this machine"
    )


def _take(file: IO[bytes]) -> None:
    """Lock without waiting; OSError if somebody else has it."""
    if os.name == "nt":
        import msvcrt

        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        file.seek(0)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _myself() -> dict[str, Any]:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _holder(place: Path) -> str:
    """Who holds a lock, as far as the file says."""
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']}, since {found['since']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "it does not say who"


def _plain(name: str) -> str:
    """A name in a pattern, taken literally."""
    return "".join(f"[{letter}]" if letter in "[*?" else letter for letter in name)
