"""What the ledger of the needs adds up to: the totals told once a day."""

from services.needs import contract
from shared.totals import Teller

# The columns of the needs are a second book of what the commitments say one by one.
_SUMS = """
SELECT 'allocations' AS book, rpad(left(n.division_code, 6), 12, '0') AS division_code,
       n.item_class, coalesce(n.base_unit, '') AS unit, c.state,
       CAST(sum(c.quantity) AS text) AS quantity, count(*) AS allocations
FROM commitment c JOIN need n ON n.id = c.need_id
GROUP BY 1, 2, 3, 4, 5
UNION ALL
SELECT 'lines', NULL, n.item_class, coalesce(n.base_unit, ''), held.state,
       CAST(sum(held.quantity) AS text), 0
FROM need n CROSS JOIN LATERAL (VALUES
       ('reserved', n.reserved), ('dispatched', n.in_transit), ('delivered', n.delivered)
     ) AS held(state, quantity)
WHERE held.quantity <> 0
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5
"""
TELLER = Teller("needs", contract.TotalsTold, _SUMS)
