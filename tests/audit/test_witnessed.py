"""The log with the real witness: what it publishes is cosigned, and no backup is gone on from."""

import shutil
from urllib.parse import urlsplit

import asyncpg
import pytest

from deploy.postgres import free_port
from services.audit.domain import LogRefused
from services.audit.keys import KeyFiles
from services.witness.app import Settings, create_app
from services.witness.state import StateDirectory
from shared.tlog.policies import Policy
from tests.audit.conftest import ORIGIN, events
from tests.audit.witnessing import served


@pytest.fixture
async def policy(database, tmp_path):
    """A quorum of one: the witness of services/witness, which knows this log's key."""
    log = KeyFiles(tmp_path / "audit", ORIGIN).load(may_create=True)
    (tmp_path / "logs").write_text(f"{log.current}\n")
    (tmp_path / "witness").mkdir()
    witness = StateDirectory(tmp_path / "witness", "witness.test", post_quantum=False)
    key = witness.cosigners(may_create=True)[0].key
    app = create_app(
        Settings(
            database_url=database("witness"),
            state_dir=tmp_path / "witness",
            name="witness.test",
            logs=tmp_path / "logs",
            log_level="ERROR",
        )
    )
    port = free_port()
    async with served(app, port):
        lines = [f"log {log.current}", f"witness real {key} http://127.0.0.1:{port}"]
        (tmp_path / "policy").write_text("\n".join([*lines, "quorum real", ""]))
        yield tmp_path / "policy"


async def test_database_and_state_directory_of_an_old_backup_are_found_out(
    start, policy, pg_admin_url
):
    async with start(witness_policy=policy) as running:
        await running.fill(10)
        note = await running.published(10)
        trust = Policy.parse(policy.read_text())
        assert trust.is_met(signature.key for signature in trust.open(note)[2])
    live = urlsplit(running.database_url).path[1:]
    kept = running.state_dir.with_name("kept")
    shutil.copytree(running.state_dir, kept)
    admin = await asyncpg.connect(pg_admin_url)
    await admin.execute(f'CREATE DATABASE "{live}_kept" TEMPLATE "{live}"')
    async with start(witness_policy=policy) as running:
        await running.take_in("matching", events("matching", 1, 5))
        await running.published(15)
    # Everything is restored from one backup, so all of it fits together.
    newest = running.state_dir.with_name("newest")
    shutil.copytree(running.state_dir, newest)
    await admin.execute(f'ALTER DATABASE "{live}" RENAME TO "{live}_newest"')
    await admin.execute(f'ALTER DATABASE "{live}_kept" RENAME TO "{live}"')
    shutil.rmtree(running.state_dir)
    kept.rename(running.state_dir)
    async with start(witness_policy=policy) as restored:
        assert "The witness real has cosigned 15 entries" in await restored.refused()
        with pytest.raises(LogRefused):
            await restored.take_in("matching", events("matching", 1, 1))
        assert (await restored.client.get("/checkpoint")).text == note
    async with start() as restored:  # what the witness showed is kept
        assert "The witness real has cosigned 15 entries" in await restored.refused()
    # The newest is found after all.
    await admin.execute(f'DROP DATABASE "{live}" WITH (FORCE)')
    await admin.execute(f'ALTER DATABASE "{live}_newest" RENAME TO "{live}"')
    await admin.close()
    shutil.copytree(newest, running.state_dir, dirs_exist_ok=True)
    async with start(witness_policy=policy) as mended:
        assert await mended.take_in("matching", events("matching", 6, 1)) == 1
        await mended.published(16)
        assert not (mended.state_dir / "refuted").exists()
