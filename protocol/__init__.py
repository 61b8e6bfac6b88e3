"""Floor 1: the wire as data. Structs, codecs and dialects; no threads, no sockets, no clock."""
