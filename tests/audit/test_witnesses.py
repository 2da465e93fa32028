"""The log and its witnesses: what is cosigned and published, and who may stop what."""

import asyncio
import contextlib
import shutil
from datetime import datetime

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from starlette.middleware.gzip import GZipMiddleware

from deploy.postgres import free_port
from services.audit import cosigning, publisher
from services.audit.contract import AlarmRaised, QuorumMet
from services.audit.domain import LogRefused
from services.audit.keys import KeyFiles
from services.audit.state import StateDirectory
from services.audit.witnesses import read_policy, witnesses_of
from shared.tlog.checkpoints import Checkpoint, Receipt
from shared.tlog.merkle import inclusion_ranges, leaf_hash, verify_inclusion
from shared.tlog.notes import Cosigner, Signer
from shared.tlog.policies import Policy
from tests.audit.conftest import events
from tests.audit.witnessing import FakeWitness, policy_of, served


@pytest.fixture
async def three():
    """Three witnesses that are asked over HTTP."""
    made = [FakeWitness(name) for name in ("north", "south", "west")]
    async with contextlib.AsyncExitStack() as stack:
        for each in made:
            await stack.enter_async_context(each.served())
        yield made


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A failed witness is asked again after a moment, and an absent process is missed soon."""
    monkeypatch.setattr(cosigning, "RETRY_S_MIN", 0.05)
    monkeypatch.setattr(cosigning, "RETRY_S_MAX", 0.1)
    monkeypatch.setattr(cosigning, "LEASE_S", 1.0)


@pytest.fixture
def policy(tmp_path, three):
    """Two of the three are enough."""
    return policy_of(tmp_path / "policy", three, 2)


async def rows(running, statement):
    async with running.app.state.reading_sessions() as session:
        return (await session.execute(text(statement))).all()


async def told(running, kind):
    found = await rows(running, f"SELECT data FROM event WHERE type = '{kind}' ORDER BY seq")
    return [row.data for row in found]


@contextlib.asynccontextmanager
async def superuser(running):
    connection = await asyncpg.connect(running.database_url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def waiting(running, count):
    """Whether so many wait for a lock that somebody else holds."""
    return await rows(
        running,
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        f" AND wait_event_type = 'Lock' HAVING count(*) = {count}",
    )


async def until(condition):
    for _ in range(1_000):
        if found := await condition():
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to pass")


def trusted(policy, running):
    """The policy as somebody outside has it, who trusts this log."""
    key = (running.state_dir / "log.vkey").read_text().split()[0]
    return Policy.parse(f"log {key}\n{policy.read_text()}")


def quorum_of(policy, running, note):
    """Size and time, when those the policy names have cosigned the note enough."""
    trust = trusted(policy, running)
    checkpoint, _, signatures = trust.open(note)
    assert trust.is_met(signature.key for signature in signatures)
    return checkpoint.size


# ---------------------------------------------------------------- published


async def test_what_is_published_has_a_quorum_and_receipts_lead_to_it(start, policy):
    async with start(witness_policy=policy) as running:
        await running.fill(30)
        note = await running.published(30)
        assert quorum_of(policy, running, note) == 30
        ((key, body),) = await rows(running, "SELECT key, body FROM entry WHERE index = 7")
        receipt = Receipt.parse((await running.client.get(f"/v1/receipts/{key}")).text)
        assert quorum_of(policy, running, receipt.checkpoint_note) == 30
        checkpoint, _, _ = trusted(policy, running).open(receipt.checkpoint_note)
        verify_inclusion(7, 30, leaf_hash(body), receipt.hashes, checkpoint.root)
        assert (await running.verify())[0] == 0


async def test_without_a_quorum_signing_goes_on_and_what_was_published_stays(start, policy, three):
    async with start(witness_policy=policy) as running:
        await running.fill(10)
        await running.published(10)
        for each in three:
            each.mood = "refusing"
        await running.take_in("matching", events("matching", 1, 5))
        await running.signed(15)
        note = (await running.client.get("/checkpoint")).text
        assert quorum_of(policy, running, note) == 10
        ((key,),) = await rows(running, "SELECT key FROM entry WHERE index = 12")
        ((old,),) = await rows(running, "SELECT key FROM entry WHERE index = 2")
        # The newest that covers the entry: signed alone until there is one with a quorum.
        receipt = Receipt.parse((await running.client.get(f"/v1/receipts/{key}")).text)
        assert receipt.checkpoint_note.split("\n")[1] == "15"
        receipt = Receipt.parse((await running.client.get(f"/v1/receipts/{old}")).text)
        assert receipt.checkpoint_note.split("\n")[1] == "10"
        for each in three:
            each.mood = "honest"
        await running.published(15)


async def test_a_policy_that_asks_for_no_quorum_publishes_what_is_signed(start, tmp_path, three):
    policy = policy_of(tmp_path / "none", three[:1], 0)
    async with start(witness_policy=policy) as running:
        await running.fill(10)
        assert (await running.published(10)).startswith("log.test\n10\n")

        async def cosigned():
            return three[0].cosigner.name in await running.published(10)

        await until(cosigned)


# ---------------------------------------------------------------- witnesses that fail


async def test_one_that_fails_or_lies_holds_up_nobody_and_is_not_believed(start, policy, three):
    name = three[0].cosigner.name
    async with start(witness_policy=policy) as running:
        await running.fill(10)
        moods = ["refusing", "forging", "beyond", "early", "absurd", "odd", "endless"]
        for seq, mood in enumerate(moods, start=1):
            three[0].mood, three[0].asked = mood, 0
            await running.take_in("matching", events("matching", seq, 1))
            note = await running.published(10 + seq)
            assert quorum_of(policy, running, note) == 10 + seq, mood

            async def was_asked():
                return three[0].asked

            await until(was_asked)
            believed = f"SELECT 1 FROM cosignature WHERE name = '{name}' AND size > 10"
            assert await rows(running, believed) == [], mood
        assert not [each for each in (await running.ready())["reasons"] if "log" in each]
        three[0].mood = "honest"
        await until(lambda: rows(running, believed))


async def test_one_behind_a_proxy_that_compresses_is_understood(start, tmp_path):
    witness = FakeWitness("zipped")
    app = witness.app()
    app.add_middleware(GZipMiddleware, minimum_size=1)
    policy = policy_of(tmp_path / "policy", [witness], 1)
    async with served(app, witness.port), start(witness_policy=policy) as running:
        await running.fill(10)
        assert quorum_of(policy, running, await running.published(10)) == 10


async def test_a_slow_one_is_asked_about_the_newest_when_it_has_answered(start, policy, three):
    three[0].mood = "slow"
    async with start(witness_policy=policy) as running:
        for seq in range(1, 6):
            await running.take_in("needs", events("needs", seq, 1))
            await running.published(seq)
        assert three[0].asked == 1
        three[0].mood = "honest"
        three[0].pause.set()
        await until(lambda: rows(running, "SELECT 1 FROM cosignature WHERE name = 'north.test'"))

        async def caught_up():
            return three[0].size == 5

        await until(caught_up)
        assert three[0].asked < 6  # and not about each of those between


async def test_a_slow_one_that_is_needed_is_waited_for_on_the_same_checkpoint(
    start, tmp_path, three
):
    """All cosign the same sizes, however fast the log signs: else they would never meet."""
    policy = policy_of(tmp_path / "all", three, 3)
    three[0].mood = "slow"
    async with start(witness_policy=policy) as running:
        for seq in range(1, 6):
            await running.take_in("needs", events("needs", seq, 1))
            await running.signed(seq)
        assert (await running.client.get("/checkpoint")).status_code == 404
        assert [each.asked for each in three] == [1, 1, 1]
        three[0].mood = "honest"
        three[0].pause.set()
        assert quorum_of(policy, running, await running.published(5)) == 5


async def test_a_cosignature_whose_answer_was_lost_is_learned_and_gone_on_from(
    start, policy, three
):
    """Failed, but done: the witness is further than we know."""
    three[0].mood = three[1].mood = "lost"
    async with start(witness_policy=policy) as running:
        await running.fill(10)

        async def done():
            return three[0].size == three[1].size == 10

        await until(done)
        assert (await running.client.get("/checkpoint")).status_code == 404
        three[0].mood = three[1].mood = "honest"
        assert quorum_of(policy, running, await running.published(10)) == 10


async def test_a_witness_that_is_not_there_holds_up_nobody(start, tmp_path, three):
    gone = FakeWitness("gone")
    policy = policy_of(tmp_path / "policy2", [gone, *three], 3)
    async with start(witness_policy=policy) as running:
        await running.fill(10)
        await running.published(10)
        said = (await running.client.get("/v1/witnesses")).json()
        assert (said["size_signed"], said["size_published"]) == (10, 10)
        assert [each["size"] for each in said["data"] if each["name"] == "gone"] == [None]
        async with gone.served():
            await running.take_in("matching", events("matching", 1, 1))

            async def caught_up():
                return gone.size == 11

            await until(caught_up)


# ---------------------------------------------------------------- what is counted


async def test_what_is_cosigned_while_the_database_counts_is_counted(
    start, tmp_path, three, monkeypatch
):
    """A count sees what there was when it began."""
    monkeypatch.setattr(
        cosigning,
        "_COUNTED",
        text(
            "SELECT name, key_id, at, held FROM cosignature,"
            " (SELECT pg_advisory_xact_lock_shared(4711)) AS held WHERE size = :size"
        ),
    )
    policy = policy_of(tmp_path / "both", three[:2], 2)
    three[1].mood = "slow"
    async with start(witness_policy=policy) as running, superuser(running) as connection:
        await connection.execute("SELECT pg_advisory_lock(4711)")
        await running.take_in("needs", events("needs", 1, 3))
        await until(lambda: waiting(running, 1))
        three[1].mood = "honest"
        three[1].pause.set()
        await until(lambda: rows(running, "SELECT 1 FROM cosignature HAVING count(*) = 2"))
        await connection.execute("SELECT pg_advisory_unlock(4711)")
        assert quorum_of(policy, running, await running.published(3)) == 3


async def test_what_was_counted_is_counted_again_when_the_commit_fails(start, tmp_path, three):
    policy = policy_of(tmp_path / "one", three[:1], 1)
    async with start(witness_policy=policy) as running:
        await running.tamper(
            "CREATE SEQUENCE tries",
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM nextval('tries'); RAISE EXCEPTION 'no commit'; END $$",
            "CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON quorum"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()",
            "GRANT ALL ON SEQUENCE tries TO PUBLIC",
        )
        await running.take_in("needs", events("needs", 1, 3))
        await until(lambda: rows(running, "SELECT 1 FROM tries WHERE is_called"))
        await running.tamper("DROP TRIGGER fails ON quorum")
        assert quorum_of(policy, running, await running.published(3)) == 3


# ---------------------------------------------------------------- a restored backup


@pytest.fixture
async def backup(start, policy, three):
    """Ten entries, restored with their state directory; the witnesses have cosigned fifteen."""
    async with start(witness_policy=policy) as running:
        await running.fill(10)
        await running.published(10)
        ((frontier,),) = await rows(running, "SELECT encode(frontier, 'hex') FROM head")
        kept = running.state_dir.with_name("kept")
        shutil.copytree(running.state_dir, kept)
        await running.take_in("matching", events("matching", 1, 5))
        await running.published(15)

        async def all_cosigned():
            return all(each.size == 15 for each in three)

        await until(all_cosigned)
    shutil.rmtree(running.state_dir)
    kept.rename(running.state_dir)
    await running.tamper(
        "DELETE FROM entry WHERE index >= 10",
        *(
            f"DELETE FROM {each} WHERE size > 10"
            for each in ("checkpoint", "cosignature", "quorum")
        ),
        f"UPDATE head SET size = 10, frontier = '\\x{frontier}'",
    )
    return running.state_dir


async def test_a_backup_of_database_and_state_directory_is_not_written_on(start, policy, backup):
    """Everything here is of one mind and signed; only the witnesses remember what is missing."""
    async with start(witness_policy=policy) as restored:
        assert "has cosigned 15 entries of this log, which ends at 10" in await restored.refused()
        with pytest.raises(LogRefused):
            await restored.take_in("matching", events("matching", 1, 1))
        assert (await restored.client.get("/checkpoint")).status_code == 200
    # Without witnesses, and what they showed, nothing is found, and the log grows another
    # history, as long as the first.
    (backup / "refuted").unlink()
    async with start() as forked:
        await forked.take_in("donors", events("donors", 11, 7))
        await forked.signed(17)
    async with start(witness_policy=policy) as forked:
        assert "another history" in await forked.refused()


async def test_what_a_witness_showed_is_not_forgotten_when_it_is_away(
    start, policy, three, backup, monkeypatch
):
    monkeypatch.setattr(publisher, "REFUSED_RETRY_S", 0.05)
    async with start(witness_policy=policy) as restored:
        assert "has cosigned 15 entries" in await restored.refused()
        for each in three:
            each.mood, each.shown = "away", 0

        async def asked_in_vain():
            return three[0].shown > 2

        await until(asked_in_vain)
        with pytest.raises(LogRefused, match="has cosigned 15 entries"):
            await restored.take_in("donors", events("donors", 11, 5))
    # Nor by a restart, or by another process with the same directory that asks nobody.
    for settings in ({"witness_policy": policy}, {}):
        async with start(**settings) as restored:
            with pytest.raises(LogRefused, match="has cosigned 15 entries"):
                await restored.take_in("donors", events("donors", 11, 5))


async def test_what_a_witness_showed_that_cannot_be_read_any_more_is_refused(start):
    async with start() as running:
        await running.fill(10)
    (running.state_dir / "refuted").write_text("north\nnot a note\n")
    async with start() as running:
        with pytest.raises(LogRefused, match="refuted"):
            await running.take_in("matching", events("matching", 1, 1))


async def test_while_the_database_is_away_one_word_of_each_witness_is_kept(tmp_path, three):
    policy = policy_of(tmp_path / "policy", three, 2)
    for each in three:
        each.note = f"log.test\n1\n{'A' * 43}=\n\n— log.test {'A' * 96}\n"
    nowhere = create_async_engine(f"postgresql+asyncpg://127.0.0.1:{free_port()}/none")
    async with httpx.AsyncClient() as http:
        log = publisher.Publisher(
            StateDirectory(tmp_path),
            KeyFiles(tmp_path, "log.test"),
            0.02,
            witnesses_of(read_policy(policy), http),
        )
        for _ in range(5):
            with pytest.raises(OSError):
                await log._tick(async_sessionmaker(nowhere))
    assert three[0].shown == 5
    assert len(log._seen) == 3


async def test_a_witness_that_comes_back_and_knows_more_stops_the_log(start, policy, three):
    """It was away at the start, so its word comes later: as good as then."""
    async with start("one") as one:
        await one.fill(10)
    # The same key, another database and state directory: two histories of one log.
    (two := one.state_dir.with_name("two")).mkdir()
    shutil.copy(one.state_dir / "log.key", two / "log.key")
    async with start("two", witness_policy=policy) as longer:
        await longer.fill(12)
        await longer.published(12)
    for each in three:
        each.mood = "away"
    async with start("one", witness_policy=policy) as one:
        assert await one.take_in("needs", events("needs", 101, 1)) == 1
        await one.signed(11)
        for each in three:
            each.mood = "honest"
        assert "has cosigned 12 entries" in await one.refused()


async def test_a_witness_s_word_alone_stops_nobody(start, policy, three):
    three[0].note = f"log.test\n99\n{'A' * 43}=\n\n— log.test {'A' * 96}\n"
    async with start(witness_policy=policy) as running:
        await running.fill(10)
        await running.published(10)


# ---------------------------------------------------------------- the alarm


async def test_a_missing_quorum_is_an_alarm_told_once_and_its_end_too(start, policy, three):
    three[0].mood = three[1].mood = "refusing"
    async with start(witness_policy=policy, own_feed=True, quorum_alarm_s=0.3) as running:
        await running.take_in("needs", events("needs", 1, 5))
        (alarm,) = await until(lambda: told(running, AlarmRaised.type))
        assert (alarm["alarm"], alarm["witnesses"]) == ("quorum_missing", ["north", "south"])
        assert (await running.client.get("/v1/witnesses")).json()["quorum_missing_since"]
        await running.take_in("needs", events("needs", 6, 5))
        await running.signed(12)
    # A restart neither ends the alarm nor tells it again.
    async with start(witness_policy=policy, own_feed=True, quorum_alarm_s=0.3) as running:
        await running.take_in("needs", events("needs", 11, 1))
        await asyncio.sleep(0.6)
        assert len(await told(running, AlarmRaised.type)) == 1
        assert await told(running, QuorumMet.type) == []
        three[0].mood = "honest"
        (met,) = await until(lambda: told(running, QuorumMet.type))
        assert met["witnesses"] == ["north", "west"]
        # Both are entries like any other.
        kinds = "SELECT 1 FROM entry WHERE type IN ('audit.alarm_raised', 'audit.quorum_met')"

        async def logged():
            return len(await rows(running, kinds)) == 2

        await until(logged)
        assert (await running.client.get("/v1/witnesses")).json()["quorum_missing_since"] is None
        assert len(await told(running, QuorumMet.type)) == 1


async def test_a_log_that_could_not_ask_raises_no_alarm_before_it_has_asked(start, policy, three):
    async with start(witness_policy=policy, quorum_alarm_s=2.0) as running:
        await running.fill(10)

        async def all_three():
            return all(each.size == 10 for each in three)

        await until(all_three)
        asked = [each.asked for each in three]
        await running.tamper("ALTER TABLE witnessing RENAME TO away")
        await running.take_in("matching", events("matching", 1, 5))
        await running.signed(15)
        await asyncio.sleep(3)
        assert [each.asked for each in three] == asked
        await running.tamper("ALTER TABLE away RENAME TO witnessing")
        await running.published(15)
        assert await told(running, AlarmRaised.type) == []


async def test_two_that_both_believe_they_lead_tell_an_alarm_once(
    start, policy, three, monkeypatch
):
    """As when a lease is taken from one that is still at work."""
    monkeypatch.setattr(cosigning, "LEASE_S", 1_000.0)
    for each in three:
        each.mood = "refusing"
    leads = "SELECT 1 FROM witnessing WHERE holder IS NOT NULL"
    alarms = (
        "SELECT 1 FROM (SELECT type FROM outbox UNION ALL SELECT type FROM event) AS each"
        f" WHERE type = '{AlarmRaised.type}'"
    )
    settings = {"witness_policy": policy, "quorum_alarm_s": 0.3}
    async with start(**settings) as one:
        await until(lambda: rows(one, leads))
        await one.tamper("UPDATE witnessing SET holder = NULL, until = NULL")
        async with start(**settings) as other, superuser(one) as connection:
            await until(lambda: rows(other, leads))
            async with connection.transaction():
                await connection.execute("SELECT FROM witnessing FOR UPDATE")
                await one.take_in("needs", events("needs", 1, 5))
                await until(lambda: waiting(one, 2))
            async with connection.transaction():
                await connection.execute("LOCK TABLE witnessing")  # when both have ended
            assert len(await rows(one, alarms)) == 1


# ---------------------------------------------------------------- replicas, policies, times


async def test_of_two_replicas_one_asks_and_another_takes_over(start, policy, three):
    async with start(witness_policy=policy) as one:
        async with start(witness_policy=policy) as other:
            await one.take_in("needs", events("needs", 1, 10))
            await other.take_in("donors", events("donors", 1, 10))
            await one.published(20)
            (holder,) = await rows(one, "SELECT holder FROM witnessing")
            assert holder[0] is not None
        await one.take_in("needs", events("needs", 11, 10))
        assert quorum_of(policy, one, await one.published(30)) == 30


async def test_a_changed_policy_counts_what_was_cosigned_before_it(start, policy, three):
    async with start(witness_policy=policy) as running:
        await running.fill(10)
        await running.published(10)

        async def all_three():
            return len(await rows(running, "SELECT 1 FROM cosignature WHERE size = 10")) == 3

        await until(all_three)
    for each in three:
        each.mood = "refusing"
    async with start(witness_policy=policy_of(policy, three, 3)) as running:
        assert quorum_of(policy, running, await running.published(10)) == 10


async def test_the_trail_says_by_when_a_quorum_had_seen_each_entry(start, policy, token):
    async with start(witness_policy=policy) as running:
        await running.fill(10)
        await running.published(10)
        answer = await running.client.get("/v1/entries", headers=token("supervisor"))
        ((at,),) = await rows(running, "SELECT max(at) FROM quorum")
        seen = [each["cosigned_at"] for each in answer.json()["data"]]
        assert all(seen)
        assert datetime.fromisoformat(seen[-1]) <= at


def test_the_time_of_a_quorum_is_that_of_its_last_member():
    keys = [FakeWitness(name).cosigner.key for name in "abc"]
    policy = Policy.parse(
        "\n".join(
            [*(f"witness {k.name} {k}" for k in keys), "group g 2 a.test b.test c.test", "quorum g"]
        )
    )
    assert policy.met_at({keys[0]: 7}) is None
    assert policy.met_at(dict(zip(keys, (9, 5, 7), strict=True))) == 7


def test_a_receipt_with_three_cosignatures_at_ten_million_entries_has_at_most_2_kb():
    size = 10_000_000
    log = Signer("duijie.example/log", Ed25519PrivateKey.generate())
    checkpoint = str(Checkpoint(log.name, size, b"\x01" * 32))
    lines = [
        Cosigner(f"witness-{n}.example/duijie", Ed25519PrivateKey.generate()).cosign(
            checkpoint, 2_000_000_000
        )
        for n in range(3)
    ]
    longest = max((0, size // 2, size - 1), key=lambda index: len(inclusion_ranges(index, size)))
    hashes = [b"\x02" * 32] * len(inclusion_ranges(longest, size))
    receipt = Receipt(size - 1, hashes, log.sign(checkpoint) + "".join(lines))
    assert len(hashes) == 24
    assert len(str(receipt).encode()) <= 2_048
