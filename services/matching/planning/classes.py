"""One item class: compared, made an instance by the policy, solved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.matching.domain import NeedTerms
from services.matching.planning.balance import levels_within
from services.matching.planning.candidates import (
    PERMILLE,
    BoolArray,
    Comparison,
    Edges,
    IntArray,
)
from services.matching.planning.choosing import Attempt, rivals
from services.matching.planning.results import Json
from services.matching.planning.snapshot import Snapshot
from services.matching.planning.solved import Solved
from services.matching.policies import Policy
from services.matching.solver import fairness
from services.matching.solver.instance import Instance, Method, rescaled
from services.matching.solver.online import room_price
from services.matching.solver.solve import solve
from services.matching.solver.whole import make_whole

# Prices are kept in these parts of a point (thousandth of a need) per base unit, so that they
# mean the same whatever the scale of the instance they come from.
PRICE_SCALE = 10**12
# With divisions to balance the exact solver is asked for so many times more pairs.
GROUPED = 10


@dataclass(frozen=True)
class Class:
    """One item class, compared, not yet solved; tier, whole (n,) and limit (m,) beside edges."""

    item_class: str
    policy: Policy
    edges: Edges
    tier: IntArray
    whole: BoolArray
    start_price: IntArray

    @property
    def asking(self) -> list[list[int]]:
        """Rows of the needs of applicants of whom one alone may be met."""
        kinds = self.policy.one_aid_applicant_kinds if self.policy.one_aid_days else []
        has_line = np.bincount(self.edges.need, minlength=len(self.edges.needs)) > 0
        return rivals(self.edges.needs, kinds, has_line, self.tier)

    def instance(
        self, active: BoolArray, points: IntArray | None = None
    ) -> tuple[Instance, IntArray, IntArray]:
        """The instance of the active needs, its needs and its edges as rows of the class.

        points (n,) added to what each need's edges are worth
        """
        edges = self.edges
        rows = np.flatnonzero(active)
        chosen = np.flatnonzero(active[edges.need])
        place = np.cumsum(active) - 1
        lines = edges.lines
        value = edges.value[chosen]
        if points is not None:
            value = np.clip(value + points[edges.need[chosen]], 0, PERMILLE)
        bare = Instance(
            required=np.array([edges.needs[r].remaining for r in rows.tolist()], dtype=np.int64),
            tier=self.tier[rows],
            whole=self.whole[rows],
            available=np.array([m.available for m in lines], dtype=np.int64),
            lot=np.array([m.lot for m in lines], dtype=np.int64),
            need=place[edges.need[chosen]],
            line=edges.line[chosen],
            value=value,
        )
        return bare, rows, chosen

    def solved(self, chosen: Attempt, plain: Attempt) -> Solved:
        """plain   by welfare alone"""
        price = rescaled(room_price(chosen.solution), chosen.solution.scale, chosen.instance.scale)
        return Solved(
            urgencies=self.policy.tiers,
            edges=self.edges,
            instance=chosen.instance,
            active=chosen.active,
            tier=self.tier,
            whole=self.whole,
            limit=chosen.instance.limit,
            quantity=chosen.quantity(len(self.edges)),
            before=plain.quantity(len(self.edges)),
            price=price,
            kept_back=np.zeros(len(self.edges.needs), dtype=bool),
        )


def prepared(needs: Sequence[NeedTerms], snapshot: Snapshot, comparison: Comparison) -> Class:
    """needs   of one class, sorted by id"""
    policy = snapshot.policy
    edges = comparison.edges(needs[0].item_class, needs)
    tiers: dict[str, int] = {urgency: place for place, urgency in enumerate(policy.tiers)}
    return Class(
        item_class=needs[0].item_class,
        policy=policy,
        edges=edges,
        tier=np.array([tiers[n.urgency] for n in needs], dtype=np.int64),
        whole=np.array([is_whole(policy, n) for n in needs], dtype=bool),
        start_price=np.array(
            [snapshot.start_prices.get(str(m.line_id), 0) for m in edges.lines], dtype=np.int64
        ),
    )


def is_whole(policy: Policy, need: NeedTerms) -> bool:
    unsplittable = policy.unsplittable
    return need.unit in unsplittable.units or need.item_class in unsplittable.item_classes


def attempt(
    of_class: Class,
    active: BoolArray,
    with_fairness: bool,
    stop: Callable[[], bool],
    points: IntArray | None = None,
) -> Attempt:
    policy, edges = of_class.policy, of_class.edges
    bare, rows, chosen = of_class.instance(active, points)
    instance = with_terms(
        policy, bare, [edges.needs[r] for r in rows.tolist()], edges, with_fairness
    )
    # Balancing many divisions by prices takes longer than the exact flow at any size in use.
    most = policy.solver.exact_edges_max * (GROUPED if instance.groups else 1)
    method: Method = "exact" if len(chosen) <= most else "auction"
    solution = solve(
        instance,
        method=method,
        start_price=rescaled(of_class.start_price, PRICE_SCALE, instance.scale),
        gap_ppm=policy.solver.gap_ppm,
        stop=stop,
    )
    kept = make_whole(instance, solution, stop)
    return Attempt(active, rows, chosen, instance, kept, solution)


def with_terms(
    policy: Policy, bare: Instance, needs: Sequence[NeedTerms], edges: Edges, with_fairness: bool
) -> Instance:
    """The instance with the policy's diversity and, where asked for, its fairness."""
    diversity = fairness.DiversityTerms(**policy.diversity.model_dump())
    steps = fairness.line_steps(diversity, [m.organization_id for m in edges.lines], bare)
    stepped = Instance(**{**_fields(bare), "line_steps": steps})
    if not with_fairness:
        return stepped
    terms = fairness_of(policy)
    terms = replace(terms, levels=levels_within(terms, needs))
    groups = fairness.groups_of(terms, [n.division_code for n in needs], stepped)
    return Instance(**{**_fields(stepped), "groups": groups})


def fairness_of(policy: Policy) -> fairness.FairnessTerms:
    plain = policy.fairness.model_dump()
    return fairness.FairnessTerms(**{**plain, "levels": tuple(plain["levels"])})


def _fields(instance: Instance) -> Json:
    return {name: getattr(instance, name) for name in Instance.__dataclass_fields__}
