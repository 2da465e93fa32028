"""The rules of ARCHITECTURE.md that a machine can check."""

import ast
import importlib
import inspect
import json
import re
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from deploy.openapi import SERVICES, application, document_path

ROOT = Path(__file__).parents[2]


def routes(service: str) -> list[APIRoute]:
    found: list[APIRoute] = []

    def walk(container: Any) -> None:
        for route in container.routes:
            if isinstance(route, APIRoute):
                found.append(route)
            # FastAPI 0.137 and later keep an included router as one nested route.
            nested = getattr(route, "original_router", None) or getattr(route, "router", None)
            if nested is not None:
                walk(nested)

    walk(application(service).router)
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_of_the_document_is_walked(service):
    """Guards the walk itself: a route it overlooks would pass every test below."""
    documented = {
        (method.upper(), path)
        for path, operations in application(service).openapi()["paths"].items()
        for method in operations
    }
    walked = {
        (m, r.path_format) for r in routes(service) if r.include_in_schema for m in r.methods or ()
    }
    assert documented == walked
    assert len(documented) > 3


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_declares_its_caller(service):
    """`require(scope)` or `Public`, as a dependency of the route itself."""
    for route in routes(service):
        declared = [d.call for d in route.dependant.dependencies if hasattr(d.call, "scopes")]
        assert declared, f"{sorted(route.methods or ())} {route.path} does not say who may call it"


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_says_what_it_does(service):
    for route in routes(service):
        assert route.description, f"{sorted(route.methods or ())} {route.path} has no docstring"


@pytest.mark.parametrize("service", SERVICES)
def test_what_yields_ends_before_the_answer(service):
    """A dependency with the default scope commits after the answer was sent."""

    def walk(dependant: Any) -> None:
        for dependency in dependant.dependencies:
            if inspect.isgeneratorfunction(dependency.call) or inspect.isasyncgenfunction(
                dependency.call
            ):
                assert dependency.scope == "function", dependency.call
            walk(dependency)

    for route in routes(service):
        walk(route.dependant)


@pytest.mark.parametrize("service", SERVICES)
def test_the_committed_document_is_the_generated_one(service):
    committed = json.loads(document_path(service).read_text())
    assert committed == application(service).openapi(), "run: make openapi"


def test_nobody_commits_outside_the_plumbing():
    offenders = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "services").rglob("*.py")
        if "migrations" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\b(session|connection|transaction)\w*\.commit\(", line)
    ]
    assert offenders == []


def test_rules_read_no_clock_and_no_chance():
    """Time and chance come into pure modules as arguments."""
    places = [
        "services/*/domain.py",
        "services/*/domain/*.py",
        "services/needs/disclosures.py",
        "services/matching/solver/*.py",
        "services/matching/ranking/*.py",
        "services/matching/text/*.py",
        "shared/tlog/merkle.py",
        "shared/tlog/notes.py",
        "shared/vocabulary/*.py",
    ]
    found = {place: list(ROOT.glob(place)) for place in places}
    assert all(found.values()), "a pure module has moved: follow it"
    forbidden = {"now", "utcnow", "today", "time", "random", "uuid4", "monotonic"}
    for path in chain.from_iterable(found.values()):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in forbidden, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_says_what_it_owns_and_what_it_never_does(service):
    words = importlib.import_module(f"services.{service}").__doc__ or ""
    assert "never" in words.lower()
    assert "owns" in words.lower()


@pytest.mark.parametrize("service", SERVICES)
def test_the_same_files_in_every_service(service):
    names = {path.stem for path in (ROOT / "services" / service).iterdir()}
    assert names >= {"contract", "domain", "tables", "operations", "queries", "routes", "app"}
    assert "migrations" in names


def test_events_carry_no_floats_and_their_types_name_their_producer():
    from shared.events import Event

    for service in SERVICES:
        contract = importlib.import_module(f"services.{service}.contract")
        for name, kind in vars(contract).items():
            if isinstance(kind, type) and issubclass(kind, Event) and not kind.__subclasses__():
                assert kind.type.startswith(f"{service}."), name
                assert '"number"' not in json.dumps(kind.model_json_schema()), name


def test_settings_are_listed_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for service in SERVICES:
        settings = importlib.import_module(f"services.{service}.app").Settings
        for field in settings.model_fields:
            name = f"{field.upper()}"
            assert name in readme, f"{service}: {name} is not in the README"


def test_no_path_of_a_machine_and_no_address_in_a_lock():
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, tracked.stdout.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        content = path.read_text(errors="replace")
        assert str(ROOT) not in content, name
        assert str(ROOT.parent / "shared") not in content, name
        if "lock" in path.name and path.suffix in {".lock", ".txt"}:
            assert "://" not in content, name
