"""A plot of calls per second as SVG, without a plotting library. Pure."""

from __future__ import annotations

from html import escape

from benchmarks.results import Results, Spread

COLOURS = ("#2563eb", "#7c3aed", "#0891b2", "#d97706", "#64748b", "#9ca3af", "#16a34a")
#: Pixels.
WIDTH, LABEL, NUMBER, BAR, GAP, TITLE, MARGIN = 860, 250, 110, 16, 4, 34, 10
GROUPS = (("unary", "calls/s"), ("stream", "messages/s"))
STYLE = "text{font:13px system-ui,sans-serif;fill:#334155} .t{font-weight:600} .b{stroke:#334155}"


def svg(results: Results) -> str:
    """Bars of the medians, a line from the lowest to the highest repeat; each case has a scale of its own."""
    colours: dict[str, str] = {}
    parts: list[str] = []
    top = MARGIN
    for scenario, unit in GROUPS:
        for name in results.contenders(scenario):
            colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)])
        for case in results.cases(scenario):
            bars = [
                (name, spread)
                for name in results.contenders(scenario)
                if (spread := results.spread(scenario, case, name, "calls_per_s")) is not None
            ]
            parts.append(f'<text class="t" x="{MARGIN}" y="{top + 20}">{escape(f"{scenario}: {case}, {unit}")}</text>')
            top += TITLE
            scale = (WIDTH - LABEL - NUMBER) / (max((spread.high for _, spread in bars), default=0.0) or 1.0)
            for name, spread in bars:
                parts += bar(name, spread, top, scale, colours[name])
                top += BAR + GAP
            top += GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}">'
    paper = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join((head, f"<style>{STYLE}</style>", paper, *parts, "</svg>", ""))


def bar(name: str, spread: Spread, top: int, scale: float, colour: str) -> list[str]:
    """scale: pixels of one call a second."""
    middle, text = top + BAR // 2, top + 13
    low, high = LABEL + spread.low * scale, LABEL + spread.high * scale
    return [
        f'<text x="{LABEL - 8}" y="{text}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LABEL}" y="{top}" width="{spread.median * scale:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<line class="b" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>',
        f'<text x="{high + 6:.1f}" y="{text}">{spread.median:,.0f}</text>',
    ]
