"""Turns speech into text, offline: pocketsphinx, with a grammar of what is usually asked tried first."""

from __future__ import annotations

import queue
from typing import Any, Final

import numpy as np

from antiphon.actors.audio import Int16Array
from antiphon.testing.brains.base import Sound
from antiphon.testing.brains.grammar import GRAMMAR
from antiphon.testing.denoise import denoise
from antiphon.testing.extras import require
from antiphon.testing.wirecodec import at_rate

RATE: Final = 16_000
_CHUNK: Final = RATE // 25  # the decoder holds Python's lock while it works: 40 ms of sound at a time
_PAD: Final = np.zeros(RATE // 5, np.int16)
_SILENT: Final = frozenset({"<s>", "</s>", "<sil>", "(NULL)", "[NOISE]", "[SPEECH]", "SIL", "+SPN+", "+NSN+"})
_DOMAIN: Final = "domain"
_PHONES: Final = "phones"
_DECODERS: Final = 2
_FRAME: Final = RATE // 100  # the decoder's frames
_MAX_OUTSIDE: Final = 15
_MAX_LOSS: Final = 3.8  # questions of the grammar lose 1.2 to 3.8, other speech 4 and more


class Recognizer:
    """Recognizes utterances; several threads may do so at once, two of them truly so."""

    def __init__(self) -> None:
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        self._idle.put(_decoder())
        self._spare = iter([None] * (_DECODERS - 1))

    def transcribe(self, sound: Sound) -> str:
        """What was said, in lower case and without punctuation; "" if nothing was."""
        if not len(sound.samples) or not np.any(sound.samples):
            return ""
        clean = denoise(at_rate(sound, RATE))
        padded = np.concatenate([_PAD, clean, _PAD])
        decoder = self._take()
        try:
            return _recognize(decoder, padded)
        finally:
            self._idle.put(decoder)

    def _take(self) -> Any:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            if next(self._spare, self) is None:
                return _decoder()
            return self._idle.get()


def _decoder() -> Any:
    sphinx = require("pocketsphinx", "local")
    config = sphinx.Config(loglevel="FATAL", remove_noise=True, maxhmmpf=4000, maxwpf=20)
    decoder = sphinx.Decoder(config)
    decoder.add_jsgf_string(_DOMAIN, GRAMMAR)
    decoder.add_allphone_file(_PHONES, sphinx.get_model_path("en-us/en-us-phone.lm.bin"))
    return decoder


def _recognize(decoder: Any, samples: Int16Array) -> str:
    decoder.activate_search(_DOMAIN)
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), False, True)
    decoder.end_utt()
    expected = _Scored(decoder)
    if expected.text and decoder.get_fsg(_DOMAIN).accept(expected.text):
        _stream(decoder, samples, _PHONES)
        if expected.loss(_Scored(decoder)) < _MAX_LOSS and _loud_outside(samples, expected) < _MAX_OUTSIDE:
            return expected.text
    _stream(decoder, samples, "_default")
    return _Scored(decoder).text


def _loud_outside(samples: Int16Array, found: _Scored) -> int:
    """How many loud frames there are before the first and after the last word that was found."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    loud = power > 0.02 * np.percentile(power, 90)
    return int(loud[: found.first].sum() + loud[found.last + 1 :].sum())


def _stream(decoder: Any, samples: Int16Array, search: str) -> None:
    """Decode in small pieces, with the cepstral mean that the first pass found."""
    mean = decoder.get_cmn(False)
    decoder.activate_search(search)
    decoder.set_cmn(mean)
    decoder.start_utt()
    for start in range(0, len(samples), _CHUNK):
        decoder.process_raw(samples[start : start + _CHUNK].tobytes())
    decoder.end_utt()
    decoder.set_cmn(mean)


class _Scored:
    """The result of one pass, and how well it fits the sound."""

    def __init__(self, decoder: Any) -> None:
        hypothesis = decoder.hyp()
        self.text: str = hypothesis.hypstr if hypothesis is not None else ""
        segments = list(decoder.seg() or [])
        words = [segment for segment in segments if segment.word not in _SILENT]
        self.first = words[0].start_frame if words else 0
        self.last = words[-1].end_frame if words else -1
        self._frames = np.zeros(decoder.n_frames() + 1)  # the logarithm of the likelihood of each frame
        for segment in segments:
            length = segment.end_frame - segment.start_frame + 1
            score = float(np.log(max(segment.ascore, 1e-300))) / max(length, 1)
            self._frames[segment.start_frame : segment.end_frame + 1] = score

    def score(self, first: int, last: int) -> float:
        """The mean over some frames, both ends included."""
        return float(self._frames[first : last + 1].mean()) if last >= first else 0.0

    def loss(self, free: _Scored) -> float:
        """How much less likely this is than the freest reading of the sound, per frame of what was said."""
        return free.score(self.first, self.last) - self.score(self.first, self.last)
