"""Movements: the table of successors and what each move adds to both ledgers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vocabulary.movements import (
    MAY_BECOME,
    Effects,
    MovementRefused,
    MovementState,
    effects,
    is_end,
)


def test_a_reservation_takes_from_what_is_available():
    moved = effects(None, MovementState.RESERVED, 7)
    assert moved == Effects(available=-7, reserved=7)


def test_a_delivery_passes_through_transit():
    assert effects(MovementState.RESERVED, MovementState.DISPATCHED, 7) == Effects(
        reserved=-7, in_transit=7
    )
    assert effects(MovementState.DISPATCHED, MovementState.DELIVERED, 7) == Effects(
        in_transit=-7, delivered=7
    )


def test_release_and_return_give_back():
    assert effects(MovementState.RESERVED, MovementState.RELEASED, 7) == Effects(
        available=7, reserved=-7
    )
    assert effects(MovementState.DISPATCHED, MovementState.RETURNED, 7) == Effects(
        available=7, in_transit=-7
    )


def test_loss_on_the_way_is_written_off():
    assert effects(MovementState.DISPATCHED, MovementState.WRITTEN_OFF, 7) == Effects(
        in_transit=-7, written_off=7
    )


def test_releasing_what_never_arrived_changes_nothing_but_ends_it():
    assert effects(None, MovementState.RELEASED, 7) == Effects()
    with pytest.raises(MovementRefused):
        effects(MovementState.RELEASED, MovementState.RESERVED, 7)


def test_a_move_to_the_same_state_is_a_no_op():
    for state in MovementState:
        assert effects(state, state, 7) == Effects()


def test_every_move_outside_the_table_is_refused():
    for before, after in itertools.product((None, *MovementState), MovementState):
        if before == after or after in MAY_BECOME[before]:
            continue
        with pytest.raises(MovementRefused):
            effects(before, after)


def test_ends_are_ends():
    assert {state for state in MovementState if is_end(state)} == {
        MovementState.RETURNED,
        MovementState.RELEASED,
        MovementState.WRITTEN_OFF,
    }


@given(st.lists(st.sampled_from(MovementState), max_size=8), st.integers(1, 10**15))
def test_no_sequence_of_moves_creates_or_loses_anything(attempts, quantity):
    columns = [quantity, 0, 0, 0, 0]
    state = None
    for after in attempts:
        try:
            moved = effects(state, after, quantity)
        except MovementRefused:
            continue
        columns = [held + delta for held, delta in zip(columns, moved, strict=True)]
        state = after
        assert sum(columns) == quantity
        assert min(columns) >= 0
