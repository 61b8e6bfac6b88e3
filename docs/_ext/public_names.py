"""Sphinx extension: the reference of public names, and the check that none is left out.

    ```{public} antiphon
    RealtimeModel
    RealtimeSession
    ```

documents these names of a module from their docstrings. The build warns about a public name (one in the `__all__` of
`MODULES`) that no page has, about a name that has two, and about one without a docstring.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_args

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import stringify_annotation

logger = logging.getLogger(__name__)

MODULES = (
    "antiphon",
    "antiphon.protocol",
    "antiphon.testing",
    "antiphon.recording",
    "antiphon.devices",
    "antiphon.report",
    "antiphon.telemetry",
)
# What public calls take or return, and that is imported from where it lives.
FURTHER = {
    "antiphon.actors.supervision": ("ActorPolicy", "Backoff", "Mailbox", "EngineConfig", "ConfigFile"),
    "antiphon.actors.emitter": ("EventStream",),
    "antiphon.actors.playback": ("Cut",),
    "antiphon.actors.tool_calls": ("RunningCall",),
    "antiphon.testing.brains": ("Brain", "Request", "Turn", "Sound", "Output", "Say", "Call", "Fail"),
    "antiphon.testing.connection": ("Connection",),
    "antiphon.report.picture": (
        "Wave",
        "Speech",
        "Spoken",
        "Response",
        "Tokens",
        "Tool",
        "Link",
        "Restored",
        "Mark",
        "Words",
    ),
}
# Values have no docstring of their own.
VALUES = {
    "__version__": "The version of the package, a string.",
    "NOT_GIVEN": "Means that an argument or a field was not given: `msgspec.UNSET`, never the same as `None`.",
    "Maybe": "`Maybe[T]` is a `T` or `NOT_GIVEN`.",
    "CLIENT_EVENTS": "The struct of each type of client event, by the type's GA name.",
    "SERVER_EVENTS": "The struct of each type of server event, by the type's GA name.",
    "GA_NAMES": "The GA name of each type of event that the beta named otherwise, by its beta name.",
    "BETA_NAMES": "The beta name of each type of event that the beta named otherwise, by its GA name.",
    "AUDIO_FORMATS": "The name of each audio format in the beta and in Azure's dated API, by its GA type.",
}
# A struct as a default, with more in it than a signature should say.
_LONG_DEFAULT = re.compile(r"(?<==)(\w+)\([^()]{30,}\)")
_UNSET = re.compile(r"~?(?:msgspec\.(?:_core\.)?)?UnsetType")
_FENCE = re.compile(r"^```(\w+)$|^```$")


class Public(SphinxDirective):
    """Documents public names of a module."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The documentation of each name."""
        module = self.arguments[0]
        lines = [] if module in self.env.domaindata["py"]["modules"] else [f".. py:module:: {module}", ""]
        seen = self.env.metadata.setdefault("public names", {})
        for name in filter(None, (line.strip() for line in self.content)):
            full = f"{module}.{name}"
            if seen.setdefault(full, self.env.docname) != self.env.docname:
                logger.warning("%s is documented twice", full, location=self.get_location())
            lines += _autodoc(module, name)
        container = nodes.container()
        rst = StringList(lines, source=self.get_source_info()[0])
        _parse_rst(self, rst, container)
        return container.children


def _parse_rst(directive: SphinxDirective, lines: StringList, parent: nodes.Element) -> None:
    """Parse reStructuredText inside of a MyST page."""
    from docutils.parsers.rst import Parser
    from docutils.utils import new_document

    document = new_document(directive.env.docname, directive.state.document.settings)
    document.reporter = directive.state.document.reporter
    Parser().parse("\n".join(lines), document)
    parent.extend(document.children)


def _autodoc(module: str, name: str) -> list[str]:
    value = getattr(importlib.import_module(module), name)
    full = f"{module}.{name}"
    if elsewhere := _elsewhere(value, full):
        return [f".. py:data:: {full}", "", f"   The same as `{elsewhere}`.", ""]
    if inspect.isclass(value):
        bases = ["   :show-inheritance:"] if issubclass(value, BaseException) else []
        return [f".. autoclass:: {full}", "   :members:", *bases, ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {full}", ""]
    return [f".. py:data:: {full}", "", f"   {_described(name, value)}", ""]


def _elsewhere(value: Any, full: str) -> str | None:
    """The name under which something is documented, if that is another one."""
    home = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    public = public_names()[0].get(home)
    return public if public != full else None


def _described(name: str, value: Any) -> str:
    if name in VALUES:
        return VALUES[name]
    choices = get_args(value)
    if not choices:
        logger.warning("public name %s has no description; add it to VALUES", name)
    return "One of " + ", ".join(
        f"`{choice.__name__}`" if inspect.isclass(choice) else f"``{choice!r}``" for choice in choices
    )


def check_all_documented(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn about public names that no page documents."""
    seen = env.metadata.get("public names", {})
    for module, names in _modules():
        for name in names:
            if f"{module}.{name}" not in seen:
                logger.warning("public name %s.%s is in no page of the reference", module, name)


def check_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Warn about a public name without a docstring; turn Markdown's code blocks into reStructuredText's."""
    if not any(lines) and what in ("class", "function", "exception", "method", "property"):
        logger.warning("public name %s has no docstring", name)
    lines[:] = _types_in_front(_without_fences(lines))
    if what == "class":
        lines += _undocumented_fields(obj, lines)


def _without_fences(lines: list[str]) -> Iterator[str]:
    indent = ""
    for line in lines:
        if match := _FENCE.match(line.strip()):
            at = line[: len(line) - len(line.lstrip())]
            indent = "   " if match[1] else ""
            yield from (f"{at}.. code-block:: {match[1]}", "") if match[1] else ("",)
        else:
            yield indent + line if line else line


def _types_in_front(lines: Iterable[str]) -> list[str]:
    """Put the types of attributes beside their names; napoleon has them in a field of their own below."""
    moved: list[str] = []
    last = None
    for line in lines:
        if line.startswith(".. attribute::"):
            last = len(moved)
        if last is not None and line.startswith("   :type:"):
            moved.insert(last + 1, _UNSET.sub("NOT_GIVEN", line))
        else:
            moved.append(line)
    return moved


def _written(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else stringify_annotation(annotation, "smart")
    return _UNSET.sub("NOT_GIVEN", text)


def _undocumented_fields(kind: type, lines: list[str]) -> Iterator[str]:
    """Fields of a struct that speak for themselves: name and type."""
    annotations = {
        name: written
        for base in reversed(kind.__mro__)
        for name, written in inspect.get_annotations(base).items()
    }
    for name in getattr(kind, "__struct_fields__", ()):
        if not name.startswith("_") and f".. attribute:: {name}" not in lines:
            yield from ("", f".. attribute:: {name}", f"   :type: {_written(annotations[name])}", "")


def name_not_given(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Write the default NOT_GIVEN as users know it; leave out how a class is made that users don't make."""
    if signature and what == "class" and not _is_made_by_users(obj):
        return "", None
    if signature:
        signature = signature.replace("=UNSET", "=NOT_GIVEN")
        while (shorter := _LONG_DEFAULT.sub(r"\1<>", signature)) != signature:
            signature = shorter
        signature = signature.replace("<>", "(...)")
    return signature, returns


def _is_made_by_users(kind: type) -> bool:
    return hasattr(kind, "__struct_fields__") or is_dataclass(kind) or "Args:" in (kind.__doc__ or "")


def resolve(app: Sphinx, env: BuildEnvironment, node: Any, content: nodes.Node) -> nodes.Node | None:
    """Find a name that isn't written as it is documented: short, with arguments, or by where it is defined."""
    target = node["reftarget"].partition("(")[0].lstrip("@")
    domain = env.get_domain("py")
    for full in public_spellings(target, node.get("py:module"), node.get("py:class")):
        if full in domain.data["objects"]:
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, content)
    return None


def public_spellings(target: str, module: str | None, owner: str | None) -> Iterator[str]:
    by_home, by_name = public_names()
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        head, rest = ".".join(parts[:length]), parts[length:]
        for full in (by_home.get(head), by_name.get(head)):
            if full:
                yield ".".join([full, *rest])
    if module and owner:
        yield f"{module}.{owner}.{target}"


def _modules() -> Iterator[tuple[str, Sequence[str]]]:
    for module in MODULES:
        yield module, importlib.import_module(module).__all__
    yield from FURTHER.items()


@cache
def public_names() -> tuple[dict[str, str], dict[str, str]]:
    """Public names by where they are defined, and by their last part."""
    by_home: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for module, names in _modules():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            home = f"{getattr(value, '__module__', module)}.{getattr(value, '__qualname__', name)}"
            by_home.setdefault(home, f"{module}.{name}")
            by_name.setdefault(name, f"{module}.{name}")
    return by_home, by_name


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the checks."""
    app.add_directive("public", Public)
    app.connect("autodoc-process-docstring", check_docstring)
    app.connect("autodoc-process-signature", name_not_given)
    app.connect("missing-reference", resolve)
    app.connect("env-check-consistency", check_all_documented)
    return {"version": "1", "parallel_read_safe": False}
