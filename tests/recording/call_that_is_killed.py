"""Speaks for ever, and records it: `python call_that_is_killed.py URL FILE`. A test kills it."""

import sys
import time

import numpy as np

from antiphon import RealtimeModel

BLOCK = 480  # 20 ms

model = RealtimeModel(base_url=sys.argv[1], api_key="any", turn_detection=None)
session = model.session(start=False)
session.record(sys.argv[2])
session.start()
began = time.monotonic()
number = 0
while True:
    # Each block holds its own number.
    session.push_audio(np.full(BLOCK, number % 30_000, np.int16), 24_000, 1)
    number += 1
    # The pace of a sound card; nothing is waited for.
    time.sleep(max(0.0, began + number * BLOCK / 24_000 - time.monotonic()))
