"""The rules by themselves."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.donors.domain import errors, ledger, offers, organizations, people
from services.donors.domain.ledger import Held, Stock
from services.donors.domain.offers import LineTerms, OfferState
from services.donors.domain.organizations import OrganizationState
from shared.vocabulary.movements import MAY_BECOME, MovementState
from tests.donors.builders import CHALING, TOWNSHIP, VILLAGE

EARLY = datetime(2026, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
LATE = datetime(2027, 1, 1, tzinfo=UTC)


def test_a_uscc_is_valid_with_its_check_digit_only():
    organizations.check_uscc("91110000600037341L")
    with pytest.raises(errors.InvalidUscc):
        organizations.check_uscc("91110000600037341K")


def test_verified_needs_a_checked_uscc_and_without_one_a_reason():
    assert organizations.verified_by_approval("91110000600037341L", None)
    assert not organizations.verified_by_approval(None, "a factory everybody knows")
    assert not organizations.verified_by_approval("91110000600037341K", "typed wrongly")
    with pytest.raises(errors.ReasonMissing):
        organizations.verified_by_approval(None, None)


@pytest.mark.parametrize("state", OrganizationState)
@pytest.mark.parametrize("target", OrganizationState)
def test_moves_of_an_organization(state, target):
    allowed = {("registered", "approved"), ("registered", "blocked"), ("approved", "blocked")}
    if (state, target) in allowed:
        assert organizations.move_organization(state, target) is target
    else:
        with pytest.raises(errors.OrganizationMoveRefused):
            organizations.move_organization(state, target)


@pytest.mark.parametrize("ended", ["expired", "withdrawn", "blocked"])
@pytest.mark.parametrize("target", OfferState)
def test_an_ended_offer_stays_ended(ended, target):
    with pytest.raises(errors.OfferMoveRefused):
        offers.move_offer(ended, target)


def test_an_offer_opens_only_approved_and_by_an_approved_organization_within_its_validity():
    assert offers.may_open("approved", "approved", EARLY, LATE, NOON)
    assert offers.may_open("approved", "approved", NOON, LATE, NOON)
    assert not offers.may_open("submitted", "approved", EARLY, LATE, NOON)
    assert not offers.may_open("approved", "registered", EARLY, LATE, NOON)
    assert not offers.may_open("approved", "approved", LATE, LATE.replace(year=2028), NOON)
    assert not offers.may_open("approved", "approved", EARLY, NOON, NOON)


def test_an_offer_serves_a_township_or_more_but_no_village():
    offers.check_offer("housing", [CHALING, TOWNSHIP, "000000000000"], EARLY, LATE)
    with pytest.raises(errors.DivisionTooFine) as refused:
        offers.check_offer("housing", [CHALING, VILLAGE], EARLY, LATE)
    assert refused.value.loc == ("served_division_codes", 1)
    with pytest.raises(errors.UnknownDivision):
        offers.check_offer("housing", ["999900000000"], EARLY, LATE)


def test_amounts_are_in_the_base_unit():
    amounts = offers.measure("agricultural_technology", LineTerms("seeds", "kilograms", 40, 2))
    assert amounts == offers.LineAmounts("grams", 40_000, 2_000)
    amounts = offers.measure("agricultural_technology", LineTerms("seeds", "kilograms", None, 2))
    assert amounts.total is None


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        (LineTerms("seeds", "hours", 40, 1), errors.UnitNotAllowed),
        (LineTerms("no_such_class", "hours", 40, 1), errors.UnknownCode),
        (LineTerms("school_fees", "yuan", 40, 1), errors.UnknownCode),
        (LineTerms("seeds", "grams", 40, 41), errors.LotAboveQuantity),
        (LineTerms("seeds", "tonnes", 10**12, 1), errors.QuantityTooLarge),
    ],
)
def test_a_line_that_cannot_be_is_refused_with_its_place(terms, error):
    with pytest.raises(error) as refused:
        offers.measure("agricultural_technology", terms, "lines", 3)
    assert refused.value.loc[:2] == ("lines", 3)


def test_a_line_without_a_quantity_is_not_complete():
    offers.check_complete([1, 2])
    with pytest.raises(errors.QuantityMissing) as refused:
        offers.check_complete([1, None])
    assert refused.value.loc == ("lines", 1, "quantity")


def test_people_act_for_their_own():
    ours, other = uuid4(), uuid4()
    people.check_may_act_for(ours, "somebody", subject="us", org=ours)
    people.check_may_act_for(ours, None, subject="clerk", org=None)
    people.check_may_act_for(ours, "clerk", subject="clerk", org=None)
    with pytest.raises(errors.NotYours):
        people.check_may_act_for(other, None, subject="us", org=ours)
    with pytest.raises(errors.NotYours):
        people.check_may_act_for(ours, "another clerk", subject="clerk", org=None)


def test_nobody_approves_what_they_entered_or_what_is_their_organization_s():
    ours = uuid4()
    people.check_may_approve(ours, ["clerk", None], subject="coordinator", org=None)
    with pytest.raises(errors.EnteredByApprover):
        people.check_may_approve(ours, ["clerk"], subject="clerk", org=None)
    with pytest.raises(errors.EnteredByApprover):
        people.check_may_approve(ours, ["clerk"], subject="coordinator", org=ours)


def stock(**changes):
    return replace(Stock("open", LATE, available=10, lot_min=4), **changes)


RESERVED = MovementState.RESERVED


def test_a_reservation_takes_from_what_is_available():
    change = ledger.move_reservation(stock(), None, 6, RESERVED, NOON)
    assert (change.available, change.reserved) == (-6, 6)
    with pytest.raises(errors.NotEnoughAvailable):
        ledger.move_reservation(stock(), None, 11, RESERVED, NOON)


def test_the_smallest_lot_holds_unless_all_that_is_left_is_taken():
    ledger.move_reservation(stock(), None, 4, RESERVED, NOON)
    with pytest.raises(errors.BelowSmallestLot):
        ledger.move_reservation(stock(), None, 3, RESERVED, NOON)
    ledger.move_reservation(stock(available=3), None, 3, RESERVED, NOON)


@pytest.mark.parametrize(
    "state", [s for s in OfferState if s not in {OfferState.OPEN, OfferState.EXHAUSTED}]
)
def test_nothing_new_is_reserved_of_an_offer_that_is_not_open(state):
    with pytest.raises(errors.OfferNotOpen):
        ledger.move_reservation(stock(offer_state=state), None, 6, RESERVED, NOON)


def test_nothing_new_is_reserved_after_the_validity_though_the_clock_is_late():
    with pytest.raises(errors.OfferNotOpen):
        ledger.move_reservation(stock(valid_until=NOON), None, 6, RESERVED, NOON)


@pytest.mark.parametrize("state", OfferState)
def test_what_is_held_moves_on_whatever_became_of_the_offer(state):
    held = Held(6, RESERVED)
    change = ledger.move_reservation(
        stock(offer_state=state, available=0), held, 6, MovementState.DISPATCHED, LATE
    )
    assert (change.reserved, change.in_transit) == (-6, 6)


def test_a_quantity_once_held_does_not_change():
    with pytest.raises(errors.QuantityDiffers):
        ledger.move_reservation(stock(), Held(6, RESERVED), 5, RESERVED, NOON)


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 30), st.sampled_from(MovementState))),
)
def test_whatever_is_tried_the_columns_keep_their_sum_and_sign(total, attempts):
    """attempts: (allocation, quantity, state) in any order."""
    columns = {"available": total, "reserved": 0, "in_transit": 0, "delivered": 0, "written_off": 0}
    held: dict[int, Held] = {}
    for allocation, quantity, state in attempts:
        try:
            change = ledger.move_reservation(
                stock(available=columns["available"], lot_min=1),
                held.get(allocation),
                quantity,
                state,
                NOON,
            )
        except (
            errors.QuantityDiffers,
            errors.ReservationMoveRefused,
            errors.NotEnoughAvailable,
        ):
            continue
        held[allocation] = Held(quantity, state)
        for column, delta in change._asdict().items():
            columns[column] += delta
    assert sum(columns.values()) == total
    assert min(columns.values()) >= 0


def test_every_state_of_a_movement_is_one_of_the_vocabulary():
    assert set(MAY_BECOME) == {None, *MovementState}


def test_an_offer_is_exhausted_when_nothing_is_left_and_open_again_with_something_back():
    assert ledger.state_by_stock("open", [0, 0]) is OfferState.EXHAUSTED
    assert ledger.state_by_stock("open", [0, 1]) is OfferState.OPEN
    assert ledger.state_by_stock("exhausted", [0, 1]) is OfferState.OPEN
    assert ledger.state_by_stock("withdrawn", [0, 1]) is OfferState.WITHDRAWN
