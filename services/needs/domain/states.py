"""The states of a need and the moves between them."""

from services.needs.domain.errors import StateForbids
from shared.vocabulary.codes import Level, NeedState

_ENDED_EARLY = frozenset({NeedState.RETURNED, NeedState.REJECTED, NeedState.WITHDRAWN})

MAY_BECOME: dict[NeedState, frozenset[NeedState]] = {
    NeedState.DRAFT: frozenset({NeedState.SUBMITTED, NeedState.WITHDRAWN}),
    # Straight to published: a need that threatens life is verified afterwards.
    NeedState.SUBMITTED: frozenset(
        {
            NeedState.VILLAGE_VERIFIED,
            NeedState.TOWNSHIP_VERIFIED,
            NeedState.COUNTY_VERIFIED,
            NeedState.CITY_VERIFIED,
            NeedState.PUBLISHED,
        }
    )
    | _ENDED_EARLY,
    NeedState.VILLAGE_VERIFIED: frozenset({NeedState.TOWNSHIP_VERIFIED}) | _ENDED_EARLY,
    NeedState.TOWNSHIP_VERIFIED: frozenset({NeedState.COUNTY_VERIFIED}) | _ENDED_EARLY,
    NeedState.COUNTY_VERIFIED: frozenset({NeedState.CITY_VERIFIED, NeedState.NOTICED})
    | _ENDED_EARLY,
    NeedState.CITY_VERIFIED: frozenset({NeedState.NOTICED}) | _ENDED_EARLY,
    # Rejected: an objection of before its return was upheld.
    NeedState.NOTICED: frozenset(
        {NeedState.PUBLISHED, NeedState.SUSPENDED, NeedState.REJECTED, NeedState.WITHDRAWN}
    ),
    NeedState.PUBLISHED: frozenset({NeedState.SUSPENDED, NeedState.EXPIRED, NeedState.CLOSED})
    | _ENDED_EARLY,
    NeedState.SUSPENDED: frozenset({NeedState.NOTICED, NeedState.PUBLISHED, NeedState.CLOSED})
    | _ENDED_EARLY,
    NeedState.RETURNED: frozenset({NeedState.SUBMITTED, NeedState.REJECTED, NeedState.WITHDRAWN}),
    NeedState.REJECTED: frozenset(),
    NeedState.WITHDRAWN: frozenset(),
    # What was on its way when the need expired may still arrive. Rejected: an objection was upheld.
    NeedState.EXPIRED: frozenset({NeedState.CLOSED, NeedState.REJECTED}),
    # Delivered goods that are sent back leave the need open again. Rejected: an objection was
    # upheld, or a need published first did not pass, after all had been delivered.
    NeedState.CLOSED: frozenset({NeedState.PUBLISHED, NeedState.REJECTED}),
}

VERIFIED: dict[Level, NeedState] = {
    Level.VILLAGE: NeedState.VILLAGE_VERIFIED,
    Level.TOWNSHIP: NeedState.TOWNSHIP_VERIFIED,
    Level.COUNTY: NeedState.COUNTY_VERIFIED,
    Level.CITY: NeedState.CITY_VERIFIED,
}

# Seen by anybody who knows the address; lists show published needs only.
PUBLIC = frozenset({NeedState.PUBLISHED, NeedState.CLOSED})
EDITABLE = frozenset({NeedState.DRAFT, NeedState.RETURNED})


def move(before: NeedState, after: NeedState) -> NeedState:
    """Return `after`; raise StateForbids when there is no such move."""
    if after not in MAY_BECOME[before]:
        raise StateForbids(before, after)
    return after


def may_become(before: NeedState, after: NeedState) -> bool:
    return after in MAY_BECOME[before]
