"""What scanners and patients do to an MR image: bias fields, Rician noise, ghosts of motion, as albumentations."""

from typing import Any

import cv2
import numpy as np
from albumentations import ImageOnlyTransform
from numpy.typing import NDArray

from fistula.errors import ConfigError

# Smooth fields need few points; the rest is interpolated.
COARSE = 32


class BiasField(ImageOnlyTransform):
    """Multiply by a smooth field, the exponential of a random polynomial of third order: a coil's uneven reach.

    `strength` is the range of the largest change, as a factor below and above 1: 0.3 brightens by up to 30 %.

    Source:
        Sudre et al. 2017, Longitudinal segmentation of age-related white matter hyperintensities, Med Image Anal 38
        (the polynomial field that TorchIO's RandomBiasField uses).
    """

    def __init__(self, strength: tuple[float, float], p: float = 0.5) -> None:
        super().__init__(p=p)
        self.strength = _range("BiasField.strength", strength)

    def get_params(self) -> dict[str, Any]:
        return {
            "strength": self.py_random.uniform(*self.strength),
            "coefficients": [self.py_random.uniform(-1, 1) for _ in range(9)],
        }

    def apply(
        self, img: NDArray[np.uint8], *, strength: float, coefficients: list[float], **params: Any
    ) -> NDArray[np.uint8]:
        across = np.linspace(-1, 1, COARSE, dtype=np.float32)
        y, x = across[:, None], across[None, :]
        terms = (x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3)
        field = np.zeros((COARSE, COARSE), np.float32)
        for coefficient, term in zip(coefficients, terms, strict=True):
            field += np.float32(coefficient) * term
        field -= field.mean()
        field *= np.float32(np.log1p(strength)) / np.abs(field).max()
        smooth = cv2.resize(np.exp(field), img.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.multiply(img, smooth, dtype=cv2.CV_8U), np.uint8)


class RicianNoise(ImageOnlyTransform):
    """Add the noise of a magnitude image: Gaussian in two channels, of which the length is what is seen.

    `deviation` is the range of the standard deviation in each channel, as a part of 255.

    Source:
        Gudbjartsson and Patz 1995, The Rician distribution of noisy MRI data, Magn Reson Med 34(6).
    """

    def __init__(self, deviation: tuple[float, float], p: float = 0.5) -> None:
        super().__init__(p=p)
        self.deviation = _range("RicianNoise.deviation", deviation)

    def get_params(self) -> dict[str, Any]:
        return {"deviation": self.py_random.uniform(*self.deviation), "seed": self.py_random.getrandbits(32)}

    def apply(self, img: NDArray[np.uint8], *, deviation: float, seed: int, **params: Any) -> NDArray[np.uint8]:
        noise = np.random.default_rng(seed).standard_normal((2, *img.shape), dtype=np.float32)
        noise *= np.float32(255 * deviation)
        noise[0] += img
        return np.asarray(cv2.convertScaleAbs(cv2.magnitude(noise[0], noise[1])), np.uint8)


class Ghosting(ImageOnlyTransform):
    """Weaken every n-th line of k-space but the centre: the ghosts of a patient who breathes or moves.

    `ghosts` is the range of n, the number of ghosts; `intensity` that of the part that is taken from those lines.

    Source:
        The method of TorchIO's RandomGhosting: Pérez-García et al. 2021, Comput Methods Programs Biomed 208.
    """

    centre = 0.02  # part of k-space that stays, or the whole image would darken

    def __init__(self, ghosts: tuple[int, int], intensity: tuple[float, float], p: float = 0.5) -> None:
        super().__init__(p=p)
        self.ghosts = (int(ghosts[0]), int(ghosts[1]))
        self.intensity = _range("Ghosting.intensity", intensity)
        if not 2 <= self.ghosts[0] <= self.ghosts[1]:
            raise ConfigError("Ghosting.ghosts", "must be a range from at least 2", found=list(ghosts))

    def get_params(self) -> dict[str, Any]:
        return {
            "ghosts": self.py_random.randint(*self.ghosts),
            "intensity": self.py_random.uniform(*self.intensity),
            "axis": self.py_random.randint(0, 1),
        }

    def apply(
        self, img: NDArray[np.uint8], *, ghosts: int, intensity: float, axis: int, **params: Any
    ) -> NDArray[np.uint8]:
        lines = np.fft.fftfreq(img.shape[axis])
        weights = np.where(np.arange(len(lines)) % ghosts == 0, np.float32(1 - intensity), np.float32(1))
        weights[np.abs(lines) <= self.centre] = 1
        spectrum = np.fft.fft(img.astype(np.float32), axis=axis)
        spectrum *= weights[:, None] if axis == 0 else weights
        magnitude = np.abs(np.fft.ifft(spectrum, axis=axis)).astype(np.float32)
        return np.asarray(cv2.convertScaleAbs(magnitude), np.uint8)


def _range(key: str, values: tuple[float, float]) -> tuple[float, float]:
    low, high = values
    if not 0 <= low <= high <= 1:
        raise ConfigError(key, "must be a range within [0, 1]", found=list(values))
    return float(low), float(high)
