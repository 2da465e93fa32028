"""Whatever a superuser does to the log's database is found, and found where it was done.

TAMPER_COUNT=10000 makes so many changes (`make ordeal`), TAMPER_SEED another row of them.
"""

import asyncio
import os
import shutil
from collections import Counter
from random import Random

import asyncpg

from services.audit.keys import KeyFiles
from tests.audit.conftest import ORIGIN, SIZE
from tests.audit.tampering import TABLES, Change, Target, a_change, refitting, resigning

COUNT = int(os.environ.get("TAMPER_COUNT", "60"))
SEED = int(os.environ.get("TAMPER_SEED", "20261128"))


class Tampered:
    """A log whose tables are kept aside, changed, verified and put back."""

    def __init__(self, running, connection):
        self.running, self.connection = running, connection

    async def begin(self):
        await self.connection.execute("SET session_replication_role = replica")
        self.columns = {}
        for table in TABLES:
            await self.connection.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
            self.columns[table] = await self.connection.fetchval(
                "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute WHERE attrelid ="
                " $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''",
                table,
            )

    async def target(self) -> Target:
        bodies = await self._bodies()
        sizes = await self.connection.fetch("SELECT size FROM checkpoint ORDER BY size")
        return Target(len(bodies), tuple(bodies), tuple(row["size"] for row in sizes))

    async def _bodies(self) -> list[bytes]:
        rows = await self.connection.fetch("SELECT body FROM entry ORDER BY index")
        return [row["body"] for row in rows]

    async def make(self, change: Change) -> None:
        async with self.connection.transaction():
            for statement in change.statements:
                await self.connection.execute(statement)
            if change.refit:
                frontier, statements = refitting(await self._bodies())
                if change.resigned:
                    keys = KeyFiles(self.running.state_dir, ORIGIN).load(may_create=False)
                    statements = (*statements, *resigning(keys, frontier))
                for statement in statements:
                    await self.connection.execute(statement)

    async def put_back(self) -> None:
        async with self.connection.transaction():
            # The service is alive, and signs again what lost its checkpoint.
            await self.connection.execute(f"LOCK TABLE {', '.join(TABLES)} IN EXCLUSIVE MODE")
            for table, columns in self.columns.items():
                await self.connection.execute(f"DELETE FROM {table}")
                await self.connection.execute(
                    f"INSERT INTO {table} ({columns}) SELECT {columns} FROM kept_{table}"
                )


async def test_random_changes_behind_the_services_back_are_found_where_they_were_made(filled):
    chance = Random(SEED)
    # Somebody else's copy: what lies in the state directory is the signer's, and would follow it.
    copy = filled.state_dir.parent / "kept-by-an-auditor"
    shutil.copytree(filled.state_dir, copy)
    asked = ["--checkpoint-copy", str(copy / "checkpoint"), "--catch-up-s", "0.05"]
    connection = await asyncpg.connect(filled.database_url.replace("+asyncpg", ""))
    made: Counter[str] = Counter()
    wrong = []
    try:
        log = Tampered(filled, connection)
        await log.begin()
        target = await log.target()
        assert target.size == SIZE
        for turn in range(COUNT):
            change = a_change(chance, target)
            await log.make(change)
            status, said = await filled.verify(*asked, copy=False)
            found = said["first_bad_index"]
            if status != 1 or (change.first is not None and found != change.first):
                wrong.append((turn, change, said))
            await log.put_back()
            made[change.kind] += 1
        assert wrong == []
        assert (await filled.verify(*asked, copy=False))[0] == 0
    finally:
        await connection.close()
    print(f"{made.total()} changes found: {dict(made.most_common())}")
    await asyncio.sleep(0)
