"""Bodies to the platform in batches, as whoever holds the token.

What a batch refers to (applicants, organizations) is sent first. A batch that got no answer is
sent again under the same Idempotency-Key; a whole import is repeated safely because every record
carries its external key.
"""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential_jitter,
)
from tqdm import tqdm

from deploy.loading.account import Remark, RowAccount
from deploy.loading.records import NeedRecord, OfferRecord
from services.donors import contract as donors
from services.needs import contract as needs
from shared.client import certificates

BATCH = 200
TIMEOUT_S = 60.0
ATTEMPTS_MAX = 6
B = TypeVar("B", bound=BaseModel)
Results = Sequence[needs.CreatedItem | donors.CreatedItem]


class NotSent(Exception):
    """The platform does not take what we send; what was sent before is kept."""


class _TryAgain(Exception):
    """No answer, or one that means: the same call again."""


class Sender:
    """One service's batch endpoints, with one token.

    transport  another way to the service than the network, for one in the same process
    """

    def __init__(
        self, base_url: str, token: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._http = httpx.AsyncClient(
            base_url=base_url,
            timeout=TIMEOUT_S,
            headers={"Authorization": f"Bearer {token}"},
            transport=transport,
            verify=certificates(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, path: str, body: BaseModel) -> Any:
        """Return the answer's JSON; raise NotSent when the service refuses or stays away."""
        key, content = str(uuid4()), body.model_dump_json()
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_TryAgain),
                stop=stop_after_attempt(ATTEMPTS_MAX),
                wait=wait_exponential_jitter(multiplier=0.2, max=5.0, jitter=0.2),
                reraise=True,
            ):
                with attempt:
                    return await self._post(path, key, content)
        except _TryAgain as error:
            raise NotSent(f"{path}: {error}") from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _post(self, path: str, key: str, content: str) -> Any:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        try:
            answer = await self._http.post(path, content=content, headers=headers)
        except httpx.TransportError as error:
            raise _TryAgain(f"no answer ({type(error).__name__})") from error
        if answer.status_code >= 500 or answer.status_code in (409, 429):
            raise _TryAgain(f"answered {answer.status_code}")
        if answer.status_code >= 400:
            raise NotSent(f"{path}: {_problem(answer)}")
        return answer.json()


def _problem(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        return f"{answer.status_code} {problem['code']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError):
        return str(answer.status_code)


async def send_needs(sender: Sender, rows: list[tuple[RowAccount, NeedRecord]]) -> None:
    """Fill in the accounts of the rows; raise NotSent and leave the rest as they are."""
    with _progress(len(rows), "needs 需求") as bar:
        for part in _parts(rows):
            ids = await _referred(
                part,
                lambda record: record.applicant,
                lambda bodies: sender.send(
                    "/v1/applicant-batches", needs.ApplicantBatch(applicants=bodies)
                ),
            )
            ready = [(row, r, id_) for (row, r), id_ in zip(part, ids, strict=True) if id_]
            if ready:
                bodies = [r.need.model_copy(update={"applicant_id": id_}) for _, r, id_ in ready]
                answer = await sender.send("/v1/need-batches", needs.NeedBatch(needs=bodies))
                _settle([row for row, _, _ in ready], "need", _results(answer))
            bar.update(len(part))


async def send_offers(sender: Sender, rows: list[tuple[RowAccount, OfferRecord]]) -> None:
    """As send_needs."""
    with _progress(len(rows), "offers 供给") as bar:
        for part in _parts(rows):
            ids = await _referred(
                part,
                lambda record: record.organization,
                lambda bodies: sender.send(
                    "/v1/organization-batches", donors.OrganizationBatch(organizations=bodies)
                ),
            )
            ready = [(row, r, id_) for (row, r), id_ in zip(part, ids, strict=True) if id_]
            if ready:
                bodies = [
                    r.offer.model_copy(update={"organization_id": id_}) for _, r, id_ in ready
                ]
                answer = await sender.send("/v1/offer-batches", donors.OfferBatch(offers=bodies))
                _settle([row for row, _, _ in ready], "offer", _results(answer))
            bar.update(len(part))


R = TypeVar("R", NeedRecord, OfferRecord)


def _parts(rows: list[tuple[RowAccount, R]]) -> list[list[tuple[RowAccount, R]]]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def _progress(total: int, what: str) -> "tqdm[Any]":
    return tqdm(total=total, desc=what, unit="row", disable=None if total else True)


async def _referred(
    part: list[tuple[RowAccount, R]],
    body_of: Callable[[R], Any],
    send: Callable[[list[Any]], Any],
) -> list[UUID | None]:
    """Create what the rows refer to, each once; return one id a row, None for a row set aside."""
    bodies = {body.external_key: body for _, record in part if (body := body_of(record))}
    results = dict(zip(bodies, _results(await send(list(bodies.values()))), strict=True))
    ids: list[UUID | None] = []
    for row, record in part:
        result = results[body_of(record).external_key]
        if result.id is None:
            row.set_aside(_refused(result))
        ids.append(result.id)
    return ids


def _results(answer: Any) -> Results:
    return needs.BatchResult.model_validate(answer).results


def _settle(rows: list[RowAccount], record: str, results: Results) -> None:
    for row, result in zip(rows, results, strict=True):
        if result.outcome == "refused":
            row.set_aside(_refused(result))
            continue
        row.outcome, row.record, row.state = result.outcome, record, result.state
        row.id = str(result.id)
        if result.code is not None and not any(w.code == "no_quantity" for w in row.warnings):
            row.warn(_refused(result))


# Where the last name of a path is not that of a column.
_COLUMN_OF = {"name": "applicant_name", "personal": "applicant_name"}
_ADVICE = {
    "personal_data_in_text": "文字中含有证件号、电话或账号等个人信息：请删除后重新导入。",
    "invalid_uscc": "统一社会信用代码校验不通过：请核对，或留空由协调员说明理由后批准。",
    "uscc_taken": "该统一社会信用代码已由他人登记。",
}


def _refused(result: needs.CreatedItem | donors.CreatedItem) -> Remark:
    names = [part for part in (result.loc or "").split(".") if part and not part.isdigit()]
    column = _COLUMN_OF.get(names[-1], names[-1]) if names else None
    code = result.code or "refused"
    return Remark(
        code,
        _ADVICE.get(code, "平台未接受，请按说明改正后重新导入。"),
        result.detail or "Refused by the platform.",
        column,
    )
