"""Service rates of a level's divisions before and after fairness, as an SVG picture."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

ROW_PX = 18
NAME_PX = 150
SCALE_PX = 420
ROWS_MAX = 60
BEFORE, AFTER = "#b9b9b9", "#1f6f8b"


def rates(level: dict[str, Any]) -> str:
    """One line a division, the worst served before first: a grey dot before, a blue one after."""
    rows = level["table"][:ROWS_MAX]
    height = ROW_PX * (len(rows) + 3)
    width = NAME_PX + SCALE_PX + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{NAME_PX}" y="14">{escape(level["level"])}: 公平前 before'
        f' <tspan fill="{BEFORE}">●</tspan> 公平后 after <tspan fill="{AFTER}">●</tspan></text>',
    ]
    for tenth in range(0, 11, 2):
        x = NAME_PX + SCALE_PX * tenth // 10
        parts.append(f'<text x="{x - 8}" y="{ROW_PX * 2}">{tenth * 10} %</text>')
        parts.append(f'<line x1="{x}" x2="{x}" y1="{ROW_PX * 2 + 4}" y2="{height}" stroke="#eee"/>')
    for place, row in enumerate(rows):
        y = ROW_PX * (place + 3) - 4
        before, after = (
            NAME_PX + row[f"{when}_ppm"] * SCALE_PX // 1_000_000 for when in ("before", "after")
        )
        parts.append(f'<text x="4" y="{y + 4}">{escape(row["name_zh"])} ({row["needs"]})</text>')
        parts.append(
            f'<line x1="{before}" x2="{after}" y1="{y}" y2="{y}" stroke="{AFTER}" opacity=".4"/>'
        )
        parts.append(f'<circle cx="{before}" cy="{y}" r="4" fill="{BEFORE}"/>')
        parts.append(f'<circle cx="{after}" cy="{y}" r="4" fill="{AFTER}"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"
