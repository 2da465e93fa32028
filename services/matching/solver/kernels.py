"""The auction's inner loops, compiled. Called by `auction`, where the method is told.

A market is a set of arrays, passed one by one because that is what machine code takes fastest:

start (n+1,), line (e,), value (e,)     the edges of need i are start[i] .. start[i+1]
unit, paid, step (n,)                   weight of a point per base unit; extra weight; least raise
todo (n,)                               units the need has not placed
room (m+1,), count (m,)                 line j's book of bids lies at room[j] .. room[j] + count[j]
bid, edge, holder, amount (room[m],)    the book: a heap, the lowest bid first
price (m,)                              the lowest bid, which is what the line's units cost

Units a line has not given stand in its book as bids of nobody: edge -1, at what the line asks.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.matching.solver.compiled import compiled
from services.matching.solver.instance import BoolArray, IntArray

Ints: TypeAlias = NDArray[np.signedinteger[Any]]
NOBODY = -1
# Price of a line that gives nothing.
CLOSED = 2**54
# Prices beyond this mean that needs outbid each other without end; far below overflow.
PRICE_MAX = 2**56


@compiled
def _push(
    bid: Ints, edge: Ints, holder: Ints, amount: Ints, first: int, count: int,
    b: int, e: int, i: int, a: int,
) -> None:  # fmt: skip
    k = count
    while k > 0:
        above = (k - 1) >> 1
        if bid[first + above] <= b:
            break
        bid[first + k] = bid[first + above]
        edge[first + k] = edge[first + above]
        holder[first + k] = holder[first + above]
        amount[first + k] = amount[first + above]
        k = above
    bid[first + k] = b
    edge[first + k] = e
    holder[first + k] = i
    amount[first + k] = a


@compiled
def _pop(bid: Ints, edge: Ints, holder: Ints, amount: Ints, first: int, count: int) -> None:
    """Without the lowest bid; `count` is the number before."""
    last = first + count - 1
    b = bid[last]
    k = 0
    while True:
        below = 2 * k + 1
        if below >= count - 1:
            break
        if below + 1 < count - 1 and bid[first + below + 1] < bid[first + below]:
            below += 1
        if bid[first + below] >= b:
            break
        bid[first + k] = bid[first + below]
        edge[first + k] = edge[first + below]
        holder[first + k] = holder[first + below]
        amount[first + k] = amount[first + below]
        k = below
    bid[first + k] = b
    edge[first + k] = edge[last]
    holder[first + k] = holder[last]
    amount[first + k] = amount[last]


@compiled
def _merge(bid: Ints, edge: Ints, holder: Ints, amount: Ints, first: int, count: int) -> int:
    """Bids of one edge become one, at the highest; the new number of bids.

    The highest was the need's own word for that line, later than the others.
    """
    order = np.argsort(edge[first : first + count], kind="mergesort")
    b, e = bid[first : first + count].copy(), edge[first : first + count].copy()
    h, a = holder[first : first + count].copy(), amount[first : first + count].copy()
    kept = 0
    k = 0
    while k < count:
        row = order[k]
        top, total = b[row], a[row]
        k += 1
        while k < count and e[row] != NOBODY and e[order[k]] == e[row]:
            top = max(top, b[order[k]])
            total += a[order[k]]
            k += 1
        _push(bid, edge, holder, amount, first, kept, top, e[row], h[row], total)
        kept += 1
    return kept


@compiled
def open_books(
    room: Ints, count: Ints, bid: Ints, edge: Ints, holder: Ints, amount: Ints,
    price: Ints, given: Ints, need: Ints, line: Ints,
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
            _push(
                bid, edge, holder, amount, room[j], count[j], price[j], e, need[e], given[e]
            )  # fmt: skip
            count[j] += 1
            taken[j] += given[e]
    for j in range(len(available)):
        _ask(
            room, count, bid, edge, holder, amount, j, taken[j], steps, width, cost, available, ask
        )  # fmt: skip
        price[j] = bid[room[j]] if count[j] else CLOSED


@compiled
def _ask(
    room: Ints, count: Ints, bid: Ints, edge: Ints, holder: Ints, amount: Ints,
    j: int, taken: int, steps: Ints, width: Ints, cost: Ints, available: Ints,
    ask: Ints,
) -> None:  # fmt: skip
    """Bids of nobody for the units of line j beyond the first `taken`."""
    before = 0
    for s in range(steps[j], steps[j + 1]):
        ends = min(before + width[s], available[j])
        free = ends - max(before, taken)
        if free > 0:
            _push(
                bid, edge, holder, amount, room[j], count[j],
                max(cost[s], ask[j]), NOBODY, NOBODY, free,
            )  # fmt: skip
            count[j] += 1
        before = max(before, ends)


@compiled
def bid_all(
    start: Ints, line: Ints, value: Ints, unit: Ints, paid: Ints,
    step: Ints, todo: Ints, room: Ints, count: Ints, bid: Ints, edge: Ints,
    holder: Ints, amount: Ints, price: Ints, queue: Ints, queued: BoolArray,
    state: Ints, bids: int,
) -> bool:  # fmt: skip
    """Needs bid until none has units to place that are worth their price, or `bids` are made.

    queue (n,) and queued (n,) hold who has yet to bid, state = [first, waiting]; true: all done.
    """
    needs = len(queue)
    first, waiting = state[0], state[1]
    while waiting and bids > 0:
        i = queue[first]
        first = first + 1 if first + 1 < needs else 0
        waiting -= 1
        queued[i] = False
        units = todo[i]
        todo[i] = 0
        while units > 0:
            best, second, chosen = 0, 0, -1
            for e in range(start[i], start[i + 1]):
                profit = value[e] * unit[i] + paid[i] - price[line[e]]
                if profit > second:
                    if profit > best:
                        best, second, chosen = profit, best, e
                    else:
                        second = profit
            if chosen < 0:
                break
            bids -= 1
            j = line[chosen]
            offered = min(price[j] + best - second + step[i], price[j] + best)
            if offered > PRICE_MAX:
                todo[i] = units
                bids = -1
                break
            book = room[j]
            got = 0
            while units > 0 and count[j] > 0 and bid[book] < offered:
                part = min(amount[book], units)
                out = holder[book]
                if out != NOBODY:
                    todo[out] += part
                    if not queued[out] and out != i:
                        queued[out] = True
                        last = first + waiting
                        queue[last if last < needs else last - needs] = out
                        waiting += 1
                units -= part
                got += part
                if part == amount[book]:
                    _pop(bid, edge, holder, amount, book, count[j])
                    count[j] -= 1
                else:
                    amount[book] -= part
            units += todo[i]
            todo[i] = 0
            if count[j] == room[j + 1] - book:
                count[j] = _merge(bid, edge, holder, amount, book, count[j])
            _push(bid, edge, holder, amount, book, count[j], offered, chosen, i, got)
            count[j] += 1
            price[j] = bid[book]
        todo[i] += units
    state[0], state[1] = first, waiting
    done: bool = waiting == 0
    return done


@compiled
def call(todo: Ints, queue: Ints, queued: BoolArray, state: Ints) -> None:
    """All needs with units to place may bid, in order of their rows."""
    queued[:] = False
    state[0], state[1] = 0, 0
    for i in range(len(todo)):
        if todo[i] > 0:
            queue[state[1]] = i
            queued[i] = True
            state[1] += 1


@compiled
def release(
    start: Ints, line: Ints, value: Ints, unit: Ints, paid: Ints,
    step: Ints, todo: Ints, room: Ints, count: Ints, bid: Ints, edge: Ints,
    holder: Ints, amount: Ints, price: Ints,
    steps: Ints, width: Ints, cost: Ints, available: Ints,
) -> None:  # fmt: skip
    """Units that lie elsewhere than their need now wants them come back to it.

    A line asks its former price for what it lost.
    """
    best = np.zeros(len(unit), dtype=np.int64)
    for i in range(len(unit)):
        for e in range(start[i], start[i + 1]):
            best[i] = max(best[i], value[e] * unit[i] + paid[i] - price[line[e]])
    ask = price.copy()
    for j in range(len(available)):
        book = room[j]
        held = count[j]
        kept, taken = 0, 0
        for k in range(book, book + held):
            i = holder[k]
            if i == NOBODY:
                continue
            profit = value[edge[k]] * unit[i] + paid[i] - price[j]
            if profit + step[i] < best[i]:
                todo[i] += amount[k]
                continue
            taken += amount[k]
            _push(
                bid, edge, holder, amount, book, kept, bid[k], edge[k], holder[k], amount[k]
            )  # fmt: skip
            kept += 1
        if taken == 0 and kept == 0 and held == 1 and holder[book] == NOBODY:
            continue
        count[j] = kept
        _ask(room, count, bid, edge, holder, amount, j, taken, steps, width, cost, available, ask)
        price[j] = bid[book]


@compiled
def _taken(count: Ints, holder: Ints, amount: Ints, book: int, j: int) -> int:
    taken = 0
    for k in range(book, book + count[j]):
        if holder[k] != NOBODY:
            taken += amount[k]
    return taken


@compiled
def unsold(
    room: Ints, count: Ints, bid: Ints, edge: Ints, holder: Ints, amount: Ints,
    steps: Ints, width: Ints, cost: Ints, available: Ints,
) -> IntArray:  # fmt: skip
    """(m,) units nobody holds where the line asks more than the first of them costs it."""
    left = np.zeros(len(count), dtype=np.int64)
    for j in range(len(count)):
        if holder[room[j]] != NOBODY:
            continue
        taken = _taken(count, holder, amount, room[j], j)
        before = 0
        for s in range(steps[j], steps[j + 1]):
            ends = min(before + width[s], available[j])
            if ends > taken and cost[s] < bid[room[j]]:
                left[j] += ends - max(before, taken)
            before = max(before, ends)
    return left


@compiled
def ask_again(
    room: Ints, count: Ints, bid: Ints, edge: Ints, holder: Ints, amount: Ints,
    price: Ints, steps: Ints, width: Ints, cost: Ints, available: Ints,
    ask: Ints,
) -> None:  # fmt: skip
    """Lines whose ask (m,) is below their price ask that for what they have left."""
    for j in range(len(count)):
        if ask[j] >= price[j]:
            continue
        book = room[j]
        taken = _taken(count, holder, amount, book, j)
        kept = 0
        for k in range(book, book + count[j]):
            if holder[k] != NOBODY:
                _push(
                    bid, edge, holder, amount, book, kept, bid[k], edge[k], holder[k], amount[k]
                )  # fmt: skip
                kept += 1
        count[j] = kept
        _ask(room, count, bid, edge, holder, amount, j, taken, steps, width, cost, available, ask)
        price[j] = bid[book]


@compiled
def wanted_at(
    start: Ints, line: Ints, value: Ints, unit: Ints, paid: Ints,
    step: Ints, price: Ints, left: Ints,
) -> IntArray:  # fmt: skip
    """(m,) the price at which a first need beside the present holders would move to the line."""
    wanted = np.zeros(len(price), dtype=np.int64)
    for i in range(len(unit)):
        best = 0
        for e in range(start[i], start[i + 1]):
            best = max(best, value[e] * unit[i] + paid[i] - price[line[e]])
        for e in range(start[i], start[i + 1]):
            j = line[e]
            worth = value[e] * unit[i] + paid[i] - best
            if left[j] > 0 and worth < price[j]:
                wanted[j] = max(wanted[j], worth - step[i] - 1)
    return wanted


@compiled
def held(room: Ints, count: Ints, edge: Ints, amount: Ints, quantity: Ints) -> None:
    """quantity (e,) what each edge holds."""
    for j in range(len(count)):
        for k in range(room[j], room[j] + count[j]):
            if edge[k] != NOBODY:
                quantity[edge[k]] += amount[k]
