"""Compute a round again from its frozen data, anywhere and without a database.

    python -m services.matching.recompute --snapshot snapshot.json --round round.json [--need ID]

`snapshot.json` is what `GET /v1/rounds/{id}/snapshot` answers, `round.json` what `GET
/v1/rounds/{id}` does. The status is 0 when the same proposals come out, 1 when others do, 2 when
the frozen data is not what the round names, or is of a version of before.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from services.matching.planning import (
    Plan,
    Snapshot,
    SnapshotDamaged,
    SnapshotOutdated,
    plan,
    wording,
)
from services.matching.planning.snapshot import thaw
from services.matching.text.configured import configure

SAME, DIFFERENT, DAMAGED = 0, 1, 2
Say = Callable[[str], None]


def recompute(body: bytes, of: dict[str, Any], need_id: UUID | None, say: Say) -> int:
    """body   the frozen JSON; of: the round as its service reads it. Returns the status."""
    try:
        snapshot = thaw(body, of["snapshot"]["sha256"])
    except SnapshotDamaged:
        say("The frozen data is not what the round names. 冻结数据与该轮所记不符。")
        return DAMAGED
    except SnapshotOutdated:
        say("The data are of a version of before; use that one. 冻结数据出自旧版，请用旧版重算。")
        return DAMAGED
    say(
        f"Frozen data {of['snapshot']['sha256']}: as the round names it;"
        f" {len(snapshot.needs):,} needs, {len(snapshot.lines):,} offer lines, policy"
        f" {snapshot.policy.name}, ranking {snapshot.card.name}."
    )
    found = plan(snapshot)
    same = found.sha256() == of["proposals_sha256"]
    say(f"Proposals {found.sha256()}: {_compared(same, of['proposals_sha256'])}")
    if need_id is not None:
        told = list(explained(snapshot, found, need_id))
        say("\n".join(told) if told else f"The round did not consider a need {need_id}.")
    return SAME if same else DIFFERENT


def _compared(same: bool, of_round: str | None) -> str:
    if same:
        return "the same as the round's. 与该轮相同。"
    if of_round is None:
        return "the round has none, it is not computed. 该轮未算出结果。"
    return f"NOT the round's {of_round}. 与该轮不同。"


def explained(snapshot: Snapshot, found: Plan, need_id: UUID) -> list[str]:
    """All that can be said of one need."""
    said: list[str] = []
    for p in found.proposals:
        if p.need.need_id != need_id:
            continue
        why = wording.explanation(p.explanation, p.features, p.fit, p.value, snapshot.card)
        zh, en = wording.quantity(p.quantity, p.need.unit)
        said += ["", f"{p.need.title} <- {p.line.title}: {zh}, {en}  ({p.line.line_id})"]
        said += [f"  {why['text_zh']}", f"  {why['text_en']}"]
        said += [f"  value {p.value}:"]
        said += [_row(term["points"], term) for term in why["terms"]]
        said += [f"  of which the fit, {p.fit}:"]
        said += [_row(feature["points"], feature) for feature in why["features"]]
        if why["better"]:
            said += [f"  a better line, not had: {why['better']['line_id']}"]
        if why["runner_up"]:
            said += [f"  the next best line: {why['runner_up']['line_id']}"]
    for o in found.outcomes:
        if o.need.need_id == need_id:
            zh, en = wording.outcome_words(o.code, o.counts, o.need.remaining, o.given, o.need.unit)
            said += ["", f"{o.need.title}: {o.code}", f"  {zh}", f"  {en}"]
    return said


def _row(points: int, words: dict[str, Any]) -> str:
    return f"  {points:>6}  {words['text_zh']} · {words['text_en']}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services.matching.recompute", description="Compute a round again."
    )
    parser.add_argument("--snapshot", type=Path, required=True, help="the frozen JSON")
    parser.add_argument("--round", type=Path, required=True, help="the round, as JSON")
    parser.add_argument(
        "--encoder",
        type=Path,
        default=os.environ.get("MATCHING_ENCODER_PATH"),
        help="the word vectors the round was computed with, if it was",
    )
    parser.add_argument("--need", type=UUID, help="explain this need in full")
    arguments = parser.parse_args()
    configure(arguments.encoder)
    return recompute(
        arguments.snapshot.read_bytes(),
        json.loads(arguments.round.read_bytes()),
        arguments.need,
        lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    sys.exit(main())
