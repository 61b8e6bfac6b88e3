"""The body of the robot in `robot.py`: simulated, in a corridor with a wall at each end."""

from __future__ import annotations

SPEED = 0.6  # metres a second
CORRIDOR_M = 4.0
MARGIN_M = 0.5  # nearer to a wall it doesn't go


class Robot:
    """What can be ordered, what is sensed, and the motors. For one thread.

    Attributes:
        at: Metres from the corridor's beginning.
        heading: 1 towards its end, -1 back.
        moving: Whether the motors run.
    """

    def __init__(self) -> None:
        self.at, self.heading, self.moving = 1.0, 1, False

    def drive(self) -> str:
        """Drive forward until there is a wall."""
        self.moving = self.free_m > MARGIN_M
        return "I am on my way." if self.moving else self.look()

    def turn(self) -> str:
        """Turn around, to face the other way."""
        self.heading = -self.heading
        return f"I have turned. {self.look()}"

    def stop(self) -> str:
        """Stop at once."""
        self.moving = False
        return "I have stopped."

    def look(self) -> str:
        """Tell how far the wall ahead is."""
        return f"The wall ahead is {self.free_m:.1f} meters away."

    @property
    def free_m(self) -> float:
        """What the distance sensor says: metres to the wall ahead."""
        return CORRIDOR_M - self.at if self.heading > 0 else self.at

    def move(self, seconds: float) -> bool:
        """Let the motors run, if they do; True when the sensor has just stopped them."""
        was_moving = self.moving
        at = self.at + self.heading * SPEED * seconds * was_moving
        self.at = min(max(at, 0.0), CORRIDOR_M)
        self.moving &= self.free_m > MARGIN_M
        return was_moving and not self.moving

    def __str__(self) -> str:
        floor = ["·"] * round(CORRIDOR_M * 2 + 1)
        floor[round(self.at * 2)] = "▶" if self.heading > 0 else "◀"
        return f"|{''.join(floor)}|"
