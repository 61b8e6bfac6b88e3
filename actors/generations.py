"""The GenerationActor: the shell around the core of responses."""

from __future__ import annotations

from antiphon.actors import messages as m
from antiphon.actors.core import CoreActor
from antiphon.actors.emitter import Emitter
from antiphon.actors.generation_core import GenerationCore
from antiphon.actors.logs import about
from antiphon.actors.playback import Playback
from antiphon.actors.response_content import FinishPlaying, Play
from antiphon.actors.strand import Strand
from antiphon.actors.tool_calls import RunTool, run_on_pool


class GenerationActor(CoreActor):
    """Owns the arbiter, the pending replies and the streams.

    Args:
        strand: The session's strand.
        core: Decisions.
        emitter: Where events for the user go.
        playback: The ledger that the application's player reads.
    """

    def __init__(self, strand: Strand, core: GenerationCore, emitter: Emitter, playback: Playback) -> None:
        super().__init__(strand, m.GENERATION, core, emitter)
        self._playback = playback

    def _play(self, effect: Play) -> None:
        self._playback.write(effect.item_id, effect.samples, effect.beside)

    def _finish_playing(self, effect: FinishPlaying) -> None:
        self._playback.finish(effect.item_id)

    def _run_tool(self, effect: RunTool) -> None:
        strand = self.strand

        def tell(message: m.Message) -> None:
            strand.tell(m.GENERATION, message)

        def run() -> None:
            with about(strand.origin):
                run_on_pool(effect.running, effect.executor, tell)

        strand.runtime.run_tool(run)


GenerationActor.performers.update(
    {
        Play: GenerationActor._play,
        FinishPlaying: GenerationActor._finish_playing,
        RunTool: GenerationActor._run_tool,
    }
)
