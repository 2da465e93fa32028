"""Settings and wiring of the audit service."""

from functools import partial
from pathlib import Path

import httpx
from fastapi import FastAPI
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.audit.contract import PRODUCERS, Producer
from services.audit.cosigning import Cosigning
from services.audit.domain import Batch, entry_of
from services.audit.heartbeat import LOOKS, Heartbeat
from services.audit.intake import TIDY_S, Intake, tidy
from services.audit.keys import KeyFiles
from services.audit.publisher import Publisher
from services.audit.reckoning import Reckoner
from services.audit.routes import log_router, proved_router, totals_router, trail_router
from services.audit.state import StateDirectory
from services.audit.witnesses import ANSWER_S_MAX, read_policy, witnesses_of
from shared.client import Client, certificates
from shared.events import CloudEvent, Consumer, feed_router
from shared.service import Clock, ServiceSettings, Task, create_service

BATCH_SIZE = 1_000  # events a question to a feed: a log is far behind only when it starts

DESCRIPTION = (
    "The verifiable log: every event of every service, in a Merkle tree whose checkpoints are"
    " signed. Anybody may fetch and verify it; supervisors read the trail."
)


class Settings(ServiceSettings):
    """Environment variables AUDIT_…"""

    model_config = SettingsConfigDict(env_prefix="AUDIT_")

    needs_url: str
    donors_url: str
    matching_url: str
    audit_url: str
    origin: str = "duijie.example/log"
    checkpoint_interval_s: float = 0.2
    # A file (C2SP tlog-policy) with the witnesses and how many of them are enough; without it none.
    witness_policy: Path | None = None
    quorum_alarm_s: float = 60.0
    # A quiet feed answers every 20 s or so; below a minute, a restart would be a silence.
    heartbeat_s: float = Field(default=300.0, ge=60)
    # A second signature line, ML-DSA-44, under every checkpoint.
    post_quantum: bool = False
    totals_due_s: float = 6 * 3600
    sides_differ_s: float = 24 * 3600


def create_app(settings: Settings | None = None) -> FastAPI:
    """The audit service; its settings come from the environment unless they are given."""
    settings = settings or Settings()
    policy = read_policy(settings.witness_policy)
    http = httpx.AsyncClient(timeout=ANSWER_S_MAX, verify=certificates())
    witnesses = witnesses_of(policy, http)
    log = Publisher(
        StateDirectory(settings.state_dir),
        KeyFiles(settings.state_dir, settings.origin, post_quantum=settings.post_quantum),
        settings.checkpoint_interval_s,
        witnesses,
        [party.key for party in policy.logs],
    )
    cosigning = Cosigning(log, policy, witnesses, settings.quorum_alarm_s)
    intake = Intake(log)
    reckoner = Reckoner(settings.totals_due_s, settings.sides_differ_s)
    urls: dict[Producer, str] = {
        "needs": settings.needs_url,
        "donors": settings.donors_url,
        "matching": settings.matching_url,
        "audit": settings.audit_url,
    }
    clients = {name: Client(urls[name], settings.service_token_file) for name in PRODUCERS}
    consumers = {
        name: Consumer(
            source=name,
            client=clients[name],
            hand_over=partial(_hand_in, intake, name),
            is_known=partial(_is_in_the_log, intake, name),
            batch_size=BATCH_SIZE,
        )
        for name in PRODUCERS
    }
    heartbeat = Heartbeat(list(consumers.items()), settings.heartbeat_s)
    app = create_service(
        "audit",
        settings,
        [log_router, trail_router, proved_router, totals_router, feed_router("audit")],
        description=DESCRIPTION,
        consumers=list(consumers.values()),
        clocks=[
            Clock("heartbeat", settings.heartbeat_s / LOOKS, heartbeat.look),
            Clock("mentions", TIDY_S, tidy),
        ],
        tasks=[
            Task("log", log.run, log.not_ready),
            Task("intake", intake.run),
            Task("witnesses", cosigning.run),
            Task("totals", reckoner.run, reckoner.not_ready),
        ],
        clients=[*clients.values(), http],
    )
    app.state.log, app.state.intake = log, intake
    app.state.policy = policy
    # By what its rows are known that say which checkpoints have a quorum; None: none is asked for.
    app.state.quorum = None if policy.is_met(()) else policy.identity
    return app


async def _hand_in(
    intake: Intake, producer: Producer, after: int, events: list[CloudEvent]
) -> None:
    entries = [entry_of(producer, event) for event in events]
    await intake.hand_in(Batch(producer, entries, after))


async def _is_in_the_log(intake: Intake, producer: Producer, event: CloudEvent) -> bool:
    """And tells an alarm if another stands in its place."""
    [index] = await intake.hand_in(Batch(producer, [entry_of(producer, event)]))
    return index is not None
