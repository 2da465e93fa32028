"""A log of these tests' own, with its proofs; and one that shows two histories."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import Frontier, consistency_ranges, extend, leaf_hash
from shared.tlog.notes import Signer, VerifierKey
from shared.tlog.witnessing import AddCheckpoint

ORIGIN = "log.test"


@dataclass
class Log:
    """Entry i is `<story> i` from entry `told_apart_at` on, and the same for all before."""

    origin: str = ORIGIN
    story: str = "one"
    told_apart_at: int = 0
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def key(self) -> VerifierKey:
        return Signer(self.origin, self.private).key

    def fork(self, at: int) -> "Log":
        """The same log, by its key; another history from entry `at` on."""
        return Log(self.origin, "another", at, self.private)

    def checkpoint(self, size: int) -> str:
        text = str(Checkpoint(self.origin, size, self._root(0, size)))
        return Signer(self.origin, self.private).sign(text)

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        if not 0 < old < new:
            return ()
        return tuple(self._root(lo, hi) for lo, hi in consistency_ranges(old, new))

    def ask(self, old: int, new: int, proof: Sequence[bytes] | None = None) -> str:
        """The body of a request; its right proof unless another is given."""
        hashes = self.proof(old, new) if proof is None else tuple(proof)
        return str(AddCheckpoint(old, hashes, self.checkpoint(new)))

    def _root(self, lo: int, hi: int) -> bytes:
        stories = ("one" if i < self.told_apart_at else self.story for i in range(lo, hi))
        leaves = (leaf_hash(f"{s} {i}".encode()) for i, s in enumerate(stories, start=lo))
        return extend(Frontier(), leaves)[0].root
