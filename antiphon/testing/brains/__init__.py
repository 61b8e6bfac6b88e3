"""The brains of the local server: what hears, and decides what to say."""

from antiphon.testing.brains.base import Brain, Call, Fail, Output, Request, Say, Sound, Turn
from antiphon.testing.brains.parrot import ParrotBrain

__all__ = ["Brain", "Call", "Fail", "Output", "ParrotBrain", "Request", "Say", "Sound", "Turn"]
