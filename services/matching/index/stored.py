"""One file of named arrays that proves itself: header, arrays, SHA-256 of all before it.

    magic | 8 bytes: length of the header | header, JSON | arrays, each on a 64-byte border | digest

It is replaced as a whole or not at all. Nothing in it is code: names, types and shapes are in the
header, and types are numbers, booleans or text of fixed width.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shared.files import sync_directory

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"DUIJIE INDEX 1\n\n"
BORDER = 64
DIGEST_BYTES = 32
HEADER_BYTES_MAX = 16 * 1024 * 1024
# Written and hashed at once.
PIECE_BYTES = 16 * 1024 * 1024


class Unusable(Exception):
    """The file is not one of ours, or not whole; str() says why."""


@contextmanager
def only_writer(directory: Path) -> Iterator[bool]:
    """Whether nobody else writes there now; held until the end of the block."""
    descriptor = os.open(directory / ".index.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def write(path: Path, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Replace the file; after a crash it is all of the old or all of the new."""
    flat = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    places, end = [], 0
    for name, array in flat.items():
        start = -(-end // BORDER) * BORDER
        end = start + array.nbytes
        places.append([name, array.dtype.str, list(array.shape), start])
    header = json.dumps({"facts": dict(facts), "arrays": places}, sort_keys=True).encode()
    lead = MAGIC + len(header).to_bytes(8, "big") + header
    lead += bytes(-len(lead) % BORDER)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            digest = hashlib.sha256()
            for piece in _pieces(lead, flat, places):
                digest.update(piece)
                file.write(piece)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _pieces(
    lead: bytes, arrays: Mapping[str, NDArray[Any]], places: list[list[Any]]
) -> Iterator[bytes | memoryview]:
    yield lead
    at = 0
    for name, _, _, start in places:
        yield bytes(start - at)
        array = arrays[name]
        if array.nbytes:
            whole = array.reshape(-1).view(np.uint8).data
            for begin in range(0, len(whole), PIECE_BYTES):
                yield whole[begin : begin + PIECE_BYTES]
        at = start + array.nbytes


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Facts and arrays, checked against the digest. Raise FileNotFoundError or Unusable.

    The arrays are read-only views of the file; keep none of them.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < len(MAGIC) + 8 + DIGEST_BYTES:
            raise Unusable("too short")
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if content[: len(MAGIC)] != MAGIC:
        raise Unusable("not an index file of this form")
    digest = hashlib.sha256()
    for begin in range(0, size - DIGEST_BYTES, PIECE_BYTES):
        digest.update(content[begin : min(begin + PIECE_BYTES, size - DIGEST_BYTES)])
    if digest.digest() != content[-DIGEST_BYTES:]:
        raise Unusable("its SHA-256 is another")
    length = int.from_bytes(content[len(MAGIC) : len(MAGIC) + 8], "big")
    start = len(MAGIC) + 8
    if length > min(HEADER_BYTES_MAX, size - start):
        raise Unusable("its header is too long")
    header = json.loads(bytes(content[start : start + length]))
    base = -(-(start + length) // BORDER) * BORDER
    arrays = {}
    for name, kind, shape, offset in header["arrays"]:
        dtype = np.dtype(kind)
        if dtype.kind not in "biufU":
            raise Unusable(f"{name} is of type {kind}")
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(content, dtype=dtype, count=count, offset=base + offset)
        arrays[name] = array.reshape(shape)
    return header["facts"], arrays


def put_aside(path: Path) -> Path:
    """Out of the way, for somebody to look at; the one put aside before is replaced."""
    aside = path.with_name(f"{path.name}.aside")
    path.replace(aside)
    return aside
