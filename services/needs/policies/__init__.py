"""The versioned policies: clocks and lists as data, never literals in the middle of a rule.

A file is never edited once it was in force; another version is another file with another code.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from services.needs.domain.policy import DEFAULT_POLICY, DeprivationIndex, Policy

DEPRIVATION_INDEX = "deprivation-index-1"


@cache
def policies() -> Mapping[str, Policy]:
    """All policies by code; raises KeyError or ValueError when a file is not whole."""
    parsed = [Policy.parse(d) for name, d in _documents().items() if name != DEPRIVATION_INDEX]
    by_code = {policy.code: policy for policy in parsed}
    if DEFAULT_POLICY not in by_code:
        raise KeyError(DEFAULT_POLICY)
    return by_code


@cache
def deprivation_index() -> DeprivationIndex:
    document = _documents()[DEPRIVATION_INDEX]
    return DeprivationIndex(document["version"], document["weights_permille"])


@cache
def _documents() -> Mapping[str, Mapping[str, Any]]:
    return {
        entry.name.removesuffix(".json"): json.loads(entry.read_text(encoding="utf-8"))
        for entry in files(__name__).iterdir()
        if entry.name.endswith(".json")
    }
