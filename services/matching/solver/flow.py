"""The exact answer: an integral min-cost flow per stage, and its dual prices.

Why a stage may demand the earlier amounts exactly. Let a be amounts that earlier tiers were given,
as a flow f. Any larger flow is reached from f by augmenting paths that start in a need of tier k,
and a simple path from the source never takes flow off an arc that leaves the source: so a maximum
flow of the stage exists that keeps every a. And no earlier need could have had more: the nodes
that cannot reach the sink in the residual graph of f still cannot after augmenting (a path
through them would have reached it). So after every stage each prefix of tiers holds its maximum
flow. Earlier amounts are therefore node supplies, not bonuses: no large constant that could
overflow or drown the weights.

Groups of needs stand between the source and the needs, a level of the tree behind the other, each
with parallel arcs for the segments of its utility; the earlier needs bypass them and have used up
the first segments. With caps the last step of the proof fails: an earlier tier's choice may then
cost a later one something, and "the most a tier can get" means beside those very amounts.

Goldberg (1997), "An efficient implementation of a scaling minimum-cost flow algorithm",
doi:10.1006/jagm.1995.0805, via OR-tools. Prices are shortest distances in the residual graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.matching.solver.certificate import (
    Duals,
    Relaxed,
    Stage,
    amounts,
    certify,
    group_amounts,
    left,
)
from services.matching.solver.compiled import compiled
from services.matching.solver.instance import (
    BoolArray,
    Instance,
    IntArray,
    NotSolved,
    Stopped,
    parents,
)

# Node potentials of the cost scaling reach nodes^2 x cost, which must stay below 2^63.
POTENTIAL_MAX = 2**60
# Looks at an arc while distances are computed, per arc; then whatever was found prices the answer.
LOOKS_PER_ARC = 400


def solve_tiers(instance: Instance, stop: Callable[[], bool]) -> Relaxed:
    """Every tier exactly. Equal instances give equal bytes."""
    quantity = np.zeros(len(instance.need), dtype=np.int64)
    served = np.zeros(len(instance.required), dtype=np.int64)
    duals = Duals.none(instance)
    tiers = []
    for tier in np.unique(instance.tier):
        if stop():
            raise Stopped
        now = instance.tier == tier
        edges = np.flatnonzero(((served > 0) | now)[instance.need])
        network = _Network(instance, edges, served, now)
        amount = network.most()
        quantity, duals = network.best(amount)
        served = amounts(instance.need, quantity, len(instance.required))
        stage = Stage(instance, np.where(now, 0, served), now, amount)
        tiers.append(certify(stage, int(tier), amount, quantity, duals))
    return Relaxed(quantity, duals, tuple(tiers), "exact")


@dataclass(frozen=True)
class _Arcs:
    """capacity and cost (a,) from tail to head."""

    tail: IntArray
    head: IntArray
    capacity: IntArray
    cost: IntArray


class _Network:
    """Nodes: needs, lines, groups of all levels, source, sink.

    fixed (n,) what earlier needs get; now (n,) the needs of this stage
    """

    def __init__(
        self, instance: Instance, edges: IntArray, fixed: IntArray, now: BoolArray
    ) -> None:
        self.instance, self.edges, self.fixed, self.now = instance, edges, fixed, now
        self.needs, self.lines = len(instance.required), len(instance.available)
        groups = sum(len(level) for level in instance.groups)
        self.first_group = self.needs + self.lines
        self.source = self.first_group + groups
        self.sink = self.source + 1
        weights = instance.weights()[edges]
        need, line = instance.need[edges], instance.line[edges]
        self.arcs = _joined(
            [
                _Arcs(
                    need,
                    line + self.needs,
                    np.minimum(instance.required[need], instance.available[line]),
                    -weights,
                ),
                self._of_needs(),
                *self._of_groups(),
                self._of_lines(),
            ]
        )

    def _of_needs(self) -> _Arcs:
        """Into each need of this stage, from its finest group or the source."""
        above = np.full(self.needs, self.source, dtype=np.int64)
        first = self.first_group
        for level in self.instance.groups:
            inside = level.of_need >= 0
            above[inside] = level.of_need[inside] + first
            first += len(level)
        current = np.flatnonzero(self.now)
        return _Arcs(
            above[current],
            current,
            self.instance.required[current],
            np.zeros(len(current), dtype=np.int64),
        )

    def _of_groups(self) -> list[_Arcs]:
        """Into each group one arc per segment, less what earlier tiers used of it."""
        arcs = []
        first = self.first_group
        # One more than can ever flow: an arc nobody can fill must not look full to the prices.
        never = int(self.instance.required.sum()) + 1
        for level, parent, used in zip(
            self.instance.groups,
            parents(self.instance.groups),
            group_amounts(self.instance, self.fixed),
            strict=True,
        ):
            row = np.repeat(np.arange(len(level)), np.diff(level.start))
            above = np.where(parent < 0, self.source, parent + self.first_group)
            arcs.append(
                _Arcs(above[row], row + first, np.minimum(left(level, used), never), -level.bonus)
            )
            first += len(level)
        return arcs

    def _of_lines(self) -> _Arcs:
        steps = self.instance.line_steps
        if steps is None:
            row, capacity = np.arange(self.lines), self.instance.available
            cost = np.zeros(self.lines, dtype=np.int64)
        else:
            row = np.repeat(np.arange(self.lines), np.diff(steps.start))
            capacity = steps.width - left(steps, self.instance.available)
            cost = steps.cost
        return _Arcs(row + self.needs, np.full(len(row), self.sink), capacity, cost)

    def most(self) -> int:
        """The most the stage's needs can get while every earlier need gets what is fixed."""
        from ortools.graph.python import max_flow

        flow = max_flow.SimpleMaxFlow()
        earlier = np.flatnonzero(self.fixed)
        for arcs in (
            self.arcs,
            _Arcs(np.full(len(earlier), self.source), earlier, self.fixed[earlier], earlier),
        ):
            flow.add_arcs_with_capacity(_nodes(arcs.tail), _nodes(arcs.head), arcs.capacity)
        if not flow.num_arcs():
            return 0
        status = flow.solve(self.source, self.sink)
        if status != flow.OPTIMAL:
            raise NotSolved(f"maximum flow: {status.name}")
        return int(flow.optimal_flow()) - int(self.fixed.sum())

    def best(self, amount: int) -> tuple[IntArray, Duals]:
        """Quantities (e,) of the greatest welfare with `amount` for this stage, and their prices.

        Costs are rounded down to what the solver can compute with; the certificate tells.
        """
        from ortools.graph.python import min_cost_flow

        arcs = self.arcs
        greatest = max(1, POTENTIAL_MAX // (self.sink + 1) ** 2)
        coarser = max(1, -(-int(np.abs(arcs.cost).max(initial=0)) // greatest))
        cost = arcs.cost // coarser
        flow = min_cost_flow.SimpleMinCostFlow()
        flow.add_arcs_with_capacity_and_unit_cost(
            _nodes(arcs.tail), _nodes(arcs.head), arcs.capacity, cost
        )
        earlier = np.flatnonzero(self.fixed)
        nodes = np.concatenate([earlier, np.array([self.source, self.sink])])
        supplies = np.concatenate(
            [self.fixed[earlier], np.array([amount, -amount - int(self.fixed.sum())])]
        )
        flow.set_nodes_supplies(_nodes(nodes), supplies)
        status = flow.solve()
        if status != flow.OPTIMAL:
            raise NotSolved(f"minimum-cost flow: {status.name}")
        flows = np.asarray(flow.flows(np.arange(len(cost))), dtype=np.int64)
        quantity = np.zeros(len(self.instance.need), dtype=np.int64)
        quantity[self.edges] = flows[: len(self.edges)]
        return quantity, self._duals(flows, cost, coarser)

    def _duals(self, flows: IntArray, cost: IntArray, coarser: int) -> Duals:
        """From distances d in the residual graph, where each arc has d[head] <= d[tail] + cost.

        The edges' own capacities bind nowhere alone, so they count as open: a price per line, a
        bonus per group and one for the stage then explain the whole answer.
        """
        arcs = self.arcs
        is_open = flows < arcs.capacity
        is_open[: len(self.edges)] = True
        back = flows > 0
        distance = _distances(
            np.concatenate([arcs.tail[is_open], arcs.head[back]]),
            np.concatenate([arcs.head[is_open], arcs.tail[back]]),
            np.concatenate([cost[is_open], -cost[back]]),
            self.sink + 1,
            LOOKS_PER_ARC * len(cost),
        )
        distance *= coarser
        lines = distance[self.needs : self.first_group]
        above = np.concatenate([np.zeros(0, dtype=np.int64), *parents(self.instance.groups)])
        groups = distance[self.first_group : self.source]
        outer = np.where(above < 0, distance[self.source], groups[above] if len(above) else 0)
        counts = np.cumsum([len(level) for level in self.instance.groups])[:-1]
        return Duals(
            price=np.maximum(distance[self.sink] - lines, 0),
            group=tuple(np.split(outer - groups, counts)) if self.instance.groups else (),
            bonus=int(distance[self.sink] - distance[self.source]),
        )


def _joined(parts: list[_Arcs]) -> _Arcs:
    def column(name: str) -> IntArray:
        values: IntArray = np.concatenate([getattr(p, name) for p in parts])
        return values

    return _Arcs(column("tail"), column("head"), column("capacity"), column("cost"))


def _nodes(rows: IntArray) -> NDArray[np.int32]:
    return rows.astype(np.int32)


def _distances(tail: IntArray, head: IntArray, cost: IntArray, nodes: int, looks: int) -> IntArray:
    """(nodes,) shortest distances from a node before all others; no cycle is negative."""
    order = np.argsort(tail, kind="stable")
    start = np.searchsorted(tail[order], np.arange(nodes + 1))
    return _label_correcting(start, head[order], cost[order], looks)


@compiled
def _label_correcting(start: IntArray, head: IntArray, cost: IntArray, looks: int) -> IntArray:
    """Bellman-Ford with a queue of the nodes whose distance fell."""
    nodes = len(start) - 1
    distance = np.zeros(nodes, dtype=np.int64)
    queued = np.ones(nodes, dtype=np.bool_)
    queue = np.arange(nodes)
    first, waiting = 0, nodes
    while waiting and looks > 0:
        v = queue[first]
        first = (first + 1) % nodes
        waiting -= 1
        queued[v] = False
        looks -= start[v + 1] - start[v]
        for a in range(start[v], start[v + 1]):
            u = head[a]
            if distance[v] + cost[a] < distance[u]:
                distance[u] = distance[v] + cost[a]
                if not queued[u]:
                    queued[u] = True
                    queue[(first + waiting) % nodes] = u
                    waiting += 1
    return distance
