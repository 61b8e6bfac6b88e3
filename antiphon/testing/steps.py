"""Cuts what a brain says into the small steps in which a response is sent."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from antiphon.actors.audio import WireCodec
from antiphon.testing.brains.base import Call, Fail, Output, Say
from antiphon.testing.wirecodec import at_rate

DELTA_MS = 100
_WORD = re.compile(r"\s*\S+")
_ARGUMENTS_PIECE = 12


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a message: some of its text, some of its audio (wire bytes), which lasts `ms`."""

    text: str = ""
    audio: bytes = b""
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class CallStep:
    """A whole function call, its arguments in pieces."""

    name: str
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FailStep:
    """The response fails."""

    message: str
    code: str
    kind: str


Step: TypeAlias = Delta | CallStep | FailStep


def steps(output: Output, *, codec: WireCodec | None) -> Iterator[Step]:
    """Cut one output up. `codec` is the output's, `None` in a text response."""
    if isinstance(output, Say):
        yield from _text(output) if codec is None else _speech(output, codec)
    elif isinstance(output, Call):
        text = output.arguments
        cuts = range(0, len(text), _ARGUMENTS_PIECE)
        yield CallStep(output.name, tuple(text[at : at + _ARGUMENTS_PIECE] for at in cuts))
    elif isinstance(output, Fail):
        yield FailStep(output.message, output.code, output.kind)


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _text(say: Say) -> Iterator[Delta]:
    for word in _words(say.text):
        yield Delta(text=word)


def _speech(say: Say, codec: WireCodec) -> Iterator[Delta]:
    """Audio in pieces, the words spread over them so that none comes after its sound."""
    words = _words(say.text)
    samples = at_rate(say.sound, codec.rate) if say.sound is not None else None
    size = codec.ms_to_samples(DELTA_MS)
    count = 0 if samples is None else -(-len(samples) // size)
    said = 0
    for index in range(count):
        assert samples is not None
        upto = min(len(words), -(-(index + 1) * len(words) // count) + 1)
        piece = samples[index * size : (index + 1) * size]
        yield Delta("".join(words[said:upto]), codec.encode(piece), codec.samples_to_ms(len(piece)))
        said = upto
    if said < len(words):
        yield Delta("".join(words[said:]))
