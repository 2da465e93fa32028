"""A round end to end: from the stored snapshot to stored proposals, against candidates + solver.

    python -m tests.benchmarks.round [needs] [lines]

The round is computed and kept as the service does (`worker.compute_one`), in a PostgreSQL of its
own that syncs to disk. Prints a table and, last, one line of JSON with the ratio. Walls are
compared, since storing waits for the server; on a shared host they also tell of the neighbours.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import numpy as np
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from deploy.postgres import Postgres
from services.matching.domain import LineTerms, NeedTerms, RoundState, Stage
from services.matching.planning import Snapshot, pack
from services.matching.planning.candidates import Comparison
from services.matching.planning.classes import attempt, prepared
from services.matching.planning.plan import in_period, plan
from services.matching.policies import policies
from services.matching.tables import Round, RoundSnapshot
from services.matching.worker import compute_one
from shared.db import uuid7
from shared.migrate import upgrade
from shared.vocabulary import divisions, item_classes
from tests.benchmarks.read_models import fill

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
POLICY = policies()["national-1"]
CLASSES = 40


def a_snapshot(needs: int, lines: int, seed: int = 1) -> Snapshot:
    """Needs of 40 classes in the townships of 60 counties; about 13 eligible lines a need; offers
    of 70 % of what is asked."""
    chance = random.Random(seed)
    classes = list(item_classes.item_classes().values())[:CLASSES]
    counties = [c for c in divisions.divisions() if divisions.level(c) == "county"]
    counties = [c for c in counties if c.startswith(("4302", "4303", "4201", "4211", "5201"))][:60]
    townships = [f"{c[:6]}{t}000" for c in counties for t in range(101, 111)]
    served = {
        "township": lambda at: at,
        "county": lambda at: at[:6] + "0" * 6,
        "city": lambda at: at[:4] + "0" * 8,
        "province": lambda at: at[:2] + "0" * 10,
    }
    asked = dict.fromkeys((c.code for c in classes), 0)
    frozen: list[NeedTerms] = []
    for number in range(needs):
        entry = chance.choice(classes)
        words = [*entry.keywords, entry.name_zh]
        remaining = chance.choice((1, 2, 5, 10, 20, 50, 100))
        asked[entry.code] += remaining
        frozen.append(
            NeedTerms(
                need_id=UUID(int=chance.getrandbits(128)),
                applicant=f"p{chance.randrange(needs)}",
                applicant_kind="household",
                household_class=chance.choice(("general", "subsistence_allowance")),
                poverty_permille=chance.randrange(1000),
                item_class=entry.code,
                title=f"{chance.choice(words)} {number % 977}",
                item=chance.choice(words),
                specification=chance.choice((None, None, "10kg 一级", "一年期")),
                unit=entry.base_unit,
                remaining=remaining,
                urgency=chance.choices(POLICY.tiers, weights=(1, 3, 6))[0],
                division_code=chance.choice(townships),
                published_at=AT - timedelta(days=chance.randrange(120)),
                needed_by=None,
            )
        )
    offered: list[LineTerms] = []
    for _ in range(lines):
        entry = chance.choice(classes)
        words = [*entry.keywords, entry.name_zh]
        level = chance.choices(list(served), weights=(25, 45, 20, 10))[0]
        whole = asked[entry.code] * CLASSES * 7 // (10 * lines)
        offered.append(
            LineTerms(
                line_id=UUID(int=chance.getrandbits(128)),
                offer_id=UUID(int=chance.getrandbits(128)),
                organization_id=UUID(int=chance.randrange(lines // 10) + 1),
                organization_verified=chance.random() < 0.8,
                item_class=entry.code,
                title=f"{chance.choice(words)} 捐赠",
                item=chance.choice(words),
                specification=chance.choice((None, "10kg 一级")),
                unit=entry.base_unit,
                available=max(1, whole * chance.randrange(50, 150) // 100),
                lot=1,
                served_division_codes=(served[level](chance.choice(townships)),),
                applicant_kinds=(),
                household_classes=(),
                valid_from=AT - timedelta(days=1),
                valid_until=AT + timedelta(days=chance.randrange(10, 200)),
            )
        )
    return Snapshot(
        taken_at=AT,
        division_code="000000000000",
        needs_seq=1,
        donors_seq=1,
        policy=POLICY,
        needs=tuple(frozen),
        lines=tuple(offered),
        set_aside={},
    ).sorted()


def in_process(snapshot: Snapshot) -> tuple[float, float, int]:
    """Seconds of candidates and of the solver, each once for every class; pairs."""
    started = time.perf_counter()
    comparison = Comparison(snapshot)
    needs, _ = in_period(snapshot)
    classes = [
        prepared([n for n in needs if n.item_class == code], snapshot, comparison)
        for code in sorted({n.item_class for n in needs})
    ]
    candidates = time.perf_counter() - started
    started = time.perf_counter()
    for of_class in classes:
        active = np.ones(len(of_class.edges.needs), dtype=bool)
        attempt(of_class, active, True, lambda: False)
    return candidates, time.perf_counter() - started, sum(len(c.edges) for c in classes)


async def stored(address: str, snapshot: Snapshot) -> tuple[float, dict[str, int]]:
    """Seconds from the stored snapshot to the stored round; rows by table."""
    packed, sha256 = pack(snapshot)
    engine = create_async_engine(address.replace("postgresql://", "postgresql+asyncpg://", 1))
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    round_id = uuid7()
    async with sessions.begin() as session:
        frozen = Round(
            id=round_id,
            division_code=snapshot.division_code,
            policy=snapshot.policy.name,
            frozen_by=round_id,
            state=RoundState.COMPUTING,
            stage=Stage.READING,
            progress_permille=0,
            created_by="bench",
            created_role="service",
            created_at=AT,
            needs_seq=1,
            donors_seq=1,
            taken_at=AT,
            needs=len(snapshot.needs),
            lines=len(snapshot.lines),
            snapshot_sha256=sha256,
        )
        session.add(frozen)
        await session.flush()
        session.add(RoundSnapshot(round_id=round_id, packed=packed))
    started = time.perf_counter()
    await compute_one(sessions)
    seconds = time.perf_counter() - started
    await engine.dispose()
    connection = await asyncpg.connect(address)
    rows = {
        table: await connection.fetchval(f"SELECT count(*) FROM {table}")
        for table in ("proposal", "outcome", "round_price")
    }
    await connection.close()
    return seconds, rows


def main() -> None:
    needs, lines = (int(a) for a in (*sys.argv[1:], "100000", "10000")[:2])
    plan(a_snapshot(2_000, 200))  # imports and compilation are once a process
    snapshot = a_snapshot(needs, lines)
    candidates, solver, pairs = in_process(snapshot)
    folder = Path(tempfile.mkdtemp(prefix="duijie-bench-"))
    server = Postgres(folder).start()
    try:
        address = server.url()
        upgrade("services.matching", address.replace("postgresql://", "postgresql+asyncpg://", 1))
        asyncio.run(fill(address, snapshot))
        whole, rows = asyncio.run(stored(address, snapshot))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    ratio = whole / (candidates + solver)
    table = [
        ("needs x lines", f"{needs:,} x {lines:,}"),
        ("pairs", f"{pairs:,} ({pairs / needs:.1f} a need)"),
        ("candidates, features, fit", f"{candidates:.2f} s"),
        ("solver, once", f"{solver:.2f} s"),
        ("snapshot to stored proposals", f"{whole:.2f} s"),
        ("over (candidates + solver)", f"{ratio:.2f}  (at most 2.5)"),
        ("stored", ", ".join(f"{count:,} {name}" for name, count in rows.items())),
    ]
    for name, value in table:
        print(f"{name:<52}{value}")
    print(json.dumps({"round": {"stored_over_parts": round(ratio, 3)}}))


if __name__ == "__main__":
    main()
