"""The index file over restarts: whatever happens to it, results are those of a fresh build."""

import hashlib
import logging
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching import following, recall
from services.matching.index import stored
from services.matching.retrieval import Retrieval, line_doc
from shared.events import CloudEvent
from tests.matching.frozen import a_line_row
from tests.needs.builders import CITY


@pytest.fixture(scope="module")
async def filled(world):
    """Needs and offers there is something to find among; the world after them."""
    world.needs = await world.publish(
        [
            {"title": title, "item": title, "quantity": 5 + number}
            for number, title in enumerate(["儿童口罩", "医用外科口罩", "口罩", "口罩 成人"])
        ]
    )
    world.offers = [
        (await world.open_offer(title=title, lines=[{"item": title}]))["id"]
        for title in ("捐赠口罩", "儿童口罩", "口罩")
    ]
    await world.caught_up()
    return world


async def answers(world):
    """Everything the index answers, as it is answered."""
    paths = [f"/needs/{need}/offers?limit=50" for need in world.needs]
    paths += [f"/offers/{offer}/needs?limit=50" for offer in world.offers]
    paths += [
        "/search/needs?q=口罩",
        "/search/offers?q=儿童口罩",
        "/search/needs",
        "/search/offers",
    ]
    paths += [f"/search/offers?division_code={CITY}"]
    return [await world.get(path) for path in paths]


def file_of(world):
    return world.settings["matching"].state_dir / recall.FILE_NAME


class Kept(logging.Handler):
    """pytest's own is taken away by a service that sets up its logs."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


async def restarted(world):
    """The answers after a start, and what was logged of the file."""
    kept = Kept()
    recall.log.addHandler(kept)
    recall.log.setLevel("INFO")
    try:
        await world.start("matching")
        return await answers(world), kept.records
    finally:
        recall.log.removeHandler(kept)
        recall.log.setLevel("NOTSET")


async def fresh(world):
    """The answers of an index built without a file; the file as it was written at the end."""
    await world.stop("matching")
    file_of(world).unlink()
    await world.start("matching")
    found = await answers(world)
    await world.stop("matching")
    return found


@pytest.fixture(scope="module")
async def whole(filled):
    """What an index without a file answers, and the file it leaves."""
    expected = await fresh(filled)
    return expected, file_of(filled).read_bytes()


async def test_what_is_stored_at_the_end_is_taken_at_the_start(filled, whole):
    expected, _ = whole
    found, log = await restarted(filled)
    assert found == expected
    assert [(r.renewed, r.gone) for r in log] == [(0, 0), (0, 0)]
    assert {r.side: r.rows for r in log}["lines"] >= 3


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("one byte", "SHA-256"),
        ("cut off", "SHA-256"),
        ("empty", "too short"),
        ("something else", "not an index file"),
        ("another encoder", "another version"),
        ("another database", "another database"),
        ("newer than the database", "newer than"),
        ("not what it says", "lines.index"),
    ],
)
async def test_a_file_that_cannot_be_believed_is_put_aside(filled, whole, harm, reason):
    expected, content = whole
    await filled.stop("matching")
    path = file_of(filled)
    path.write_bytes(content)
    if harm == "one byte":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif harm == "cut off":
        path.write_bytes(content[:-100])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "something else":
        path.write_bytes(b"something else " * 100)
    else:
        facts, arrays = stored.read(path)
        if harm == "another encoder":
            facts["versions"]["encoder"] = "another"
        elif harm == "another database":
            facts["database"] = "another"
        elif harm == "newer than the database":
            facts["seq"]["needs"] += 1
        else:
            arrays = {n: a for n, a in arrays.items() if not n.startswith("lines.index")}
        stored.write(path, facts, arrays)
    found, log = await restarted(filled)
    assert found == expected
    [record] = log
    assert reason in record.reason or harm == "not what it says"
    assert path.with_name(record.__dict__["as"]).exists()


async def test_a_file_of_an_earlier_moment_is_brought_up_to_date(filled):
    await filled.stop("matching")
    path = file_of(filled)
    earlier = path.with_name("earlier")
    shutil.copy(path, earlier)
    await filled.start("matching")
    [more] = await filled.publish([{"title": "口罩 老人", "quantity": 3}])
    await filled.call("POST", "needs", f"/needs/{filled.needs[-1]}/withdrawal", filled.clerk)
    filled.needs = [*filled.needs[:-1], more]
    await filled.caught_up()
    expected = await fresh(filled)
    earlier.replace(path)
    found, log = await restarted(filled)
    assert found == expected
    assert {r.side: (r.renewed, r.gone) for r in log}["needs"] == (1, 1)


async def test_a_row_that_differs_is_made_anew_whatever_the_file_says(filled):
    """As after a restored backup whose feed went another way: the numbers are the same."""
    await filled.stop("matching")
    await filled.rows("matching", "UPDATE need_view SET title = '轮椅' WHERE item = '儿童口罩'")
    found, log = await restarted(filled)
    changed = await filled.get("/search/needs?q=轮椅")
    assert changed["total"] == 1
    assert {r.side: r.renewed for r in log} == {"lines": 0, "needs": 1}
    assert await fresh(filled) == found
    await filled.rows("matching", "UPDATE need_view SET title = item WHERE title = '轮椅'")
    await filled.start("matching")


async def test_feeds_told_twice_and_out_of_time_change_no_answer(filled):
    before = await answers(filled)
    app = filled.apps["matching"]
    for name, apply in (("needs", following.apply_needs), ("donors", following.apply_donors)):
        answer = await filled.client.get(
            f"{filled.urls[name]}/events",
            headers=filled.token("service"),
            params={"limit": 2000},
        )
        events = [CloudEvent.model_validate(e) for e in answer.json()]
        for start in (0, len(events) // 2):
            async with app.state.sessions.begin() as session:
                await apply(session, events[start:])
            app.state.retrieval.mark_stale()
            assert await answers(filled) == before
    assert await fresh(filled) == before


# ------------------------------------------------------------------ the file itself

arrays = st.dictionaries(
    st.text("abc.", min_size=1, max_size=4),
    st.tuples(st.sampled_from(["<i8", "<f4", "|u1", "|b1", "<U3"]), st.integers(0, 200)),
    max_size=5,
)


@settings(max_examples=30)
@given(arrays=arrays, flipped=st.integers(0, 10**6))
def test_any_flipped_bit_is_noticed(tmp_path_factory, arrays, flipped):
    path = tmp_path_factory.mktemp("stored") / "file"
    made = {n: np.arange(size).astype(kind) for n, (kind, size) in arrays.items()}
    stored.write(path, {"a": 1}, made)
    facts, found = stored.read(path)
    assert facts == {"a": 1}
    assert found.keys() == made.keys()
    for name, array in made.items():
        np.testing.assert_array_equal(found[name], array)
    content = bytearray(path.read_bytes())
    content[flipped // 8 % len(content)] ^= 1 << flipped % 8
    path.write_bytes(content)
    with pytest.raises(stored.Unusable):
        stored.read(path)


def test_a_header_that_promises_objects_is_refused(tmp_path):
    path = tmp_path / "file"
    stored.write(path, {}, {"a": np.zeros(3)})
    content = path.read_bytes()[: -stored.DIGEST_BYTES].replace(b'"<f8"', b'"|O8"')
    path.write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises(stored.Unusable):
        stored.read(path)


def test_only_one_writes_at_a_time(tmp_path):
    with stored.only_writer(tmp_path) as first:
        assert first
        with stored.only_writer(tmp_path) as second:
            assert not second
    with stored.only_writer(tmp_path) as again:
        assert again


def test_offers_whose_lines_are_gone_are_forgotten():
    """Else a process that runs for years keeps a set for every offer there ever was."""
    retrieval = Retrieval()
    docs = [line_doc(SimpleNamespace(**a_line_row(n), row_hash=n)) for n in (1, 2)]
    retrieval._change(retrieval.lines, [], docs)
    assert set(retrieval.lines_of_offer) == {doc.terms.offer_id for doc in docs}
    retrieval._change(retrieval.lines, [docs[0].id], [])
    assert retrieval.lines_of_offer == {docs[1].terms.offer_id: {docs[1].id}}
