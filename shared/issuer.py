"""The development issuer of access tokens: a key in the local state directory, nothing else.

Trusted by nobody outside one machine: a production platform points its services' `KEY_SET` at the
keys of its OpenID provider and never runs this.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from uuid import UUID

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from shared.callers import AUDIENCE, ROLES
from shared.db import uuid7
from shared.files import create_durably, write_durably
from shared.vocabulary import divisions

ISSUER = "duijie-dev"
LIFETIME_S = 12 * 3600
KEY_ID = "dev-1"


class Issuer:
    """Mints tokens with the key in `state_dir`, which is made when it is missing."""

    def __init__(self, state_dir: Path) -> None:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.key_set_path = state_dir / "jwks.json"
        key_path = state_dir / "key.pem"
        if not key_path.exists():
            key = Ed25519PrivateKey.generate()
            pem = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            create_durably(key_path, pem, mode=0o600)
        loaded = serialization.load_pem_private_key(key_path.read_bytes(), None)
        if not isinstance(loaded, Ed25519PrivateKey):
            raise ValueError(f"{key_path.name} is not an Ed25519 key")
        self._key = loaded
        public = json.loads(OKPAlgorithm.to_jwk(self._key.public_key()))
        public |= {"kid": KEY_ID, "use": "sig", "alg": "EdDSA"}
        document = json.dumps({"keys": [public]}, indent=1).encode()
        if not self.key_set_path.exists() or self.key_set_path.read_bytes() != document:
            write_durably(self.key_set_path, document, mode=0o644)

    def mint(
        self,
        *,
        role: str,
        subject: str,
        division: str | None = None,
        org: UUID | str | None = None,
        lifetime_s: int = LIFETIME_S,
    ) -> str:
        """An access token; raises ValueError for a role or a division that is not one."""
        if role not in ROLES:
            raise ValueError(f"no such role: {role} (there are: {', '.join(ROLES)})")
        if division is not None and not divisions.known(division):
            raise ValueError(f"not a known division code: {division}")
        issued_at = int(time.time())
        claims: dict[str, object] = {
            "iss": ISSUER,
            "sub": subject,
            "aud": AUDIENCE,
            "client_id": "duijie-dev",
            "iat": issued_at,
            "exp": issued_at + lifetime_s,
            "jti": str(uuid7()),
            "scope": " ".join(sorted(ROLES[role])),
            "roles": [role],
        }
        if division is not None:
            claims["division"] = division
        if org is not None:
            claims["org"] = str(UUID(str(org)))
        headers = {"kid": KEY_ID, "typ": "at+jwt"}
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers=headers)


def main() -> int:
    """`make token SUBJECT=… ROLE=… DIVISION=… ORG=…`: print a development token."""
    parser = argparse.ArgumentParser(prog="make token", description=main.__doc__)
    parser.add_argument("--subject", required=True)
    parser.add_argument("--role", required=True, choices=sorted(ROLES))
    parser.add_argument("--division", default=None)
    parser.add_argument("--org", default=None)
    parser.add_argument("--state-dir", type=Path, default=None)
    arguments = parser.parse_args()
    default = Path(os.environ.get("STATE_DIR", ".state")) / "issuer"
    try:
        token = Issuer(arguments.state_dir or default).mint(
            role=arguments.role,
            subject=arguments.subject,
            division=arguments.division or None,
            org=arguments.org or None,
        )
    except (ValueError, OSError) as error:
        print(f"make token: {error}", file=sys.stderr)
        return 2
    print(token)
    return 0


if __name__ == "__main__":
    sys.exit(main())
