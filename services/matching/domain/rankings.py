"""Rankings: their states, who puts one into force, and what may be refused; pure."""

from __future__ import annotations

from enum import StrEnum

from services.matching.domain.errors import TookPart
from shared.errors import Conflict, NotFound


class RankingState(StrEnum):
    TRAINING = "training"
    FAILED = "failed"
    PROPOSED = "proposed"
    ACTIVE = "active"
    RETIRED = "retired"


_MAY_BECOME = {
    RankingState.TRAINING: {RankingState.PROPOSED, RankingState.FAILED},
    RankingState.FAILED: set[RankingState](),
    RankingState.PROPOSED: {RankingState.ACTIVE},
    RankingState.ACTIVE: {RankingState.RETIRED},
    # What replaced it may turn out worse.
    RankingState.RETIRED: {RankingState.ACTIVE},
}


class RankingNotFound(NotFound):
    code = "ranking_not_found"


class RankingNotThere(Conflict):
    """The ranking is not in a state from which it may go there."""

    code = "ranking_state"

    def __init__(self, state: str) -> None:
        super().__init__(f"The ranking is {state}.")


class RankingNameTaken(Conflict):
    code = "ranking_name_taken"


class RankingInTraining(Conflict):
    """One is trained at a time."""

    code = "ranking_in_training"


class DecisionsTooFew(Conflict):
    """Nothing can be learned from what was decided so far."""

    code = "decisions_too_few"


def move_ranking(state: RankingState, wanted: RankingState) -> RankingState:
    """Raise RankingNotThere unless a ranking may go from state to wanted."""
    if wanted not in _MAY_BECOME[state]:
        raise RankingNotThere(state)
    return wanted


def check_activator(subject: str, proposed_by: str) -> None:
    if subject == proposed_by:
        raise TookPart("Who proposed a ranking does not put it into force.")
