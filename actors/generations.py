"""The GenerationActor: the shell around the core of responses."""

from __future__ import annotations

from antiphon.actors import messages as m
from antiphon.actors.core import CoreActor
from antiphon.actors.emitter import Emitter
from antiphon.actors.generation_core import GenerationCore
from antiphon.actors.strand import Strand


class GenerationActor(CoreActor):
    """Owns the arbiter, the pending replies and the streams.

    Args:
        strand: The session's strand.
        core: Decisions.
        emitter: Where events for the user go.
    """

    def __init__(self, strand: Strand, core: GenerationCore, emitter: Emitter) -> None:
        super().__init__(strand, m.GENERATION, core, emitter)
