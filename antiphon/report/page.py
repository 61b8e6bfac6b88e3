"""The page: one file that asks nothing of anybody."""

from __future__ import annotations

import base64
import hashlib
import html
from importlib import resources
from string import Template

import msgspec
import pybase64

from antiphon.report.picture import Picture
from antiphon.report.sound import Sound

# In the order in which they need each other.
SCRIPTS = ("tools.js", "call.js", "view.js", "player.js", "lanes.js", "timeline.js", "log.js", "main.js")


def render(picture: Picture, sound: Sound | None) -> str:
    """The page of a call.

    Its content security policy lets the one script and the one style sheet in it work, and no request leave it.

    Args:
        picture: What it shows.
        sound: What it plays; None: it plays nothing.
    """
    style, script = _part("style.css"), _script()
    return Template(_part("page.html")).substitute(
        title=html.escape(f"{picture.file}: a call of {picture.model}"),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        picture=_json(picture),
        sound_type="" if sound is None else sound.type,
        sound="" if sound is None else pybase64.b64encode(sound.data).decode(),
    )


def _script() -> str:
    parts = "\n".join(_part(name) for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}\n}})();\n'


def _part(name: str) -> str:
    return (resources.files("antiphon.report") / "page" / name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(picture: Picture) -> str:
    """JSON that can stand in a script element, whatever was said in the call."""
    text = msgspec.json.encode(picture).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
