"""Adds up the movements in the log and compares the sums with the totals the producers told.

A log proves that what was told stands unaltered; that nothing was left out shows here. The work is
done by a task that follows the log's own entries with a cursor of its own, never by an append. Its
tables can be rebuilt from the log at any time, and the verifier does not read them.

movements.py  what an event moves, and what a telling says; pure
folding.py    keeps the sums, and what each side says of each allocation
comparing.py  one telling against the sums
overdue.py    days nobody told, allocations on which the sides disagree for too long
reckoner.py   the task
"""

from services.audit.reckoning.reckoner import Reckoner

__all__ = ["Reckoner"]
