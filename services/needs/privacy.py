"""Personal data at rest: a random key per person, kept outside PostgreSQL; without it, nothing.

AES-256-GCM (NIST SP 800-38D) with the person's own key over the values and over what opens the
digests in events, and with the key-encryption key (KEK) over the person's key. Destroying the
person's key erases the values everywhere, backups of the database included, and leaves every row
and every proof in place.
"""

import asyncio
import fcntl
import hmac
import json
import os
import secrets
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.files import create_durably, sync_directory

KEY_BYTES = 32
_NONCE_BYTES = 12
_WRAPPED_BYTES = KEY_BYTES + 16
# person id, nonce, wrapped key
_RECORD = struct.Struct(f"16s{_NONCE_BYTES}s{_WRAPPED_BYTES}s")
_DESTROYED = bytes(_NONCE_BYTES + _WRAPPED_BYTES)


class KeyStoreDamaged(RuntimeError):
    """The file of keys does not open under this KEK: another installation's, or altered."""


class PersonKeys(Protocol):
    """What a store of persons' keys offers; a key management service would offer the same.

    create   new keys, in the order of the people, durable on return; a key that no row needs does
             no harm
    get      a person's key, None when there is none or it was destroyed; raises KeyStoreDamaged
    destroy  make a person's key unreadable for ever, for every process that shares the store;
             durable on return; twice is once
    """

    async def create(self, people: Sequence[UUID]) -> list[bytes]: ...

    def get(self, person: UUID) -> bytes | None: ...

    async def destroy(self, person: UUID) -> None: ...


class KeyStore:
    """Keys of persons in one append-only file of fixed records, wrapped by a KEK.

    A key is durable when `create` returns, so it is there before the row that needs it commits; a
    key without a row does no harm. One write and one fsync serve a whole batch. Erasing overwrites
    the record in place. Several processes may share the folder: appends and erasures hold a file
    lock, and a key is read from the file each time, so an erasure holds for all of them at once.

    kek_file  where the KEK is, on another medium if possible; by default beside the records
    """

    def __init__(self, folder: Path, kek_file: Path | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._kek = AESGCM(_secret(kek_file or folder / "kek"))
        self._path = folder / "persons"
        self._writing = threading.Lock()
        self._looking = threading.Lock()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        sync_directory(folder)
        self._offsets: dict[bytes, int] = {}
        self._read_to = 0
        with self._alone():
            # A crash in the middle of an append leaves a torn record; its rows never committed.
            whole = os.fstat(self._file).st_size // _RECORD.size * _RECORD.size
            os.ftruncate(self._file, whole)
            self._read_new()
        self._try_kek()

    def _try_kek(self) -> None:
        """Raise KeyStoreDamaged at the start, not at the first reading: it may be the wrong KEK."""
        for person in self._offsets:
            if self.get(UUID(bytes=person)) is not None:
                return

    async def create(self, people: Sequence[UUID]) -> list[bytes]:
        """New keys, in the order of `people`; durable on return."""
        return await asyncio.to_thread(self._create, people)

    def _create(self, people: Sequence[UUID]) -> list[bytes]:
        keys = [secrets.token_bytes(KEY_BYTES) for _ in people]
        records = b"".join(self._wrap(p, k) for p, k in zip(people, keys, strict=True))
        with self._alone():
            end = os.lseek(self._file, 0, os.SEEK_END)
            # Another process may have died in its append.
            end -= end % _RECORD.size
            os.ftruncate(self._file, end)
            written = 0
            while written < len(records):
                written += os.pwrite(self._file, records[written:], end + written)
            os.fsync(self._file)
            self._read_new()
        return keys

    def get(self, person: UUID) -> bytes | None:
        """The person's key, None when there is none or it was destroyed."""
        offset = self._offset(person)
        if offset is None:
            return None
        # From the file, not from memory: another process may have destroyed it.
        record = os.pread(self._file, _RECORD.size, offset)
        _, nonce, wrapped = _RECORD.unpack(record)
        if nonce + wrapped == _DESTROYED:
            return None
        try:
            return self._kek.decrypt(nonce, wrapped, person.bytes)
        except InvalidTag as error:
            raise KeyStoreDamaged(str(self._path)) from error

    async def destroy(self, person: UUID) -> None:
        """Make the person's key unreadable for ever; durable on return; twice is once."""
        await asyncio.to_thread(self._destroy, person)

    def _destroy(self, person: UUID) -> None:
        with self._alone():
            offset = self._offset(person)
            if offset is None:
                return
            # A write torn by a crash destroys as well: half a wrapped key does not open. The
            # caller hears of success only after fsync and asks again otherwise.
            os.pwrite(self._file, _DESTROYED, offset + 16)
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)

    def _wrap(self, person: UUID, key: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _RECORD.pack(person.bytes, nonce, self._kek.encrypt(nonce, key, person.bytes))

    def _offset(self, person: UUID) -> int | None:
        if person.bytes not in self._offsets:
            self._read_new()
        return self._offsets.get(person.bytes)

    def _read_new(self) -> None:
        """Take up records appended since the last look, here or by another process."""
        with self._looking:
            end = os.fstat(self._file).st_size // _RECORD.size * _RECORD.size
            while self._read_to < end:
                wanted = min(end - self._read_to, _RECORD.size * 4096)
                chunk = os.pread(self._file, wanted, self._read_to)
                for at in range(0, len(chunk), _RECORD.size):
                    self._offsets[chunk[at : at + 16]] = self._read_to + at
                self._read_to += len(chunk)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # The file lock keeps other processes out, the other lock other threads of this one.
        # Readers take neither: they must not wait for somebody's fsync.
        with self._writing:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)


class Privacy:
    """What the operations use: sealing and opening values, blind indexes and pseudonyms."""

    def __init__(self, state_dir: Path, kek_file: Path | None = None) -> None:
        self._folder = state_dir / "keys"
        self.keys: PersonKeys = KeyStore(self._folder, kek_file)
        self._index_keys: dict[int, bytes] = {}
        self._pseudonym_key = _secret(self._folder / "pseudonym")

    def blind_index(self, id_number: str, year: int) -> bytes:
        """Equal for equal ID numbers within one programme year, and for nobody without the key.

        A plain digest of an ID number could be reversed by trying them all (AUDIT 5.3), and so
        could this by who has the key: it is destroyed when the next year's is made.
        """
        if year not in self._index_keys:
            self._index_keys = {year: self._index_key(year)}
        return _mac(self._index_keys[year], f"{year}\x1f{id_number.upper()}".encode())

    def _index_key(self, year: int) -> bytes:
        mine = self._folder / f"blind-index-{year}"
        if not mine.exists():
            # Until there was a key for each year, one served them all.
            with suppress(FileNotFoundError):
                (self._folder / "blind-index").rename(mine)
        key = _secret(mine)
        for other in self._folder.glob("blind-index-*"):
            if int(other.name.removeprefix("blind-index-")) < year:
                _destroy_secret(other)
        return key

    def pseudonym(self, applicant_id: UUID, year: int) -> str:
        """32 hex digits: the same applicant's for one programme year, another's the next."""
        return _mac(self._pseudonym_key, applicant_id.bytes + year.to_bytes(4)).hex()[:32]


def seal(key: bytes, applicant_id: UUID, values: Mapping[str, Any]) -> bytes:
    """Encrypt the values; the applicant's id and the names of the fields are bound to them."""
    return _encrypt(key, dict(values), _bound(applicant_id, values))


def open_sealed(
    key: bytes, applicant_id: UUID, fields: Sequence[str], sealed: bytes
) -> dict[str, Any]:
    """The values again; raises KeyStoreDamaged when row, fields and key do not belong together."""
    values = _decrypt(key, sealed, _bound(applicant_id, fields), applicant_id)
    return {str(k): v for k, v in values.items()}


def _bound(applicant_id: UUID, fields: Mapping[str, Any] | Sequence[str]) -> bytes:
    return b"needs.personal/1\x1f" + applicant_id.bytes + ",".join(sorted(fields)).encode()


def seal_disclosures(
    key: bytes, applicant_id: UUID, event_id: UUID, disclosures: Sequence[str]
) -> bytes:
    """Encrypt what opens the digests of one event; it opens as that event's only."""
    return _encrypt(key, list(disclosures), _bound_to_event(applicant_id, event_id))


def open_disclosures(key: bytes, applicant_id: UUID, event_id: UUID, sealed: bytes) -> list[str]:
    """The disclosures again; raises KeyStoreDamaged when they are not this event's."""
    found = _decrypt(key, sealed, _bound_to_event(applicant_id, event_id), applicant_id)
    return [str(disclosure) for disclosure in found]


def _bound_to_event(applicant_id: UUID, event_id: UUID) -> bytes:
    return b"needs.disclosures/1\x1f" + applicant_id.bytes + event_id.bytes


def _encrypt(key: bytes, content: Any, bound: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    plain = json.dumps(content, ensure_ascii=False).encode()
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def _decrypt(key: bytes, sealed: bytes, bound: bytes, applicant_id: UUID) -> Any:
    try:
        plain = AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
    except InvalidTag as error:
        raise KeyStoreDamaged(f"personal data of applicant {applicant_id}") from error
    return json.loads(plain)


def programme_year(now: datetime) -> int:
    """The calendar year in China (UTC+8 all year round)."""
    return (now.astimezone(UTC) + timedelta(hours=8)).year


_DOUBLE_SURNAMES = frozenset(
    "欧阳 太史 端木 上官 司马 东方 独孤 南宫 万俟 闻人 夏侯 诸葛 尉迟 公羊 赫连 澹台 皇甫 宗政"
    " 濮阳 公冶 太叔 申屠 公孙 慕容 仲孙 钟离 长孙 宇文 司徒 鲜于 司空 令狐".split()
)
MASK = "**"


def masked(name: str) -> str:
    """The surname, the rest hidden whatever its length (李**); a Latin name keeps one letter."""
    plain = name.strip()
    surname = plain[:2] if plain[:2] in _DOUBLE_SURNAMES and len(plain) > 2 else plain[:1]
    return surname + MASK


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _secret(path: Path) -> bytes:
    """32 random bytes, made at first use, readable by the service's user only."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        create_durably(path, secrets.token_bytes(KEY_BYTES), mode=0o600)
        found = path.read_bytes()
    if len(found) != KEY_BYTES:
        raise KeyStoreDamaged(str(path))
    return found


def _destroy_secret(path: Path) -> None:
    """Overwrite, then remove; another process may have done so already."""
    with suppress(FileNotFoundError):
        with path.open("r+b") as file:
            file.write(bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        sync_directory(path.parent)
