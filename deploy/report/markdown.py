"""A round's overview, samples and, where asked for, every need, as Markdown in two languages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from shared.vocabulary import divisions
from shared.vocabulary.codes import Urgency
from shared.vocabulary.item_classes import item_classes

Json = dict[str, Any]
DIVISIONS_SHOWN = 12


@dataclass(frozen=True)
class Report:
    """As the API tells; proposals and outcomes only when every need is to be listed."""

    round: Json
    overview: Json
    proposals: list[Json]
    outcomes: list[Json]


def written(report: Report, picture: str | None) -> str:
    """picture   name of the file beside it"""
    return "\n".join(_lines(report, picture)) + "\n"


def _lines(report: Report, picture: str | None) -> Iterator[str]:
    overview = report.overview
    yield "## 总览 Totals"
    yield ""
    yield overview["text_zh"]
    yield ""
    yield overview["text_en"]
    yield ""
    yield f"Policy `{report.round['policy']}`, ranking `{report.round['ranking']}`, " + (
        f"{overview['needs']:,} needs, {overview['lines']:,} offer lines, "
        f"{overview['pairs']:,} pairs compared; certified gap {_gap(overview['gap_ppm'])}; "
        f"price of fairness {overview['price_of_fairness_ppm']} ppm of welfare."
    )
    yield ""
    yield from _tiers(overview["tiers"])
    yield from _outcomes(overview["outcomes"])
    yield from _fairness(overview["fairness"], picture)
    yield from _samples(overview["samples"])
    yield from _unmet(overview["unmet_samples"])
    if report.proposals or report.outcomes:
        yield from _every(report)


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    names = list(head)
    yield "| " + " | ".join(names) + " |"
    yield "|" + "---|" * len(names)
    for row in rows:
        # What people typed may hold line ends, which would end the row.
        cells = (" ".join(str(cell).split()).replace("|", "\\|") for cell in row)
        yield "| " + " | ".join(cells) + " |"
    yield ""


def _tiers(tiers: list[Json]) -> Iterator[str]:
    rows = [
        (
            _urgency(t["urgency"]),
            t["needs"],
            t["fully_met"],
            t["partly_met"],
            t["unmet"],
            f"{t['rate_permille'] / 10:.1f} %",
            _gap(t["gap_ppm"]),
        )
        for t in tiers
    ]
    yield from _table(
        ("紧急 Urgency", "needs", "met", "partly", "unmet", "mean share met", "gap"), rows
    )


def _gap(ppm: int | None) -> str:
    return "none" if ppm is None else f"{ppm} ppm"


def _urgency(code: str) -> str:
    entry = Urgency(code)
    return f"{entry.name_zh} {entry.name_en}"


def _outcomes(outcomes: list[Json]) -> Iterator[str]:
    if outcomes:
        yield "Why needs were not, or not fully, met:"
        yield ""
        yield from _table(
            ("reason", "needs"), ((f"`{o['code']}`", f"{o['needs']:,}") for o in outcomes)
        )


def _fairness(levels: list[Json], picture: str | None) -> Iterator[str]:
    if not levels:
        return
    yield "## 区划之间 Between divisions"
    yield ""
    yield "Mean share of a need that is met; each division counts as one."
    yield ""
    rows = []
    for level in levels:
        before, after = level["before"], level["after"]
        rows.append(
            (
                level["level"],
                level["divisions"],
                *(f"{of['gini_ppm'] / 10_000:.2f} %" for of in (before, after)),
                *(_lowest(of["lowest"]) for of in (before, after)),
            )
        )
    yield from _table(
        ("level", "divisions", "Gini before", "Gini after", "worst before", "worst after"), rows
    )
    if picture:
        yield f"![Service rates before and after fairness]({picture})"
        yield ""
    finest = levels[-1]
    yield from _table(
        (f"{finest['level']}, worst first", "needs", "before", "after"),
        (
            (
                f"{row['name_zh']} {row['name_en']}",
                row["needs"],
                f"{row['before_ppm'] / 10_000:.1f} %",
                f"{row['after_ppm'] / 10_000:.1f} %",
            )
            for row in finest["table"][:DIVISIONS_SHOWN]
        ),
    )


def _lowest(rate: Json | None) -> str:
    return "" if rate is None else f"{rate['name_zh']} {rate['rate_ppm'] / 10_000:.1f} %"


def _samples(samples: list[Json]) -> Iterator[str]:
    if not samples:
        return
    yield "## 解释 Explained matches, picked by lot"
    yield ""
    for place, sample in enumerate(samples, 1):
        why = sample["explanation"]
        where = divisions.full_name_zh(sample["division_code"])
        yield f"{place}. **{sample['need_title']}** ← **{sample['offer_title']}**, {where}, " + (
            f"{_urgency(sample['urgency'])}: "
            f"{sample['quantity']:,} of {sample['lacking']:,} {sample['unit']}."
        )
        yield f"   {why['text_zh']}"
        yield f"   {why['text_en']}"
        strongest = sorted(why["features"], key=lambda f: -f["points"])[:3]
        yield "   " + " ".join(
            f"{f['text_en']} ({f['points']} of {f['points_max']} points)." for f in strongest
        )
    yield ""


def _unmet(outcomes: list[Json]) -> Iterator[str]:
    if not outcomes:
        return
    yield "## 未满足的 Unmet, picked by lot"
    yield ""
    for outcome in outcomes:
        yield f"- **{outcome['need_title']}** (`{outcome['code']}`): " + (
            f"{outcome['text_zh']} {outcome['text_en']}"
        )
    yield ""


# --------------------------------------------------------------- every need


def _every(report: Report) -> Iterator[str]:
    yield "## 逐项 Every need"
    yield ""
    given: defaultdict[str, list[Json]] = defaultdict(list)
    for proposal in report.proposals:
        given[proposal["need_id"]].append(proposal)
    why = {outcome["need_id"]: outcome for outcome in report.outcomes}
    needs = {row["need_id"]: row for row in [*report.outcomes, *report.proposals]}
    rows = sorted(
        needs.values(), key=lambda n: (n["item_class"], n["division_code"], n["need_title"])
    )
    for item_class, group in groupby(rows, key=lambda n: n["item_class"]):
        members = list(group)
        entry = item_classes()[item_class]
        met = sum(bool(given[n["need_id"]]) for n in members)
        yield f"### {entry.name_zh} {entry.name_en}: {met} of {len(members)} given something"
        yield ""
        yield from _table(
            ("need", "where", "given", "why"),
            (
                (
                    n["need_title"],
                    divisions.full_name_zh(n["division_code"]),
                    _given(given[n["need_id"]]),
                    _reason(why.get(n["need_id"])),
                )
                for n in members
            ),
        )


def _given(proposals: list[Json]) -> str:
    by: Counter[str] = Counter()
    for p in proposals:
        by[f"{p['offer_title']} ({p['organization_name']})"] += p["quantity"]
    unit = proposals[0]["unit"] if proposals else ""
    return "; ".join(f"{quantity:,} {unit} ← {name}" for name, quantity in sorted(by.items()))


def _reason(outcome: Json | None) -> str:
    return "" if outcome is None else f"{outcome['text_zh']} {outcome['text_en']}"
