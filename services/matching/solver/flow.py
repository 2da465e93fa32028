"""Which line gives how much to which need: an exact, integral min-cost flow per item class.

Order of power: tiers before welfare. Tiers are served one after the other, the most urgent first;
stage k may re-route what earlier tiers get, never lessen it. Within the amounts so fixed, the sum
of score x share of the need met is the greatest possible.

Why a stage may demand the earlier amounts exactly. Let a be amounts that earlier tiers were given,
as a flow f. Any larger flow is reached from f by augmenting paths that start in a need of tier k,
and a simple path from the source never takes flow off an arc that leaves the source: so a maximum
flow of the stage exists that keeps every a. And no earlier need could have had more: the nodes
that cannot reach the sink in the residual graph of f still cannot after augmenting (a path
through them would have reached it). So after every stage each prefix of tiers holds its maximum
flow. Earlier amounts are therefore node supplies, not bonuses: no large constant that could
overflow or drown the weights.

Goldberg (1997), "An efficient implementation of a scaling minimum-cost flow algorithm",
doi:10.1006/jagm.1995.0805, via OR-tools.

Smallest lots make the problem NP-hard; they are kept by repair: an edge that came out below its
line's smallest lot is dropped and everything is solved again. `relaxed_objective` says what was
lost at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

# After this many rounds of dropping edges what is still below its lot is given up, so that the
# time is bounded; each round drops one edge at least.
REPAIRS_MAX = 50
# Greatest cost of a unit: node potentials reach nodes^2 x cost, which must stay below 2^63.
COST_MAX = 10**9
PERMILLE = 1_000


class NotSolved(RuntimeError):
    """The solver refused an instance that is feasible by construction: a bug, or an overflow."""


@dataclass(frozen=True)
class Instance:
    """One item class; quantities in its base unit.

    required   (n,) what each need still lacks, >= 1
    tier       (n,) 0 is served first
    available  (m,) what each line still has, >= 1
    lot        (m,) smallest quantity the line gives to one need, >= 1
    need, line (e,) edges, as rows of the above; each pair once
    score      (e,) suitability in thousandths, 0..1000
    """

    required: IntArray
    tier: IntArray
    available: IntArray
    lot: IntArray
    need: IntArray
    line: IntArray
    score: IntArray


@dataclass(frozen=True)
class Assignment:
    """quantity (e,) per edge. Objectives are sums of score x share of the need, in millionths."""

    quantity: IntArray
    objective: int
    relaxed_objective: int
    repairs: int


def solve(instance: Instance) -> Assignment:
    """Deterministic: equal instances give equal bytes."""
    weight = _weights(instance)
    kept = np.ones(len(instance.need), dtype=bool)
    first: IntArray | None = None
    repairs = 0
    while True:
        quantity = _solve_tiers(instance, weight, kept)
        if first is None:
            first = quantity
        below = (quantity > 0) & (quantity < instance.lot[instance.line])
        if not below.any():
            break
        if repairs == REPAIRS_MAX:
            quantity = np.where(below, 0, quantity)
            break
        kept &= ~below
        repairs += 1
    return Assignment(
        quantity=quantity,
        objective=objective(instance, quantity),
        relaxed_objective=objective(instance, first),
        repairs=repairs,
    )


def objective(instance: Instance, quantity: IntArray) -> int:
    """Sum over edges of score x quantity / required, in millionths, each edge rounded down."""
    return sum(
        int(s) * PERMILLE * int(x) // int(r)
        for s, x, r in zip(instance.score, quantity, instance.required[instance.need], strict=True)
        if x
    )


def _weights(instance: Instance) -> IntArray:
    """Score per unit: so that a need fully met counts its score, however large it is.

    Integers; the smallest need's unit may cost up to the bound. Needs more than about 10^6 times
    larger than the smallest of their class are told apart with ever fewer digits.
    """
    if not len(instance.need):
        return np.zeros(0, dtype=np.int64)
    nodes = len(instance.required) + len(instance.available) + 2
    greatest = max(1, min(COST_MAX, 2**60 // nodes**2))
    smallest = int(instance.required.min())
    scale = greatest * smallest // PERMILLE
    return np.array(
        [
            int(s) * scale // int(r)
            for s, r in zip(instance.score, instance.required[instance.need], strict=True)
        ],
        dtype=np.int64,
    )


def _solve_tiers(instance: Instance, weight: IntArray, kept: NDArray[np.bool_]) -> IntArray:
    quantity = np.zeros(len(instance.need), dtype=np.int64)
    served = np.zeros(len(instance.required), dtype=np.int64)
    for tier in np.unique(instance.tier):
        now = instance.tier == tier
        edges = np.flatnonzero(kept & ((served > 0) | now)[instance.need])
        if not len(edges):
            continue
        network = _Network(instance, edges)
        amount = network.most(np.where(now, instance.required, served))
        earlier = int(served.sum())
        if amount == earlier and not earlier:
            continue
        quantity = np.zeros(len(instance.need), dtype=np.int64)
        quantity[edges] = network.best(served, now, amount, weight[edges])
        served = np.zeros(len(instance.required), dtype=np.int64)
        np.add.at(served, instance.need, quantity)
    return quantity


class _Network:
    """Nodes: needs, then lines, then source and sink."""

    def __init__(self, instance: Instance, edges: IntArray) -> None:
        self.instance = instance
        needs, lines = len(instance.required), len(instance.available)
        self.tail = instance.need[edges].astype(np.int32)
        self.head = (instance.line[edges] + needs).astype(np.int32)
        self.capacity = np.minimum(
            instance.required[instance.need[edges]], instance.available[instance.line[edges]]
        )
        self.needs = np.arange(needs, dtype=np.int32)
        self.lines = np.arange(needs, needs + lines, dtype=np.int32)
        self.source, self.sink = needs + lines, needs + lines + 1

    def most(self, limits: IntArray) -> int:
        """The maximum flow when need i takes at most limits[i]."""
        from ortools.graph.python import max_flow

        flow = max_flow.SimpleMaxFlow()
        flow.add_arcs_with_capacity(self.tail, self.head, self.capacity)
        flow.add_arcs_with_capacity(
            np.full(len(self.needs), self.source, dtype=np.int32), self.needs, limits
        )
        flow.add_arcs_with_capacity(
            self.lines, np.full(len(self.lines), self.sink, dtype=np.int32), self.instance.available
        )
        status = flow.solve(self.source, self.sink)
        if status != flow.OPTIMAL:
            raise NotSolved(f"maximum flow: {status.name}")
        return int(flow.optimal_flow())

    def best(
        self, served: IntArray, now: NDArray[np.bool_], amount: int, weight: IntArray
    ) -> IntArray:
        """Flow on the edges, of the greatest weight, with `served` exact and `amount` in all."""
        from ortools.graph.python import min_cost_flow

        flow = min_cost_flow.SimpleMinCostFlow()
        arcs = flow.add_arcs_with_capacity_and_unit_cost(
            self.tail, self.head, self.capacity, -weight
        )
        current = np.flatnonzero(now).astype(np.int32)
        flow.add_arcs_with_capacity_and_unit_cost(
            np.full(len(current), self.source, dtype=np.int32),
            current,
            self.instance.required[current],
            np.zeros(len(current), dtype=np.int64),
        )
        flow.add_arcs_with_capacity_and_unit_cost(
            self.lines,
            np.full(len(self.lines), self.sink, dtype=np.int32),
            self.instance.available,
            np.zeros(len(self.lines), dtype=np.int64),
        )
        earlier = np.where(now, 0, served)
        nodes = np.concatenate([self.needs, np.array([self.source, self.sink], dtype=np.int32)])
        supplies = np.concatenate([earlier, np.array([amount - earlier.sum(), -amount])])
        flow.set_nodes_supplies(nodes, supplies)
        status = flow.solve()
        if status != flow.OPTIMAL:
            raise NotSolved(f"minimum-cost flow: {status.name}")
        return np.asarray(flow.flows(arcs), dtype=np.int64)
