"""The table of mutations fits the code; whether the tests notice them says `make mutations`."""

from __future__ import annotations

from collections import Counter

import mutate


def test_every_mutation_can_be_made() -> None:
    assert [fault for m in mutate.table() if (fault := m.fault(mutate.ROOT))] == []


def test_the_table_covers_every_room() -> None:
    mutations = mutate.table()
    assert len(mutations) >= 60
    changes = Counter((m.file, m.text, m.replacement) for m in mutations)
    assert max(changes.values()) == 1
    rooms = {m.file.removeprefix("bolearn/").split("/")[0].removesuffix(".py") for m in mutations}
    assert rooms >= {
        "acquisition", "diagnostics", "dynamics", "linalg", "mcmc", "models", "numerics", "optim",
        "paths", "posteriors", "problems", "sampling", "search", "seeds", "shapes", "stats",
        "strategies", "studies", "teach", "transforms",
    }  # fmt: skip
