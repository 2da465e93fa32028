"""One function per use case, inside the caller's transaction.

Locks are taken in one order everywhere, so that nothing deadlocks: organizations, then offers,
each by ascending id. Whatever changes a line holds the lock of its offer.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.errors import ServiceError

R = TypeVar("R")


@dataclass(frozen=True)
class Entered(Generic[R]):
    """A record of a batch; not `new` when its external key was known and nothing was changed.

    remark  why the record could not go as far as was asked for
    """

    record: R
    new: bool
    remark: ServiceError | None = None
