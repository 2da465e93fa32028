"""`make verify` names the place of whatever was done to the log's database behind its back."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.tlog.merkle import Frontier, extend, leaf_hash
from tests.system import ledger
from tests.system.harness import System

TABLES = ("entry", "node", "head", "checkpoint")
FAR = 1_000_000


@pytest.fixture(scope="module", autouse=True)
async def put_back_in_the_end(system) -> AsyncIterator[None]:
    """Guards the others: what they leave behind is the log they found."""
    yield
    assert (await found(system))["ok"]


@pytest.fixture
async def size(system, lived) -> AsyncIterator[int]:
    """The size of a log that real events made; what a test does to it is undone afterwards."""
    await ledger.settled(system)
    for table in TABLES:
        await system.execute("audit", f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
    yield await system.fetchval("audit", "SELECT size FROM head")
    for table in TABLES:
        columns = ", ".join(
            row["attname"]
            for row in await system.fetch(
                "audit",
                "SELECT quote_ident(attname) AS attname FROM pg_attribute WHERE attrelid ="
                " $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
                table,
            )
        )
        await tamper(
            system,
            f"DELETE FROM {table}",
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM kept_{table}",
            f"DROP TABLE kept_{table}",
        )


async def found(system: System) -> dict[str, Any]:
    """The last line of the shipped command."""
    done = await system.verified()
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (0 if said["ok"] else 1), done.stdout + done.stderr
    return said


async def tamper(system: System, *statements: str) -> None:
    """What triggers and grants forbid the log's own role is nothing to a superuser."""
    await system.execute("audit", "SET LOCAL session_replication_role = replica", *statements)


def at(said: dict[str, Any]) -> tuple[int, int]:
    return said["first_bad_index"], said["last_possible_index"]


async def test_an_untouched_log_is_good(system, size):
    said = await found(system)
    assert said == {**said, "ok": True, "size": size, "first_bad_index": None}
    assert size > 300  # more than one tile


@pytest.mark.parametrize("share", [0.0, 0.3, 0.62, 1.0])
async def test_one_flipped_bit_of_an_entry_is_found_at_its_index(system, size, share):
    index = round((size - 1) * share)
    position = 40 + round(share * 60)
    await tamper(
        system,
        f"UPDATE entry SET body = set_byte(body, {position}, get_byte(body, {position}) # 1)"
        f" WHERE index = {index}",
    )
    assert at(await found(system)) == (index, index)


async def test_a_changed_query_column_is_found_at_its_index(system, size):
    index = size // 3
    await tamper(system, f"UPDATE entry SET actor = 'somebody-else' WHERE index = {index}")
    assert at(await found(system)) == (index, index)


async def test_a_removed_entry_is_found_at_its_index(system, size):
    index = size // 2
    await tamper(system, f"DELETE FROM entry WHERE index = {index}")
    assert at(await found(system)) == (index, index)


async def test_a_removed_entry_is_found_when_the_others_move_up_and_the_head_is_recomputed(
    system, size
):
    index = size // 2
    await tamper(
        system,
        f"DELETE FROM entry WHERE index = {index}",
        *_shifted(index + 1, -1),
    )
    await _recompute(system)
    assert at(await found(system)) == (index, index)


async def test_a_tail_cut_off_with_its_checkpoints_and_head_is_found_at_its_first_index(
    system, size
):
    # A remaining checkpoint still holds for what is left of the log.
    first = await system.fetchval(
        "audit", "SELECT max(size) FROM checkpoint WHERE size < $1", size - 5
    )
    await tamper(
        system,
        f"DELETE FROM entry WHERE index >= {first}",
        f"DELETE FROM checkpoint WHERE size > {first}",
    )
    await _recompute(system)
    assert at(await found(system)) == (first, size - 1)


async def test_an_entry_added_in_the_middle_is_found_at_its_index(system, size):
    index = size // 4
    await tamper(
        system,
        *_shifted(index, 1),
        _copy_of(index - 1, index),
    )
    await _recompute(system)
    assert at(await found(system)) == (index, index)


async def test_an_entry_added_at_the_end_is_found_at_its_index(system, size):
    await tamper(system, _copy_of(size - 1, size))
    assert at(await found(system)) == (size, size)


async def test_two_swapped_entries_are_found_at_the_first_of_them(system, size):
    one, other = size // 5, size // 5 + 40
    await tamper(
        system,
        f"UPDATE entry SET index = {FAR} WHERE index = {one}",
        f"UPDATE entry SET index = {one} WHERE index = {other}",
        f"UPDATE entry SET index = {other} WHERE index = {FAR}",
    )
    await _recompute(system)
    assert at(await found(system)) == (one, one)


def _shifted(first: int, by: int) -> tuple[str, str]:
    """Move all entries from `first` on, by way of indexes that nobody has."""
    return (
        f"UPDATE entry SET index = index + {FAR} WHERE index >= {first}",
        f"UPDATE entry SET index = index - {FAR} + {by} WHERE index >= {FAR}",
    )


def _copy_of(index: int, to: int) -> str:
    """An entry like another, under an id and a number of its own."""
    columns = "body, producer, type, subject, division, actor, actor_role, time, mentions"
    return (
        f"INSERT INTO entry (index, key, seq, {columns}) SELECT {to}, gen_random_uuid(),"
        f" seq + 1000000, {columns} FROM entry WHERE index = {index}"
    )


async def _recompute(system: System) -> None:
    """Head and nodes as the service itself would store them for these entries."""
    rows = await system.fetch("audit", "SELECT body FROM entry ORDER BY index")
    frontier, nodes = extend(Frontier(), (leaf_hash(row["body"]) for row in rows))
    inserts = [
        f"INSERT INTO node (level, index, hash) VALUES"
        f" ({node.level}, {node.index}, '\\x{digest.hex()}')"
        for node, digest in nodes.items()
    ]
    await tamper(
        system,
        "DELETE FROM node",
        *inserts,
        f"UPDATE head SET size = {frontier.size}, frontier = '\\x{frontier.to_bytes().hex()}'",
    )
