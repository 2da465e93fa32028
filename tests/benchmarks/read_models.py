"""Matching's read models as the feeds would have left them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from services.matching.planning import Snapshot
from shared.vocabulary.item_classes import item_classes


async def fill(address: str, snapshot: Snapshot) -> None:
    """The read models as the feeds would have left them."""
    at = datetime.now(UTC)
    categories = {code: str(one.category) for code, one in item_classes().items()}
    connection = await asyncpg.connect(address)
    needs: list[dict[str, Any]] = [
        {
            "need_id": n.need_id,
            "applicant": n.applicant,
            "applicant_kind": n.applicant_kind,
            "household_class": n.household_class,
            "poverty_permille": n.poverty_permille,
            "category": categories[n.item_class],
            "item_class": n.item_class,
            "title": n.title,
            "item": n.item,
            "specification": n.specification,
            "unit": n.unit,
            "required": n.remaining,
            "remaining": n.remaining,
            "urgency": n.urgency,
            "division_code": n.division_code,
            "published_at": n.published_at,
            "expires_at": at + timedelta(days=60),
            "entered_by": "clerk",
            "verified_by": [],
            "recused": [],
            "state": "published",
            "changed_seq": seq,
            "published_seq": seq,
        }
        for seq, n in enumerate(snapshot.needs, start=1)
    ]
    lines: list[dict[str, Any]] = [
        {
            "line_id": m.line_id,
            "offer_id": m.offer_id,
            "organization_id": m.organization_id,
            "organization_name": "示例机构",
            "organization_verified": m.organization_verified,
            "kind": "goods",
            "category": categories[m.item_class],
            "title": m.title,
            "item_class": m.item_class,
            "item": m.item,
            "specification": m.specification,
            "unit": m.unit,
            "total": m.available,
            "available": m.available,
            "lot_min": m.lot,
            "served_division_codes": list(m.served_division_codes),
            "applicant_kinds": [],
            "household_classes": [],
            "valid_from": at - timedelta(days=1),
            "valid_until": at + timedelta(days=60),
            "state": "open",
            "changed_seq": seq,
            "opened_seq": seq,
        }
        for seq, m in enumerate(snapshot.lines, start=1)
    ]
    for table, rows in (("need_view", needs), ("line_view", lines)):
        await connection.copy_records_to_table(
            table, records=[tuple(row.values()) for row in rows], columns=list(rows[0])
        )
    await connection.close()
