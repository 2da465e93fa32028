"""The pure rules: states, levels, policies in force, quantities."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.needs.domain import errors
from services.needs.domain.policy import Activation, DeprivationIndex, in_force
from services.needs.domain.quantities import Commitment, Holding, apply, state_after_movement
from services.needs.domain.states import MAY_BECOME, move
from services.needs.domain.verification import (
    is_published_first,
    level_after,
    levels,
    state_after_suspension,
)
from services.needs.policies import deprivation_index, policies
from shared.vocabulary.codes import Deprivation, Level, NeedState, Urgency
from shared.vocabulary.movements import MovementState

NATIONAL = policies()["national-1"]
START = datetime(2026, 3, 1, tzinfo=UTC)


def test_every_state_says_what_it_may_become():
    assert set(MAY_BECOME) == set(NeedState)
    for before, after in MAY_BECOME.items():
        assert before not in after


@pytest.mark.parametrize("before", list(NeedState))
@pytest.mark.parametrize("after", list(NeedState))
def test_only_moves_of_the_table_are_made(before: NeedState, after: NeedState):
    if after in MAY_BECOME[before]:
        assert move(before, after) is after
    else:
        with pytest.raises(errors.StateForbids):
            move(before, after)


def test_nothing_is_published_without_verification_but_what_is_published_first():
    before_publication = {s for s, after in MAY_BECOME.items() if NeedState.PUBLISHED in after}
    assert before_publication == {
        NeedState.SUBMITTED,
        NeedState.NOTICED,
        NeedState.SUSPENDED,
        NeedState.CLOSED,
    }


@pytest.mark.parametrize(
    ("division", "expected"),
    [
        ("430224101201", (Level.VILLAGE, Level.TOWNSHIP, Level.COUNTY)),
        ("430224101000", (Level.TOWNSHIP, Level.COUNTY)),
        ("430224000000", (Level.COUNTY,)),
        ("430200000000", (Level.CITY,)),
        ("430000000000", (Level.CITY,)),
        ("000000000000", (Level.CITY,)),
    ],
)
def test_verification_starts_at_the_level_of_the_division(
    division: str, expected: tuple[Level, ...]
):
    assert levels(division, NATIONAL) == expected
    assert level_after(expected[-1], division, NATIONAL) is None


def test_a_policy_that_came_on_the_way_and_does_not_know_the_level_ends_the_chain():
    assert level_after(Level.CITY, "430224101201", NATIONAL) is None


def test_only_a_first_submission_is_published_first():
    assert is_published_first(Urgency.LIFE_THREATENING, 1, NATIONAL)
    assert not is_published_first(Urgency.LIFE_THREATENING, 2, NATIONAL)
    assert not is_published_first(Urgency.URGENT, 1, NATIONAL)
    assert is_published_first(Urgency.URGENT, 1, policies()["emergency-hubei-2020"])


def test_the_most_specific_activation_in_force_holds():
    later = START + timedelta(days=2)
    activations = [
        Activation("province", "430000000000", START, None),
        Activation("county", "430224000000", START, START + timedelta(days=10)),
        Activation("county-newer", "430224000000", later, START + timedelta(days=10)),
    ]
    village = "430224101201"
    assert in_force(village, activations, START - timedelta(seconds=1)) == "national-1"
    assert in_force(village, activations, START) == "county"
    assert in_force(village, activations, later) == "county-newer"
    assert in_force(village, activations, START + timedelta(days=10)) == "province"
    assert in_force("430225101201", activations, later) == "province"
    assert in_force("110101000000", activations, later) == "national-1"


def test_the_index_knows_every_deprivation_of_the_vocabulary():
    assert deprivation_index().weights_permille.keys() == set(Deprivation)
    assert deprivation_index().score_permille(Deprivation) == 1000
    assert deprivation_index().score_permille(["food", "food"]) == 150
    with pytest.raises(ValueError, match="1,000"):
        DeprivationIndex("broken", {"food": 999})


def test_a_suspended_need_goes_on_only_when_no_reason_lasts():
    due = START + timedelta(days=7)
    ended = START + timedelta(days=10)

    def after(now: datetime, *, first: bool, level: Level | None, objections: int) -> NeedState:
        return state_after_suspension(
            publish_first=first,
            next_level=level,
            review_due_at=due if first else None,
            notice_ends_at=None if first else ended,
            objections_open=objections,
            now=now,
        )

    assert after(START, first=True, level=Level.COUNTY, objections=1) is NeedState.SUSPENDED
    assert after(START, first=True, level=Level.COUNTY, objections=0) is NeedState.PUBLISHED
    assert after(due, first=True, level=Level.COUNTY, objections=0) is NeedState.SUSPENDED
    assert after(due, first=True, level=None, objections=0) is NeedState.PUBLISHED
    assert after(START, first=False, level=None, objections=0) is NeedState.NOTICED
    assert after(ended, first=False, level=None, objections=0) is NeedState.PUBLISHED
    assert after(ended, first=False, level=None, objections=1) is NeedState.SUSPENDED


_MOVES = st.lists(
    st.tuples(st.integers(0, 4), st.integers(1, 60), st.sampled_from(list(MovementState))),
    max_size=40,
)


@given(_MOVES, st.sampled_from([0, 1, 100]))
def test_no_order_of_movements_holds_more_than_is_required(
    moves: list[tuple[int, int, MovementState]], required: int
):
    holding, held = Holding(required, 0, 0, 0), dict[int, Commitment]()
    state = NeedState.PUBLISHED
    for allocation, quantity, movement in moves:
        after = Commitment(quantity, movement)
        try:
            holding = apply(holding, state, held.get(allocation), after)
        except (
            errors.NeedExceeded,
            errors.NeedNotOpen,
            errors.CommitmentDiffers,
            errors.CommitmentMoveForbidden,
        ):
            continue
        held[allocation] = after
        state = state_after_movement(state, holding)
        assert min(holding.reserved, holding.in_transit, holding.delivered) >= 0
        assert 0 <= holding.held <= required
        sums = {
            column: sum(c.quantity for c in held.values() if c.state == column)
            for column in ("reserved", "dispatched", "delivered")
        }
        assert sums == {
            "reserved": holding.reserved,
            "dispatched": holding.in_transit,
            "delivered": holding.delivered,
        }
        assert (state is NeedState.CLOSED) == holding.all_delivered
