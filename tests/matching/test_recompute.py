"""Computing again: by another process, in another order, with other numbers of threads."""

import hashlib
import json
import os
import random
import subprocess
import sys
import zlib
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from services.matching.planning import pack, plan, unpack
from services.matching.planning.parts import pack_part, unpack_parts
from services.matching.recompute import DAMAGED, DIFFERENT, SAME, recompute
from services.matching.solver.instance import Stopped
from tests.matching.test_planning import a_large_snapshot, a_line, a_need, a_snapshot


def a_round(snapshot) -> tuple[bytes, dict[str, Any]]:
    packed, sha256 = pack(snapshot)
    of = {"snapshot": {"sha256": sha256}, "proposals_sha256": plan(snapshot).sha256()}
    return zlib.decompress(packed), of


def small(seed: int = 3, needs: int = 400, lines: int = 120):
    whole = a_large_snapshot()
    chance = random.Random(seed)
    classes = [f"class_{n}" for n in range(8)]
    return replace(
        whole,
        needs=tuple(
            replace(n, item_class=chance.choice(classes), applicant=f"p{chance.randrange(needs)}")
            for n in whole.needs[:needs]
        ),
        lines=tuple(replace(m, item_class=chance.choice(classes)) for m in whole.lines[:lines]),
    )


def test_the_same_comes_out_whatever_the_order_of_rows():
    snapshot = small()
    chance = random.Random(1)
    shuffled = replace(
        snapshot,
        needs=tuple(chance.sample(snapshot.needs, len(snapshot.needs))),
        lines=tuple(chance.sample(snapshot.lines, len(snapshot.lines))),
    )
    first, again = plan(snapshot), plan(shuffled)
    assert first == again
    assert json.dumps(first.totals) == json.dumps(again.totals)


def test_another_process_of_one_thread_finds_the_same(tmp_path):
    body, of = a_round(small())
    (tmp_path / "snapshot.json").write_bytes(body)
    (tmp_path / "round.json").write_text(json.dumps(of))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    ended = subprocess.run(
        [
            sys.executable, "-m", "services.matching.recompute",
            "--snapshot", str(tmp_path / "snapshot.json"),
            "--round", str(tmp_path / "round.json"),
        ],
        env={**os.environ, **dict.fromkeys(names, "1"), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == SAME, ended.stdout + ended.stderr
    assert "the same as the round's" in ended.stdout


def test_data_frozen_in_a_form_of_before_are_told_from_damaged_ones():
    body, of = a_round(a_snapshot([a_need(1)], [a_line(1)]))
    plain = json.loads(body)
    del plain["earlier"]
    plain["policy"]["weights"] = {}
    before = json.dumps(plain).encode()
    of["snapshot"]["sha256"] = hashlib.sha256(before).hexdigest()
    said: list[str] = []
    assert recompute(before, of, None, said.append) == DAMAGED
    assert "version of before" in said[-1]


def test_a_round_that_was_never_computed_is_not_told_to_differ():
    said: list[str] = []
    body, of = a_round(a_snapshot([a_need(1)], [a_line(1)]))
    assert recompute(body, of | {"proposals_sha256": None}, None, said.append) == DIFFERENT
    assert "the round has none" in said[-1]


def test_it_says_so_when_data_or_proposals_are_not_the_rounds():
    said: list[str] = []
    body, of = a_round(a_snapshot([a_need(1)], [a_line(1)]))
    assert recompute(body, of, None, said.append) == SAME
    assert recompute(body, {**of, "proposals_sha256": "0" * 64}, None, said.append) == DIFFERENT
    assert "NOT" in said[-1]
    assert recompute(body.replace(b"430224", b"430225"), of, None, said.append) == DAMAGED


def test_one_need_is_explained_in_full():
    said: list[str] = []
    needs = [a_need(1, remaining=150), a_need(2, urgency="urgent", remaining=60)]
    body, of = a_round(a_snapshot(needs, [a_line(1), a_line(2, available=30)]))
    recompute(body, of, UUID(int=1), said.append)
    text = "\n".join(said)
    assert "gone_to_more_urgent" in text
    assert "机构信用代码核验" in text
    recompute(body, of, UUID(int=9), said.append)
    assert said[-1] == f"The round did not consider a need {UUID(int=9)}."


def test_a_broken_off_plan_goes_on_from_its_parts_to_the_same_result():
    snapshot = small()
    whole = plan(snapshot)
    kept: list[tuple[bytes, str]] = []
    with pytest.raises(Stopped):
        plan(
            snapshot,
            on_part=lambda part: kept.append(pack_part(part)),
            stop=lambda: len(kept) == 3,
        )
    solved: list[str] = []
    packed, sha256 = pack(snapshot)
    again = unpack(packed, sha256)
    rest = plan(
        again,
        kept_parts=unpack_parts(kept, again),
        on_part=lambda part: solved.append(part.item_class),
    )
    assert len(solved) == 5
    assert rest == whole


def test_progress_rises_and_names_its_stages():
    told: list[tuple[int, str]] = []
    plan(small(), progress=lambda permille, stage: told.append((permille, stage)))
    assert [permille for permille, _ in told] == sorted(permille for permille, _ in told)
    assert [stage for _, stage in told[:1] + told[-1:]] == ["comparing", "explaining"]
    assert np.diff([permille for permille, _ in told]).min() >= 0
