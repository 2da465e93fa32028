"""Placements between rounds: reserve prices, protection of the urgent, and what strictness cost."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.matching.solver import online
from services.matching.solver.instance import Instance
from services.matching.solver.solve import solve


def an_instance(*, required, available, edges, tier=None, whole=None, lot=None) -> Instance:
    """edges: (need, line, value)."""
    return Instance(
        required=np.array(required, dtype=np.int64),
        tier=np.array(tier or [0] * len(required), dtype=np.int64),
        whole=np.array(whole or [False] * len(required), dtype=bool),
        available=np.array(available, dtype=np.int64),
        lot=np.array(lot or [1] * len(available), dtype=np.int64),
        need=np.array([e[0] for e in edges], dtype=np.int64),
        line=np.array([e[1] for e in edges], dtype=np.int64),
        value=np.array([e[2] for e in edges], dtype=np.int64),
    )


@st.composite
def instances(draw):
    needs, lines = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    pairs = list(itertools.product(range(needs), range(lines)))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True))
    quantities = st.integers(1, 12)
    return an_instance(
        required=draw(st.lists(quantities, min_size=needs, max_size=needs)),
        available=draw(st.lists(quantities, min_size=lines, max_size=lines)),
        edges=[(n, m, draw(st.integers(0, 1000))) for n, m in chosen],
        tier=draw(st.lists(st.integers(0, 2), min_size=needs, max_size=needs)),
        whole=draw(st.lists(st.booleans(), min_size=needs, max_size=needs)),
        lot=draw(st.lists(st.integers(1, 4), min_size=lines, max_size=lines)),
    )


@given(instances(), instances(), st.integers(0, 3000))
def test_a_placement_keeps_amounts_lots_whole_needs_and_what_is_kept_back(new, past, share):
    lines = min(len(new.available), len(past.available))
    keep = past.line < lines
    past = an_instance(
        required=past.required.tolist(),
        available=new.available.tolist(),
        edges=list(zip(past.need[keep], past.line[keep], past.value[keep], strict=True)),
        tier=past.tier.tolist(),
    )
    reserves = online.prices_from(past, share, tiers=2)
    placement = online.place(new, reserves)
    quantity = placement.quantity
    given_, taken = (
        np.bincount(rows, quantity, count).astype(int)
        for rows, count in ((new.need, len(new.required)), (new.line, len(new.available)))
    )
    assert (quantity >= 0).all()
    assert (given_ <= new.required).all()
    assert (taken <= new.available).all()
    assert ((quantity == 0) | (quantity >= new.lot[new.line])).all()
    parts = quantity > 0
    whole = new.whole[new.need]
    assert (quantity[parts & whole] == new.required[new.need[parts & whole]]).all()
    missing = new.required - given_
    assert (placement.for_later <= missing).all()
    assert (placement.for_urgent <= missing).all()
    # The least urgent leave what is kept for others, all of them together.
    late = quantity * (new.tier[new.need] >= 1)
    kept = reserves.kept[1]
    assert (np.bincount(new.line, late, len(kept)) <= np.maximum(new.available - kept, 0)).all()
    again = online.place(new, online.prices_from(past, share, tiers=2))
    assert again.quantity.tobytes() == quantity.tobytes()


def test_a_need_of_little_worth_leaves_the_stock_to_a_later_one_of_much():
    past = an_instance(
        required=[10] * 4,
        available=[20],
        edges=[(n, 0, v) for n, v in enumerate([900, 850, 400, 300])],
    )
    new = an_instance(required=[10, 10], available=[20], edges=[(0, 0, 350), (1, 0, 880)])
    placement = online.place(new, online.prices_from(past, 1000, tiers=1))
    assert placement.quantity.tolist() == [0, 10]
    assert placement.for_later.tolist() == [10, 0]
    assert placement.for_urgent.tolist() == [0, 0]
    # At the end of the period nothing is worth keeping.
    free = online.place(new, online.prices_from(past, 0, tiers=1))
    assert free.quantity.tolist() == [10, 10]
    assert free.for_later.tolist() == free.for_urgent.tolist() == [0, 0]


def test_stock_expected_by_the_urgent_is_kept_from_others_and_free_to_the_urgent():
    past = an_instance(required=[6], available=[10], edges=[(0, 0, 500)], tier=[0])
    reserves = online.prices_from(past, 1000, tiers=3)
    assert reserves.kept[:, 0].tolist() == [0, 6, 6]
    normal = an_instance(required=[10], available=[10], edges=[(0, 0, 1000)], tier=[2])
    placement = online.place(normal, reserves)
    assert placement.quantity.tolist() == [4]
    assert placement.for_urgent.tolist() == [6]
    urgent = an_instance(required=[10], available=[10], edges=[(0, 0, 10)], tier=[0])
    assert online.place(urgent, reserves).quantity.tolist() == [10]


def test_who_is_in_danger_does_not_wait_for_who_may_come():
    past = an_instance(required=[10, 10], available=[10], edges=[(0, 0, 900), (1, 0, 900)])
    new = an_instance(required=[10], available=[10], edges=[(0, 0, 200)])
    priced = online.prices_from(past, 1000, tiers=2)
    assert online.place(new, priced).quantity.tolist() == [0]
    unpriced = online.prices_from(past, 1000, tiers=2, unpriced_tiers=1)
    assert online.place(new, unpriced).quantity.tolist() == [10]


def test_the_unit_things_are_counted_in_changes_no_decision():
    def taken(unit):
        past = an_instance(
            required=[unit * 3, unit, unit * 2],
            available=[3 * unit, unit],
            edges=[(0, 0, 900), (1, 0, 700), (1, 1, 300), (2, 1, 650)],
        )
        new = an_instance(
            required=[unit, 2 * unit], available=[3 * unit, unit], edges=[(0, 0, 250), (1, 0, 950)]
        )
        placed = online.place(new, online.prices_from(past, 1000, tiers=1)).quantity
        return [int(q) // unit for q in placed]

    assert taken(1) == taken(10**9)


def test_learned_prices_come_near_the_optimum_in_hindsight():
    rng = np.random.default_rng(5)

    def needs(count):
        rows = np.repeat(np.arange(count), 5)
        lines = np.concatenate([rng.choice(40, 5, replace=False) for _ in range(count)])
        own = np.repeat(rng.integers(0, 500, count), 5)
        return an_instance(
            required=rng.integers(1, 6, count).tolist(),
            available=[45] * 40,
            edges=list(zip(rows, lines, own + rng.integers(0, 500, len(rows)), strict=True)),
        )

    past, future = needs(2000), needs(2000)
    hindsight = solve(future, method="exact").objective
    priced, greedy = _placed(past, future), _placed(None, future)
    assert greedy < 0.65 * hindsight
    assert priced > 0.93 * hindsight


def _placed(past, future, batches=10):
    """What needs that come in batches get, in millionths."""
    room = future.available.copy()
    batch_of = np.arange(len(future.required)) * batches // len(future.required)
    total = 0.0
    for batch in range(batches):
        left = 1000 * (batches - batch) // batches if past else 0
        reserves = online.prices_from(replace(past or future, available=room), left, tiers=1)
        now, edges = batch_of == batch, batch_of[future.need] == batch
        new = replace(
            future,
            required=future.required[now],
            tier=future.tier[now],
            whole=future.whole[now],
            available=room,
            need=future.need[edges] - np.flatnonzero(now)[0],
            line=future.line[edges],
            value=future.value[edges],
        )
        quantity = online.place(new, reserves).quantity
        room = room - np.bincount(new.line, quantity, len(room)).astype(np.int64)
        total += float((new.value * quantity / new.required[new.need]).sum()) * 1000
    return total


def test_a_rounds_prices_without_what_it_had_to_hand_out_say_who_is_worth_the_room():
    rng = np.random.default_rng(8)
    edges = [(n, m, int(rng.integers(1, 1000))) for n in range(40) for m in range(3)]
    instance = an_instance(required=[5] * 40, available=[40, 30, 30], edges=edges)
    found = solve(instance, method="exact")
    price = online.room_price(found)
    kept = np.zeros((1, 3), dtype=np.int64)
    again = online.place(instance, online.Reserves(price[None, :], kept, found.scale))
    value = int((instance.value * again.quantity // 5).sum())
    assert value >= 0.97 * found.objective // 1000


def test_a_negative_share_is_refused():
    with pytest.raises(ValueError):
        online.prices_from(an_instance(required=[1], available=[1], edges=[]), -1, tiers=1)
