"""What the service's own database role may and may not do."""

from uuid import uuid4

import asyncpg
import pytest

from services.audit import grants


@pytest.fixture
async def as_service(database):
    """Run a statement as the service's role; undone afterwards."""
    admin = await asyncpg.connect(database("audit").replace("+asyncpg", ""))
    role = f"service_{uuid4().hex[:8]}"
    await admin.execute(f"CREATE ROLE {role}")
    for statement in [*grants.statements(role), *grants.statements(role)]:
        await admin.execute(statement)

    async def run(statement):
        transaction = admin.transaction()
        await transaction.start()
        try:
            await admin.execute(f"SET LOCAL ROLE {role}")
            return await admin.execute(statement)
        finally:
            await transaction.rollback()

    yield run
    await admin.execute(f"DROP OWNED BY {role}")
    await admin.execute(f"DROP ROLE {role}")
    await admin.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET actor = actor",
        "DELETE FROM entry",
        "TRUNCATE entry",
        "UPDATE node SET hash = hash",
        "DELETE FROM node",
        "UPDATE checkpoint SET note = note",
        "DELETE FROM checkpoint",
        "UPDATE cosignature SET line = line",
        "DELETE FROM cosignature",
        "UPDATE quorum SET at = at",
        "DELETE FROM quorum",
        "DELETE FROM witnessing",
        "DELETE FROM head",
        "INSERT INTO head (one, size) VALUES (false, 1)",
        "UPDATE event SET actor = actor",
        "DELETE FROM event",
        "ALTER TABLE entry DISABLE TRIGGER ALL",
        "DROP TABLE entry",
        "CREATE TABLE mine (n int)",
    ],
)
async def test_the_service_cannot_rewrite_the_log(as_service, statement):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_service(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO node (level, index, hash) VALUES (8, 0, sha256('x'))",
        "UPDATE head SET size = size",
        "UPDATE witnessing SET holder = NULL",
        "INSERT INTO feed_cursor (source, seq) VALUES ('needs', 1)"
        " ON CONFLICT (source) DO UPDATE SET seq = excluded.seq",
        "DELETE FROM outbox",
        "UPDATE feed_head SET seq = seq",
        "SELECT * FROM entry",
        "DELETE FROM idempotency",
        "SELECT tidy_mentions()",
        "SELECT unnest('{}'::new_entry[])",
    ],
)
async def test_the_service_can_do_its_work(as_service, statement):
    await as_service(statement)
