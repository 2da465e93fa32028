"""The first real round: the tables of 2020 through import, emergency and proofs, twice.

Of the needs without a quantity only some are taken: test_sending imports them all.
"""

import csv
from collections import Counter
from datetime import date

import pytest

from deploy.api import Api
from deploy.emergency.plan import HUBEI_2020
from deploy.emergency.play import Play
from deploy.loading.importing import prepare, send
from deploy.loading.sending import Sender
from deploy.platform import Platform
from deploy.proofs import ProofFailed, check_approval
from shared.vocabulary import divisions
from tests.loading.test_reading import HUBEI
from tests.system.harness import System


@pytest.fixture(scope="module")
async def platform():
    if not HUBEI.is_dir():
        pytest.skip("the reference data hubei-2020 is not beside the project")
    system = System(durable=False)
    try:
        await system.begin()
        urls = {f"{service}_url": url for service, url in system.urls.items()}
        yield Platform(**urls, issuer=system.issuer, state=system.state.folder)
    finally:
        await system.end()


DRAFTS = 40
ROWS = DRAFTS + 267 + 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All offers, all needs that state a quantity, and some that do not."""
    made = tmp_path_factory.mktemp("hubei")
    (made / "offers.csv").write_bytes((HUBEI / "offers.csv").read_bytes())
    with (HUBEI / "needs.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    drafts = [row for row in rows if not row["quantity"]][:DRAFTS]
    with (made / "needs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([*drafts, *(row for row in rows if row["quantity"])])
    return made


async def imported(platform, folder):
    token = platform.token("entry_clerk", "import-clerk", division=divisions.ROOT)
    done = prepare(folder, date(2026, 11, 23))
    async with (
        Sender(platform.needs_url, token) as needs,
        Sender(platform.donors_url, token) as donors,
    ):
        assert await send(done, needs, donors) is None
    return Counter(row.outcome for row in done.rows)


async def allocations(platform):
    token = platform.token("alliance_coordinator", "reader", divisions.ROOT)
    async with Api(platform.matching_url) as api:
        return [a async for a in api.pages("/v1/allocations", token, {"limit": 200})]


async def test_the_emergency_of_2020_ends_with_confirmed_allocations_that_are_in_the_log(
    platform, folder
):
    assert await imported(platform, folder) == {"created": ROWS}
    said: list[str] = []
    proved = await Play(platform, HUBEI_2020, said.append).run()
    assert proved >= 60
    assert any("emergency-hubei-2020" in line for line in said)
    first = await allocations(platform)
    assert Counter(a["state"] for a in first) == {"closed": proved}
    given = Counter(a["item_class"] for a in first)
    assert set(given) == {"mask_medical", "mask_respirator", "protective_clothing"}

    # Once more: every row is there already, and nobody is given anything twice.
    assert await imported(platform, folder) == {"already_there": ROWS}
    assert await Play(platform, HUBEI_2020, said.append).run() == proved
    assert {a["id"] for a in await allocations(platform)} == {a["id"] for a in first}


async def test_a_proof_of_another_allocation_is_no_proof(platform):
    first, second, *_ = await allocations(platform)
    async with Api(platform.audit_url) as audit:
        key = await audit.text("/v1/key")
        await check_approval(audit, key, first)
        swapped = first | {
            name: second[name] for name in ("approval_log_index", "approval_receipt")
        }
        with pytest.raises(ProofFailed, match="another allocation"):
            await check_approval(audit, key, swapped)


class Forged(Api):
    """A log that serves the entry with another quantity in it."""

    async def octets(self, path: str, token: str | None = None) -> bytes:
        return _changed(await super().octets(path, token))


def _changed(bundle: bytes) -> bytes:
    """Every quantity's first digit becomes a 9; no length changes."""
    parts = bundle.split(b'"quantity":')
    return b'"quantity":'.join([parts[0], *(b"9" + part[1:] for part in parts[1:])])


async def test_a_changed_entry_is_found(platform):
    [allocation, *_] = [a for a in await allocations(platform) if str(a["quantity"])[0] != "9"]
    async with Forged(platform.audit_url) as audit:
        key = await audit.text("/v1/key")
        with pytest.raises(ProofFailed, match="does not prove"):
            await check_approval(audit, key, allocation)
