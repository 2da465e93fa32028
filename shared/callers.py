"""Who calls: JWT access tokens checked against a key set; scopes, a division, an organization.

SPEC: RFC 9068 (JWT profile for access tokens), RFC 7517 (key sets). Any OpenID provider will do;
`shared.issuer` is the development one. A route declares its caller with `require(scope)` or
`Public`; a test fails when one does neither.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx
import jwt
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.client import certificates
from shared.errors import Forbidden, Unauthenticated, Unavailable
from shared.logs import begin_trace
from shared.vocabulary import divisions
from shared.vocabulary.codes import Role

log = logging.getLogger(__name__)

AUDIENCE = "duijie"
ALGORITHMS = ["EdDSA", "ES256", "RS256"]
LEEWAY_S = 30
KEY_SET_REFRESH_S_MIN = 5.0
# How long a key that the issuer has taken back may still be trusted.
KEY_SET_AGE_S_MAX = 300.0
KEY_SET_TIMEOUT_S = 5.0

SCOPES: dict[str, str] = {
    "needs:enter": "Enter applicants and needs on behalf of others",
    "needs:verify": "Verify needs at the level of one's role",
    "needs:read": "Read what is not public of needs in one's division",
    "needs:commit": "Hold quantities of needs (services)",
    "policy:activate": "Put a policy into force for a division",
    "objections:decide": "Decide objections to needs on notice",
    "organizations:enter": "Register organizations",
    "organizations:approve": "Approve and block organizations",
    "offers:enter": "Enter offers",
    "offers:approve": "Approve and block offers",
    "ledger:move": "Hold quantities of offers (services)",
    "rounds:run": "Run matching rounds",
    "rounds:approve": "Approve matching rounds",
    "allocations:accept": "Accept or decline an allocation for one side of it",
    "allocations:approve": "Approve allocations",
    "allocations:deliver": "Dispatch and deliver allocations",
    "allocations:confirm": "Confirm that help arrived",
    "slips:issue": "Print a household's one-time confirmation slip",
    "trail:read": "Read the audit trail",
    "totals:ask": "Ask a service for the totals of its ledger between two days",
    "events:read": "Follow the event feeds",
}

_OFFICER = {
    "needs:verify",
    "needs:read",
    "allocations:accept",
    "allocations:approve",
    "slips:issue",
}
ROLES: dict[str, frozenset[str]] = {
    "entry_clerk": frozenset({"needs:enter", "organizations:enter", "offers:enter"}),
    "village_officer": frozenset(
        {"needs:enter", "needs:read", "allocations:accept", "allocations:confirm", "slips:issue"}
    ),
    "village_committee": frozenset({"needs:verify", "needs:read"}),
    "township_officer": frozenset(_OFFICER),
    "county_officer": frozenset(_OFFICER | {"objections:decide"}),
    "city_officer": frozenset(_OFFICER | {"objections:decide"}),
    "alliance_coordinator": frozenset(
        {
            "policy:activate",
            "organizations:approve",
            "offers:approve",
            "rounds:run",
            "rounds:approve",
            "allocations:approve",
        }
    ),
    "organization": frozenset(
        {"organizations:enter", "offers:enter", "allocations:accept", "allocations:deliver"}
    ),
    "supervisor": frozenset({"trail:read", "totals:ask", "needs:read", "objections:decide"}),
    "auditor": frozenset({"trail:read", "totals:ask"}),
    "service": frozenset({"needs:commit", "ledger:move", "events:read"}),
}


@dataclass(frozen=True)
class Caller:
    """Somebody with a valid token. Rights are given for a division and hold for what it covers."""

    subject: str
    roles: frozenset[str]
    scopes: frozenset[str]
    division: str | None = None
    org: UUID | None = None

    @property
    def role(self) -> str:
        """The role to name in events: the only one, or all, sorted and joined by `+`."""
        return "+".join(sorted(self.roles)) or "none"

    def covers(self, division_code: str) -> bool:
        return self.division is not None and divisions.covers(self.division, division_code)


class KeySet:
    """The issuer's public keys, from a file or an address; None: nobody's tokens are known.

    Read again when a key is not known, and when they are older than `age_s_max`; while the issuer
    cannot be reached, the keys that are known serve on.
    """

    def __init__(self, location: str | None, *, age_s_max: float = KEY_SET_AGE_S_MAX) -> None:
        self.location = location
        self._age_s_max = age_s_max
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def key(self, kid: str) -> jwt.PyJWK | None:
        if self.location is not None and self._is_due(kid):
            async with self._reading:
                if self._is_due(kid):  # nobody has read them while we waited
                    await self._read_for(kid, self.location)
        return self._keys.get(kid)

    def _is_due(self, kid: str) -> bool:
        age_s = time.monotonic() - self._read_at
        if kid in self._keys:
            return age_s >= self._age_s_max
        # Bounded: a flood of made-up key ids must not become a flood of requests.
        return age_s >= KEY_SET_REFRESH_S_MIN or not self._keys

    async def _read_for(self, kid: str, location: str) -> None:
        try:
            await self._read(location)
        except Unavailable:
            if kid not in self._keys:
                raise
            log.warning("key set not read again", extra={"location": location})

    async def _read(self, location: str) -> None:
        try:
            if location.startswith(("http://", "https://")):
                async with httpx.AsyncClient(
                    timeout=KEY_SET_TIMEOUT_S, verify=certificates()
                ) as client:
                    answer = await client.get(location)
                    answer.raise_for_status()
                    document = answer.json()
            else:
                document = json.loads(await asyncio.to_thread(Path(location).read_bytes))
            self._keys = {
                k["kid"]: jwt.PyJWK(k) for k in document["keys"] if k.get("use", "sig") == "sig"
            }
        except (OSError, httpx.HTTPError, ValueError, KeyError, jwt.PyJWTError) as error:
            raise Unavailable("The keys of the token issuer cannot be read.") from error
        finally:
            self._read_at = time.monotonic()


_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="RFC 9068 access token")
_Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def _identify(request: Request, credentials: HTTPAuthorizationCredentials) -> Caller:
    if (known := getattr(request.state, "caller", None)) is not None:
        return known  # type: ignore[no-any-return]  # only this function sets it
    caller = request.state.caller = await _verify(request, credentials.credentials)
    if Role.SERVICE in caller.roles:
        begin_trace(request.headers.get("traceparent"))
    return caller


async def _verify(request: Request, token: str) -> Caller:
    try:
        header = jwt.get_unverified_header(token)
        # SPEC RFC 9068 2.1 and 4: `typ` MUST be at+jwt, so that an ID token is not taken for one.
        if str(header.get("typ", "")).lower() not in {"at+jwt", "application/at+jwt"}:
            raise Unauthenticated("The token is not an access token (typ at+jwt).")
        key = await request.app.state.key_set.key(str(header.get("kid", "")))
        if key is None:
            raise Unauthenticated("The token is signed with a key that is not known.")
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=AUDIENCE,
            issuer=request.app.state.issuer,
            leeway=LEEWAY_S,
            options={"require": ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"]},
        )
        return _caller_of(claims)
    except (jwt.PyJWTError, ValueError) as error:
        raise Unauthenticated("The token is not valid or has expired.") from error


def _caller_of(claims: dict[str, Any]) -> Caller:
    division = claims.get("division")
    if division is not None and not divisions.known(str(division)):
        raise Unauthenticated("The token's division is not a known division code.")
    org = claims.get("org")
    return Caller(
        subject=str(claims["sub"]),
        roles=frozenset(str(r) for r in claims.get("roles", [])),
        scopes=frozenset(str(claims.get("scope", "")).split()),
        division=None if division is None else str(division),
        org=None if org is None else UUID(str(org)),
    )


async def anybody(request: Request, credentials: _Credentials) -> Caller | None:
    """The route is public; a token that is sent is checked all the same."""
    return None if credentials is None else await _identify(request, credentials)


Public = Annotated[Caller | None, Depends(anybody)]


def require(*scopes: str) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """A dependency that gives the caller when its token holds one of `scopes`."""
    unknown = set(scopes) - SCOPES.keys()
    if unknown or not scopes:
        raise ValueError(f"not a scope: {sorted(unknown)}")

    async def required(request: Request, credentials: _Credentials) -> Caller:
        if credentials is None:
            raise Unauthenticated("This needs an access token.")
        caller = await _identify(request, credentials)
        if caller.scopes.isdisjoint(scopes):
            raise Forbidden(f"This needs one of the scopes: {', '.join(scopes)}.")
        return caller

    required.scopes = scopes  # type: ignore[attr-defined]  # read by the architecture test
    return required


anybody.scopes = ()  # type: ignore[attr-defined]  # read by the architecture test
