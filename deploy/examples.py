"""What a person is told when the platform is up: where to look, as whom, and what to type."""

from __future__ import annotations

import json
from collections.abc import Callable

from deploy.platform import Platform, Summary
from deploy.state import State
from shared.files import write_durably

# The example's two counties; one of each kind of officer, with rights where the example is.
COUNTY = "430224000000"
CITY = "430200000000"


def tell(
    platform: Platform, summary: Summary, state: State, say: Callable[[str], None]
) -> dict[str, str]:
    """Say it, keep the tokens in a file only we may read, and return them by role."""
    tokens = _tokens(platform, summary)
    write_durably(
        state.tokens, json.dumps(tokens, indent=1, ensure_ascii=False).encode(), mode=0o600
    )
    say("What each service offers:")
    for service, url in (*platform.urls.items(), ("witness", platform.witness_url)):
        say(f"  {service:<9} {url}/docs   {url}/openapi.json")
    say(f"A token for each kind of user, valid for twelve hours (also in {state.tokens}):")
    for role, token in tokens.items():
        say(f"  {role:<21} {token}")
    say("To look around, type:")
    for line in curl_lines(platform, summary, state):
        say(f"  {line}")
    return tokens


def curl_lines(platform: Platform, summary: Summary, state: State) -> list[str]:
    """Three commands that answer 200 on this platform."""
    lines = [f"curl -s '{platform.needs_url}/v1/needs?limit=3'"]
    if summary.need_id:
        lines.append(f"curl -s '{platform.matching_url}/v1/needs/{summary.need_id}/offers'")
    else:
        lines.append(f"curl -s '{platform.donors_url}/v1/offers?limit=3'")
    lines.append(f"curl -s '{platform.audit_url}/checkpoint'")
    return lines


def _tokens(platform: Platform, summary: Summary) -> dict[str, str]:
    tokens = {
        role: platform.token(role, f"{role}-1", division=division)
        for role, division in (
            ("entry_clerk", COUNTY),
            ("village_officer", COUNTY),
            ("village_committee", COUNTY),
            ("township_officer", COUNTY),
            ("county_officer", COUNTY),
            ("city_officer", CITY),
            ("alliance_coordinator", CITY),
            ("supervisor", CITY),
            ("auditor", CITY),
        )
    }
    if summary.organization_id:
        tokens["organization"] = platform.token(
            "organization", "organization-1", org=summary.organization_id
        )
    return tokens
