"""The AudioInActor: from pushed frames to the wire's chunks; commits, clears, and what a drop would cost."""

from __future__ import annotations

import numpy as np

import antiphon.protocol as p
from antiphon.actors import messages as m
from antiphon.actors.audio import WireAudio, codec_for
from antiphon.actors.config import SessionOptions, SessionSpec
from antiphon.actors.core import Core, CoreActor, handles
from antiphon.actors.emitter import Emitter
from antiphon.actors.retained import RetainedAudio
from antiphon.actors.strand import Strand

# The API refuses a commit of less; exactly this much is refused too.
MIN_COMMIT_MS = 100


class AudioInCore(Core):
    """State and decisions of the AudioInActor.

    Args:
        spec: What the session was made with.
        options: What the server is told.
    """

    def __init__(self, spec: SessionSpec, options: SessionOptions) -> None:
        super().__init__()
        self._codec = codec_for(options.input_audio_format)
        self._audio = WireAudio(self._codec.rate)
        self._chunk_samples = self._codec.ms_to_samples(spec.input_chunk_ms)
        self._pending: list[np.ndarray] = []
        self._pending_samples = 0
        # Wire samples since the last commit or clear, as the API's minimum counts them.
        self._uncommitted_samples = 0
        self._retained = RetainedAudio(spec.timeouts.audio_ring * 1000)
        # Whether a commit is confirmed whose item has not been announced yet; and the item announced last.
        self._confirmed = False
        self._announced = ""
        self._set_options(options)

    @handles(m.PushAudio, undo=False)
    def push_audio(self, message: m.PushAudio) -> None:
        """Resample, and send what makes whole chunks."""
        self._add(self._audio.push_many(message.frames))
        if self._pending_samples >= self._chunk_samples:
            self._send_chunks()

    @handles(m.CommitAudio)
    def commit_audio(self, _: m.CommitAudio) -> None:
        """Send what is left, then the commit if there is enough to commit."""
        self._add(self._audio.flush())
        self._send_chunks()
        self._send_rest()
        if self._uncommitted_samples > self._codec.ms_to_samples(MIN_COMMIT_MS):
            self.tell(m.CONNECTION, m.Transmit(p.InputAudioBufferCommit()))
            self._uncommitted_samples = 0

    @handles(m.ClearAudio)
    def clear_audio(self, _: m.ClearAudio) -> None:
        """Throw away what was not sent, and have the server throw away the rest."""
        self._audio.flush()
        self._pending.clear()
        self._pending_samples = 0
        self._uncommitted_samples = 0
        self.tell(m.CONNECTION, m.Transmit(p.InputAudioBufferClear()))

    @handles(m.AudioWritten, undo=False)
    def audio_written(self, message: m.AudioWritten) -> None:
        """Keep them until the server has committed them."""
        if message.heard:
            # Before the chunks are counted in: of these the server may know nothing yet.
            self._retained.server_heard()
        for chunk in message.chunks:
            self._retained.written(chunk)

    @handles(m.CommitWritten)
    def commit_written(self, _: m.CommitWritten) -> None:
        """The commit is on its way."""
        self._retained.commit_written()

    @handles(m.ClearWritten)
    def clear_written(self, _: m.ClearWritten) -> None:
        """The clear is on its way."""
        self._retained.clear_written()

    @handles(m.ConnectionOpened, undo=False)
    def connection_opened(self, _: m.ConnectionOpened) -> None:
        """Nothing to do: what the new server has to hear was asked for before."""

    @handles(m.PeerHeard)
    def peer_heard(self, _: m.PeerHeard) -> None:
        """The connection lives."""
        self._retained.server_heard()

    @handles(p.InputAudioBufferSpeechStarted)
    def speech_started(self, event: p.InputAudioBufferSpeechStarted) -> None:
        """From here on a drop would cost a sentence."""
        self._retained.speech_started(event.audio_start_ms)
        self._retained.server_heard()

    @handles(p.InputAudioBufferSpeechStopped)
    def speech_stopped(self, event: p.InputAudioBufferSpeechStopped) -> None:
        """What was said from here on is not part of the turn that the server will commit."""
        self._retained.speech_stopped(event.audio_end_ms)

    @handles(p.InputAudioBufferCommitted)
    def committed(self, event: p.InputAudioBufferCommitted) -> None:
        """The server has it. Until the item is announced, the mirror doesn't, and a drop would lose the utterance."""
        self._let_go()
        self._confirmed = True
        if event.item_id == self._announced:
            self._let_go()

    @handles(p.ConversationItemAdded, p.ConversationItemCreated)
    def item_added(self, event: p.ConversationItemAdded | p.ConversationItemCreated) -> None:
        """What was committed is in the mirror."""
        self._announced = str(getattr(event.item, "id", "") or "")
        self._let_go()

    @handles(p.ResponseCreated)
    def response_created(self, _: p.ResponseCreated) -> None:
        """The server has gone on: if it has not announced the item by now, it never does."""
        self._let_go()

    def _let_go(self) -> None:
        if self._confirmed:
            self._confirmed = False
            self._retained.committed()
        self._retained.server_heard()

    @handles(m.ConnectionLost)
    def connection_lost(self, _: m.ConnectionLost) -> None:
        """A replay that was under way has to begin anew."""
        self._confirmed = False
        self._retained.connection_lost()

    @handles(m.ReplayWanted)
    def replay_wanted(self, _: m.ReplayWanted) -> None:
        """Hand over what the new connection has to hear."""
        lost_ms = self._retained.take_lost_ms()
        self.tell(m.CONNECTION, m.ReplayAudio(self._retained.take_for_replay(), lost_ms))

    @handles(m.OptionsChanged)
    def options_changed(self, message: m.OptionsChanged) -> None:
        """Turn detection decides what is kept."""
        self._set_options(message.options)

    @handles(m.SessionClosing)
    def session_closing(self, _: m.SessionClosing) -> None:
        """Let go of the audio."""
        self._pending.clear()
        self._pending_samples = 0

    def _set_options(self, options: SessionOptions) -> None:
        detects = options.turn_detection is not None
        self._retained.detect_turns(options.prefix_padding_ms if detects else None)

    def _add(self, samples: np.ndarray) -> None:
        if samples.size:
            self._pending.append(samples)
            self._pending_samples += samples.size
            self._uncommitted_samples += samples.size

    def _send_chunks(self) -> None:
        size = self._chunk_samples
        if self._pending_samples < size:
            return
        samples = self._all_pending()
        whole = len(samples) - len(samples) % size
        self._send([samples[start : start + size] for start in range(0, whole, size)])
        # Last: if one of them can't be sent, they all wait for the next push.
        self._pending = [samples[whole:]] if whole < len(samples) else []
        self._pending_samples = len(samples) - whole

    def _send_rest(self) -> None:
        if self._pending_samples:
            self._send([self._all_pending()])
            self._pending = []
            self._pending_samples = 0

    def _all_pending(self) -> np.ndarray:
        return self._pending[0] if len(self._pending) == 1 else np.concatenate(self._pending)

    def _send(self, pieces: list[np.ndarray]) -> None:
        codec = self._codec
        chunks = [m.AudioChunk(codec.encode(piece), codec.samples_to_ms(len(piece))) for piece in pieces]
        self.tell(m.CONNECTION, m.TransmitAudio(chunks))


class AudioInActor(CoreActor):
    """Owns a session's input audio up to the wire.

    Args:
        strand: The session's strand.
        core: Decisions.
        emitter: Where events for the user go.
    """

    def __init__(self, strand: Strand, core: AudioInCore, emitter: Emitter) -> None:
        super().__init__(strand, m.AUDIO_IN, core, emitter)
