"""Makes the log and its witness known to each other before either starts.

The witness must know the log's key, and the log's policy the witness's: both keys are made here,
by the services' own code. Everything is derived from the keys, so each start writes it anew.

.state/witness/logs     the log that the witness knows (WITNESS_LOGS)
.state/witness-policy   whose cosignatures the log asks for: C2SP tlog-policy (AUDIT_WITNESS_POLICY)
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from deploy.state import State
from services.audit.domain import LogRefused
from services.audit.keys import KeyFiles
from services.witness.domain import WitnessRefused
from services.witness.state import StateDirectory as WitnessState
from shared.files import write_durably
from shared.tlog.notes import VerifierKey

ORIGIN = "duijie.example/log"
WITNESS_NAME = "duijie.example/witness"

_POLICY = """\
# Written at each start of the launcher. To ask for other witnesses, write a file of your own
# and name it in AUDIT_WITNESS_POLICY.
{logs}
witness local {witness} {witness_url}
quorum local
"""


def introduce(state: State, urls: Mapping[str, str]) -> None:
    """Make the keys that are missing, and write both files.

    A state directory that is damaged is left alone: its service says so, and what is wrong.
    """
    try:
        keys, witness = _log_keys(state), _witness_key(state)
    except (LogRefused, WitnessRefused):
        return
    logs = "\n".join(f"log {key} {urls['audit']}" for key in keys)
    write_durably(_logs(state), f"{logs}\n".encode(), mode=0o644)
    policy = _POLICY.format(logs=logs, witness=witness, witness_url=urls["witness"])
    write_durably(_policy(state), policy.encode(), mode=0o644)


def settings(state: State, service: str) -> dict[str, str]:
    """What the service is told of it; the environment's own values come first."""
    if service == "witness":
        told = {"WITNESS_NAME": WITNESS_NAME, "WITNESS_LOGS": str(_logs(state))}
    elif service == "audit":
        told = {"AUDIT_ORIGIN": ORIGIN, "AUDIT_WITNESS_POLICY": str(_policy(state))}
    else:
        return {}
    return {name: os.environ.get(name, value) for name, value in told.items()}


def _log_keys(state: State) -> list[VerifierKey]:
    """Those that sign, newest first: two while one succeeds the other."""
    folder = state.of("audit")
    told = settings(state, "audit")
    # A log that has been signed keeps its key, or stays silent until it is restored.
    signed = (folder / "checkpoint").exists()
    keys = KeyFiles(folder, told["AUDIT_ORIGIN"]).load(may_create=not signed)
    return [signer.key for signer in keys.signers]


def _witness_key(state: State) -> VerifierKey:
    told = settings(state, "witness")
    made = WitnessState(state.of("witness"), told["WITNESS_NAME"], post_quantum=False)
    return made.cosigners(may_create=not made.has_cosigned)[0].key


def _logs(state: State) -> Path:
    return state.of("witness") / "logs"


def _policy(state: State) -> Path:
    return state.folder / "witness-policy"
