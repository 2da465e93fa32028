"""Check, without a network, that requirements.lock answers requirements*.in.

Every name asked for must be locked to a version the request admits, with hashes, and no line may
carry an address: the lock has to install from whatever index a machine uses.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = {
    "requirements.lock": ("requirements.in", "requirements-dev.in"),
    "requirements-uv.lock": ("requirements-uv.in",),
}


def main() -> int:
    complaints = [
        complaint
        for lock, sources in LOCKS.items()
        for complaint in complaints_about(
            (ROOT / lock).read_text(), [(ROOT / source).read_text() for source in sources]
        )
    ]
    for complaint in complaints:
        print(complaint)
    if complaints:
        print("Run `make lock`.")
    return 1 if complaints else 0


def complaints_about(lock: str, sources: list[str]) -> list[str]:
    """Return what is wrong with a lock, one sentence each."""
    pins: dict[str, list[Requirement]] = {}
    said: list[str] = []
    for entry in re.split(r"\n(?=\S)", lock.replace("\\\n", " ")):
        stated = entry.split("#", 1)[0].split("--hash", 1)[0].strip()
        if not stated or stated.startswith("-"):  # an option, not a package
            continue
        pin = Requirement(stated)
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
        if "--hash=sha256:" not in entry:
            said.append(f"{pin.name} is locked without a hash.")
    if "://" in lock or re.search(r"^-", lock, re.MULTILINE):
        said.append("The lock names an address.")
    for line in "\n".join(sources).splitlines():
        stated = line.split("#", 1)[0].strip()
        if not stated:
            continue
        asked = Requirement(stated)
        locked = pins.get(canonicalize_name(asked.name), [])
        versions = [next(iter(pin.specifier)).version for pin in locked]
        if not any(asked.specifier.contains(version) for version in versions):
            said.append(f"{asked} is asked for, but not in the lock.")
    return said


if __name__ == "__main__":
    sys.exit(main())
