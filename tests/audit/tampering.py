"""Random changes of the log's database, as a superuser makes them, and where each is found."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from services.audit.keys import LogKeys
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import Frontier, extend, leaf_hash

FAR = 1_000_000
TABLES = ("entry", "node", "head", "checkpoint")
_COPIED = "body, producer, type, subject, division, actor, actor_role, time, mentions"


@dataclass(frozen=True)
class Change:
    """What is done, and where it must be found at the latest.

    statements   in one transaction, triggers off
    first        the first index that must be named; None: somewhere in the log
    refit        head and nodes are recomputed afterwards, as the service would have stored them
    resigned     and a checkpoint of that is signed with the log's own key
    """

    kind: str
    statements: tuple[str, ...]
    first: int | None
    refit: bool = False
    resigned: bool = False


@dataclass(frozen=True)
class Target:
    """The log that is changed. checkpoints: the sizes that stand in the database, ascending."""

    size: int
    bodies: tuple[bytes, ...]
    checkpoints: tuple[int, ...]


Make = Callable[[Random, Target], Change]


def a_change(chance: Random, target: Target) -> Change:
    return chance.choice(KINDS)(chance, target)


def _flip(chance: Random, target: Target) -> Change:
    index = chance.randrange(target.size)
    bit = chance.randrange(8 * len(target.bodies[index]))
    flip = f"set_byte(body, {bit // 8}, get_byte(body, {bit // 8}) # {1 << bit % 8})"
    statement = f"UPDATE entry SET body = {flip} WHERE index = {index}"
    return Change("a bit flipped", (statement,), index, refit=chance.random() < 0.5)


def _delete(chance: Random, target: Target) -> Change:
    first = chance.randrange(target.size)
    last = min(target.size - 1, first + chance.choice((0, 0, 1, 5, 300)))
    gone = f"DELETE FROM entry WHERE index BETWEEN {first} AND {last}"
    return Change("entries deleted", (gone,), first)


def _delete_and_close_up(chance: Random, target: Target) -> Change:
    index = chance.randrange(target.size - 1)
    gone = f"DELETE FROM entry WHERE index = {index}"
    statements = (gone, *_shifted(index + 1, -1))
    return Change("an entry dropped, the rest closed up", statements, index, refit=True)


def _insert(chance: Random, target: Target) -> Change:
    index = chance.randrange(1, target.size)
    new = (
        f"INSERT INTO entry (index, key, seq, {_COPIED}) SELECT {index}, gen_random_uuid(),"
        f" seq + {FAR}, {_COPIED} FROM entry WHERE index = {index - 1}"
    )
    statements = (*_shifted(index, 1), new)
    return Change("an entry added in between", statements, index, refit=chance.random() < 0.7)


def _swap(chance: Random, target: Target) -> Change:
    one, other = sorted(chance.sample(range(target.size), 2))
    statements = (
        f"UPDATE entry SET index = {FAR} WHERE index = {one}",
        f"UPDATE entry SET index = {one} WHERE index = {other}",
        f"UPDATE entry SET index = {other} WHERE index = {FAR}",
    )
    return Change("two entries swapped", statements, one, refit=chance.random() < 0.7)


def _cut_off(chance: Random, target: Target) -> Change:
    """To what was signed once: a restored backup looks like this, too."""
    sizes = [size for size in target.checkpoints if size < target.size]
    size = chance.choice(sizes)
    statements = (
        f"DELETE FROM entry WHERE index >= {size}",
        f"DELETE FROM checkpoint WHERE size > {size}",
    )
    return Change("an old backup restored", statements, size, refit=True)


def _empty(chance: Random, target: Target) -> Change:
    table = chance.choice(("entry", "node", "checkpoint"))
    # The service may publish its last checkpoint again: then those before it are missing.
    first = None if table == "checkpoint" else 0
    return Change(f"{table} emptied", (f"TRUNCATE {table}",), first)


COLUMNS = {
    "key": "gen_random_uuid()",
    "producer": "'matching'",
    "seq": f"seq + {FAR}",
    "type": "type || 'x'",
    "subject": "reverse(subject) || 'x'",
    "division": "CASE WHEN division IS NULL THEN '430000000000' END",
    "actor": "actor || '2'",
    "actor_role": "'supervisor'",
    "time": "time - interval '1 day'",  # the clock moved back
    "mentions": "mentions || gen_random_uuid()",
}


def _column(chance: Random, target: Target) -> Change:
    index = chance.randrange(target.size)
    name, value = chance.choice(sorted(COLUMNS.items()))
    statement = f"UPDATE entry SET {name} = {value} WHERE index = {index}"
    return Change(f"column {name} changed", (statement,), index)


def _node(chance: Random, target: Target) -> Change:
    how = chance.choice(("DELETE FROM node", f"UPDATE node SET hash = sha256('{chance.random()}')"))
    return Change("a node changed", (f"{how} WHERE level = 8 AND index = 0",), 0)


def _head(chance: Random, target: Target) -> Change:
    byte = chance.randrange(32)
    change = chance.choice(
        (
            "size = size - 1",
            "size = size + 1",
            f"frontier = set_byte(frontier, {byte}, 255 - get_byte(frontier, {byte}))",
            "size = 0, frontier = ''",
        )
    )
    return Change("the head changed", (f"UPDATE head SET {change}",), None)


def _checkpoint(chance: Random, target: Target) -> Change:
    size = target.checkpoints[-1]
    change = chance.choice(
        (
            f"UPDATE checkpoint SET note = replace(note, E'\\n{size}\\n', E'\\n{size - 1}\\n')",
            "UPDATE checkpoint SET note = overlay(note placing 'AAAA' from length(note) - 20)",
            "UPDATE checkpoint SET note = ''",
        )
    )
    return Change("the checkpoint changed", (f"{change} WHERE size = {size}",), None)


def _resign(chance: Random, target: Target) -> Change:
    """Another history, signed with the right key: only who kept a checkpoint can see it."""
    flipped = _flip(chance, target)
    return Change(
        "re-signed with the right key", flipped.statements, flipped.first, refit=True, resigned=True
    )


KINDS: tuple[Make, ...] = (
    _flip,
    _delete,
    _delete_and_close_up,
    _insert,
    _swap,
    _cut_off,
    _empty,
    _column,
    _node,
    _head,
    _checkpoint,
    _resign,
)


def _shifted(first: int, by: int) -> tuple[str, str]:
    """Move all entries from `first` on, by way of indexes that nobody has."""
    return (
        f"UPDATE entry SET index = index + {FAR} WHERE index >= {first}",
        f"UPDATE entry SET index = index - {FAR} + {by} WHERE index >= {FAR}",
    )


def refitting(bodies: list[bytes]) -> tuple[Frontier, tuple[str, ...]]:
    """The frontier over these entries, and statements that store it with its nodes."""
    frontier, nodes = extend(Frontier(), (leaf_hash(body) for body in bodies))
    inserts = [
        "INSERT INTO node (level, index, hash) VALUES"
        f" ({node.level}, {node.index}, '\\x{digest.hex()}')"
        for node, digest in nodes.items()
    ]
    head = f"UPDATE head SET size = {frontier.size}, frontier = '\\x{frontier.to_bytes().hex()}'"
    return frontier, ("DELETE FROM node", *inserts, head)


def resigning(keys: LogKeys, frontier: Frontier) -> tuple[str, ...]:
    text = str(Checkpoint(keys.name, frontier.size, frontier.root))
    note = keys.sign(text, int(time.time()))
    return (
        f"DELETE FROM checkpoint WHERE size = {frontier.size}",
        "INSERT INTO checkpoint (size, root, note, at) VALUES"
        f" ({frontier.size}, '\\x{frontier.root.hex()}', '{note}', now())",
    )
