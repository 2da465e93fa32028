"""Candidates under filters: our lists against FAISS with a selector and PostgreSQL with pgvector.

    python -m tests.benchmarks.index [--needs 1000000] [--lines 100000] [--dimension 128]
        [--groups 40] [--without-postgres]
    python -m tests.benchmarks.index --whole-round [--needs 10000000] [--lines 1000000]

All find the 16 likest lines of a need's item class that serve its county or what contains it, one
thread each, of the same vectors, in one run. The baselines answer a sample: whole groups of needs
that share a filter, which FAISS is asked about together, bitmaps ready-made. Recall is measured
against brute force. The divisions are those of the vocabulary. Prints a table and, last, one line
of JSON with the ratios. `--whole-round` measures time and memory of candidates in blocks, and then
of solving class by class.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import faiss
import numpy as np
from numpy.typing import NDArray

from deploy.postgres import Postgres
from services.matching.index import TIE_SPAN, LineEntry, OfferIndex, ancestors_of
from services.matching.index.lists import WHOLE
from services.matching.solver.instance import Instance
from services.matching.solver.solve import solve
from shared.vocabulary import divisions
from shared.vocabulary.item_classes import item_classes

K = 16
CLASSES = 20
# Lines that serve the nation, a province, a city, a county: 430 eligible lines a need.
LEVELS = ("nation", "province", "city", "county")
LEVEL_SHARES = (0.08, 0.12, 0.30, 0.50)
CENTRES = 200
BLOCK = 250_000


@dataclass(frozen=True)
class World:
    """Lines with their lists, and needs made block by block from their number."""

    codes: list[str]
    counties: list[str]
    classes: list[str]
    line_class: NDArray[np.int64]
    line_code: NDArray[np.int64]
    line_vectors: NDArray[np.float32]
    centres: NDArray[np.float32]

    def needs(self, start: int, count: int) -> Needs:
        chance = np.random.default_rng([7, start])
        return Needs(
            item_class=chance.integers(len(self.classes), size=count),
            county=chance.integers(len(self.counties), size=count),
            vectors=vectors(chance, self.centres, count),
        )


@dataclass(frozen=True)
class Needs:
    """Rows of the world's classes and counties; vectors (n, dimension)."""

    item_class: NDArray[np.int64]
    county: NDArray[np.int64]
    vectors: NDArray[np.float32]


def vectors(
    chance: np.random.Generator, centres: NDArray[np.float32], count: int
) -> NDArray[np.float32]:
    """Clustered, in whole numbers of 1/127 of a unit vector, as the index holds them."""
    raw = centres[chance.integers(len(centres), size=count)] + chance.normal(
        size=(count, centres.shape[1])
    )
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    return np.rint(raw * WHOLE).astype(np.float32)


def a_world(lines: int, dimension: int) -> World:
    chance = np.random.default_rng(1)
    by_level: dict[str, list[int]] = {level: [] for level in LEVELS}
    codes = [c for c in divisions.divisions() if divisions.level(c) in by_level]
    for place, code in enumerate(codes):
        by_level[divisions.level(code)].append(place)
    levels = chance.choice(len(LEVELS), size=lines, p=LEVEL_SHARES)
    centres = chance.normal(size=(CENTRES, dimension)).astype(np.float32)
    return World(
        codes=codes,
        counties=[codes[place] for place in by_level["county"]],
        classes=list(item_classes())[:CLASSES],
        line_class=chance.integers(CLASSES, size=lines),
        line_code=np.array(
            [chance.choice(by_level[LEVELS[level]]) for level in levels.tolist()], dtype=np.int64
        ),
        line_vectors=vectors(chance, centres, lines),
        centres=centres,
    )


def our_index(world: World) -> OfferIndex:
    index = OfferIndex(world.line_vectors.shape[1])
    for start in range(0, len(world.line_class), 50_000):
        part = range(start, min(start + 50_000, len(world.line_class)))
        index.put(
            [
                LineEntry(
                    UUID(int=row + 1),
                    world.classes[world.line_class[row]],
                    (world.codes[world.line_code[row]],),
                )
                for row in part
            ],
            world.line_vectors[part.start : part.stop],
        )
    return index


def ours(index: OfferIndex, world: World, needs: Needs, threads: int = 1) -> NDArray[np.int64]:
    return index.candidates(
        [world.classes[c] for c in needs.item_class.tolist()],
        [world.counties[c] for c in needs.county.tolist()],
        needs.vectors,
        K,
        threads=threads,
    ).rows


# ---------------------------------------------------------------- baselines


@dataclass(frozen=True)
class Group:
    """Needs that share a filter. eligible: rows of lines; rows: of the needs."""

    item_class: int
    county: str
    eligible: NDArray[np.int64]
    rows: NDArray[np.int64]


def some_groups(world: World, needs: Needs, count: int) -> list[Group]:
    key = needs.item_class * len(world.counties) + needs.county
    chance = np.random.default_rng(3)
    place_of = {code: place for place, code in enumerate(world.codes)}
    found = []
    for chosen in chance.choice(np.unique(key), size=count, replace=False).tolist():
        item_class, county = divmod(chosen, len(world.counties))
        code = world.counties[county]
        above = [place_of[a] for a in ancestors_of(code) if a in place_of]
        eligible = (world.line_class == item_class) & np.isin(world.line_code, above)
        found.append(
            Group(item_class, code, np.flatnonzero(eligible), np.flatnonzero(key == chosen))
        )
    return found


def truth(world: World, needs: Needs, groups: list[Group]) -> list[NDArray[np.float32]]:
    """Of each group the (needs, eligible) products, by brute force."""
    return [needs.vectors[g.rows] @ world.line_vectors[g.eligible].T for g in groups]


def recall(groups: list[Group], products: list[NDArray[np.float32]], found: list[object]) -> float:
    """Share of the K likest found, where what is as like as the K-th counts (but for the order
    among equals, at most TIE_SPAN)."""
    right = total = 0
    for group, scores, rows in zip(groups, products, found, strict=True):
        place = {row: column for column, row in enumerate(group.eligible.tolist())}
        for need, lines in enumerate(np.asarray(rows).tolist()):
            wanted = min(K, len(group.eligible))
            least = -np.partition(-scores[need], wanted - 1)[wanted - 1] if wanted else 0
            least -= TIE_SPAN * WHOLE**2
            got = {line for line in lines if line in place}
            right += sum(scores[need, place[line]] >= least for line in got)
            total += wanted
    return float(right / total)


def selector(
    world: World, needs: Needs, groups: list[Group]
) -> tuple[float, list[NDArray[np.int64]]]:
    """Needs a second of FAISS IVF with an IDSelectorBitmap over all its lists."""
    faiss.omp_set_num_threads(2)
    lists = min(1_024, len(world.line_class) // 40)
    ivf = faiss.index_factory(
        world.line_vectors.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT
    )
    ivf.train(world.line_vectors)
    ivf.add(world.line_vectors)
    faiss.omp_set_num_threads(1)
    found, seconds, asked = [], 0.0, 0
    for group in groups:
        bits = np.zeros(-(-len(world.line_class) // 8), dtype=np.uint8)
        np.bitwise_or.at(bits, group.eligible >> 3, (1 << (group.eligible & 7)).astype(np.uint8))
        chosen = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        parameters = faiss.SearchParametersIVF(  # type: ignore[call-arg]  # SWIG's own
            sel=chosen, nprobe=lists
        )
        x = needs.vectors[group.rows]
        start = time.perf_counter()
        _, rows = ivf.search(x, K, params=parameters)
        seconds += time.perf_counter() - start
        asked += len(group.rows)
        found.append(rows)
    return asked / seconds, found


async def pgvector(
    world: World, needs: Needs, groups: list[Group]
) -> tuple[float, list[NDArray[np.int64]]]:
    """Needs a second of one client: b-tree over (class, division), exact sort."""
    folder = Path(tempfile.mkdtemp(prefix="duijie-bench-"))
    server = Postgres(folder, throwaway=True).start()
    try:
        connection = await asyncpg.connect(server.url())
        await connection.execute("CREATE EXTENSION vector")
        await connection.set_type_codec(
            "vector", encoder=_packed, decoder=bytes, format="binary", schema="public"
        )
        width = world.line_vectors.shape[1]
        await connection.execute(
            f"CREATE TABLE line (id int, class int, division int, vector vector({width}))"
        )
        await connection.copy_records_to_table(
            "line",
            records=zip(
                range(len(world.line_class)),
                world.line_class.tolist(),
                world.line_code.tolist(),
                world.line_vectors,
                strict=True,
            ),
        )
        await connection.execute("CREATE INDEX ON line (class, division)")
        await connection.execute("VACUUM ANALYZE line")
        question = await connection.prepare(
            "SELECT id FROM line WHERE class = $1 AND division = ANY($2::int[])"
            f" ORDER BY vector <#> $3 LIMIT {K}"
        )
        place_of = {code: place for place, code in enumerate(world.codes)}
        found, seconds, asked = [], 0.0, 0
        for group in groups:
            above = [place_of[a] for a in ancestors_of(group.county) if a in place_of]
            rows = np.full((len(group.rows), K), -1, dtype=np.int64)
            for place, need in enumerate(group.rows.tolist()):
                start = time.perf_counter()
                answer = await question.fetch(group.item_class, above, needs.vectors[need])
                seconds += time.perf_counter() - start
                rows[place, : len(answer)] = [row[0] for row in answer]
            asked += len(group.rows)
            found.append(rows)
        await connection.close()
        return asked / seconds, found
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _packed(vector: NDArray[np.float32]) -> bytes:
    return struct.pack(">HH", len(vector), 0) + vector.astype(">f4").tobytes()


# --------------------------------------------------------------------- runs


def compare(arguments: argparse.Namespace) -> None:
    world = a_world(arguments.lines, arguments.dimension)
    start = time.perf_counter()
    index = our_index(world)
    built_s = time.perf_counter() - start
    needs = world.needs(0, arguments.needs)
    ours(index, world, world.needs(1, 1_000))
    start = time.perf_counter()
    rows = ours(index, world, needs)
    rate = arguments.needs / (time.perf_counter() - start)
    groups = some_groups(world, needs, arguments.groups)
    products = truth(world, needs, groups)
    eligible = float(np.mean([len(g.eligible) for g in groups]))
    print(
        f"{arguments.needs:,} needs, {arguments.lines:,} lines, {arguments.dimension} columns,"
        f" {eligible:.0f} eligible lines a need; index built in {built_s:.1f} s"
    )
    table = [("ours", rate, recall(groups, products, [rows[g.rows] for g in groups]))]
    speed, found = selector(world, needs, groups)
    table.append(("FAISS IVF + IDSelectorBitmap", speed, recall(groups, products, list(found))))
    if not arguments.without_postgres:
        speed, found = asyncio.run(pgvector(world, needs, groups))
        table.append(
            ("pgvector, b-tree + exact sort", speed, recall(groups, products, list(found)))
        )
    print(f"{'method':<32}{'needs/s':>12}{'recall@16':>11}{'ours is':>10}")
    for name, speed, share in table:
        print(f"{name:<32}{speed:>12,.0f}{share:>11.4f}{rate / speed:>9.1f}x")
    single = one_by_one(index, world, needs)
    print(f"one need alone: {single * 1e6:.0f} us in the median, from its class and division on")
    names = ("ours", "selector", "pgvector")
    ratios = {n: round(rate / s, 1) for n, (_, s, _) in zip(names, table, strict=False)}
    recalls = {f"recall_{n}": round(r, 4) for n, (_, _, r) in zip(names, table, strict=False)}
    print(json.dumps({"index": ratios | recalls}))


def one_by_one(index: OfferIndex, world: World, needs: Needs) -> float:
    """Median seconds of single searches."""
    seconds = []
    for row in range(500):
        part = slice(row, row + 1)
        one = Needs(needs.item_class[part], needs.county[part], needs.vectors[part])
        start = time.perf_counter()
        ours(index, world, one)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def whole_round(arguments: argparse.Namespace) -> None:
    """Candidates of all needs in compressed rows, then the solver, class by class."""
    start = time.perf_counter()
    world = a_world(arguments.lines, arguments.dimension)
    index = our_index(world)
    print(f"index of {arguments.lines:,} lines: {time.perf_counter() - start:.0f} s, {memory()}")
    n = arguments.needs
    line = np.full((n, K), -1, dtype=np.int32)
    value = np.zeros((n, K), dtype=np.uint16)
    item_class = np.zeros(n, dtype=np.uint8)
    searching = 0.0
    for first in range(0, n, BLOCK):
        needs = world.needs(first, min(BLOCK, n - first))
        part = slice(first, first + len(needs.county))
        start = time.perf_counter()
        found = index.candidates(
            [world.classes[c] for c in needs.item_class.tolist()],
            [world.counties[c] for c in needs.county.tolist()],
            needs.vectors,
            K,
            threads=2,
        )
        searching += time.perf_counter() - start
        line[part] = found.rows
        value[part] = np.clip(found.similarities * 500 + 500, 0, 1_000)
        item_class[part] = needs.item_class
        print(f"{part.stop:,} needs searched: {searching:.0f} s, {memory()}", flush=True)
    print(f"candidates of {n:,} needs, two threads: {searching:.0f} s, {memory()}")
    del index
    solving = 0.0
    worst = 0
    for instance in instances(world, line, value, item_class):
        start = time.perf_counter()
        solution = solve(instance, method="auction")
        solving += time.perf_counter() - start
        worst = max([worst, *(tier.gap_ppm for tier in solution.tiers)])
    print(f"solved, worst certified gap {worst} ppm: {solving:.0f} s, {memory()}")
    print(
        json.dumps({"whole_round": {"candidates_s": round(searching), "solve_s": round(solving)}})
    )


def instances(
    world: World,
    line: NDArray[np.int32],
    value: NDArray[np.uint16],
    item_class: NDArray[np.uint8],
) -> Iterator[Instance]:
    """One of each class: needs of one unit, lines of 70 % of what is asked."""
    for number in range(CLASSES):
        rows = np.flatnonzero(item_class == number)
        lines = np.flatnonzero(world.line_class == number)
        need, place = np.nonzero(line[rows] >= 0)
        each = max(1, round(0.7 * len(rows) / max(1, len(lines))))
        yield Instance(
            required=np.ones(len(rows), dtype=np.int64),
            tier=np.zeros(len(rows), dtype=np.int64),
            whole=np.zeros(len(rows), dtype=np.bool_),
            available=np.full(len(lines), each, dtype=np.int64),
            lot=np.ones(len(lines), dtype=np.int64),
            need=need.astype(np.int64),
            line=np.searchsorted(lines, line[rows[need], place]).astype(np.int64),
            value=value[rows[need], place].astype(np.int64),
        )


def memory() -> str:
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"at most {peak_kib / 2**20:.1f} GiB so far"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--needs", type=int)
    parser.add_argument("--lines", type=int)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--groups", type=int, default=40)
    parser.add_argument("--without-postgres", action="store_true")
    parser.add_argument("--whole-round", action="store_true")
    arguments = parser.parse_args()
    large = arguments.whole_round
    arguments.needs = arguments.needs or (10_000_000 if large else 1_000_000)
    arguments.lines = arguments.lines or (1_000_000 if large else 100_000)
    (whole_round if large else compare)(arguments)


if __name__ == "__main__":
    main()
