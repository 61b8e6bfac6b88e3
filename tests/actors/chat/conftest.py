"""Time limits on single examples say more about the machine than about the code."""

from hypothesis import settings

settings.register_profile("chat", deadline=None)
settings.load_profile("chat")
