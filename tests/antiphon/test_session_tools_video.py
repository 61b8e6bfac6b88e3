"""Instructions, tools and pictures as they go out; the OpenAI SDK's models say whether the API would take them."""

from __future__ import annotations

import base64
import gc
import io
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pydantic
import pytest
from openai.types.realtime import RealtimeClientEvent
from PIL import Image

import antiphon.protocol as p
from antiphon import (
    FunctionTool,
    ProviderTool,
    RawFunctionTool,
    RealtimeModel,
    RealtimeSession,
    ToolContext,
    VideoFrame,
    function_tool,
)
from antiphon.testing import Driver, FakeWire

SDK: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(RealtimeClientEvent)
# The SDK is 70,000 objects that stay: the leak check's collections need not go through them each time.
gc.freeze()
PNG = b"\x89PNG\r\n\x1a\n rest"
JPEG = b"\xff\xd8\xff rest"


def check(frame: dict[str, Any]) -> dict[str, Any]:
    """Fails unless the SDK's models take the frame and know each of its keys."""
    unknown(SDK.validate_python(frame))
    return frame


def unknown(value: Any) -> None:
    if isinstance(value, pydantic.BaseModel):
        assert not value.model_extra, f"{type(value).__name__} doesn't know {value.model_extra}"
        for name in type(value).model_fields:
            unknown(getattr(value, name))
    elif isinstance(value, list):
        for part in value:
            unknown(part)


class Talk:
    def __init__(self) -> None:
        self.driver = Driver()
        self.session: RealtimeSession = RealtimeModel(
            api_key="test", base_url="http://test/v1", engine=self.driver, model="gpt-realtime"
        ).session()
        self.wire: FakeWire = self.driver.accept()
        self.wire.sent.clear()

    def sent(self) -> list[dict[str, Any]]:
        self.driver.run()
        frames = [check(frame) for frame in self.wire.sent]
        self.wire.sent.clear()
        return frames

    def close(self) -> None:
        self.session._close_soon(1.0)
        self.driver.run()
        self.wire.drop()
        assert self.session.state == "closed"


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk()
    yield made
    made.close()


@function_tool
def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """Tells the weather.

    Args:
        city: Where.
    """
    return f"Sunny in {city}, 20 {unit}"


RAW = {
    "type": "function",
    "name": "look_up",
    "description": "Looks something up.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    "strict": True,
    "meta": {"owner": "somebody"},
}


def raw(**changes: Any) -> RawFunctionTool:
    return RawFunctionTool({**RAW, **changes}, lambda arguments: arguments)


# -- instructions -------------------------------------------------------------------------------------------------


def test_instructions_are_one_update_with_nothing_else(talk: Talk) -> None:
    talk.session.update_instructions("Be kind.")
    (update,) = talk.sent()
    assert update["type"] == "session.update"
    assert update["event_id"].startswith("instructions_update_")
    assert update["session"] == {"type": "realtime", "instructions": "Be kind."}


def test_instructions_can_be_taken_back(talk: Talk) -> None:
    talk.session.update_instructions("Be kind.")
    talk.session.update_instructions("")
    assert [update["session"]["instructions"] for update in talk.sent()] == ["Be kind.", ""]


# -- tools -----------------------------------------------------------------------------------------------------------


def test_tools_are_one_update_with_the_model(talk: Talk) -> None:
    talk.session.update_tools([weather])
    (update,) = talk.sent()
    assert update["event_id"].startswith("tools_update_")
    assert update["session"] == {
        "type": "realtime",
        "model": "gpt-realtime",
        "tools": [
            {
                "type": "function",
                "name": "weather",
                "description": "Tells the weather.",
                "parameters": weather.parameters,
            }
        ],
    }
    assert weather.parameters["required"] == ["city"]
    assert weather.parameters["properties"]["city"]["description"] == "Where."


def test_a_raw_schema_goes_out_without_what_the_api_does_not_know(talk: Talk) -> None:
    talk.session.update_tools([raw()])
    (tool,) = talk.sent()[0]["session"]["tools"]
    assert tool == {key: RAW[key] for key in ("type", "name", "description", "parameters")}


def test_a_provider_tool_is_kept_but_not_sent(talk: Talk) -> None:
    search = ProviderTool("search")
    talk.session.update_tools([search, weather])
    assert [tool["name"] for tool in talk.sent()[0]["session"]["tools"]] == ["weather"]
    assert talk.session.tools.flatten() == [search, weather]


@pytest.mark.parametrize(
    "bad",
    [
        raw(name="no spaces please"),
        raw(name="x" * 65),
        raw(parameters={"type": "array"}),
        raw(parameters="none"),
        raw(description=7),
    ],
    ids=["name", "long name", "no object", "no schema", "description"],
)
def test_what_the_api_cannot_express_is_logged_and_left_out(
    talk: Talk, bad: RawFunctionTool, caplog: pytest.LogCaptureFixture
) -> None:
    talk.session.update_tools([bad, weather])
    assert [tool["name"] for tool in talk.sent()[0]["session"]["tools"]] == ["weather"]
    assert talk.session.tools.flatten() == [weather]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def plain(city: str) -> str:
    """A function that nobody made a tool of."""
    return city


@pytest.mark.parametrize("bad", [plain, {"name": "dict"}, None], ids=["function", "dict", "None"])
def test_what_is_no_tool_is_logged_and_left_out(
    talk: Talk, bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    talk.session.update_tools([bad, weather])
    assert [tool["name"] for tool in talk.sent()[0]["session"]["tools"]] == ["weather"]
    assert talk.session.tools.flatten() == [weather]
    assert "is no tool" in caplog.text


def test_a_schema_that_is_not_json_is_logged_and_left_out(
    talk: Talk, caplog: pytest.LogCaptureFixture
) -> None:
    parameters = {"type": "object", "properties": {"word": {"default": object()}}}
    talk.session.update_tools([raw(parameters=parameters), weather])
    assert [tool["name"] for tool in talk.sent()[0]["session"]["tools"]] == ["weather"]
    assert talk.session.tools.flatten() == [weather]
    assert "look_up" in caplog.text


def test_two_tools_of_one_name_change_nothing(talk: Talk) -> None:
    talk.session.update_tools([weather])
    talk.sent()
    with pytest.raises(ValueError, match="weather"):
        talk.session.update_tools([raw(name="weather"), weather])
    assert talk.sent() == []
    assert talk.session.tools.flatten() == [weather]


def test_no_tools_is_an_empty_list(talk: Talk) -> None:
    talk.session.update_tools([weather])
    talk.session.update_tools([])
    assert talk.sent()[1]["session"]["tools"] == []
    assert len(talk.session.tools) == 0


def test_tools_is_a_copy(talk: Talk) -> None:
    talk.session.update_tools([weather])
    first, second = talk.session.tools, talk.session.tools
    assert isinstance(first, ToolContext)
    assert first == second
    assert first is not second


def test_the_conversion_of_tools_can_be_overridden(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(self: RealtimeSession, tools: list[FunctionTool]) -> list[p.FunctionToolDef]:
        return [
            p.FunctionToolDef(name=tool.name, description="Mine.", parameters=tool.parameters)
            for tool in tools
        ]

    class Mine(RealtimeSession):
        _convert_tools = convert  # type: ignore[assignment]

    monkeypatch.setattr("antiphon.session.RealtimeSession", Mine)
    mine = Talk()
    mine.session.update_tools([weather])
    assert mine.sent()[0]["session"]["tools"][0]["description"] == "Mine."
    mine.close()


def test_tools_and_instructions_keep_the_order_of_the_calls(talk: Talk) -> None:
    talk.session.update_tools([weather])
    talk.session.update_instructions("Be kind.")
    talk.session.update_tools([])
    kinds = [update["event_id"].rsplit("_", 1)[0] for update in talk.sent()]
    assert kinds == ["tools_update", "instructions_update", "tools_update"]


# -- pictures --------------------------------------------------------------------------------------------------------


def picture(talk: Talk) -> bytes:
    """The picture in the message that was sent."""
    (create,) = talk.sent()
    assert create["type"] == "conversation.item.create"
    assert create["event_id"].startswith("video_")
    assert "previous_item_id" not in create
    item = create["item"]
    assert (item["type"], item["role"]) == ("message", "user")
    assert item["id"].startswith("item_")
    (part,) = item["content"]
    assert part["type"] == "input_image"
    head, data = part["image_url"].split(",")
    assert head in ("data:image/jpeg;base64", "data:image/png;base64")
    return base64.b64decode(data, validate=True)


def test_an_array_becomes_a_jpeg(talk: Talk) -> None:
    pixels = np.zeros((6, 8, 3), np.uint8)
    pixels[:, :] = (200, 30, 60)
    talk.session.push_video(pixels)
    image = Image.open(io.BytesIO(picture(talk)))
    assert (image.format, image.size) == ("JPEG", (8, 6))
    assert np.abs(np.asarray(image).astype(int) - pixels).max() < 8


@pytest.mark.parametrize(("data", "encoding"), [(PNG, "png"), (JPEG, "jpeg")])
@pytest.mark.parametrize("as_frame", [True, False])
def test_an_encoded_picture_passes_through(
    talk: Talk, data: bytes, encoding: Literal["png", "jpeg"], as_frame: bool
) -> None:
    if as_frame:
        talk.session.push_video(VideoFrame(data, encoding))
    else:
        talk.session.push_video(data, encoding=encoding)
    assert picture(talk) == data


@pytest.mark.parametrize(
    ("frame", "encoding", "complaint"),
    [
        (np.zeros((2, 2), np.uint8), "rgb", "height, width, 3"),
        (np.zeros((2, 2, 3), np.float32), "rgb", "uint8"),
        (np.zeros((0, 2, 3), np.uint8), "rgb", "empty"),
        (b"GIF89a", "png", "no png file"),
        (PNG, "jpeg", "no jpeg file"),
        (PNG, "webp", "webp"),
    ],
    ids=["grey", "float", "nothing", "gif", "png as jpeg", "webp"],
)
def test_what_is_no_picture_is_refused(talk: Talk, frame: Any, encoding: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        talk.session.push_video(frame, encoding=encoding)
    assert talk.sent() == []


def test_a_picture_is_mirrored_and_its_refusal_is_an_error(talk: Talk) -> None:
    errors: list[Any] = []
    talk.session.on("error", errors.append)
    talk.session.push_video(PNG, encoding="png")
    talk.session.push_video(JPEG, encoding="jpeg")
    first, second = [p.decode_client_event(p.encode_client_event(frame)) for frame in talk.sent()]
    assert isinstance(first, p.ConversationItemCreate)
    assert isinstance(second, p.ConversationItemCreate)
    detail = p.ErrorDetail(message="too ugly", event_id=second.event_id)
    talk.wire.reply(p.ConversationItemAdded(item=first.item), p.ErrorEvent(error=detail))
    (item,) = talk.driver.call(lambda: talk.session.chat_ctx).items
    assert item.id == first.item.id
    assert [image.image[:22] for image in item.images] == ["data:image/png;base64,"]  # type: ignore[union-attr]
    assert ["too ugly" in str(error.error) for error in errors] == [True]
