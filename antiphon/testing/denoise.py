"""Takes steady noise out of speech, so that the recognizer, which was trained on clean speech, copes with it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from antiphon.actors.audio import Int16Array

_SIZE: Final = 512
_HOP: Final = 128
_GAIN_FLOOR: Final = 0.05
_MEMORY: Final = 0.96  # of the decision-directed estimate
_QUIET_SHARE: Final = 8  # the quietest eighth of the frames is taken for noise


def denoise(samples: Int16Array) -> Int16Array:
    """Filter a whole utterance (Wiener gain, a-priori SNR by the decision-directed rule).

    Args:
        samples: Mono, 8 to 24 kHz.

    Returns:
        The utterance, as long as before.
    """
    if len(samples) < _SIZE:
        return samples
    window = np.hanning(_SIZE + 1)[:-1]
    padded = np.concatenate([np.zeros(_SIZE), samples / 32768.0, np.zeros(2 * _SIZE)])
    count = (len(padded) - _SIZE) // _HOP + 1
    frames = padded[np.arange(_SIZE) + _HOP * np.arange(count)[:, None]] * window
    spectra = np.fft.rfft(frames, axis=1)
    power = np.abs(spectra) ** 2
    spectra *= _gains(power, _noise(power))
    filtered = np.zeros(len(padded))
    for index, frame in enumerate(np.fft.irfft(spectra, axis=1) * window):
        filtered[index * _HOP : index * _HOP + _SIZE] += frame
    clean = (
        filtered[_SIZE : _SIZE + len(samples)] / 1.5
    )  # what squared Hann windows at a quarter's step add up to
    return np.rint(clean * 32768).clip(-32768, 32767).astype(np.int16)


def _noise(power: NDArray[np.float64]) -> NDArray[np.float64]:
    edge = _SIZE // _HOP
    inner = power[edge : -2 * edge]
    quiet = np.argsort(inner.sum(axis=1))[: max(4, len(inner) // _QUIET_SHARE)]
    noise: NDArray[np.float64] = inner[quiet].mean(axis=0) + 1e-9
    return noise


def _gains(power: NDArray[np.float64], noise: NDArray[np.float64]) -> NDArray[np.float64]:
    gains = np.empty_like(power)
    before = np.zeros(power.shape[1])
    for index, ratio in enumerate(power / noise):
        prior = _MEMORY * before + (1 - _MEMORY) * np.maximum(ratio - 1, 0)
        gain = np.maximum(prior / (1 + prior), _GAIN_FLOOR)
        gains[index] = gain
        before = gain**2 * ratio
    return gains
