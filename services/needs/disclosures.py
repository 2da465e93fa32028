"""Values that an event commits to without saying them: salted digests, opened one by one; pure.

SPEC: RFC 9901 (SD-JWT) 4.2.1, 4.2.3 and 4.2.5: what opens a digest is a *disclosure*, and a digest
that nothing opens is a *decoy*. There is no JWT here: the digests stand in an event, and the log
is what vouches for it.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# SPEC RFC 9901 9.3: a salt SHOULD have at least 128 bits of entropy.
SALT_BYTES = 16

Json = Any


@dataclass(frozen=True, slots=True)
class Digested:
    """`digests` sorted, so that their order tells nothing; `disclosures` of those that open."""

    digests: list[str]
    disclosures: list[str]


@dataclass(frozen=True, slots=True)
class Opened:
    """What a disclosure says."""

    salt: str
    name: str
    value: Json


def digested(values: Mapping[str, Json], size: int, salts: Sequence[bytes]) -> Digested:
    """Digests of the values, and decoys up to `size`: how many values there are stays unsaid.

    values  name -> what JSON can express; None is a value that is absent, and gets a decoy
    salts   `size` times SALT_BYTES random bytes, none of them used before

    Raises ValueError for too many values, or salts that do not fit.
    """
    stated = {name: value for name, value in values.items() if value is not None}
    if len(stated) > size or [len(salt) for salt in salts] != [SALT_BYTES] * size:
        raise ValueError("more values than digests, or salts that do not fit")
    disclosures = [
        disclosure(encoded(salt), name, value)
        for salt, (name, value) in zip(salts, stated.items(), strict=False)
    ]
    digests = [digest(d) for d in disclosures]
    # SPEC RFC 9901 4.2.5: a decoy is the digest of a random number.
    digests += [encoded(hashlib.sha256(salt).digest()) for salt in salts[len(stated) :]]
    return Digested(sorted(digests), disclosures)


def disclosure(salt: str, name: str, value: Json) -> str:
    """SPEC RFC 9901 4.2.1: base64url of the JSON array of salt, name and value in UTF-8."""
    return encoded(json.dumps([salt, name, value], ensure_ascii=False).encode())


def digest(text: str) -> str:
    """SPEC RFC 9901 4.2.3: over the ASCII bytes of the disclosure, MUST not be over the JSON."""
    return encoded(hashlib.sha256(text.encode("ascii")).digest())


def opened(text: str) -> Opened:
    """What the disclosure says; raises ValueError when it is none."""
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        salt, name, value = json.loads(content)
    except (ValueError, TypeError) as error:
        raise ValueError("not a disclosure") from error
    if not (isinstance(salt, str) and isinstance(name, str)):
        raise ValueError("not a disclosure")
    return Opened(salt, name, value)


def encoded(content: bytes) -> str:
    """SPEC RFC 7515 2: base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
