"""What proves approvals is proved before it is kept, and who never gets it holds up nobody."""

import json
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from services.audit.contract import ReceiptRead, ReceiptsRead
from services.matching import receipts
from shared.client import Client
from shared.tlog.checkpoints import Checkpoint, Receipt
from shared.tlog.merkle import leaf_hash
from tests.matching.frozen import sessions_of


@pytest.fixture
async def sessions(database):
    async with sessions_of(database("matching")) as made:
        yield made


def proved(event_id, *, says=None, leaf=None):
    """As the log answers it, of a log with one entry; `leaf` is of another body."""
    event = {"id": str(says or event_id), "type": "matching.allocation_approved"}
    entry = f"matching {1:020d}\n{json.dumps(event)}"
    root = leaf_hash((leaf or entry).encode())
    receipt = Receipt(0, [], f"{Checkpoint('log.example', 1, root)}\n— log.example AAAA\n")
    return ReceiptRead(event_id=event_id, index=0, entry=entry, receipt=str(receipt))


def a_log(answers):
    """A client of one that answers this for each event, and of others nothing."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = map(UUID, request.url.params.get_list("event_id"))
        found = ReceiptsRead(data=[answers[each] for each in asked if each in answers])
        return httpx.Response(200, content=found.model_dump_json())

    return Client("http://log.example", transport=httpx.MockTransport(answer))


async def waiting(sessions, number):
    """The events of so many approvals that stand in the log, the oldest first."""
    event_ids = [uuid4() for _ in range(number)]
    async with sessions.begin() as session:
        # Their allocations are not needed.
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        await session.execute(
            text("INSERT INTO allocation_receipt (allocation_id, event_id) VALUES (:a, :e)"),
            [{"a": UUID(int=n), "e": each} for n, each in enumerate(event_ids)],
        )
    return event_ids


async def kept(sessions):
    async with sessions() as session:
        rows = await session.scalars(
            text("SELECT event_id FROM allocation_receipt WHERE receipt IS NOT NULL")
        )
        return set(rows)


async def test_only_what_proves_the_approval_is_kept(sessions):
    good, unproved, other, broken, _ = await waiting(sessions, 5)
    no_proof = proved(broken).model_copy(update={"receipt": "x"})
    stranger = uuid4()
    log = a_log(
        {
            good: proved(good),
            unproved: proved(unproved, leaf="another body"),
            other: proved(other, says=good),
            broken: no_proof,
            stranger: proved(stranger),
        }
    )
    fetch = receipts.Fetch(log)
    assert await fetch.some(sessions) == 1
    assert await kept(sessions) == {good}
    # Asked again, the log may have mended it.
    mended = receipts.Fetch(a_log({unproved: proved(unproved)}))
    assert await mended.some(sessions) == 1
    assert await kept(sessions) == {good, unproved}


async def test_those_that_never_get_one_hold_up_nobody(sessions):
    events = await waiting(sessions, receipts.BATCH_SIZE + 3)
    late = events[-2]
    fetch = receipts.Fetch(a_log({late: proved(late)}))
    assert [await fetch.some(sessions) for _ in range(2)] == [0, 1]
    # Then from the beginning again.
    fetch = receipts.Fetch(a_log({events[0]: proved(events[0])}))
    assert [await fetch.some(sessions) for _ in range(3)] == [1, 0, 0]
    assert await kept(sessions) == {late, events[0]}


async def test_nothing_is_asked_while_nothing_waits(sessions):
    assert await receipts.Fetch(a_log({})).some(sessions) == 0
