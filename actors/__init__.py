"""Floor 2: the engine. Threads, mailboxes, sockets and audio; knows `antiphon.protocol` only."""
