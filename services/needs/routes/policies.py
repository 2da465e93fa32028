"""The versioned policies, and which of them is in force where."""

from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.needs import contract, queries
from services.needs.domain import errors
from services.needs.operations.policies import activate
from services.needs.policies import policies
from services.needs.routes.callers import Division, PolicyActivator
from shared.callers import Public
from shared.db import Reading, Transaction, now
from shared.errors import responses
from shared.idempotency import IdempotencyKeyMissing, IdempotencyKeyReused, Once, RequestInFlight
from shared.paging import Cursor, InvalidCursor, Limit, Page, decode_cursor, encode_cursor, page
from shared.screening import PersonalDataInText

router = APIRouter(prefix="/v1", tags=["policies"])


@router.get("/policies", response_model=list[contract.PolicyRead])
async def list_policies(caller: Public) -> list[contract.PolicyRead]:
    """All versions of practice: clocks, and in words what is special about each."""
    return [
        contract.PolicyRead(
            code=policy.code,
            name_zh=policy.name_zh,
            name_en=policy.name_en,
            says_zh=policy.says_zh,
            says_en=policy.says_en,
            notice_s=round(policy.notice.total_seconds()),
            freshness_s=round(policy.freshness.total_seconds()),
            review_s=round(policy.review.total_seconds()),
            publish_first=[urgency.value for urgency in sorted(policy.publish_first)],
            city_level=policy.city_level,
        )
        for policy in sorted(policies().values(), key=lambda policy: policy.code)
    ]


@router.post(
    "/policy-activations",
    status_code=201,
    response_model=contract.PolicyActivationRead,
    responses=responses(
        IdempotencyKeyMissing,
        IdempotencyKeyReused,
        RequestInFlight,
        errors.OutsideDivision,
        errors.UnknownCode,
        PersonalDataInText,
    ),
)
async def activate_policy(
    caller: PolicyActivator, session: Transaction, once: Once, body: contract.PolicyActivate
) -> contract.PolicyActivationRead:
    """Put a policy into force for a division and all it covers, from now on."""
    activation = await activate(session, caller, body, now())
    return await once.remember(201, contract.PolicyActivationRead.model_validate(activation))


@router.get(
    "/policy-activations",
    response_model=Page[contract.PolicyActivationRead],
    responses=responses(InvalidCursor),
)
async def list_activations(
    request: Request,
    response: Response,
    caller: Public,
    session: Reading,
    division: Division = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[contract.PolicyActivationRead]:
    """What was put into force when, where and why; with a division, what reaches it."""
    rows = await queries.list_activations(
        session,
        division=division,
        after=decode_cursor(cursor, UUID)[0] if cursor else None,
        rows_max=limit + 1,
    )
    return page(
        request,
        response,
        rows,
        limit,
        lambda row: encode_cursor(row.id),
        contract.PolicyActivationRead.model_validate,
    )
