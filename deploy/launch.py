"""From a state directory to a running platform, and back to nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from deploy import databases, witnessing
from deploy.platform import Platform
from deploy.postgres import Postgres, PostgresUnavailable
from deploy.state import ROOT, AlreadyRunning, State
from deploy.supervisor import Program, ProgramDied, StartFailed, Supervisor, check_ports, last_lines
from shared.files import write_durably
from shared.issuer import Issuer

PORTS = {"needs": 8101, "donors": 8102, "matching": 8103, "audit": 8104, "witness": 8105}
RATE_PER_MINUTE_MAX = 120_000
SERVICE_TOKEN_LIFETIME_S = 3600
SERVICE_TOKEN_RENEWAL_S = 1200
# The processes of a killed launcher end by themselves within this time.
LEFTOVERS_S = 10.0
POLL_S = 0.2
# What the launcher knows and no service may: the administrator's password.
_KEPT_FROM_SERVICES = {"DATABASE_URL", "PGPASSWORD", "PGPASSFILE", "PYTEST_PG_URL"}

Say = Callable[[str], None]

# What starting may raise that a person can mend; anything else is a bug.
StartErrors = (StartFailed, ProgramDied, PostgresUnavailable, AlreadyRunning)


@dataclass(frozen=True)
class Launched:
    """A platform that this process started."""

    platform: Platform
    supervisor: Supervisor
    server: Postgres | None

    async def watch(self) -> NoReturn:
        """Never return; raise ProgramDied when a service or the database server has ended."""
        while True:
            self.supervisor.raise_if_died()
            if self.server is not None and self.server.pid is None:
                raise ProgramDied(f"PostgreSQL ended.\n{last_lines(self.server.log)}")
            await asyncio.sleep(POLL_S)

    def kill(self) -> None:
        """Do not wait for anybody any longer."""
        self.supervisor.kill()


@asynccontextmanager
async def launched(
    state: State,
    say: Say,
    services: Collection[str] = databases.SERVICES,
    *,
    ready_path: str = "/readyz",
) -> AsyncIterator[Launched]:
    """Start the server and the services; all are ready inside the block, and gone after it.

    Raises one of StartErrors. Call it on the main thread only (deploy.postgres says why).
    """
    state.take()
    server: Postgres | None = None
    try:
        ports = {service: _port(service) for service in PORTS}
        programs = [program_of(state, service, ports, ready_path) for service in services]
        await check_ports(programs, LEFTOVERS_S if state.ended_badly else 0.0)
        admin_url = os.environ.get("DATABASE_URL")
        if not admin_url:
            server = Postgres(state.postgres, port=int(os.environ.get("PG_PORT", "0"))).start()
            admin_url = server.url()
            say(f"PostgreSQL is up, private, in {server.folder}")
        addresses = await asyncio.to_thread(
            databases.set_up, admin_url, state.folder, private=server is not None
        )
        say(f"{len(addresses)} databases, each with its own role, are migrated")
        issuer = Issuer(state.issuer)
        renew_service_tokens(state, issuer)
        urls = urls_of(ports)
        witnessing.introduce(state, urls)
        programs = [with_settings(p, addresses[p.name], issuer, state, ports) for p in programs]
        renewing = asyncio.create_task(_keep_tokens_fresh(state, issuer))
        try:
            async with Supervisor(programs, ROOT) as supervisor:
                say("ready: " + ", ".join(f"{p.name} {p.url}" for p in programs))
                if set(services) == set(PORTS):
                    state.announce(urls)
                yield Launched(_platform(urls, issuer, state), supervisor, server)
        finally:
            renewing.cancel()
    finally:
        if server is not None:
            server.stop()
        state.release()


@asynccontextmanager
async def running_platform(say: Say = lambda _: None) -> AsyncIterator[Platform]:
    """The platform that runs on this state directory, or one started for this block."""
    state = State()
    if urls := state.running():
        yield _platform(urls, Issuer(state.issuer), state)
        return
    async with launched(state, say) as started:
        yield started.platform


def _platform(urls: dict[str, str], issuer: Issuer, state: State) -> Platform:
    return Platform(
        needs_url=urls["needs"],
        donors_url=urls["donors"],
        matching_url=urls["matching"],
        audit_url=urls["audit"],
        witness_url=urls["witness"],
        issuer=issuer,
        state=state.folder,
    )


def urls_of(ports: dict[str, int]) -> dict[str, str]:
    return {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


def _port(service: str) -> int:
    variable = _port_variable(service)
    stated = os.environ.get(variable, str(PORTS[service]))
    if not stated.isdecimal() or not 1 <= int(stated) <= 65535:
        raise StartFailed(f"{variable}={stated} is not a port.")
    return int(stated)


def _port_variable(service: str) -> str:
    return f"{service.upper()}_PORT"


def program_of(state: State, service: str, ports: dict[str, int], ready_path: str) -> Program:
    return Program(
        name=service,
        arguments=[
            sys.executable, "-m", "uvicorn", f"services.{service}.app:create_app", "--factory",
            "--host", "127.0.0.1", "--port", str(ports[service]),
            "--no-access-log", "--log-level", "warning", "--timeout-graceful-shutdown", "2",
        ],
        environment={k: v for k, v in os.environ.items() if k not in _KEPT_FROM_SERVICES},
        port=ports[service],
        port_variable=_port_variable(service),
        log=state.log(service),
        ready_path=ready_path,
    )  # fmt: skip


def with_settings(
    program: Program, database_url: str, issuer: Issuer, state: State, ports: dict[str, int]
) -> Program:
    prefix = program.name.upper()
    settings = {
        f"{prefix}_DATABASE_URL": database_url,
        f"{prefix}_STATE_DIR": str(state.of(program.name)),
        **witnessing.settings(state, program.name),
    }
    # All callers are this machine's own: the import, the main job, one person.
    rate = f"{prefix}_RATE_PER_MINUTE_MAX"
    settings[rate] = os.environ.get(rate, str(RATE_PER_MINUTE_MAX))
    if program.name in databases.PLATFORM:
        settings |= {
            f"{prefix}_KEY_SET": str(issuer.key_set_path),
            f"{prefix}_SERVICE_TOKEN_FILE": str(_service_token(state, program.name)),
        }
        urls = urls_of(ports)
        settings |= {f"{prefix}_{n.upper()}_URL": urls[n] for n in databases.PLATFORM}
    return dataclasses.replace(program, environment={**program.environment, **settings})


def _service_token(state: State, service: str) -> Path:
    return state.of(service) / "token"


def renew_service_tokens(state: State, issuer: Issuer) -> None:
    for service in databases.PLATFORM:
        token = issuer.mint(role="service", subject=service, lifetime_s=SERVICE_TOKEN_LIFETIME_S)
        write_durably(_service_token(state, service), token.encode(), mode=0o600)


async def _keep_tokens_fresh(state: State, issuer: Issuer) -> None:
    while True:
        await asyncio.sleep(SERVICE_TOKEN_RENEWAL_S)
        renew_service_tokens(state, issuer)
