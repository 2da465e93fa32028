"""A round from its frozen snapshot to proposals, reasons and overview; pure.

snapshot    what a round is computed from, and its bytes
candidates  the lines a need is compared with, and the value of each pair
plan        the assignment, item class by item class
results     what comes out, and the shapes of what is stored
"""

from services.matching.planning.pairs import (
    GROWTH,
    Candidate,
    nearest_served,
    need_text,
    score_pairs,
)
from services.matching.planning.plan import plan
from services.matching.planning.results import Outcome, Part, Plan, Proposal
from services.matching.planning.snapshot import Snapshot, SnapshotDamaged, pack, unpack
from services.matching.solver.instance import Stopped

__all__ = [
    "GROWTH",
    "Candidate",
    "Outcome",
    "Part",
    "Plan",
    "Proposal",
    "Snapshot",
    "SnapshotDamaged",
    "Stopped",
    "nearest_served",
    "need_text",
    "pack",
    "plan",
    "score_pairs",
    "unpack",
]
