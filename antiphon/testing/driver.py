"""A session without threads, sockets or time: the test turns the clock and plays the server, step by step.

driver = Driver()
model = RealtimeModel(api_key="test", base_url="http://test/v1", engine=driver)
session = model.session()
wire = driver.accept()                      # the handshake is done
assert wire.sent[0]["type"] == "session.update"
reply = session.generate_reply()
driver.run()
driver.advance(10.0)                        # nobody answers
assert "timed out" in str(reply.exception(0))
"""

from __future__ import annotations

import heapq
import itertools
import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from antiphon.actors.io_loop import Timer
from antiphon.actors.strand import Strand
from antiphon.actors.transport import Dial, DialSpec, HandshakeError, SocketListener
from antiphon.protocol import ServerEvent, encode_server_event

T = TypeVar("T")


class FakeWire:
    """The server's end of a connection, and the transport of the session's end.

    Attributes:
        sent: What the session has sent, decoded, in order.
        pings: How many pings it has sent.
        close_code: The code of its close frame, None while it has sent none.
        aborted: Whether it has let go of the connection.
        full: Set it to have the next frames taken only in part, as by a full socket buffer; `drain` takes
            the rest.
        spec: What the connection was dialled with.
    """

    def __init__(self, driver: Driver, spec: DialSpec, listener: SocketListener) -> None:
        self.sent: list[dict[str, Any]] = []
        self.pings = 0
        self.close_code: int | None = None
        self.aborted = False
        self.full = False
        self.spec = spec
        self._driver = driver
        self._listener = listener
        self._held: list[dict[str, Any]] = []

    # -- the server's side -------------------------------------------------------------------------

    def reply(self, *events: ServerEvent | Mapping[str, Any] | bytes) -> None:
        """Have events arrive at the session, in one read, and run it."""
        frames = []
        for event in events:
            if isinstance(event, bytes):
                frames.append(event)
            elif isinstance(event, Mapping):
                frames.append(json.dumps(event).encode())
            else:
                frames.append(encode_server_event(event))
        self._listener.texts(frames)
        self._driver.run()

    def answer_ping(self) -> None:
        """Have a pong arrive."""
        self._listener.heard()
        self._driver.run()

    def close_by_server(self, code: int = 1000, reason: str = "") -> None:
        """Have the server's close frame arrive."""
        self._listener.close_received(code, reason)
        self._driver.run()

    def drop(self, reason: str = "connection reset") -> None:
        """Cut the connection; what was taken only in part is lost."""
        self._held.clear()
        self._listener.lost(reason)
        self._driver.run()

    def drain(self) -> None:
        """Take the rest of a frame that was taken in part."""
        self.full = False
        self.sent.extend(self._held)
        self._held.clear()
        self._listener.drained()
        self._driver.run()

    def of_type(self, *types: str) -> list[dict[str, Any]]:
        """What the session has sent of these types."""
        return [event for event in self.sent if event["type"] in types]

    @property
    def types(self) -> list[str]:
        """The types of what the session has sent, in order."""
        return [event["type"] for event in self.sent]

    # -- Transport: the session's side ---------------------------------------------------------------

    def send(self, payload: bytes) -> bool:
        """Take a frame."""
        (self._held if self.full else self.sent).append(json.loads(payload))
        return not self.full

    def ping(self) -> None:
        """Count a ping."""
        self.pings += 1

    def close(self, code: int) -> None:
        """Take a close frame."""
        self.close_code = code

    def abort(self) -> None:
        """Note that the session has let go."""
        self.aborted = True

    def pause(self, paused: bool) -> None:
        """Nothing to pause: events arrive when the test says so."""


class _FakeDial:
    def __init__(self, spec: DialSpec, listener: SocketListener) -> None:
        self.spec = spec
        self.listener = listener
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class _FakeConnector:
    def __init__(self) -> None:
        self.dials: deque[_FakeDial] = deque()

    def dial(self, spec: DialSpec, listener: SocketListener) -> Dial:
        dial = _FakeDial(spec, listener)
        self.dials.append(dial)
        return dial


class Driver:
    """Runs sessions by hand: pass it to `RealtimeModel` as `engine`. The clock starts at 1000 s.

    Callbacks and the engine's work run inside `run`, `step`, `advance` and what calls them.
    """

    def __init__(self) -> None:
        self.connector = _FakeConnector()
        self.io_may_work = False
        self.sessions = 0
        self._now = 1000.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._runnable: deque[Strand] = deque()
        self._user_code: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()

    # -- what tests do -------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until nothing is left to do at this time."""
        while self.step():
            pass

    def step(self, messages: int = 1) -> bool:
        """Process up to so many messages of one session, or one batch of callbacks; False if there was nothing."""
        if self._runnable:
            self._runnable.popleft().run(limit=messages)
            return True
        if self._user_code:
            self._user_code.popleft()()
            return True
        return False

    def advance(self, seconds: float) -> None:
        """Let time pass: timers that come due fire in order, each followed by all the work that it causes."""
        end = self._now + seconds
        self.run()
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            timer.fire()
            self.run()
        self._now = end

    def accept(self) -> FakeWire:
        """Let the oldest handshake under way succeed.

        Raises:
            LookupError: No session is connecting.
        """
        dial = self._next_dial()
        wire = FakeWire(self, dial.spec, dial.listener)
        dial.listener.connected(wire, 0.01)
        self.run()
        return wire

    def refuse(self, status: int | None = None, message: str = "refused") -> None:
        """Let the oldest handshake under way fail.

        Raises:
            LookupError: No session is connecting.
        """
        self._next_dial().listener.refused(HandshakeError(message, status))
        self.run()

    @property
    def dialling(self) -> bool:
        """Whether a session is connecting now."""
        self.run()
        return any(not dial.aborted for dial in self.connector.dials)

    def call(self, function: Callable[[], T], timeout: float = 5.0) -> T:
        """Make a call that blocks, and run the sessions until it returns."""
        outcome: list[T] = []
        failure: list[BaseException] = []

        def target() -> None:
            try:
                outcome.append(function())
            except BaseException as error:
                failure.append(error)
            with self._changed:
                self._changed.notify_all()

        thread = threading.Thread(target=target, name="antiphon-driver-call", daemon=True)
        thread.start()
        with self._changed:
            done = self._changed.wait_for(lambda: self._work_while_waiting(outcome, failure), timeout)
        thread.join(timeout)
        if not done:
            raise TimeoutError(f"the call did not return within {timeout:g} s")
        if failure:
            raise failure[0]
        return outcome[0]

    def _work_while_waiting(self, outcome: list[T], failure: list[BaseException]) -> bool:
        self.run()
        return bool(outcome or failure)

    def _next_dial(self) -> _FakeDial:
        self.run()
        while self.connector.dials:
            dial = self.connector.dials.popleft()
            if not dial.aborted:
                return dial
        raise LookupError("no session is connecting")

    # -- Runtime ---------------------------------------------------------------------------------------

    def now(self) -> float:
        """The fake time in seconds."""
        return self._now

    def schedule(self, strand: Strand) -> None:
        """Queue a strand for `run`."""
        with self._changed:
            self._runnable.append(strand)
            self._changed.notify_all()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Set a timer on the fake clock."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (self._now + delay, next(self._order), timer))
        return timer

    def run_user_code(self, work: Callable[[], None]) -> None:
        """Queue callbacks for `run`."""
        with self._changed:
            self._user_code.append(work)
            self._changed.notify_all()

    def run_tool(self, work: Callable[[], None]) -> None:
        """Queue a tool for `run`."""
        self.run_user_code(work)

    def acquire(self, session: object, end: Callable[[float], None]) -> None:
        """Count a session in."""
        self.sessions += 1

    def release(self, session: object) -> None:
        """Count a session out."""
        self.sessions -= 1
