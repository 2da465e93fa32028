"""Numba, behind a type checker's back once: machine code without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(function: Kernel) -> Kernel:
    """The function as machine code, kept on disk between runs where anything can be written.

    No fast-math and no parallel loops: the same integers on every machine and any thread count.
    Numba keeps the code beside the module, or in the user's cache when that is read-only; with
    neither it compiles in every process. It looks at a function's own file only: whoever edits a
    kernel that others call touches their files too, or deletes `__pycache__`.
    """
    try:
        return cast("Kernel", numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:
        return cast("Kernel", numba.njit(nogil=True)(function))
