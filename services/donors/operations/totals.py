"""What the ledger of the offers adds up to: the totals told once a day."""

from services.donors import contract
from shared.totals import Teller

# The columns of the lines are a second book of what the reservations say one by one.
_SUMS = """
SELECT 'allocations' AS book, r.division_code, l.item_class, l.base_unit AS unit, r.state,
       CAST(sum(r.quantity) AS text) AS quantity, count(*) AS allocations
FROM reservation r JOIN offer_line l ON l.id = r.line_id
GROUP BY 1, 2, 3, 4, 5
UNION ALL
SELECT 'lines', NULL, l.item_class, l.base_unit, held.state, CAST(sum(held.quantity) AS text), 0
FROM offer_line l CROSS JOIN LATERAL (VALUES
       ('reserved', l.reserved), ('dispatched', l.in_transit), ('delivered', l.delivered),
       ('written_off', l.written_off)
     ) AS held(state, quantity)
WHERE held.quantity <> 0
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5
"""
TELLER = Teller("donors", contract.TotalsTold, _SUMS)
