"""A plot of calls per second as SVG, without a plotting library. Pure."""

from __future__ import annotations

from html import escape

from benchmarks.results import Results

COLOURS = ("#2563eb", "#7c3aed", "#0891b2", "#d97706", "#64748b", "#9ca3af", "#16a34a")
WIDTH, LABEL, NUMBER, BAR, GAP, TITLE = 860, 250, 110, 16, 4, 34
GROUPS = (("unary", "calls/s"), ("stream", "messages/s"))
STYLE = "text{font:13px system-ui,sans-serif;fill:#334155} .t{font-weight:600} .b{stroke:#334155}"


def svg(results: Results) -> str:
    """Bars of the medians, a line from the lowest to the highest repeat; each case has a scale of its own."""
    parts: list[str] = []
    top = 10
    colours: dict[str, str] = {}
    for scenario, unit in GROUPS:
        for case in results.cases(scenario):
            top = _case(results, scenario, case, unit, top, parts, colours)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}">'
    paper = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join((head, f"<style>{STYLE}</style>", paper, *parts, "</svg>", ""))


def _case(
    results: Results, scenario: str, case: str, unit: str, top: int, parts: list[str], colours: dict[str, str]
) -> int:
    rows = [
        (name, spread)
        for name in results.contenders(scenario)
        if (spread := results.spread(scenario, case, name, "calls_per_s")) is not None
    ]
    largest = max((spread.high for _, spread in rows), default=1.0) or 1.0
    room = WIDTH - LABEL - NUMBER
    parts.append(f'<text class="t" x="10" y="{top + 20}">{escape(f"{scenario}: {case}, {unit}")}</text>')
    top += TITLE
    for name, spread in rows:
        colour = colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)])
        scale = room / largest
        middle = top + BAR / 2
        low, high = LABEL + spread.low * scale, LABEL + spread.high * scale
        parts += [
            f'<text x="{LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{top}" width="{spread.median * scale:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<line class="b" x1="{low:.1f}" y1="{middle:.1f}" x2="{high:.1f}" y2="{middle:.1f}"/>',
            f'<text x="{high + 6:.1f}" y="{top + 13}">{spread.median:,.0f}</text>',
        ]
        top += BAR + GAP
    return top + GAP
