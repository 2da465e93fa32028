"""The auction's inner loops, compiled. Called by `auction`, where the method is told.

A market is a set of arrays, passed one by one because that is what machine code takes fastest:

start (n+1,), line (e,), value (e,)  the edges of need i are start[i] .. start[i+1]
needs (n, 4)             UNIT, PAID, STEP, LACKS: weight of a point per base unit; extra weight;
                         least raise; units the need has not placed
room (m+1,), count (m,)  line j's book of bids lies at room[j] .. room[j] + count[j]
book (room[m], 3)        a heap per line, the lowest bid first: bid, whose, units
price (m,)               the lowest bid, which is what the line's units cost

"Whose" is need x 2^32 + edge. Units a line has not given stand in its book as bids of nobody (-1)
at what the line asks.

Needs wait in blocks of BLOCK rows, each block a ring: neighbours in the rows are mostly neighbours
on the map, bid for the same lines, and their part of the arrays stays in the processor's cache.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.matching.solver.certificate import with_product
from services.matching.solver.compiled import compiled
from services.matching.solver.instance import BoolArray, IntArray

Ints: TypeAlias = NDArray[np.integer[Any]]
UNIT, PAID, STEP, LACKS = 0, 1, 2, 3
NOBODY = -1
EDGE_BITS = 32
EDGE_MASK = 2**EDGE_BITS - 1
# Twice as fast as one queue at 10^6 needs; from 2^11 to 2^14 it hardly matters.
BLOCK = 2**13
# Price of a line that gives nothing.
CLOSED = 2**54
# Prices beyond this mean that needs outbid each other without end; far below overflow.
PRICE_MAX = 2**56


@compiled
def _push(book: IntArray, first: int, count: int, bid: int, whose: int, units: int) -> None:
    """One bid more; `count` is the number before."""
    k = count
    while k > 0:
        above = (k - 1) >> 1
        if book[first + above, 0] <= bid:
            break
        book[first + k, 0] = book[first + above, 0]
        book[first + k, 1] = book[first + above, 1]
        book[first + k, 2] = book[first + above, 2]
        k = above
    book[first + k, 0] = bid
    book[first + k, 1] = whose
    book[first + k, 2] = units


@compiled
def _replace(book: IntArray, first: int, count: int, bid: int, whose: int, units: int) -> None:
    """Another bid instead of the lowest."""
    k = 0
    while True:
        below = 2 * k + 1
        if below >= count:
            break
        if below + 1 < count and book[first + below + 1, 0] < book[first + below, 0]:
            below += 1
        if book[first + below, 0] >= bid:
            break
        book[first + k, 0] = book[first + below, 0]
        book[first + k, 1] = book[first + below, 1]
        book[first + k, 2] = book[first + below, 2]
        k = below
    book[first + k, 0] = bid
    book[first + k, 1] = whose
    book[first + k, 2] = units


@compiled
def _merge(book: IntArray, first: int, count: int) -> int:
    """Bids of one edge become one, at the highest; the new number of bids.

    The highest was the need's own word for that line, later than the others.
    """
    old = book[first : first + count].copy()
    order = np.argsort(old[:, 1], kind="mergesort")
    kept = 0
    k = 0
    while k < count:
        whose = old[order[k], 1]
        bid, units = old[order[k], 0], old[order[k], 2]
        k += 1
        while k < count and whose != NOBODY and old[order[k], 1] == whose:
            bid = max(bid, old[order[k], 0])
            units += old[order[k], 2]
            k += 1
        _push(book, first, kept, bid, whose, units)
        kept += 1
    return kept


@compiled
def open_books(
    room: Ints, count: Ints, book: IntArray, price: Ints, given: Ints, need: Ints, line: Ints,
    steps: Ints, width: Ints, cost: Ints, available: Ints, ask: Ints,
) -> None:  # fmt: skip
    """Books in which edge e holds given[e] units at its line's price.

    What is left stands at the line's cost for it, or at ask (m,) when that is more.
    """
    count[:] = 0
    taken = np.zeros(len(available), dtype=np.int64)
    for e in range(len(given)):
        if given[e] > 0:
            j = line[e]
            whose = (need[e] << EDGE_BITS) + e
            _push(book, room[j], count[j], price[j], whose, given[e])
            count[j] += 1
            taken[j] += given[e]
    for j in range(len(available)):
        _ask(room, count, book, j, taken[j], steps, width, cost, available, ask)
        price[j] = book[room[j], 0] if count[j] else CLOSED


@compiled
def _ask(
    room: Ints, count: Ints, book: IntArray, j: int, taken: int,
    steps: Ints, width: Ints, cost: Ints, available: Ints, ask: Ints,
) -> None:  # fmt: skip
    """Bids of nobody for the units of line j beyond the first `taken`."""
    before = 0
    for s in range(steps[j], steps[j + 1]):
        ends = min(before + width[s], available[j])
        free = ends - max(before, taken)
        if free > 0:
            _push(book, room[j], count[j], max(cost[s], ask[j]), NOBODY, free)
            count[j] += 1
        before = max(before, ends)


@compiled
def best_profit(start: Ints, line: Ints, value: Ints, needs: IntArray, price: Ints, i: int) -> int:
    """The best profit any line leaves need i, and nothing at least."""
    lines, values = line[start[i] : start[i + 1]], value[start[i] : start[i + 1]]
    unit, paid = needs[i, UNIT], needs[i, PAID]
    best = 0
    for e in range(len(lines)):
        best = max(best, values[e] * unit + paid - price[lines[e]])
    return best


@compiled
def call(
    needs: IntArray, queue: Ints, queued: BoolArray, ring: IntArray, state: Ints, rows: Ints
) -> None:
    """The needs of `rows` with units to place may bid; nobody else waits.

    ring (blocks, 2) is each block's first place and how many wait; state = [block, turns left in
    it, how many wait in all, and in limbs the welfare all bids since brought].
    """
    ring[:] = 0
    state[:] = 0
    state[1] = BLOCK
    for i in rows:
        if needs[i, LACKS] > 0:
            block = i // BLOCK
            queue[block * BLOCK + ring[block, 1]] = i
            ring[block, 1] += 1
            queued[i] = True
            state[2] += 1


@compiled
def bid_all(
    start: Ints, line: Ints, value: Ints, needs: IntArray,
    room: Ints, count: Ints, book: IntArray, price: Ints,
    queue: Ints, queued: BoolArray, ring: IntArray, state: Ints, bids: int,
) -> bool:  # fmt: skip
    """Needs bid until none has units to place that are worth their price, or `bids` are made.

    See `call` for who bids; true: all done.
    """
    block, turns, waiting = state[0], state[1], state[2]
    high, middle, low = state[3], state[4], state[5]
    while waiting and bids > 0:
        if turns == 0 or ring[block, 1] == 0:
            block = block + 1 if block + 1 < len(ring) else 0
            turns = BLOCK
            continue
        turns -= 1
        i = queue[block * BLOCK + ring[block, 0]]
        ring[block, 0] = ring[block, 0] + 1 if ring[block, 0] + 1 < BLOCK else 0
        ring[block, 1] -= 1
        waiting -= 1
        queued[i] = False
        unit, paid, units = needs[i, UNIT], needs[i, PAID], needs[i, LACKS]
        needs[i, LACKS] = 0
        # Slices, and lines without a sign: indices that cannot be negative are not looked at twice.
        lines, values = line[start[i] : start[i + 1]], value[start[i] : start[i + 1]]
        while units > 0:
            best, second, chosen = 0, 0, -1
            for e in range(len(lines)):
                profit = values[e] * unit + paid - price[lines[e]]
                if profit > second:
                    if profit > best:
                        best, second, chosen = profit, best, e
                    else:
                        second = profit
            if chosen < 0:
                break
            bids -= 1
            j = lines[chosen]
            offered = price[j] + best - max(0, second - needs[i, STEP])
            if offered > PRICE_MAX:
                bids = -1
                break
            first, held, whose = room[j], count[j], (i << EDGE_BITS) + start[i] + chosen
            got = 0
            while True:
                part = min(book[first, 2], units)
                out = book[first, 1]
                if out != NOBODY:
                    weight = value[out & EDGE_MASK]
                    out >>= EDGE_BITS
                    weight *= needs[out, UNIT]
                    high, middle, low = with_product(high, middle, low, weight, -part)
                    needs[out, LACKS] += part
                    if not queued[out] and out != i:
                        queued[out] = True
                        other = out // BLOCK
                        last = ring[other, 0] + ring[other, 1]
                        queue[other * BLOCK + (last if last < BLOCK else last - BLOCK)] = out
                        ring[other, 1] += 1
                        waiting += 1
                units -= part
                got += part
                if part < book[first, 2]:
                    book[first, 2] -= part
                    if held == room[j + 1] - first:
                        held = _merge(book, first, held)
                    _push(book, first, held, offered, whose, got)
                    held += 1
                    break
                if units == 0 or held == 1:
                    _replace(book, first, held, offered, whose, got)
                    break
                held -= 1
                moved = first + held
                _replace(book, first, held, book[moved, 0], book[moved, 1], book[moved, 2])
                if book[first, 0] >= offered:
                    _push(book, first, held, offered, whose, got)
                    held += 1
                    break
            high, middle, low = with_product(high, middle, low, values[chosen] * unit, got)
            units += needs[i, LACKS]
            needs[i, LACKS] = 0
            count[j] = held
            price[j] = book[first, 0]
        needs[i, LACKS] = units
    state[0], state[1], state[2] = block, turns, waiting
    state[3], state[4], state[5] = high, middle, low
    done: bool = waiting == 0
    return done


@compiled
def release(
    start: Ints, line: Ints, value: Ints, needs: IntArray,
    room: Ints, count: Ints, book: IntArray, price: Ints,
    steps: Ints, width: Ints, cost: Ints, available: Ints,
) -> None:  # fmt: skip
    """Units that lie elsewhere than their need now wants them come back to it.

    A line asks for what it lost hardly less than before, so that a need to which the price left
    nothing comes back.
    """
    best = np.empty(len(needs), dtype=np.int64)
    for i in range(len(needs)):
        best[i] = best_profit(start, line, value, needs, price, i)
    ask = price - 1
    for j in range(len(available)):
        first, lost, taken = room[j], 0, 0
        for k in range(first, first + count[j]):
            whose = book[k, 1]
            if whose == NOBODY:
                continue
            i = whose >> EDGE_BITS
            profit = value[whose & EDGE_MASK] * needs[i, UNIT] + needs[i, PAID] - price[j]
            taken += book[k, 2]
            if profit + needs[i, STEP] < best[i]:
                needs[i, LACKS] += book[k, 2]
                taken -= book[k, 2]
                lost += book[k, 2]
                book[k, 1] = NOBODY
        if lost:
            count[j] = _without_nobody(book, first, count[j])
            _ask(room, count, book, j, taken, steps, width, cost, available, ask)
            price[j] = book[first, 0]


@compiled
def _without_nobody(book: IntArray, first: int, count: int) -> int:
    """Bids of nobody taken out; the new number of bids."""
    kept = 0
    for k in range(first, first + count):
        if book[k, 1] != NOBODY:
            _push(book, first, kept, book[k, 0], book[k, 1], book[k, 2])
            kept += 1
    return kept


@compiled
def _taken(book: IntArray, first: int, count: int) -> int:
    taken = 0
    for k in range(first, first + count):
        if book[k, 1] != NOBODY:
            taken += book[k, 2]
    return taken


@compiled
def unsold(
    room: Ints, count: Ints, book: IntArray,
    steps: Ints, width: Ints, cost: Ints, available: Ints,
) -> IntArray:  # fmt: skip
    """(m,) units nobody holds where the line asks more than they cost it."""
    left = np.zeros(len(count), dtype=np.int64)
    for j in range(len(count)):
        first = room[j]
        asked = CLOSED
        for k in range(first, first + count[j]):
            if book[k, 1] == NOBODY:
                asked = min(asked, book[k, 0])
        if asked == CLOSED:
            continue
        taken = _taken(book, first, count[j])
        before = 0
        for s in range(steps[j], steps[j + 1]):
            ends = min(before + width[s], available[j])
            if ends > taken and cost[s] < asked:
                left[j] += ends - max(before, taken)
            before = max(before, ends)
    return left


@compiled
def ask_line(
    room: Ints, count: Ints, book: IntArray, price: Ints, j: int,
    steps: Ints, width: Ints, cost: Ints, available: Ints, ask: Ints,
) -> None:  # fmt: skip
    """Line j asks ask[j] for all nobody holds."""
    taken = _taken(book, room[j], count[j])
    count[j] = _without_nobody(book, room[j], count[j])
    _ask(room, count, book, j, taken, steps, width, cost, available, ask)
    price[j] = book[room[j], 0]


@compiled
def ask_again(
    room: Ints, count: Ints, book: IntArray, price: Ints,
    steps: Ints, width: Ints, cost: Ints, available: Ints, ask: Ints,
) -> None:  # fmt: skip
    """Lines whose ask (m,) is not above their price ask that for what they have left."""
    for j in range(len(count)):
        if ask[j] > price[j]:
            continue
        ask_line(room, count, book, price, j, steps, width, cost, available, ask)


@compiled
def held(room: Ints, count: Ints, book: IntArray, quantity: Ints) -> None:
    """quantity (e,) what each edge holds."""
    for j in range(len(count)):
        for k in range(room[j], room[j] + count[j]):
            if book[k, 1] != NOBODY:
                quantity[book[k, 1] & EDGE_MASK] += book[k, 2]
