"""Bodies and events of the needs service: the only module of it that others import."""

from datetime import date
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from shared import totals
from shared.bodies import (
    BaseQuantity,
    Body,
    Code,
    Count,
    DivisionCode,
    ExternalKey,
    LongText,
    Moment,
    Quantity,
    ReadBody,
    Text,
)
from shared.events.model import Event
from shared.vocabulary.movements import MovementState

ApplicantKind = Literal["household", "village", "institution"]
HouseholdClass = Literal["general", "subsistence_allowance", "extreme_hardship"]
Urgency = Literal["life_threatening", "urgent", "normal"]
Level = Literal["village", "township", "county", "city"]
Outcome = Literal["passed", "returned", "rejected"]
NeedState = Literal[
    "draft",
    "submitted",
    "village_verified",
    "township_verified",
    "county_verified",
    "city_verified",
    "noticed",
    "published",
    "closed",
    "returned",
    "rejected",
    "withdrawn",
    "suspended",
    "expired",
]
BATCH_MAX = 500

# ---------------------------------------------------------------- applicants


class PersonalData(Body):
    """A household's personal data: encrypted at rest, never in an event, a log or a listing."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=60, pattern=r"^[^\x00]*$")]
    id_number: str | None = Field(None, description="18 characters, ISO 7064 MOD 11-2.")
    disability_card: str | None = Field(None, pattern=r"^[0-9Xx]{18}[0-9]{2}$")
    phone: str | None = Field(None, pattern=r"^[0-9+\- ]{5,20}$")
    bank_account: str | None = Field(None, pattern=r"^[0-9 ]{8,30}$")
    address: str | None = Field(None, max_length=200, pattern=r"^[^\x00]*$")


class HouseholdRecord(Body):
    """What is assessed of a household: encrypted at rest like its personal data."""

    household_class: HouseholdClass
    main_cause: Code
    other_causes: list[Code] = Field(default_factory=list, max_length=2)
    members: Annotated[int, Field(ge=1, le=30)]
    deprivations: list[Code] = Field(default_factory=list, max_length=20)


class ApplicantCreate(Body):
    """`name` for a village or an institution; `personal` and `household` for a household."""

    external_key: ExternalKey | None = None
    kind: ApplicantKind
    division_code: DivisionCode
    name: Text | None = None
    household: HouseholdRecord | None = None
    personal: PersonalData | None = None


class ApplicantRead(ReadBody):
    """What an officer of the division sees; a household's name is masked to the surname (李**).

    In the answer to a creation, which is kept to be repeated, and after the household's personal
    data was erased, `household` and the exact score are None, and the name is `**`.
    """

    id: UUID
    external_key: str | None
    kind: ApplicantKind
    division_code: str
    name: str
    household: HouseholdRecord | None = None
    deprivation_score_permille: int | None = None
    entered_by: str
    created_at: Moment


class PersonalRead(ReadBody):
    """The decrypted values, for those entitled; each reading is an event."""

    name: str
    id_number: str | None
    disability_card: str | None
    phone: str | None
    bank_account: str | None
    address: str | None


class DisclosureRead(ReadBody):
    """What opens one digest: RFC 9901 4.2.1, with its name and value read out of it."""

    disclosure: str = Field(
        description="base64url of the JSON array [salt, name, value]; base64url of the SHA-256 of"
        " its ASCII bytes stands in the event's `digests`.",
        examples=["WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"],
    )
    name: str
    value: Any


class EventDisclosuresRead(ReadBody):
    """What opens the digests of one event; with the event's entry in the log it proves itself."""

    event_id: UUID
    producer: Literal["needs"] = "needs"
    seq: int | None = Field(description="Of the event at its producer; None: not numbered yet.")
    need_id: UUID | None = Field(description="None: the event registered the applicant.")
    disclosures: list[DisclosureRead]


class ApplicantBatch(Body):
    applicants: Annotated[list[ApplicantCreate], Field(min_length=1, max_length=BATCH_MAX)]


# --------------------------------------------------------------------- needs


class Evidence(Body):
    kind: Code
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class NeedCreate(Body):
    """One item with one quantity. Without a quantity it is a draft that cannot be submitted."""

    external_key: ExternalKey | None = None
    applicant_id: UUID
    category: Code
    item_class: Code
    title: Text
    text: LongText | None = None
    item: Text
    specification: Text | None = None
    quantity: Quantity | None = None
    unit: Code
    headcount: Count | None = None
    cause: Code | None = None
    urgency: Urgency = "normal"
    needed_by: date | None = None
    evidence: list[Evidence] = Field(default_factory=list, max_length=10)
    submit: bool = Field(False, description="Submit at once when nothing is missing.")


class NeedEdit(Body):
    """Fields of a draft or returned need; what is left out stays (PATCH with If-Match)."""

    title: Text | None = None
    text: LongText | None = None
    item: Text | None = None
    specification: Text | None = None
    quantity: Quantity | None = None
    unit: Code | None = None
    headcount: Count | None = None
    urgency: Urgency | None = None
    needed_by: date | None = None


class NeedBatch(Body):
    needs: Annotated[list[NeedCreate], Field(min_length=1, max_length=BATCH_MAX)]


class CreatedItem(ReadBody):
    """One row of a batch of creations, in the order sent.

    `already_there`: the external key was known and nothing was changed. `refused`: see `code`,
    `loc` (path of the field in the item) and `detail`.
    """

    outcome: Literal["created", "already_there", "refused"]
    id: UUID | None = None
    state: str | None = None
    code: str | None = None
    loc: str | None = None
    detail: str | None = None


class BatchResult(ReadBody):
    results: list[CreatedItem]


class NeedRead(ReadBody):
    """A need as the public sees it once published."""

    id: UUID
    division_code: str
    division_name_zh: str
    division_name_en: str
    applicant_kind: ApplicantKind
    institution_name: str | None = None
    category: str
    item_class: str
    title: str
    text: str | None
    item: str
    specification: str | None
    quantity: int | None
    unit: str
    base_quantity: int | None
    base_unit: str | None
    reserved: int
    in_transit: int
    delivered: int
    met: Literal["unmet", "partly", "fully"]
    headcount: int | None
    urgency: Urgency
    needed_by: date | None
    state: NeedState
    publish_first: bool
    review_due_at: Moment | None
    notice_ends_at: Moment | None
    published_at: Moment | None
    expires_at: Moment | None
    policy: str | None


class NeedDetail(NeedRead):
    """What an officer whose division covers the need sees as well.

    In the answer to a creation, which is kept to be repeated, and after the household's personal
    data was erased, `cause` is None, and the name of a household `**`.
    """

    external_key: str | None
    applicant_id: UUID
    applicant_name: str = Field(description="Masked for a household.")
    cause: str | None
    next_level: Level | None
    entered_by: str
    created_at: Moment
    version: int


class NoticeRead(ReadBody):
    """A need on the public notice board: village and surname only.

    What is needed is left out where it would tell of a household's health.
    """

    id: UUID
    division_code: str
    division_name_zh: str
    division_name_en: str
    applicant: str = Field(examples=["李**"])
    category: str | None
    item_class: str | None
    title: str | None
    item: str | None
    quantity: int | None
    unit: str
    urgency: Urgency
    notice_ends_at: Moment | None
    policy: str | None


class Decision(Body):
    need_id: UUID
    outcome: Outcome
    reason: LongText | None = Field(None, description="Required unless the need is passed.")


class DecisionCreate(Body):
    outcome: Outcome
    reason: LongText | None = None


class DecisionBatch(Body):
    decisions: Annotated[list[Decision], Field(min_length=1, max_length=BATCH_MAX)]


class DecidedItem(ReadBody):
    need_id: UUID
    outcome: Literal["decided", "refused"]
    state: NeedState | None = None
    code: str | None = None
    detail: str | None = None


class DecisionBatchResult(ReadBody):
    results: list[DecidedItem]


class RecusalCreate(Body):
    """The caller declares a relation to the need's applicant and decides nothing about it."""

    reason_code: Code


class RecusalRead(ReadBody):
    need_id: UUID
    reason_code: str
    at: Moment


class Reason(Body):
    reason: LongText


class ObjectionCreate(Body):
    reason: LongText


class ObjectionRead(ReadBody):
    id: UUID
    need_id: UUID
    state: Literal["open", "upheld", "dismissed"]
    received_at: Moment
    decided_at: Moment | None


class ObjectionDetail(ObjectionRead):
    """What those who decide objections see as well."""

    reason: str
    division_code: str


class ObjectionDecision(Body):
    outcome: Literal["upheld", "dismissed"]
    reason: LongText


# --------------------------------------------------------------- commitments


class CommitmentPut(Body):
    """What one allocation holds of the need, in base units, and how far it has moved."""

    quantity: BaseQuantity
    state: MovementState


class CommitmentItem(CommitmentPut):
    need_id: UUID
    allocation_id: UUID


class CommitmentBatch(Body):
    commitments: Annotated[list[CommitmentItem], Field(min_length=1, max_length=BATCH_MAX)]


class CommitmentRead(ReadBody):
    need_id: UUID
    allocation_id: UUID
    quantity: int
    state: MovementState
    need_remaining: int


class MovedItem(ReadBody):
    """`applied` also when the same PUT was applied before; otherwise `code` says why not."""

    allocation_id: UUID
    outcome: Literal["applied", "refused"]
    code: str | None = None
    detail: str | None = None


class MovedBatchResult(ReadBody):
    results: list[MovedItem]


# ------------------------------------------------------------------ policies


class PolicyActivate(Body):
    policy: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    division_code: DivisionCode
    valid_until: Moment | None = None
    reason: LongText


class PolicyActivationRead(ReadBody):
    id: UUID
    policy: str
    division_code: str
    valid_from: Moment
    valid_until: Moment | None
    reason: str
    activated_by: str


class PolicyRead(ReadBody):
    """A version of practice: its clocks, and in words what is special about it."""

    code: str
    name_zh: str
    name_en: str
    says_zh: str
    says_en: str
    notice_s: int
    freshness_s: int
    review_s: int
    publish_first: list[Urgency]
    city_level: bool


# ------------------------------------------------------------ published lists


class TermRead(ReadBody):
    """One code of the published vocabulary; some lists say more of each code."""

    model_config = ConfigDict(extra="allow", frozen=True)

    code: str
    name_zh: str
    name_en: str


class DivisionRead(ReadBody):
    code: str
    level: str
    name_zh: str
    name_en: str


# -------------------------------------------------------------------- events


Digests = Annotated[
    list[str],
    Field(
        description="Salted digests of values that are not said (RFC 9901 4.2.3), and decoys up to"
        " a number that is always the same; sorted."
    ),
]


class ApplicantRegistered(Event):
    """`digests` of a household: its personal data, village and record; others have none."""

    type: ClassVar[str] = "needs.applicant_registered"
    applicant: str = Field(description="Pseudonym for the programme year.")
    applicant_kind: ApplicantKind
    digests: Digests


class PersonalDataRead(Event):
    type: ClassVar[str] = "needs.personal_data_read"
    applicant: str
    purpose: Code


class DisclosuresRead(Event):
    """What opens digests was read: of the events of an applicant, or of those of a need.

    Never both: the pseudonym is of the year of the reading, the need's of the year it was entered
    in, and the two together would join the years.
    """

    type: ClassVar[str] = "needs.disclosures_read"
    applicant: str | None = None
    need_id: UUID | None = None
    purpose: Code


class RecordsRead(Event):
    """Somebody was shown what is not public: an applicant, a need in any state with whose it is,
    or objections with their reasons.

    view    which of them; `needs` and `objections` are pages of lists
    count   rows shown
    The rest says which one, or by what a list was chosen.
    """

    type: ClassVar[str] = "needs.records_read"
    view: Literal["applicant", "need", "needs", "objections"]
    count: int
    applicant: str | None = Field(None, description="Pseudonym for the programme year.")
    need_id: UUID | None = None
    level: str | None = None
    state: str | None = None
    mine: bool | None = None


class PersonalDataErased(Event):
    type: ClassVar[str] = "needs.personal_data_erased"
    applicant: str


class PolicyActivated(Event):
    type: ClassVar[str] = "needs.policy_activated"
    activation_id: UUID
    policy: str
    valid_until: Moment | None


class NeedDrafted(Event):
    type: ClassVar[str] = "needs.need_drafted"
    need_id: UUID
    applicant: str
    category: str
    item_class: str
    digests: Digests


class NeedEdited(Event):
    """A draft or returned need was changed, by somebody who may not decide it from now on."""

    type: ClassVar[str] = "needs.need_edited"
    need_id: UUID
    digests: Digests


class NeedSubmitted(Event):
    type: ClassVar[str] = "needs.need_submitted"
    need_id: UUID
    urgency: Urgency
    first_level: Level
    policy: str


class NeedVerified(Event):
    type: ClassVar[str] = "needs.need_verified"
    need_id: UUID
    level: Level
    policy: str


class NeedReturned(Event):
    type: ClassVar[str] = "needs.need_returned"
    need_id: UUID
    level: Level
    policy: str


class NeedRejected(Event):
    type: ClassVar[str] = "needs.need_rejected"
    need_id: UUID
    level: Level | None
    policy: str


class RecusalDeclared(Event):
    type: ClassVar[str] = "needs.recusal_declared"
    need_id: UUID
    reason_code: str


class NeedNoticed(Event):
    type: ClassVar[str] = "needs.need_noticed"
    need_id: UUID
    notice_ends_at: Moment
    policy: str


class ObjectionReceived(Event):
    type: ClassVar[str] = "needs.objection_received"
    need_id: UUID
    objection_id: UUID


class ObjectionDecided(Event):
    type: ClassVar[str] = "needs.objection_decided"
    need_id: UUID
    objection_id: UUID
    outcome: Literal["upheld", "dismissed"]


class NeedPublished(Event):
    """The need may be met from now on; sent again when a suspended need is taken up again.

    `base_quantity` is what is required in all; quantities held by commitments follow in
    `needs.commitment_moved`.
    """

    type: ClassVar[str] = "needs.need_published"
    need_id: UUID
    applicant: str = Field(description="Pseudonym for the programme year.")
    applicant_kind: ApplicantKind
    household_class: HouseholdClass | None
    deprivation_score_permille: int | None = Field(description="Rounded down to hundreds.")
    category: str
    item_class: str
    title: str
    item: str
    specification: str | None
    quantity: int
    unit: str
    base_quantity: int
    base_unit: str
    headcount: int | None
    urgency: Urgency
    needed_by: date | None
    published_at: Moment
    expires_at: Moment
    publish_first: bool
    review_due_at: Moment | None
    entered_by: str
    verified_by: list[str]
    recused: list[str]
    policy: str


class NeedReviewed(Event):
    """A need published first has passed its verification afterwards."""

    type: ClassVar[str] = "needs.need_reviewed"
    need_id: UUID
    verified_by: list[str]
    policy: str


class NeedSuspended(Event):
    """Not to be matched for now: an objection is open, or its review is overdue."""

    type: ClassVar[str] = "needs.need_suspended"
    need_id: UUID
    reason_code: Literal["objection_open", "review_overdue"]


class NeedWithdrawn(Event):
    type: ClassVar[str] = "needs.need_withdrawn"
    need_id: UUID


class NeedExpired(Event):
    type: ClassVar[str] = "needs.need_expired"
    need_id: UUID


class NeedRenewed(Event):
    type: ClassVar[str] = "needs.need_renewed"
    need_id: UUID
    expires_at: Moment


class NeedClosed(Event):
    """All that was required has been delivered."""

    type: ClassVar[str] = "needs.need_closed"
    need_id: UUID


class CommitmentMoved(Event):
    """`item_class` is None in events of the first form, which did not say what totals need."""

    type: ClassVar[str] = "needs.commitment_moved"
    need_id: UUID
    allocation_id: UUID
    quantity: int
    state: MovementState
    need_remaining: int = Field(description="Required less reserved, in transit and delivered.")
    state_before: MovementState | None = None
    item_class: str | None = None
    unit: str | None = None


class TotalsTold(totals.TotalsTold):
    type: ClassVar[str] = "needs.totals_told"
