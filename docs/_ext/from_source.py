"""Sphinx extension: pictures and tables made from the code at build time, so that they can't disagree with it."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import typer.main
from diagrams import lifecycle, tree
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from antiphon.actors.audio_in import AudioInCore
from antiphon.actors.chat_ctx_core import ChatCtxCore
from antiphon.actors.connection_core import TRANSITIONS, ConnectionCore
from antiphon.actors.generation_core import GenerationCore
from antiphon.actors.routes import ROUTES
from antiphon.actors.supervision import SupervisorConfig
from antiphon.cli.app import app as commands

CORES = {
    "chat_ctx": ChatCtxCore,
    "generation": GenerationCore,
    "audio_in": AudioInCore,
    "connection": ConnectionCore,
}


class Lifecycle(SphinxDirective):
    """The states of a session, from the connection's table."""

    def run(self) -> list[nodes.Node]:
        """The drawing."""
        told = "; ".join(f"{old}, {event}: {new}" for (old, event), new in TRANSITIONS.items())
        return [nodes.raw("", lifecycle(TRANSITIONS, f"States of a session. {told}."), format="html")]


class SupervisionTree(SphinxDirective):
    """The actors of a session in the order in which they start, with how many types of message each handles."""

    def run(self) -> list[nodes.Node]:
        """The drawing."""
        names = [field.name for field in msgspec.structs.fields(SupervisorConfig) if field.name in CORES]
        about = [(name, f"handles {len(CORES[name].table)} types of message") for name in names]
        return [
            nodes.raw("", tree("supervisor", about, "A session's supervisor and its actors."), format="html")
        ]


class Routes(SphinxDirective):
    """Which actors hear of which server event."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        rows = [
            f"| `{_wire_name(kind)}` | {', '.join(to) or 'nobody: it tells the engine nothing'} |"
            for kind, to in ROUTES.items()
        ]
        return _markdown(self, ["| server event | goes to |", "| --- | --- |", *rows])


class Commands(SphinxDirective):
    """The command line, from its own declarations."""

    def run(self) -> list[nodes.Node]:
        """A section for each command."""
        lines: list[str] = []
        group = typer.main.get_command(commands)
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            lines += [f"## antiphon {name}", "", *inspect.cleandoc(command.help or "").splitlines(), ""]
            if rows := [_option(param) for param in command.params if param.name != "help"]:
                lines += ["| argument | default | meaning |", "| --- | --- | --- |", *rows, ""]
        return _markdown(self, lines)


def _option(param: Any) -> str:
    names = " ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts)) or f"`{param.name}`"
    if param.param_type_name == "argument":
        names = f"`{param.name}`"
    default = (
        "" if param.default is None or param.required or callable(param.default) else f"`{param.default}`"
    )
    return f"| {names} | {default} | {getattr(param, 'help', None) or ''} |"


def _wire_name(kind: type) -> str:
    tag = msgspec.inspect.type_info(kind).tag
    return tag if isinstance(tag, str) else kind.__name__


def _markdown(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    parent = nodes.container()
    text = StringList(lines, source="generated")
    directive.state.nested_parse(text, directive.content_offset, parent, match_titles=True)
    return parent.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("lifecycle", Lifecycle)
    app.add_directive("supervision-tree", SupervisionTree)
    app.add_directive("routes", Routes)
    app.add_directive("commands", Commands)
    return {"version": "1", "parallel_read_safe": False}
