"""Who decides a need at which level, and what follows from the decision."""

from dataclasses import dataclass
from datetime import datetime

from services.needs.domain import errors
from services.needs.domain.policy import Policy
from services.needs.domain.states import VERIFIED, move
from shared.vocabulary import divisions
from shared.vocabulary.codes import Level, NeedState, Role, Urgency

ROLE_OF: dict[Level, Role] = {
    Level.VILLAGE: Role.VILLAGE_COMMITTEE,
    Level.TOWNSHIP: Role.TOWNSHIP_OFFICER,
    Level.COUNTY: Role.COUNTY_OFFICER,
    Level.CITY: Role.CITY_OFFICER,
}

# Open objections to one need; each has to be read by somebody outside the chain.
OBJECTIONS_OPEN_MAX = 20


def levels(division_code: str, policy: Policy) -> tuple[Level, ...]:
    """The levels that decide a need of this division, in their order.

    It starts at the level of the need's own division. What belongs to a whole city, a province or
    the nation starts, and ends, with a city officer whose division covers it.
    """
    own = divisions.level(division_code)
    if own in {"city", "province", "nation"}:
        return (Level.CITY,)
    chain = (Level.VILLAGE, Level.TOWNSHIP, Level.COUNTY)
    first = chain.index(Level(own))
    return (*chain[first:], Level.CITY) if policy.city_level else chain[first:]


def first_level(division_code: str, policy: Policy) -> Level:
    return levels(division_code, policy)[0]


def level_after(level: Level, division_code: str, policy: Policy) -> Level | None:
    """The level that decides next, None when it was the last one.

    Under a policy that came into force on the way, a level it does not know ends the chain.
    """
    chain = levels(division_code, policy)
    if level not in chain:
        return None
    following = chain[chain.index(level) + 1 :]
    return following[0] if following else None


def is_published_first(urgency: Urgency, submission: int, policy: Policy) -> bool:
    """Only a first submission: what was returned once is verified before it is seen again."""
    return submission == 1 and urgency in policy.publish_first


@dataclass(frozen=True, slots=True)
class Standing:
    """A need as far as deciding it is concerned.

    entered_by  subjects of all who entered the applicant or the need, or edited the need
    decided_by  subjects of all who decided it at any level, in this or an earlier submission
    judged_by   subjects of all who decided an objection to it
    recused     subjects of all who declared a relation to the applicant
    """

    division_code: str
    state: NeedState
    next_level: Level | None
    publish_first: bool
    entered_by: frozenset[str]
    decided_by: frozenset[str]
    judged_by: frozenset[str]
    recused: frozenset[str]


@dataclass(frozen=True, slots=True)
class Officer:
    subject: str
    roles: frozenset[str]
    division_code: str | None

    def covers(self, division_code: str) -> bool:
        return self.division_code is not None and divisions.covers(
            self.division_code, division_code
        )


def check_may_decide(need: Standing, officer: Officer) -> Level:
    """The level the officer decides at; raises the first reason why not."""
    level = need.next_level
    if level is None:
        raise errors.NothingToDecide(need.state)
    if not officer.covers(need.division_code):
        raise errors.OutsideDivision
    # Before the level: who has decided the village's turn must hear that, not "not your level".
    if officer.subject in need.decided_by | need.judged_by:
        raise errors.DecidedByYou
    if ROLE_OF[level] not in officer.roles:
        raise errors.NotYourLevel(level)
    if officer.subject in need.entered_by:
        raise errors.EnteredByYou
    if officer.subject in need.recused:
        raise errors.RecusalDeclared
    return level


def check_may_decide_objection(need: Standing, officer: Officer, objector: str | None) -> None:
    """Somebody who covers the division and had no part in the need at any time.

    objector  subject of who objected, None when the public did without an account
    """
    if not officer.covers(need.division_code):
        raise errors.OutsideDivision
    if officer.subject in need.decided_by | need.entered_by or officer.subject == objector:
        raise errors.PartOfChain
    if officer.subject in need.recused:
        raise errors.RecusalDeclared


def state_after_pass(need: Standing, level: Level, following: Level | None) -> NeedState:
    """Ordinary needs climb the levels and go on notice; needs published first stay where they are.

    A suspended need published first is taken up again by `state_after_suspension`.
    """
    if need.publish_first:
        return need.state
    verified = move(need.state, VERIFIED[level])
    return verified if following is not None else move(verified, NeedState.NOTICED)


def is_review_overdue(
    publish_first: bool, next_level: Level | None, review_due_at: datetime | None, now: datetime
) -> bool:
    """A need published first that has not passed its last level by the deadline."""
    if not publish_first or next_level is None or review_due_at is None:
        return False
    return now >= review_due_at


def state_after_suspension(
    *,
    publish_first: bool,
    next_level: Level | None,
    review_due_at: datetime | None,
    notice_ends_at: datetime | None,
    objections_open: int,
    now: datetime,
) -> NeedState:
    """What a suspended need is now: suspended while a reason for it lasts."""
    if objections_open or is_review_overdue(publish_first, next_level, review_due_at, now):
        return NeedState.SUSPENDED
    if publish_first or notice_ends_at is None or now >= notice_ends_at:
        return NeedState.PUBLISHED
    return NeedState.NOTICED


def check_open_to_objection(
    state: NeedState, publish_first: bool, notice_ends_at: datetime | None, objections_open: int
) -> None:
    """During the notice; a need published first had none, so as long as it is published.

    A suspended need takes further objections: the first must not shut out the others.
    """
    on_notice = state is NeedState.NOTICED
    seen_early = publish_first and state is NeedState.PUBLISHED
    suspended = state is NeedState.SUSPENDED and (publish_first or notice_ends_at is not None)
    if not (on_notice or seen_early or suspended):
        raise errors.NotOpenToObjection(state)
    if objections_open >= OBJECTIONS_OPEN_MAX:
        raise errors.TooManyObjections
