"""An item class with its solution, and who took what of each line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.matching.planning.candidates import BoolArray, Edges, IntArray
from services.matching.solver.instance import Instance


@dataclass(frozen=True)
class Solved:
    """One item class with its solution, in the rows of `edges`.

    urgencies   the policy's tiers, most urgent first
    instance    of the active needs only; `price` is in its weights
    active      (n,) needs that took part: not those whose applicant got another need met
    quantity    (e,) what is proposed; `before`: by welfare alone, without fairness
    kept_back   (n,) of a placement: got less for the sake of later or more urgent needs
    placed      a placement: others are never moved to make room
    """

    urgencies: Sequence[str]
    edges: Edges
    instance: Instance
    active: BoolArray
    tier: IntArray
    whole: BoolArray
    limit: IntArray
    quantity: IntArray
    before: IntArray
    price: IntArray
    kept_back: BoolArray
    placed: bool = False

    @property
    def required(self) -> IntArray:
        return np.array([n.remaining for n in self.edges.needs], dtype=np.int64)

    def given(self, quantity: IntArray) -> IntArray:
        return summed(self.edges.need, quantity, len(self.edges.needs))


def summed(rows: IntArray, quantity: IntArray, count: int) -> IntArray:
    total = np.zeros(count, dtype=np.int64)
    np.add.at(total, rows, quantity)
    return total


class Ledger:
    """Who took what of each line, by tier: (m, tiers) quantities and numbers of allocations."""

    def __init__(self, solved: Solved) -> None:
        edges, tiers = solved.edges, len(solved.urgencies)
        used = np.flatnonzero(solved.quantity)
        key = edges.line[used] * tiers + solved.tier[edges.need[used]]
        shape = (len(edges.lines), tiers)
        self.units = summed(key, solved.quantity[used], shape[0] * tiers).reshape(shape)
        self.parts = np.bincount(key, minlength=shape[0] * tiers).reshape(shape)
        self.free = solved.limit - self.units.sum(axis=1)


def best_not_had(solved: Solved, order: IntArray | None = None) -> IntArray:
    """(n,) the edge of the greatest value of which the need could have had more; -1: none."""
    edges = solved.edges
    if order is None:
        order = np.lexsort((edges.line, -edges.value, edges.need))
    need, line = edges.need[order], edges.line[order]
    could = np.minimum(solved.required[need], solved.limit[line])
    short = np.flatnonzero(solved.quantity[order] < could)
    best = np.full(len(edges.needs), -1, dtype=np.int64)
    # Written from the last to the first, so that the first of each need stays.
    best[need[short[::-1]]] = order[short[::-1]]
    return best
