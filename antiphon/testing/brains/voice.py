"""The voice: listens, speaks, answers a handful of everyday things, and calls a tool when one fits."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator

from antiphon.protocol import FunctionCallOutputItem, McpApprovalResponseItem, McpCallItem, MessageItem
from antiphon.testing import speech
from antiphon.testing.brains import answers
from antiphon.testing.brains.base import Output, Request, Say, Sound, last_said
from antiphon.testing.brains.toolmatch import call_for

_SENTENCE = re.compile(r"\s*[^.!?]+[.!?]*")


class VoiceBrain:
    """Answers in speech, offline. Sentences are spoken one by one, so the first comes soon."""

    def warm(self) -> None:
        """Load the models of the recognizer and the voice."""
        speech.warm()

    def hear(self, sound: Sound) -> str:
        """Recognize what was said."""
        return speech.transcribe(sound.samples, sound.rate)

    def respond(self, request: Request) -> Iterator[Output]:
        """Call a tool that fits, or answer."""
        call = call_for(request)
        if call is not None:
            yield call
            return
        for sentence in _SENTENCE.findall(_answer(request)):
            yield Say(sentence, _speak(sentence, request))


def _speak(sentence: str, request: Request) -> Sound | None:
    return Sound(*speech.synthesize(sentence.strip(), speed=request.speed)) if request.audio else None


def _answer(request: Request) -> str:
    last = last_said(request)
    if last is None:
        return answers.GREETING
    if isinstance(last.item, FunctionCallOutputItem):
        return answers.spoken_result(last.item.output)
    if isinstance(last.item, McpCallItem | McpApprovalResponseItem):
        return answers.spoken_result(last.text)
    if isinstance(last.item, MessageItem) and last.item.role == "user":
        return answers.answer(last.text, datetime.datetime.now())
    return answers.GREETING
