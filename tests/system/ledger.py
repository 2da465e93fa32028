"""What must hold whatever was killed when: both ledgers, the allocations, the feeds and the log."""

from __future__ import annotations

from tests.system.harness import SERVICES, System, until

PRODUCERS = SERVICES
# What both ledgers hold of an allocation that has come to its end (VOCABULARY, allocation).
COMPLETE = {"closed": "delivered"}
UNDONE = {
    "declined": "released",
    "expired": "released",
    "cancelled": "released",
    "returned": "returned",
}
HELD = {"reserved": "reserved", "dispatched": "in_transit", "delivered": "delivered"}


async def settled(system: System) -> None:
    """Wait until nothing is under way: ledgers carried, outboxes empty, everything signed."""
    open_things: list[str] = []

    async def nothing_open() -> bool:
        open_things[:] = await _under_way(system)
        return not open_things

    await until(nothing_open, lambda: f"settled: {open_things}", every_s=0.1)


async def _under_way(system: System) -> list[str]:
    found: list[str] = []
    for service in SERVICES:
        waiting = await system.fetchval(service, "SELECT count(*) FROM outbox")
        numbered = await system.fetchval(service, "SELECT seq FROM feed_head")
        logged = await system.fetchval(
            "audit", "SELECT count(*) FROM entry WHERE producer = $1", service
        )
        if waiting or numbered != logged:
            found.append(f"{service}: {waiting} unnumbered, {numbered} numbered, {logged} logged")
    size = await system.fetchval("audit", "SELECT size FROM head")
    signed = await system.fetchval("audit", "SELECT coalesce(max(size), 0) FROM checkpoint")
    if size != signed:
        found.append(f"log: {size} entries, {signed} signed")
    for row in await system.fetch(
        "matching",
        "SELECT state, target, line_movement, need_movement, carry_problem, count(*) AS n"
        " FROM allocation WHERE line_movement IS DISTINCT FROM target"
        " OR need_movement IS DISTINCT FROM target GROUP BY 1, 2, 3, 4, 5",
    ):
        if row["target"] == "released" and {row["line_movement"], row["need_movement"]} <= {
            None,
            "released",
        }:
            continue  # never reached that ledger: checked against the ledgers themselves
        found.append(f"allocations uncarried: {dict(row)}")
    seqs = {s: await system.fetchval(s, "SELECT seq FROM feed_head") for s in ("needs", "donors")}
    for source, seq in seqs.items():
        at = await system.fetchval(
            "matching", "SELECT max(seq) FROM feed_cursor WHERE source = $1", source
        )
        if at != seq:
            found.append(f"matching has applied {at} of {seq} events of {source}")
    return found


async def broken(system: System) -> list[str]:
    """Every way in which the invariants do not hold; empty when they do."""
    return [
        *await broken_offers(system),
        *await broken_needs(system),
        *await broken_allocations(system),
        *await broken_log(system),
    ]


async def broken_offers(system: System) -> list[str]:
    rows = await system.fetch(
        "donors",
        """
        SELECT l.id, l.total, l.available, l.reserved, l.in_transit, l.delivered, l.written_off,
          coalesce(sum(r.quantity) FILTER (WHERE r.state = 'reserved'), 0) AS r_reserved,
          coalesce(sum(r.quantity) FILTER (WHERE r.state = 'dispatched'), 0) AS r_in_transit,
          coalesce(sum(r.quantity) FILTER (WHERE r.state = 'delivered'), 0) AS r_delivered,
          coalesce(sum(r.quantity) FILTER (WHERE r.state = 'written_off'), 0) AS r_written_off
        FROM offer_line l LEFT JOIN reservation r ON r.line_id = l.id GROUP BY l.id
        """,
    )
    columns = ("reserved", "in_transit", "delivered", "written_off")
    found = []
    for row in rows:
        amounts = [row["available"], *(row[c] for c in columns)]
        if min(amounts) < 0 or sum(amounts) != (row["total"] or 0):
            found.append(f"offer line below zero or not its total: {dict(row)}")
        if any(row[c] != row[f"r_{c}"] for c in columns):
            found.append(f"offer line is not the sum of its reservations: {dict(row)}")
    return found


async def broken_needs(system: System) -> list[str]:
    rows = await system.fetch(
        "needs",
        """
        SELECT n.id, n.base_quantity, n.reserved, n.in_transit, n.delivered,
          coalesce(sum(c.quantity) FILTER (WHERE c.state = 'reserved'), 0) AS c_reserved,
          coalesce(sum(c.quantity) FILTER (WHERE c.state = 'dispatched'), 0) AS c_in_transit,
          coalesce(sum(c.quantity) FILTER (WHERE c.state = 'delivered'), 0) AS c_delivered
        FROM need n LEFT JOIN commitment c ON c.need_id = n.id GROUP BY n.id
        """,
    )
    columns = ("reserved", "in_transit", "delivered")
    found = []
    for row in rows:
        amounts = [row[c] for c in columns]
        if min(amounts) < 0 or sum(amounts) > (row["base_quantity"] or 0):
            found.append(f"need above its requirement: {dict(row)}")
        if any(row[c] != row[f"c_{c}"] for c in columns):
            found.append(f"need is not the sum of its commitments: {dict(row)}")
    return found


async def broken_allocations(system: System) -> list[str]:
    """Each is complete or undone, and both ledgers say the same of it."""
    found = []
    allocations = {
        row["id"]: row
        for row in await system.fetch(
            "matching", "SELECT id, state, quantity, need_id, line_id FROM allocation"
        )
    }
    ledgers = {
        "offer": {
            (row["allocation_id"], row["line_id"]): row
            for row in await system.fetch("donors", "SELECT * FROM reservation")
        },
        "need": {
            (row["allocation_id"], row["need_id"]): row
            for row in await system.fetch("needs", "SELECT * FROM commitment")
        },
    }
    for allocation in allocations.values():
        state = allocation["state"]
        ends = COMPLETE | UNDONE
        if state not in ends:
            found.append(f"allocation {allocation['id']} is stuck: {state}")
            continue
        for side, thing in (("offer", "line_id"), ("need", "need_id")):
            held = ledgers[side].pop((allocation["id"], allocation[thing]), None)
            if held is None:
                # What was undone before it was ever held leaves no row.
                if ends[state] != "released":
                    found.append(f"{state} allocation {allocation['id']} lacks its {side}")
            elif (held["state"], held["quantity"]) != (ends[state], allocation["quantity"]):
                found.append(f"{state} allocation {allocation['id']}: {side} holds {dict(held)}")
    for side, rows in ledgers.items():
        found += [f"nobody's row in the {side}'s ledger: {dict(row)}" for row in rows.values()]
    return found


async def broken_log(system: System) -> list[str]:
    """Every committed event is in the log exactly once, under its own number, without gaps."""
    found = []
    for producer in PRODUCERS:
        if waiting := await system.fetchval(producer, "SELECT count(*) FROM outbox"):
            found.append(f"{producer}: {waiting} events without a number")
        told = {
            (row["seq"], row["id"])
            for row in await system.fetch(producer, "SELECT seq, id FROM event")
        }
        rows = await system.fetch(
            "audit", "SELECT seq, key FROM entry WHERE producer = $1", producer
        )
        logged = [(row["seq"], row["key"]) for row in rows]
        if sorted(seq for seq, _ in told) != list(range(1, len(told) + 1)):
            found.append(f"{producer}: numbers are not 1 to {len(told)}")
        if len(logged) != len(told) or set(logged) != told:
            found.append(
                f"{producer}: {len(told)} events, {len(logged)} entries,"
                f" {len(told - set(logged))} not in the log, {len(set(logged) - told)} of nobody"
            )
    alarms = await system.fetchval(
        "audit", "SELECT count(*) FROM event WHERE type = 'audit.alarm_raised'"
    )
    if alarms:
        found.append(f"{alarms} alarms were raised though nothing was tampered with")
    checked = await system.verified()
    if checked.returncode != 0:
        found.append(f"the verifier says: {checked.stdout}{checked.stderr}")
    return found
