"""Microphone and loudspeaker. Needs the extra `devices` and the PortAudio library.

    import antiphon, antiphon.devices

    with antiphon.RealtimeModel() as model, model.session() as session, antiphon.devices.talk(session):
        input("Talk; press Enter to hang up. ")

Echo. A model that hears itself through the user's loudspeaker takes that for speech, and interrupts itself.
There are three ways out:

- A headset: nothing to do, and the user can talk over the model. `echo="headset"` is the default.
- `echo="half-duplex"`: while the loudspeaker plays, and a moment longer, silence is sent instead of the
  microphone. This works with any loudspeaker, but the user can't interrupt by talking (`press` still does).
- An echo canceller. None comes with antiphon. Most systems have one to offer as a device (PulseAudio and
  PipeWire: module-echo-cancel), and it then is a name for `input=`. One of your own goes into
  `DeviceCall._hear`: all that the microphone has heard passes there, in blocks of 20 ms on a thread of ours,
  and its reference is what `Speaker._fill` handed out one output latency earlier.
"""

from antiphon.devices.call import DeviceCall, DeviceStats, Levels, talk
from antiphon.devices.portaudio import Device, DeviceError, list_devices

__all__ = ["Device", "DeviceCall", "DeviceError", "DeviceStats", "Levels", "list_devices", "talk"]
