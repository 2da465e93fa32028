"""The migrated database is the one the tables describe."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from services.audit.domain import Entry
from services.audit.tables import metadata

_ATTRIBUTES = text(
    "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
    " WHERE attrelid = CAST(:of AS regclass) AND attnum > 0 AND NOT attisdropped"
    " AND attgenerated = '' ORDER BY attnum"
)


async def test_models_and_migrations_agree(database):
    engine = create_async_engine(database("audit"))
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), metadata)
        )
    await engine.dispose()
    assert differences == []


async def test_an_entry_is_handed_over_as_the_columns_it_is_kept_in(database):
    engine = create_async_engine(database("audit"))
    async with engine.connect() as connection:
        given = (await connection.execute(_ATTRIBUTES, {"of": "new_entry"})).all()
        kept = (await connection.execute(_ATTRIBUTES, {"of": "entry"})).all()
    await engine.dispose()
    assert given == kept
    assert [name for name, _ in given] == ["index", *Entry._fields]
