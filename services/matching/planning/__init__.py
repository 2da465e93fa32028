"""A round from its frozen snapshot to proposals, reasons and overview; pure.

snapshot    what a round is computed from, and its bytes
candidates  the lines a need is compared with, and what each pair is worth
choosing    one aid of a kind per applicant
balance     fairness between divisions across item classes
classes     an item class as an instance, solved
plan        the assignment, item class by item class
placement   the same between rounds, at prices that keep stock back
solved      an item class with its solution
explaining  why each proposal
outcomes    why each need that is not met
overview    totals, tiers, fairness, samples
results     what comes out, and the shapes of what is stored
parts       a solved item class as bytes
wording, reasons, words   all of it as a person reads it, in Chinese and English
"""

from services.matching.planning.plan import plan
from services.matching.planning.results import Outcome, Part, Plan, Proposal
from services.matching.planning.snapshot import (
    Snapshot,
    SnapshotDamaged,
    SnapshotOutdated,
    pack,
    unpack,
)
from services.matching.solver.instance import Stopped

__all__ = [
    "Outcome",
    "Part",
    "Plan",
    "Proposal",
    "Snapshot",
    "SnapshotDamaged",
    "SnapshotOutdated",
    "Stopped",
    "pack",
    "plan",
    "unpack",
]
