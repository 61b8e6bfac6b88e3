"""Tools: schemas from signatures, decoding of what models write, and the set of tools."""

from __future__ import annotations

import enum
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, Optional, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct
from openai.types.realtime import RealtimeFunctionTool

from antiphon.tools import (
    FunctionTool,
    ProviderTool,
    RawFunctionTool,
    Tool,
    ToolArgumentError,
    ToolContext,
    function_tool,
)


class RealtimeSession:
    """Stands where the session's class stands in an app."""


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(Struct):
    """A place."""

    x: int
    title: str = ""


class Cat(Struct, tag="cat"):
    lives: int


class Dog(Struct, tag="dog"):
    tricks: list[str]


class Tree(Struct):
    label: Point
    children: list[Tree] = []


class Options(TypedDict, total=False):
    fast: bool


@function_tool
def weather(city: str, days: int = 1, unit: Literal["C", "F"] = "C") -> str:
    """Tells the weather.

    It knows the next days too.

    Args:
        city (str): Where, as in
            "Paris, France".
        days: How many.

    Returns:
        Words.
    """
    return f"{city} {days} {unit}"


def schema_of(hint: object) -> dict[str, Any]:
    def fn(value):
        return value

    fn.__annotations__ = {"value": hint}
    return function_tool(fn).parameters["properties"]["value"]


def test_a_signature_and_its_docstring_become_a_schema() -> None:
    assert weather.name == "weather"
    assert weather.description == "Tells the weather.\n\nIt knows the next days too."
    assert weather.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": 'Where, as in "Paris, France".'},
            "days": {"type": "integer", "description": "How many.", "default": 1},
            "unit": {"enum": ["C", "F"], "default": "C"},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_the_tool_is_still_the_function() -> None:
    assert weather("Paris", unit="F") == "Paris 1 F"


def test_the_decorator_takes_options() -> None:
    @function_tool(name="tool-2", description="Better.", timeout=2.5, reply=False)
    def tool() -> None:
        """Worse."""

    assert (tool.name, tool.description, tool.timeout, tool.reply) == ("tool-2", "Better.", 2.5, False)
    assert tool.parameters == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (Any, {}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
        (list[float], {"type": "array", "items": {"type": "number"}}),
        (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (Color, {"enum": ["blue", "red"]}),
        (Literal[1, 2], {"enum": [1, 2]}),
        (Annotated[int, Meta(ge=0, description="d")], {"type": "integer", "minimum": 0, "description": "d"}),
        ("int | str", {"type": ["integer", "string"]}),
        (
            list[Point],
            {
                "type": "array",
                "items": {
                    "description": "A place.",
                    "type": "object",
                    "properties": {"x": {"type": "integer"}, "title": {"type": "string", "default": ""}},
                    "required": ["x"],
                },
            },
        ),
    ],
)
def test_types_that_msgspec_knows(hint: object, schema: dict[str, Any]) -> None:
    if hint == "int | str":
        assert schema_of(hint)["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    else:
        assert schema_of(hint) == schema


def test_tagged_unions_have_no_pointers() -> None:
    schema = schema_of(Cat | Dog)
    assert [option["properties"]["type"] for option in schema["anyOf"]] == [
        {"enum": ["cat"]},
        {"enum": ["dog"]},
    ]
    assert "#/$defs" not in json.dumps(schema)


def test_only_recursive_types_keep_a_definition() -> None:
    @function_tool
    def plant(tree: Tree) -> None: ...

    assert set(plant.parameters["$defs"]) == {"Tree"}
    assert plant.parameters["properties"]["tree"] == {"$ref": "#/$defs/Tree"}
    assert plant.parameters["$defs"]["Tree"]["properties"]["label"]["properties"].keys() == {"x", "title"}
    assert plant.decode('{"tree": {"label": {"x": 1}}}') == {"tree": Tree(Point(1))}


def test_a_description_in_the_hint_comes_before_the_docstring() -> None:
    @function_tool
    def tool(a: Annotated[int, Meta(description="hint")], b: int, c: Point, d: Point) -> None:
        """Does it.

        Args:
            a: docstring
            b: docstring
            c: docstring
        """

    shown = [about["description"] for about in tool.parameters["properties"].values()]
    assert shown == ["hint", "docstring", "docstring", "A place."]


def test_defaults_are_shown_where_json_has_them() -> None:
    marker = object()

    @function_tool
    def tool(a: Color = Color.RED, b: list[int] = [1], c: Any = marker, d: Point = Point(3)) -> object:  # noqa: B006, B008
        return a, b, c, d

    shown = {name: about.get("default") for name, about in tool.parameters["properties"].items()}
    assert shown == {"a": "red", "b": [1], "c": None, "d": {"x": 3, "title": ""}}
    assert "default" not in tool.parameters["properties"]["c"]
    assert tool.call(tool.decode("{}")) == (Color.RED, [1], marker, Point(3))


def test_the_session_is_filled_in_by_the_engine() -> None:
    @function_tool
    def tool(session, who: RealtimeSession, optional: RealtimeSession | None, context: str) -> object:
        return session, who, optional, context

    assert list(tool.parameters["properties"]) == ["context"]
    assert tool.call(tool.decode('{"context": "x"}'), session=7) == (7, 7, 7, "x")


def test_a_session_class_that_is_only_imported_for_typing() -> None:
    def fn(a: int, session: NotThere.RealtimeSession) -> object:  # noqa: F821
        return a, session

    assert function_tool(fn).call({"a": 1}, session=2) == (1, 2)


def star(*args: int) -> None: ...
def stars(**kwargs: int) -> None: ...
def positional(a: int, /) -> None: ...
def bare(a) -> None: ...
def unknown(a: object) -> None: ...
def complexes(a: list[complex]) -> None: ...
def unresolved(a: Nowhere) -> None: ...  # noqa: F821
def untagged(a: Point | Options) -> None: ...
async def asynchronous() -> None: ...


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (star, r"star: parameter `\*args"),
        (stars, r"stars: parameter `\*\*kwargs"),
        (positional, "positional: parameter `a"),
        (bare, "bare: parameter `a` needs a type hint"),
        (unknown, "unknown: parameter `a`: .*object.* not supported"),
        (complexes, "complexes: parameter `a`: .*complex.* not supported"),
        (unresolved, "unresolved: parameter `a` .*Nowhere"),
        (untagged, "untagged: parameter `a`: .*more than one dict-like"),
        (asynchronous, "asynchronous: .*not an async one"),
    ],
)
def test_a_signature_that_cannot_be_filled_is_refused_at_once(fn: Callable[..., Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        function_tool(fn)


@pytest.mark.parametrize("name", ["", "two words", "é", "a" * 65])
def test_a_name_that_the_api_refuses_is_refused_here(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        function_tool(name=name)(lambda: None)


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_is_positive(timeout: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        function_tool(name="f", timeout=timeout)(lambda: None)


def test_a_bound_method_is_a_tool() -> None:
    class Shop:
        def price(self, item: str) -> str:
            return f"{item}: 3"

    assert FunctionTool(Shop().price).call({"item": "tea"}) == "tea: 3"


def test_a_partial_function_is_a_tool_under_a_given_name() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    add.__annotations__ = {"a": int, "b": int}
    assert FunctionTool(partial(add, b=2), name="add_two").call({"a": 1}) == 3
    with pytest.raises(ValueError, match="needs a name"):
        FunctionTool(partial(add, b=2))


def test_decoding_gives_what_call_takes() -> None:
    assert weather.decode('{"city": "Rome", "unit": "F"}') == {"city": "Rome", "unit": "F"}
    assert weather.call(weather.decode('{"city": "Rome"}')) == "Rome 1 C"


@pytest.mark.parametrize("blank", ["", " \n", "{}"])
def test_no_arguments(blank: str) -> None:
    @function_tool
    def ping() -> str:
        return "pong"

    assert ping.call(ping.decode(blank)) == "pong"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("{}", "missing required field `city`"),
        ('{"city": 1}', r"Expected `str`, got `int` - at `\$.city`"),
        ('{"city": "a", "unit": "K"}', r"Invalid enum value 'K' - at `\$.unit`"),
        ('{"city": "a", "town": "b"}', "unknown field `town`"),
        ('{"city": ', "truncated"),
        ("[]", "Expected `object`, got `array`"),
        ('{"city": "\ud800"}', "surrogates"),
    ],
)
def test_a_mismatch_tells_the_model_what_is_wrong(arguments: str, reason: str) -> None:
    with pytest.raises(ToolArgumentError, match=f"Invalid arguments for weather: .*{reason}"):
        weather.decode(arguments)


def test_arguments_that_are_nested_too_deeply() -> None:
    with pytest.raises(ToolArgumentError, match=r"look_up: .*nested too deeply"):
        RawFunctionTool(RAW, dict).decode('{"x": ' * 100_000)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x)).map(json.dumps))
def test_decoding_never_raises_anything_else(arguments: str) -> None:
    for tool in (weather, RawFunctionTool({"name": "raw"}, dict)):
        try:
            tool.call(tool.decode(arguments))
        except ToolArgumentError:
            pass


@given(st.text(), st.integers(-(2**60), 2**60), st.sampled_from(["C", "F"]))
def test_arguments_survive_the_round_trip(city: str, days: int, unit: str) -> None:
    arguments = {"city": city, "days": days, "unit": unit}
    assert weather.decode(json.dumps(arguments)) == arguments


RAW = {
    "type": "function",
    "name": "look_up",
    "description": "Looks it up.",
    "parameters": {"type": "object", "properties": {"the key": {"type": "string"}}},
    "meta": {"origin": "here"},
    "strict": True,
}


def test_a_raw_tool_takes_its_schema_as_it_is() -> None:
    tool = RawFunctionTool(RAW, lambda arguments: arguments["the key"], timeout=1)
    assert (tool.name, tool.timeout, tool.reply) == ("look_up", 1, True)
    assert tool.call(tool.decode('{"the key": "a"}')) == "a"
    with pytest.raises(ToolArgumentError, match="look_up: Expected `object`"):
        tool.decode("[]")


def test_a_raw_tool_needs_a_name() -> None:
    with pytest.raises(ValueError, match="name"):
        RawFunctionTool({"parameters": {}}, dict)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "two words"}, "letters"),
        ({"parameters": {"type": "string"}}, "parameters"),
        ({"parameters": None}, "parameters"),
        ({"description": 3}, "description"),
    ],
)
def test_a_raw_tool_that_the_api_cannot_express(change: dict[str, Any], message: str) -> None:
    tool = RawFunctionTool({**RAW, **change}, dict)
    with pytest.raises(ValueError, match=message):
        _ = tool.definition


@pytest.mark.parametrize(
    "tool", [weather, RawFunctionTool(RAW, dict), RawFunctionTool({"name": "bare"}, dict)]
)
def test_the_official_model_knows_every_field(tool: FunctionTool | RawFunctionTool) -> None:
    wire = json.loads(msgspec.json.encode(tool.definition))
    assert RealtimeFunctionTool.model_validate(wire, extra="forbid").model_dump(exclude_unset=True) == wire
    assert set(wire) <= {"type", "name", "description", "parameters"}
    assert wire["parameters"]["type"] == "object"


def test_a_tool_context() -> None:
    raw, provided = RawFunctionTool(RAW, dict), ProviderTool("search", {"depth": 2})
    tools: list[Tool] = [weather, raw, provided]
    ctx = ToolContext(tools)
    assert ctx.flatten() == list(ctx) == tools
    assert len(ctx) == 3
    assert ctx.get("look_up") is raw
    assert ctx.get("nothing") is None
    assert "search" in ctx
    assert ctx.copy() == ctx
    assert ctx != ToolContext.empty()
    assert ctx != tools
    assert repr(ctx) == f"ToolContext([FunctionTool(weather), RawFunctionTool(look_up), {provided!r}])"
    ctx.flatten().clear()
    assert len(ctx) == 3


def test_two_tools_may_not_share_a_name() -> None:
    with pytest.raises(ValueError, match="look_up"):
        ToolContext([RawFunctionTool(RAW, dict), RawFunctionTool(RAW, dict)])


def test_importing_tools_and_chat_loads_nothing_heavy() -> None:
    code = "import sys, antiphon.tools, antiphon.actors.chat; print({'scipy', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
