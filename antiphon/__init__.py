"""antiphon: real-time voice for Python programs that use threads."""
