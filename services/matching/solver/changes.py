"""What only an auction that stays open needs, compiled; arrays as in `kernels`."""

from __future__ import annotations

from services.matching.solver.certificate import with_product
from services.matching.solver.compiled import compiled
from services.matching.solver.instance import IntArray
from services.matching.solver.kernels import (
    EDGE_BITS,
    EDGE_MASK,
    NOBODY,
    UNIT,
    Ints,
    ask_line,
    best_profit,
)


@compiled
def asked_worth(
    start: Ints, line: Ints, value: Ints, needs: IntArray, price: Ints, required: Ints, first: int
) -> tuple[int, int, int]:
    """The part of `certificate`'s bound of the needs from row `first` on: limbs of the sum of
    required x best profit."""
    high, middle, low = 0, 0, 0
    for i in range(first, len(needs)):
        best = best_profit(start, line, value, needs, price, i)
        high, middle, low = with_product(high, middle, low, best, required[i])
    return high, middle, low


@compiled
def held_worth(
    room: Ints, count: Ints, book: IntArray, value: Ints, needs: IntArray
) -> tuple[int, int, int]:
    """Limbs of the welfare of what the books hold."""
    high, middle, low = 0, 0, 0
    for j in range(len(count)):
        for k in range(room[j], room[j] + count[j]):
            whose = book[k, 1]
            if whose != NOBODY:
                weight = value[whose & EDGE_MASK] * needs[whose >> EDGE_BITS, UNIT]
                high, middle, low = with_product(high, middle, low, weight, book[k, 2])
    return high, middle, low


@compiled
def forget(
    rows: Ints, start: Ints, line: Ints, room: Ints, count: Ints, book: IntArray, price: Ints,
    steps: Ints, width: Ints, cost: Ints, available: Ints,
) -> None:  # fmt: skip
    """What the needs of `rows` hold is the lines' again, at the price it stands at."""
    ask = price.copy()
    for i in rows:
        for e in range(start[i], start[i + 1]):
            j = line[e]
            lost = False
            for k in range(room[j], room[j] + count[j]):
                if book[k, 1] != NOBODY and book[k, 1] >> EDGE_BITS == i:
                    book[k, 1] = NOBODY
                    lost = True
            if lost:
                ask_line(room, count, book, price, j, steps, width, cost, available, ask)


@compiled
def move_books(room: Ints, count: Ints, book: IntArray, new_room: Ints, new_book: IntArray) -> None:
    for j in range(len(count)):
        for k in range(count[j]):
            new_book[new_room[j] + k] = book[room[j] + k]
