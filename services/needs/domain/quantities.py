"""What allocations hold of a need: never more in all than what is required."""

from dataclasses import dataclass, replace

from services.needs.domain import errors
from shared.vocabulary.codes import NeedState
from shared.vocabulary.movements import MovementRefused, MovementState, effects


@dataclass(frozen=True, slots=True)
class Holding:
    """Quantities of one need in the base unit of its item class; `required` 0 when not stated."""

    required: int
    reserved: int
    in_transit: int
    delivered: int

    @property
    def held(self) -> int:
        return self.reserved + self.in_transit + self.delivered

    @property
    def remaining(self) -> int:
        return self.required - self.held

    @property
    def all_delivered(self) -> bool:
        return 0 < self.required <= self.delivered


@dataclass(frozen=True, slots=True)
class Commitment:
    """What one allocation holds of one need and how far it has moved."""

    quantity: int
    state: MovementState


def met(holding: Holding) -> str:
    """How far a need is met; what is only promised meets nobody's need yet."""
    if holding.all_delivered:
        return "fully"
    return "partly" if holding.delivered > 0 else "unmet"


def apply(
    holding: Holding, need_state: NeedState, before: Commitment | None, after: Commitment
) -> Holding:
    """The holding after an allocation's movement; `after` equal to `before` changes nothing.

    Only a new reservation asks for a published need: what is held already may always move on.
    Raises NeedNotOpen, NeedExceeded, CommitmentDiffers, CommitmentMoveForbidden.
    """
    if before == after:
        return holding
    if before is not None and before.quantity != after.quantity:
        raise errors.CommitmentDiffers
    try:
        moved = effects(None if before is None else before.state, after.state, after.quantity)
    except MovementRefused as refused:
        raise errors.CommitmentMoveForbidden(str(refused)) from refused
    if before is None and after.state is MovementState.RESERVED:
        if need_state is not NeedState.PUBLISHED:
            raise errors.NeedNotOpen(need_state)
        if after.quantity > holding.remaining:
            raise errors.NeedExceeded
    return replace(
        holding,
        reserved=holding.reserved + moved.reserved,
        in_transit=holding.in_transit + moved.in_transit,
        delivered=holding.delivered + moved.delivered,
    )


_ENDS_WHEN_MET = frozenset({NeedState.PUBLISHED, NeedState.SUSPENDED, NeedState.EXPIRED})


def state_after_movement(state: NeedState, holding: Holding) -> NeedState:
    """Closed when all has been delivered, open again when something delivered was sent back."""
    if holding.all_delivered and state in _ENDS_WHEN_MET:
        return NeedState.CLOSED
    if state is NeedState.CLOSED and not holding.all_delivered:
        return NeedState.PUBLISHED
    return state
