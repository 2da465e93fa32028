"""Calls to the ledgers of needs and donors: one function per contract operation."""

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError

from services.donors import contract as donors
from services.needs import contract as needs
from shared.client import Client, RemoteUnavailable

# A batch of 500 movements takes about a second of an idle machine.
TIMEOUT_S = 30.0

_reservations = TypeAdapter(donors.MovedBatchResult)
_commitments = TypeAdapter(needs.MovedBatchResult)


async def move_reservations(
    client: Client, items: Sequence[donors.ReservationItem]
) -> list[donors.MovedItem]:
    """One outcome per item, in order. Raises RemoteFailure: then nothing is known of any item."""
    body = donors.ReservationBatch(reservations=list(items))
    answer = await client.put("/v1/reservations", body, timeout_s=TIMEOUT_S)
    try:
        return _reservations.validate_json(answer.content).results
    except ValidationError as error:
        raise RemoteUnavailable("donors: the answer is not of its contract") from error


async def move_commitments(
    client: Client, items: Sequence[needs.CommitmentItem]
) -> list[needs.MovedItem]:
    """As move_reservations, on the side of the needs."""
    body = needs.CommitmentBatch(commitments=list(items))
    answer = await client.put("/v1/commitments", body, timeout_s=TIMEOUT_S)
    try:
        return _commitments.validate_json(answer.content).results
    except ValidationError as error:
        raise RemoteUnavailable("needs: the answer is not of its contract") from error
