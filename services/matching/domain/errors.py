"""What may be refused; each `code` is stable."""

from shared.errors import Conflict, Forbidden, Invalid, NotFound, TooManyRequests


class NeedNotFound(NotFound):
    code = "need_not_found"


class OfferNotFound(NotFound):
    code = "offer_not_found"


class RoundNotFound(NotFound):
    code = "round_not_found"


class AllocationNotFound(NotFound):
    code = "allocation_not_found"


class PolicyNotFound(Invalid):
    code = "policy_not_found"


class NoSuchPolicy(NotFound):
    """Asked for by its name, not named in a body."""

    code = "policy_not_found"


class NotConsidered(NotFound):
    """No approved round has considered the need yet."""

    code = "not_considered"


class DivisionUnknown(Invalid):
    code = "division_unknown"


class DivisionNotYours(Forbidden):
    code = "division_not_yours"


class RoundTooLarge(Invalid):
    code = "round_too_large"

    def __init__(self, needs_max: int) -> None:
        super().__init__(
            f"The division has more than {needs_max} needs to match; run a smaller division."
        )


class RoundNotThere(Conflict):
    """The round is not in a state from which it may go there."""

    code = "round_state"

    def __init__(self, state: str) -> None:
        super().__init__(f"The round is {state}.")


class RoundUnknown(Invalid):
    """A round that the request builds upon is not there, or left nothing to build upon."""

    code = "round_unknown"


class NotComparable(Invalid):
    """Two rounds are compared only on the same frozen data, when both are computed."""

    code = "not_comparable"


class NoOverview(Conflict):
    """The round is not computed, or was before there were overviews."""

    code = "no_overview"


class DryRunNotApproved(Conflict):
    code = "dry_run"

    def __init__(self) -> None:
        super().__init__("A dry run is looked at, never approved; start a round from it.")


class SnapshotUsed(Conflict):
    """Approved twice, the same needs and lines would be promised twice."""

    code = "snapshot_used"

    def __init__(self) -> None:
        super().__init__("Another round on the same frozen data was approved.")


class NotFromHere(Conflict):
    code = "allocation_state"

    def __init__(self, state: str, wanted: str) -> None:
        super().__init__(f"The allocation is {state} and cannot become {wanted}.")


class DeadlinePassed(Conflict):
    code = "deadline_passed"


class ApprovalNotInLog(Conflict):
    """Nothing moves that is not in the log."""

    code = "approval_not_in_log"


class LogWithoutQuorum(Conflict):
    """The policy wants what is not urgent enough to wait until witnesses cosign the log again."""

    code = "log_without_quorum"

    def __init__(self, urgency: str) -> None:
        super().__init__(
            f"Too few witnesses cosign the log; until they do, the policy holds back what is "
            f"{urgency}. Ask again later."
        )


class NotYourAllocation(Forbidden):
    code = "not_your_allocation"


class TookPart(Forbidden):
    """Duties are apart: the caller had a hand in this before."""

    code = "took_part"


class ReasonMissing(Invalid):
    code = "reason_missing"


class NeedSuspended(Conflict):
    """An objection to the need is open, or its review is overdue: nothing is decided or moved."""

    code = "need_suspended"


class SlipNotIssued(Conflict):
    code = "slip_not_issued"


class SlipWrong(Forbidden):
    code = "slip_wrong"


class SlipLocked(TooManyRequests):
    """Too many wrong codes; it can still be confirmed before an officer."""

    code = "slip_locked"
