"""Whose signatures make a checkpoint good: C2SP tlog-policy, a text file. Pure.

log <vkey> [<url>]
witness <name> <vkey> [<url>]
group <name> all|any|<k> <member>...
quorum <name>|none
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.tlog.checkpoints import Checkpoint
from shared.tlog.notes import (
    KeyKind,
    MalformedNote,
    Note,
    Signature,
    UntrustedNote,
    VerifierKey,
    open_note,
)

POLICY_BYTES_MAX = 200_000
LINES_MAX = 1_000
NONE = "none"


class MalformedPolicy(ValueError):
    """The text is not a policy; the message gives the line."""


@dataclass(frozen=True)
class Party:
    """A log or a witness: its key, and the address it is spoken to at, if any."""

    key: VerifierKey
    url: str | None


@dataclass(frozen=True)
class Group:
    """So many of these must have cosigned."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    logs: tuple[Party, ...]
    witnesses: Mapping[str, Party]
    groups: Mapping[str, Group]
    quorum: str

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Raises MalformedPolicy."""
        return _Reader().read(text)

    @property
    def identity(self) -> bytes:
        """SHA-256 of what decides who is a quorum; addresses and the log's own keys do not."""
        witnesses = [f"witness {name} {party.key}" for name, party in self.witnesses.items()]
        groups = [
            f"group {name} {group.threshold} {' '.join(sorted(group.members))}"
            for name, group in self.groups.items()
        ]
        lines = [*sorted(witnesses), *sorted(groups), f"quorum {self.quorum}", ""]
        return hashlib.sha256("\n".join(lines).encode()).digest()

    def is_met(self, keys: Iterable[VerifierKey]) -> bool:
        """Whether the witnesses with these keys are a quorum."""
        there = set(keys)
        met = {name: party.key in there for name, party in self.witnesses.items()}
        met[NONE] = True
        # A group names what was defined before it, so one pass in their order is enough.
        for name, group in self.groups.items():
            met[name] = sum(met[member] for member in group.members) >= group.threshold
        return met[self.quorum]

    def met_at(self, times: Mapping[VerifierKey, int]) -> int | None:
        """The earliest of the witnesses' times by which a quorum had signed; None without one."""
        there: set[VerifierKey] = set()
        for key in sorted(times, key=lambda key: times[key]):
            there.add(key)
            if self.is_met(there):
                return times[key]
        return None

    def open(self, note: str) -> tuple[Checkpoint, Note, tuple[Signature, ...]]:
        """A checkpoint of one of the logs with its witnesses' cosignatures, a quorum or not.

        Raises MalformedNote; UntrustedNote when no log of the policy signed it under its own name,
        or a signature of a known key does not hold.
        """
        logs = [log.key for log in self.logs]
        witnesses = {party.key for party in self.witnesses.values()}
        opened = open_note(note, [*logs, *witnesses])
        checkpoint = Checkpoint.parse(opened.text)
        if len(checkpoint.root) != 32:
            raise MalformedNote("the root is not a SHA-256 hash")
        # SPEC: tlog-policy: the log's key name MUST correspond to the log's origin line.
        if not any(s.key in logs and s.key.name == checkpoint.origin for s in opened.signatures):
            raise UntrustedNote("no log of the policy signed it")
        return checkpoint, opened, tuple(s for s in opened.signatures if s.key in witnesses)


@dataclass
class _Reader:
    logs: list[Party] = field(default_factory=list)
    witnesses: dict[str, Party] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    members: set[str] = field(default_factory=set)
    quorum: str | None = None

    def read(self, text: str) -> Policy:
        lines = text.split("\n")
        if len(text.encode(errors="surrogateescape")) > POLICY_BYTES_MAX or len(lines) > LINES_MAX:
            raise MalformedPolicy("too long")
        for number, line in enumerate(lines, start=1):
            # SPEC: tlog-policy: the only allowed control characters are tab and newline.
            if any((char < " " and char != "\t") or char == "\x7f" for char in line):
                raise MalformedPolicy(f"line {number}: a control character")
            words = [word for word in re.split(r"[ \t]+", line) if word]
            if not words or words[0].startswith("#"):
                continue
            try:
                self._take(words)
            except (MalformedNote, MalformedPolicy) as error:
                raise MalformedPolicy(f"line {number}: {error}") from error
        if self.quorum is None:
            raise MalformedPolicy("there is no quorum line")
        return Policy(tuple(self.logs), self.witnesses, self.groups, self.quorum)

    def _take(self, words: list[str]) -> None:
        match words:
            case ["log", key, *url] if len(url) < 2:
                party = Party(VerifierKey.parse(key), url[0] if url else None)
                if party.key.kind is not KeyKind.ED25519:
                    raise MalformedPolicy("a log signs with an Ed25519 key")
                self._once(party, self.logs)
                self.logs.append(party)
            case ["witness", name, key, *url] if len(url) < 2:
                party = Party(VerifierKey.parse(key), url[0] if url else None)
                if not party.key.cosigns:
                    raise MalformedPolicy("a witness has a cosigner's key")
                self._once(party, self.witnesses.values())
                self.witnesses[self._new(name)] = party
            case ["group", name, number, first, *others]:
                members = (first, *others)
                for member in members:
                    if member not in self.witnesses and member not in self.groups:
                        raise MalformedPolicy(f"{member} is not defined before")
                    # SPEC: each name can be a member at most once.
                    if member in self.members:
                        raise MalformedPolicy(f"{member} is a member twice")
                    self.members.add(member)
                self.groups[self._new(name)] = Group(_threshold(number, len(members)), members)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise MalformedPolicy("there is a quorum already")
                if name != NONE and name not in self.witnesses and name not in self.groups:
                    raise MalformedPolicy(f"{name} is not defined before")
                self.quorum = name
            case _:
                raise MalformedPolicy("not a line of a policy")

    def _new(self, name: str) -> str:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise MalformedPolicy(f"{name} is taken")
        return name

    def _once(self, party: Party, others: Iterable[Party]) -> None:
        # SPEC: keys are duplicates when they wrap the same public key, whatever their names.
        if any(party.key.public == other.key.public for other in others):
            raise MalformedPolicy("the same key twice")


def _threshold(word: str, members: int) -> int:
    if word == "all":
        return members
    if word == "any":
        return 1
    if not re.fullmatch(r"[1-9][0-9]{0,3}", word) or int(word) > members:
        raise MalformedPolicy("k is all, any, or a number from 1 to that of the members")
    return int(word)
