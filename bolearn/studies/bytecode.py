"""What a function's bytecode says: which globals it reads, and what it changes.

Taught in part_4/tutorial_03.
"""

import dis
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

# fmt: off
_CHANGING = (
    "append", "extend", "insert", "pop", "popitem", "remove", "clear", "add", "discard", "update",
    "setdefault", "appendleft", "popleft", "sort", "reverse", "fill_", "zero_", "copy_", "add_",
    "mul_", "sub_", "div_",
)
# fmt: on
_LOADED, _TAKEN = ("LOAD_GLOBAL", "LOAD_NAME"), ("LOAD_ATTR", "LOAD_METHOD")


def instructions(code: CodeType) -> Iterator[tuple[dis.Instruction | None, dis.Instruction]]:
    """Pairs of neighbours, in a function and the functions inside it."""
    before = None
    for step in dis.get_instructions(code):
        yield before, step
        before = step
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from instructions(constant)


def mentioned(code: CodeType) -> list[tuple[str, ...]]:
    """Names of globals that code reads, with the attributes that it takes of them."""
    chains: list[tuple[str, ...]] = []
    for before, step in instructions(code):
        if step.opname in _LOADED:
            chains.append((step.argval,))
        elif step.opname not in _TAKEN or before is None or not chains:
            continue
        elif before.opname in (*_LOADED, *_TAKEN) and before.argval == chains[-1][-1]:
            chains[-1] = (*chains[-1], step.argval)
    return chains


class Changes(NamedTuple):
    """What code rebinds, writes into, or calls a change on."""

    variables: frozenset[str]
    attributes: frozenset[str]
    writes: bool  # into something by an index


def changes(code: CodeType) -> Changes:
    """Names of variables and attributes; and whether it writes by an index into anything."""
    variables, attributes, writes = set(), set(), False
    for before, step in instructions(code):
        if step.opname in ("STORE_DEREF", "STORE_GLOBAL"):
            variables.add(step.argval)
        writes |= step.opname in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE")
        stored = step.opname in ("STORE_ATTR", "DELETE_ATTR")
        if stored:
            attributes.add(step.argval)
        called = step.opname in _TAKEN and step.argval in _CHANGING
        if before is not None and (stored or called):
            if before.opname in _TAKEN:
                attributes.add(before.argval)
            elif before.opname in (*_LOADED, "LOAD_DEREF"):
                variables.add(before.argval)
    return Changes(frozenset(variables), frozenset(attributes), writes)
