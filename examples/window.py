"""The window of `tk_window.py`."""

from __future__ import annotations

import queue
import sys
import tkinter as tk
from collections.abc import Callable
from typing import Any

from pretend import PretendedCall

from antiphon.devices import DeviceCall

LOOK_EVERY_MS = 40
PAPER, CARD, INK, FAINT = "#f3f4f6", "#ffffff", "#1b1f26", "#5d6673"
NAMES = {"You": "#2459c4", "Model": "#0b7a5c", "Error": "#b3261e"}
LAMPS = {"connecting": "#c98a12", "open": "#0b7a5c", "reconnecting": "#c98a12", "closed": "#b3261e"}
FONT = "DejaVu Sans"


class Window(tk.Tk):
    """The state above, the transcript in the middle, below it the button, and around it how loud it is.

    Args:
        call: What can be pressed, released, and has levels.

    Raises:
        SystemExit: There is no screen; the message says what to do.
    """

    def __init__(self, call: DeviceCall | PretendedCall) -> None:
        try:
            super().__init__(className="antiphon")
        except tk.TclError as error:
            sys.exit(
                f"no screen for the window ({error}): set DISPLAY to one, such as DISPLAY=:0, "
                "or run the program in memory: xvfb-run python …"
            )
        self.title("antiphon")
        self.configure(bg=PAPER, padx=20, pady=16)
        self.minsize(380, 420)
        self.geometry("460x620")
        self._call, self._held = call, False
        self._told: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.SimpleQueue()
        self._state = tk.Label(self, bg=PAPER, anchor="w", font=(FONT, 11))
        self._state.pack(fill="x", pady=(0, 12))
        self._pad = tk.Canvas(self, width=200, height=170, bg=PAPER, highlightthickness=0, cursor="hand2")
        self._pad.pack(side="bottom", pady=(12, 0))
        self._text = tk.Text(
            self, wrap="word", bg=CARD, fg=INK, bd=0, padx=18, pady=8, font=(FONT, 11), height=1
        )
        self._text.configure(
            state="disabled", highlightthickness=1, highlightbackground="#dfe2e7", spacing3=2
        )
        self._text.pack(fill="both", expand=True)
        for name, colour in NAMES.items():
            self._text.tag_configure(name, foreground=colour, font=(FONT, 9, "bold"), spacing1=10)
        self._halo = self._pad.create_oval(0, 0, 0, 0, width=0)
        self._disc = self._pad.create_oval(48, 33, 152, 137, width=0)
        self._word = self._pad.create_text(100, 85, fill=CARD, font=(FONT, 11, "bold"), justify="center")
        self._pad.bind("<ButtonPress-1>", lambda event: self._hold(True))
        self._pad.bind("<ButtonRelease-1>", lambda event: self._hold(False))
        self.bind("<Escape>", lambda event: self.destroy())
        self._hold(False)
        self._look()

    def tell(self, what: Callable[..., None], *about: Any) -> None:
        """Have something done on Tk's thread. Thread-safe."""
        self._told.put((what, about))

    def show_state(self, state: str) -> None:
        """Show how the connection is."""
        self._state.configure(text=f"● {state}", fg=LAMPS[state])

    def say(self, key: str, name: str, said: str) -> None:
        """Show what somebody says; the same key replaces what there is of it."""
        text = self._text
        text.configure(state="normal")
        if not text.tag_ranges(key):
            text.insert("end", f"{name}\n", name, "…", key, "\n")
        at = text.index(f"{key}.first")
        text.delete(at, f"{key}.last")
        text.insert(at, said or "…", key)
        text.configure(state="disabled")
        text.see("end")

    def _hold(self, held: bool) -> None:
        if held != self._held:
            self._call.press() if held else self._call.release()
        self._held = held
        self._pad.itemconfigure(self._disc, fill=NAMES["You"] if held else INK)
        self._pad.itemconfigure(self._word, text="Listening" if held else "Hold\nto talk")

    def _look(self) -> None:
        while not self._told.empty():
            what, about = self._told.get()
            what(*about)
        levels = self._call.levels
        loud, colour = (levels.microphone, "#bccff5") if self._held else (levels.speaker, "#b5dfd2")
        size = 52 + 32 * min(1.0, loud) ** 0.5
        self._pad.coords(self._halo, 100 - size, 85 - size, 100 + size, 85 + size)
        self._pad.itemconfigure(self._halo, fill=colour)
        self.after(LOOK_EVERY_MS, self._look)
