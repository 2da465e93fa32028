"""Which entries belong to an allocation, and what the rules demand that they do not show; pure.

The rules are those of the published vocabulary (states of needs, offers and allocations), read from
the events alone: the log knows no other service's tables.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

LackKind = Literal["awaited", "absent", "misplaced", "differs"]
ENTRIES_MAX = 500

# Of what stands under the subject of the need, the offer, the round or the organization, this is
# about others: the movements of other allocations, and who read what.
OF_OTHERS = (
    "needs.commitment_moved",
    "donors.reservation_moved",
    "donors.offer_exhausted",
    "donors.offer_replenished",
    "needs.records_read",
    "needs.disclosures_read",
)
_PATH = (
    "matching.allocation_proposed",
    "matching.allocation_reserved",
    "matching.allocation_accepted",
    "matching.allocation_approved",
    "matching.allocation_dispatched",
    "matching.allocation_delivered",
    "matching.allocation_confirmed",
    "matching.allocation_closed",
)
# How an allocation may end early, and what both ledgers do then with what they held for it.
_ENDS = {
    "matching.allocation_declined": "released",
    "matching.allocation_cancelled": "released",
    "matching.allocation_expired": "released",
    "matching.allocation_returned": "returned",
}
_MOVEMENTS = {
    "matching.allocation_reserved": "reserved",
    "matching.allocation_dispatched": "dispatched",
    "matching.allocation_delivered": "delivered",
}
_SIDES = ("donors.reservation_moved", "needs.commitment_moved")
_LEVELS = ("village", "township", "county")
_BEFORE = {
    "offer": (
        "donors.offer_drafted",
        "donors.offer_submitted",
        "donors.offer_approved",
        "donors.offer_opened",
    ),
    "organization": ("donors.organization_registered", "donors.organization_approved"),
    "round": ("matching.round_started", "matching.round_computed", "matching.round_approved"),
}


@dataclass(frozen=True)
class Fact:
    """An entry, as far as the rules look at it."""

    index: int
    type: str
    subject: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Lack:
    """A step the rules demand: `step` is a type, with `:` and what of it (a level, a movement)."""

    step: str
    kind: LackKind


def subjects(facts: Iterable[Fact]) -> list[str]:
    """What else the allocation is about, as its own events name it."""
    about: set[str] = set()
    for fact in facts:
        if fact.type.startswith("matching.allocation_"):
            about |= {
                f"{noun}/{fact.data[f'{noun}_id']}"
                for noun in ("need", "offer", "organization", "round")
                if isinstance(fact.data.get(f"{noun}_id"), str)
            }
    return sorted(about)


def lacking(allocation_id: UUID, facts: Sequence[Fact]) -> list[Lack]:
    """All that is missing, in the order in which it should have been there."""
    chain = _Chain(allocation_id, facts)
    return [
        *chain.of_need(),
        *(lack for kind, steps in _BEFORE.items() for lack in chain.of_others(kind, steps)),
        *chain.of_allocation(),
        *chain.of_ledgers(),
    ]


class _Chain:
    def __init__(self, allocation_id: UUID, facts: Sequence[Fact]) -> None:
        own = f"allocation/{allocation_id}"
        self.allocation_id = str(allocation_id)
        self.own = {fact.type: fact for fact in facts if fact.subject == own}
        self.facts = facts
        self.terms = next(iter(self.own.values())).data if self.own else {}

    def of_need(self) -> Iterator[Lack]:
        facts = [f for f in self.facts if f.subject == f"need/{self.terms.get('need_id')}"]
        last = {fact.type: fact for fact in facts}
        yield from _absent(last, ("needs.need_drafted", "needs.need_submitted"))
        # It is told again after a return or a suspension; what was passed before still counts.
        published = last.get("needs.need_published")
        if published is None:
            yield Lack("needs.need_published", "absent")
            return
        if published.data.get("publish_first"):
            if "needs.need_reviewed" not in last:
                yield Lack("needs.need_reviewed", "awaited")
            return
        earliest: dict[str, int] = {}
        for fact in facts:
            earliest.setdefault(_named(fact), fact.index)
        submitted = last.get("needs.need_submitted")
        levels = _levels(submitted.data.get("first_level") if submitted else None)
        for step in (*(f"needs.need_verified:{each}" for each in levels), "needs.need_noticed"):
            if step not in earliest:
                yield Lack(step, "absent")
            elif earliest[step] > published.index:
                yield Lack(step, "misplaced")

    def of_others(self, noun: str, steps: Sequence[str]) -> Iterator[Lack]:
        subject = f"{noun}/{self.terms.get(f'{noun}_id')}"
        yield from _absent({f.type: f for f in self.facts if f.subject == subject}, steps)

    def of_allocation(self) -> Iterator[Lack]:
        reached = max((n for n, step in enumerate(_PATH) if step in self.own), default=-1)
        ended = not _ENDS.keys().isdisjoint(self.own)
        before = -1
        for number, step in enumerate(_PATH):
            fact = self.own.get(step)
            if fact is not None:
                # One producer, so the order of the log is the order of its numbers.
                if fact.index < before:
                    yield Lack(step, "misplaced")
                before = max(before, fact.index)
            elif number < reached:
                yield Lack(step, "absent")
            elif not ended:
                yield Lack(step, "awaited")
        yield from self._of_gate()

    def _of_gate(self) -> Iterator[Lack]:
        """Nothing is dispatched before its approval stands in the log, under the index it names."""
        approved = self.own.get("matching.allocation_approved")
        dispatched = self.own.get("matching.allocation_dispatched")
        if (
            approved is not None
            and dispatched is not None
            and dispatched.data.get("approval_log_index") != approved.index
        ):
            yield Lack("matching.allocation_approved", "misplaced")
        confirmed = self.own.get("matching.allocation_confirmed")
        if (
            confirmed is not None
            and confirmed.data.get("method") == "slip_code"
            and "matching.slip_issued" not in self.own
        ):
            yield Lack("matching.slip_issued", "absent")

    def of_ledgers(self) -> Iterator[Lack]:
        """Both sides move what the allocation says, each a little later than it was said."""
        due = [state for step, state in _MOVEMENTS.items() if step in self.own]
        due += [state for step, state in _ENDS.items() if step in self.own]
        for side in _SIDES:
            moved = {
                state: fact
                for fact in self.facts
                if fact.type == side and fact.data.get("allocation_id") == self.allocation_id
                # An event may hold anything.
                if isinstance(state := fact.data.get("state"), str)
            }
            for number, state in enumerate(due):
                if state in moved:
                    if moved[state].data.get("quantity") != self.terms.get("quantity"):
                        yield Lack(f"{side}:{state}", "differs")
                    continue
                passed = any(later in moved for later in due[number + 1 :])
                closed = "matching.allocation_closed" in self.own
                yield Lack(f"{side}:{state}", "absent" if passed or closed else "awaited")


def _named(fact: Fact) -> str:
    verified = fact.type == "needs.need_verified"
    return f"{fact.type}:{fact.data.get('level')}" if verified else fact.type


def _absent(held: Mapping[str, Fact], steps: Iterable[str]) -> list[Lack]:
    return [Lack(step, "absent") for step in steps if step not in held]


def _levels(first: object) -> tuple[str, ...]:
    """The levels that any policy demands; a policy may add the city after the county."""
    if first == "city":
        return ("city",)
    return _LEVELS[_LEVELS.index(first) :] if first in _LEVELS else _LEVELS[-1:]
