"""`make verify`: recompute the whole log with the stand-alone verifier, and ask for the quorum of
its policy.

Against the running platform; when none runs, PostgreSQL, the audit service and the witness are
started for the time of the check. Ends with the verifier's own status.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from deploy.state import ROOT, State

VERIFIER = ROOT / "services" / "audit" / "verifier.py"


def main() -> int:
    state = State()
    copy, key = state.folder / "audit" / "checkpoint", state.folder / "audit" / "log.vkey"
    if not key.exists():
        print(f"make verify: {key} is missing: no log has been written here yet.", file=sys.stderr)
        return 2
    if urls := state.running():
        return verify(urls["audit"], copy, key, policy_of(state), urls.get("witness"))
    return _verify_at_rest(state, copy, key)


def policy_of(state: State) -> Path | None:
    """Whose cosignatures the log is told to wait for, if anybody's (deploy/witnessing.py)."""
    path = Path(os.environ.get("AUDIT_WITNESS_POLICY", state.folder / "witness-policy"))
    return path if path.exists() else None


def verify(
    log_url: str, checkpoint_copy: Path, key: Path, policy: Path | None, witness: str | None = None
) -> int:
    """Run the verifier as a process of its own: it shares no code with the service."""
    words = ["--log", log_url, "--checkpoint-copy", str(checkpoint_copy), "--key", str(key)]
    if policy is not None:
        words += ["--policy", str(policy)]
    if witness is not None:
        words += ["--witness", witness]
    return subprocess.run([sys.executable, str(VERIFIER), *words], check=False).returncode


def _verify_at_rest(state: State, copy: Path, key: Path) -> int:
    # Here: what starts services takes seconds to load, and a running platform needs none of it.
    from deploy.launch import StartErrors, launched

    async def start_and_verify() -> int:
        # Ready or not does not matter here: its feeds' owners do not run, and a log that was
        # tampered with must be found by the verifier, not by the service. The witness does: what
        # the log says at its start is published with a quorum, as everything else was.
        both = ["audit", "witness"]
        async with launched(state, lambda _: None, both, ready_path="/healthz") as started:
            urls = started.platform
            policy = policy_of(state)
            return await asyncio.to_thread(
                verify, urls.audit_url, copy, key, policy, urls.witness_url
            )

    try:
        return asyncio.run(start_and_verify())
    except StartErrors as error:
        print(f"make verify: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
