"""For tests that cancel tasks at any moment whatever."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def breaking_off() -> Iterator[None]:
    """A task cancelled in the midst of connecting may leave its socket to the collector: that is so
    in the libraries. Collected here, it fails no test that happens to be running later.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()
