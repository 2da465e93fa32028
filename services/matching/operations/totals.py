"""What the allocations add up to, by state: the totals told once a day."""

from services.matching import contract
from shared.totals import Teller

_SUMS = """
SELECT 'allocations' AS book, rpad(left(division_code, 6), 12, '0') AS division_code, item_class,
       unit, state, CAST(sum(quantity) AS text) AS quantity, count(*) AS allocations
FROM allocation
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5
"""
TELLER = Teller("matching", contract.TotalsTold, _SUMS)
