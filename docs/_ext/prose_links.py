"""Sphinx extension: names of ours in the pages' prose become links, and the build warns about one that doesn't exist.

Written as code: `RealtimeModel`, `Timeouts.reply`, `antiphon.recording.read`; and `session.interrupt()`, `model.label`,
`playback.read`, `generation.done`, which stand for the members of their classes.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from public_names import public_names
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from antiphon.protocol import CLIENT_EVENTS, SERVER_EVENTS

OWNERS = {
    "session": "antiphon.RealtimeSession",
    "model": "antiphon.RealtimeModel",
    "playback": "antiphon.Playback",
    "generation": "antiphon.GenerationCreatedEvent",
    "reply": "antiphon.GenerationCreatedEvent",
    "driver": "antiphon.testing.Driver",
    "server": "antiphon.testing.LocalServer",
}
# A name, and perhaps arguments.
_NAME = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)(?:\(.*\))?")
# What looks like a name and is a file or another's.
_NOT_OURS = re.compile(r".*\.(?:toml|jsonl?|md|py|wav|flac)|antiphon-.*")


class ProseLinks(SphinxTransform):
    """Makes links of names."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Look at all code in the text of a page."""
        if not self.env.docname.startswith(("howto", "explanation", "tutorial", "index", "reference/events")):
            return
        for literal in list(self.document.findall(nodes.literal)):
            inside = isinstance(literal.parent, nodes.title | nodes.reference | pending_xref)
            if not inside and (target := _target(literal.astext())):
                link = pending_xref("", literal.deepcopy(), refdomain="py", reftype="obj", reftarget=target)
                link["refdoc"] = self.env.docname
                link["refwarn"] = True
                link.source, link.line = literal.source, literal.line
                literal.replace_self(link)


def _target(text: str) -> str | None:
    match = _NAME.fullmatch(text)
    if not match or _NOT_OURS.fullmatch(text) or text in CLIENT_EVENTS or text in SERVER_EVENTS:
        return None
    head, _, rest = match[1].replace("session.playback.", "playback.").partition(".")
    if head in OWNERS and rest:
        return f"{OWNERS[head]}.{rest}"
    if head == "antiphon" and rest:
        return match[1]
    full = public_names()[1].get(head)
    return f"{full}.{rest}" if full and rest else full


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(ProseLinks)
    return {"version": "1", "parallel_read_safe": False}
