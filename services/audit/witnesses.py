"""Talking to one witness (C2SP tlog-witness v1.0.0), and what of its answers is believed.

A witness is somebody else: it may be down, slow, wrong or hostile. So an answer is bounded in time
and bytes, and counts for what its signatures prove and for nothing else.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

import httpx

from shared.tlog.notes import MalformedNote, Signature, UntrustedNote, open_note
from shared.tlog.policies import NONE, Party, Policy
from shared.tlog.witnessing import SIZE_MEDIA_TYPE, AddCheckpoint

ANSWER_S_MAX = 5.0  # for a whole answer, however slowly it drips
ANSWER_BYTES_MAX = 64 * 1024  # some ten ML-DSA-44 lines
SIZE_DIGITS_MAX = 19
# Answers are read as they come, so that a small one cannot unpack to a large one.
PLAIN = {"Accept-Encoding": "identity"}
CLOCK_SKEW_S_MAX = 300.0  # a cosignature's time bounds back-dating: it must be about now


class WitnessFailure(Exception):
    """The witness gave no answer, refused, or gave one that proves nothing; the message says it."""


class WitnessRefused(WitnessFailure):
    """It answered, and did not cosign: what it saw of this log may differ from what we have."""


class WitnessAt(Exception):
    """The witness says that the last checkpoint it cosigned has another size."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the witness is at {size}")
        self.size = size


class Witness:
    """One witness of the policy, by the policy's name for it."""

    def __init__(self, name: str, party: Party, http: httpx.AsyncClient) -> None:
        if party.url is None:
            raise ValueError(f"the witness {name} has no address")
        self.name = name
        self.key = party.key
        self._url = party.url.rstrip("/")
        self._http = http

    async def add(
        self, old_size: int, proof: Sequence[bytes], note: str, *, now_s: float
    ) -> Signature:
        """The witness's cosignature of the checkpoint in `note`, found good.

        proof  consistency proof from `old_size`, what the witness cosigned last, to the checkpoint
        Raises WitnessAt when it is at another size, WitnessFailure for everything else.
        """
        body = str(AddCheckpoint(old_size, tuple(proof), note))
        status, media_type, answer = await self._ask("POST", "/add-checkpoint", body)
        if status == 409 and media_type.startswith(SIZE_MEDIA_TYPE):
            raise WitnessAt(_size(answer))
        # Real witnesses differ in which status means what: all others are refusals.
        if status != 200:
            raise WitnessRefused(f"it refused with {status}")
        text = note[: note.index("\n\n") + 1]
        return self._believed(text, answer, now_s)

    def _believed(self, text: str, lines: str, now_s: float) -> Signature:
        try:
            opened = open_note(f"{text}\n{lines}", [self.key])
        except (MalformedNote, UntrustedNote) as error:
            raise WitnessFailure(f"its cosignature does not hold: {error}") from error
        # A note's text ends at its last empty line: with one in the answer it is a longer text.
        if opened.text != text:
            raise WitnessFailure("it signed something else than the checkpoint")
        (signature,) = opened.signatures
        if signature.at is None or abs(signature.at - now_s) > CLOCK_SKEW_S_MAX:
            raise WitnessFailure(f"it says it signed at {signature.at}, which is not about now")
        return signature

    async def last(self, origin: str) -> str | None:
        """The note of the last checkpoint of `origin` it cosigned; None when there is none.

        Whoever asks must check that the log itself signed it. Raises WitnessFailure.
        """
        path = f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"
        status, _, answer = await self._ask("GET", path)
        if status == 404:
            return None
        if status != 200:
            raise WitnessFailure(f"it refused with {status}")
        return answer

    async def _ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str, str]:
        """Status, media type and text of the answer."""
        content = bytearray()
        try:
            async with (
                asyncio.timeout(ANSWER_S_MAX),
                self._http.stream(method, self._url + path, content=body, headers=PLAIN) as answer,
            ):
                async for part in answer.aiter_raw(8 * 1024):
                    content += part
                    if len(content) > ANSWER_BYTES_MAX:
                        raise WitnessFailure(f"its answer exceeds {ANSWER_BYTES_MAX} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise WitnessFailure(f"it gave no answer ({type(error).__name__})") from error
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise WitnessFailure("its answer is not text") from error
        return answer.status_code, answer.headers.get("content-type", ""), text


def _size(answer: str) -> int:
    digits = answer.removesuffix("\n")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= SIZE_DIGITS_MAX):
        raise WitnessRefused("it says it is at another size, and not at which")
    return int(digits)


def read_policy(path: Path | None) -> Policy:
    """The policy in a file; without a file no quorum is asked for.

    Raises OSError, MalformedPolicy: a log whose policy cannot be read must not start.
    """
    return Policy.parse(f"quorum {NONE}\n" if path is None else path.read_text())


def witnesses_of(policy: Policy, http: httpx.AsyncClient) -> list[Witness]:
    """Those that can be asked: one without an address is never asked, and never counts."""
    return [
        Witness(name, party, http)
        for name, party in policy.witnesses.items()
        if party.url is not None
    ]


async def ask_all(
    witnesses: Sequence[Witness], origin: str
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Of each witness, by name: the note of the last checkpoint it cosigned; and who failed, why.

    All at once: it takes as long as the slowest, and no longer than ANSWER_S_MAX.
    """
    answers = await asyncio.gather(
        *(witness.last(origin) for witness in witnesses), return_exceptions=True
    )
    notes, failures = [], []
    for witness, answer in zip(witnesses, answers, strict=True):
        if isinstance(answer, str):
            notes.append((witness.name, answer))
        elif isinstance(answer, WitnessFailure):
            failures.append((witness.name, str(answer)))
        elif isinstance(answer, BaseException):
            raise answer
    return notes, failures
