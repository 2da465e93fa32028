"""The running log and the running witness, which know nothing of each other but their keys."""

from hashlib import sha256

from shared.tlog.checkpoints import Checkpoint
from shared.tlog.notes import decode
from shared.tlog.policies import Policy
from shared.tlog.witnessing import AddCheckpoint
from tests.system.harness import System, until


async def test_a_checkpoint_of_the_log_is_cosigned_and_meets_the_policy(
    system: System, lived: object
):
    policy = Policy.parse((system.state.folder / "witness-policy").read_text())
    note = await until(lambda: cosigned(system), "a checkpoint is cosigned")
    checkpoint, _, cosignatures = policy.open(note)
    assert policy.is_met(each.key for each in cosignatures)
    origin = sha256(checkpoint.origin.encode()).hexdigest()
    seen = await system.http.get(f"{system.urls['witness']}/{origin}/checkpoint")
    _, _, of_monitors = policy.open(seen.text)
    assert of_monitors


async def cosigned(system: System) -> str | None:
    """As any log asks: from the size that the witness names; another may be faster."""
    log, witness = system.urls["audit"], system.urls["witness"]
    note = (await system.http.get(f"{log}/checkpoint")).text
    size = Checkpoint.parse(note).size
    asked = await system.http.post(
        f"{witness}/add-checkpoint", content=str(AddCheckpoint(0, (), note))
    )
    if asked.status_code == 409 and 0 < (old := int(asked.text)) <= size:
        proof = await system.http.get(
            f"{log}/v1/proofs/consistency", params={"first": old, "second": size}
        )
        hashes = tuple(map(decode, proof.json()["hashes"]))
        asked = await system.http.post(
            f"{witness}/add-checkpoint", content=str(AddCheckpoint(old, hashes, note))
        )
    lines = asked.text if asked.status_code == 200 else None
    # The policy's own lines only: after the log's asking they may stand in the note already.
    return None if lines is None else note + ("" if lines in note else lines)
