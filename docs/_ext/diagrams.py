"""SVG from the engine's tables. Colours are the theme's variables, so the drawings follow light and dark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from html import escape

BOX_W, BOX_H, GAP = 132, 44, 118
TOP = 52
HEIGHT = 238


def lifecycle(transitions: Mapping[tuple[str, str], str], title: str) -> str:
    """A state machine: states that can be left in a row, final ones below.

    Args:
        transitions: (state, event) to state, as in `connection_core.TRANSITIONS`; the first state is where it begins.
        title: What a screen reader says.
    """
    left = list(dict.fromkeys(state for state, _ in transitions))
    final = [state for state in dict.fromkeys(transitions.values()) if state not in left]
    width = len(left) * BOX_W + (len(left) - 1) * GAP + 40
    at = {state: (20 + n * (BOX_W + GAP), TOP) for n, state in enumerate(left)}
    for n, state in enumerate(final):
        at[state] = (int((n + 1) * width / (len(final) + 1) - BOX_W / 2), HEIGHT - BOX_H - 10)
    events: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (old, event), new in transitions.items():
        events[old, new].append(event)
    shapes = [_edge(at[old], at[new], ", ".join(names), new in final) for (old, new), names in events.items()]
    shapes += [_box(*place, state, final=state in final) for state, place in at.items()]
    return _svg(width, HEIGHT, title, shapes)


def tree(root: str, children: Iterable[tuple[str, str]], title: str) -> str:
    """A root over its children, from left to right.

    Args:
        root: Its name.
        children: Name and one line about each.
        title: What a screen reader says.
    """
    children = list(children)
    box, gap = 208, 18
    width = len(children) * (box + gap) - gap + 40
    middle = width / 2
    shapes = [_box(middle - BOX_W / 2, 8, root)]
    for n, (name, about) in enumerate(children):
        x = 20 + n * (box + gap)
        shapes.append(f'<path d="M{middle:g},{8 + BOX_H} V76 H{x + box / 2:g} V96"/>')
        shapes.append(_box(x, 98, f"{n + 1}. {name}", about, width=box))
    return _svg(width, 170, title, shapes)


def _edge(start: tuple[float, float], end: tuple[float, float], label: str, down: bool) -> str:
    (x1, y1), (x2, y2) = start, end
    if down:
        x1, y1, x2 = x1 + BOX_W / 2, y1 + BOX_H, x2 + BOX_W / 2
        offset = max(-48, min(48, (x1 - x2) / 5))
        path = f"M{x1:g},{y1:g} C{x1:g},{y1 + 60:g} {x2 + offset:g},{y2 - 50:g} {x2 + offset:g},{y2:g}"
        # Beside the line, on the side from which it bends away.
        side = -1 if x2 > x1 else 1
        return _arrow(path, x1 + 8 * side, y1 + 22, label, "end" if side < 0 else "start")
    forward = x2 > x1
    y = y1 + (14 if forward else 30)
    x1, x2 = (x1 + BOX_W, x2) if forward else (x1, x2 + BOX_W)
    return _arrow(f"M{x1:g},{y:g} H{x2:g}", (x1 + x2) / 2, y + (-7 if forward else 17), label, "middle")


def _arrow(path: str, x: float, y: float, label: str, anchor: str) -> str:
    text = f'<text class="event" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(label)}</text>'
    return f'<path d="{path}" marker-end="url(#tip)"/>{text}'


def _box(x: float, y: float, name: str, about: str = "", *, width: float = BOX_W, final: bool = False) -> str:
    height = BOX_H if not about else BOX_H + 14
    ring = (
        f'<rect x="{x + 3:g}" y="{y + 3:g}" width="{width - 6:g}" height="{height - 6:g}" rx="5"/>'
        if final
        else ""
    )
    text = f'<text x="{x + width / 2:g}" y="{y + 27:g}" text-anchor="middle">{escape(name)}</text>'
    if about:
        text += f'<text class="event" x="{x + width / 2:g}" y="{y + 46:g}" text-anchor="middle">{escape(about)}</text>'
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7"/>{ring}{text}'


def _svg(width: float, height: float, title: str, shapes: Iterable[str]) -> str:
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path class="tip" d="M0,0.5 L8,4 L0,7.5 z"/></marker></defs>'
    )
    return (
        f'<div class="drawn"><svg class="drawn" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'style="max-width:{width:g}px" xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{tip}{"".join(shapes)}</svg></div>'
    )
