"""The browser that the tests of the figures to play with share."""

from __future__ import annotations

from collections.abc import Iterator

import chromium
import pytest


@pytest.fixture(scope="session")
def program() -> Iterator[chromium.Chromium]:
    """One Chromium for the whole run; started when the first test asks for it."""
    if chromium.PROGRAM is None:
        pytest.skip("Chromium is not installed")
    program = chromium.Chromium()
    yield program
    program.close()


@pytest.fixture
def browser(program: chromium.Chromium) -> Iterator[chromium.Chromium]:
    """The browser; afterwards nothing may stand on the console, and nothing may have been sent."""
    program.forget()
    yield program
    assert program.errors == [], "the page complained"
    assert program.requests == [], "the page asked the network"
