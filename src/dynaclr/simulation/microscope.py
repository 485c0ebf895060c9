"""Image formation: from light to camera counts, with differences between experiments and wells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dynaclr.config.simulation import SimulationConfig
from dynaclr.simulation.randomness import generator

Image = NDArray[np.float32]

# Standard deviation of each technical property at batch effect 1: between experiments, and between
# the wells of one experiment. Factors are log-normal; tilts are added, as shares of the mean light.
_BETWEEN_EXPERIMENTS = {
    "psf_um": 0.2,
    "focus_um": 0.3,
    "phase_photons": 0.25,
    "phase_contrast": 0.25,
    "fluorescence_photons": 0.4,
    "background_photons": 0.5,
    "gain": 0.3,
    "read_noise": 0.3,
    "vignetting": 0.5,
    "tilt_y": 0.08,
    "tilt_x": 0.08,
}
_BETWEEN_WELLS = {
    "phase_photons": 0.08,
    "phase_contrast": 0.1,
    "fluorescence_photons": 0.2,
    "background_photons": 0.25,
    "tilt_y": 0.05,
    "tilt_x": 0.05,
}
_TILTS = ("tilt_y", "tilt_x")
PHASE_CONTRAST = 0.28
HALO_UM = 3.0
# A phase halo takes back most of the light that a cell adds.
HALO_STRENGTH = 0.75
# Blur added by each micrometre out of focus, and the contrast it costs.
BLUR_PER_UM = 0.35
CONTRAST_LOSS_PER_UM = 0.15
FOCUS_CORRELATION_HOURS = 2.0


@dataclass(frozen=True)
class Microscope:
    """The technical state in which the wells of an experiment are imaged.

    Attributes
    ----------
    psf_um, focus_um : float
        Point spread and drift of the focus (standard deviations).
    phase_photons, fluorescence_photons, background_photons : float
        Light, in photons a pixel.
    phase_contrast : float
        Change of phase light by an optical path of 1.
    gain, offset, read_noise : float
        Camera: counts a photon, counts without light, standard deviation in counts.
    vignetting : float
        Share of the light missing in the corners.
    tilt_y, tilt_x : float
        Change of the light from the centre to the lower and to the right edge, as a share.
    """

    psf_um: float
    focus_um: float
    phase_photons: float
    phase_contrast: float
    fluorescence_photons: float
    background_photons: float
    gain: float
    offset: float
    read_noise: float
    vignetting: float
    tilt_y: float = 0.0
    tilt_x: float = 0.0

    def with_deviations(self, deviations: Mapping[str, float]) -> Microscope:
        """The same microscope with logarithms of factors (of tilts, differences) applied."""
        changed = {
            name: getattr(self, name) + value
            if name in _TILTS
            else getattr(self, name) * math.exp(value)
            for name, value in deviations.items()
        }
        if "vignetting" in changed:
            changed["vignetting"] = min(changed["vignetting"], 0.6)
        return replace(self, **changed)


def microscopes(
    config: SimulationConfig, name: str, condition_of_well: dict[str, str]
) -> dict[str, Microscope]:
    """Technical state of each well of an experiment.

    The variance between wells is split: a share of `config.confounding` goes with the condition
    (the same deviation for all its wells), the rest is each well's own. The total does not change.

    Parameters
    ----------
    config : SimulationConfig
        Nominal values, strength of the batch effect, confounding.
    name : str
        Name of the experiment, which has deviations of its own.
    condition_of_well : dict of str to str
        Condition of each well.
    """
    nominal = Microscope(
        psf_um=config.psf_um,
        focus_um=config.focus_drift_um,
        phase_photons=config.phase_photons,
        phase_contrast=PHASE_CONTRAST,
        fluorescence_photons=config.fluorescence_photons,
        background_photons=config.background_photons,
        gain=config.gain,
        offset=config.offset,
        read_noise=config.read_noise,
        vignetting=config.vignetting,
    )
    shared = nominal.with_deviations(_deviations(config, _BETWEEN_EXPERIMENTS, name, "experiment"))
    states = {}
    for well, condition in condition_of_well.items():
        own = _deviations(config, _BETWEEN_WELLS, name, "well", well)
        common = _deviations(config, _BETWEEN_WELLS, name, "condition", condition)
        mix = {
            key: math.sqrt(config.confounding) * common[key]
            + math.sqrt(1.0 - config.confounding) * own[key]
            for key in own
        }
        states[well] = shared.with_deviations(mix)
    return states


def _deviations(
    config: SimulationConfig, spread: dict[str, float], *names: str
) -> dict[str, float]:
    draws = generator(config.seed, "microscope", *names).standard_normal(len(spread)).clip(-2, 2)
    deviates = zip(spread.items(), draws, strict=True)
    return {key: config.batch_effect * sd * float(draw) for (key, sd), draw in deviates}


def illumination(microscope: Microscope, shape: tuple[int, int]) -> Image:
    """Relative light over the field of view, mean 1: darker corners and a tilt.

    Parameters
    ----------
    microscope : Microscope
        Its vignetting and tilt.
    shape : tuple of int
        Height and width in pixels.
    """
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None]
    light = 1.0 - microscope.vignetting * (y**2 + x**2) / 2.0
    light = light + microscope.tilt_y * y + microscope.tilt_x * x
    return np.maximum(light / light.mean(), 0.05).astype(np.float32)


def focus_track(
    microscope: Microscope, hours: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Distance from focus at each frame, in um: a stationary Ornstein-Uhlenbeck process."""
    draws = rng.standard_normal(len(hours))
    focus = np.empty(len(hours))
    focus[0] = draws[0]
    for i in range(1, len(hours)):
        correlation = math.exp(-(hours[i] - hours[i - 1]) / FOCUS_CORRELATION_HOURS)
        focus[i] = correlation * focus[i - 1] + math.sqrt(1.0 - correlation**2) * draws[i]
    return microscope.focus_um * focus


def phase_photons(
    path: Image, microscope: Microscope, light: Image, focus_um: float, pixel_size_um: float
) -> Image:
    """Photons of a positive phase-contrast image of an optical path.

    Cells stand out against a level background; the halo is the path blurred widely and taken off.
    """
    blur = _blur_px(microscope, focus_um, pixel_size_um)
    sharp = gaussian_filter(path, blur, mode="nearest")
    halo = gaussian_filter(sharp, HALO_UM / pixel_size_um, mode="nearest", truncate=3.0)
    contrast = microscope.phase_contrast / (1.0 + CONTRAST_LOSS_PER_UM * abs(focus_um))
    relative = 1.0 - contrast * (sharp - HALO_STRENGTH * halo)
    return microscope.phase_photons * light * np.maximum(relative, 0.05)


def fluorescence_photons(
    label: Image, microscope: Microscope, light: Image, focus_um: float, pixel_size_um: float
) -> Image:
    """Photons of a fluorescence image of a label whose mean over an average cell is 1."""
    sharp = gaussian_filter(label, _blur_px(microscope, focus_um, pixel_size_um), mode="nearest")
    return light * (
        microscope.fluorescence_photons * sharp + np.float32(microscope.background_photons)
    )


def background_photons(microscope: Microscope, light: Image) -> Image:
    """Photons of a fluorescence image without any label."""
    return light * np.float32(microscope.background_photons)


def expose(photons: Image, microscope: Microscope, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Camera counts: shot noise of the photons (Poisson), gain, read-out noise (normal), offset."""
    counts = _shot_noise(photons, rng)
    counts *= np.float32(microscope.gain)
    counts += np.float32(microscope.read_noise) * rng.standard_normal(photons.shape, np.float32)
    counts += np.float32(microscope.offset)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def _shot_noise(photons: Image, rng: np.random.Generator) -> Image:
    # With many photons a Poisson number is a normal one (skewness below 0.1), and much cheaper.
    if photons.min() > 100:
        noise = rng.standard_normal(photons.shape, np.float32)
        return np.rint(photons + np.sqrt(photons) * noise)
    return rng.poisson(photons).astype(np.float32)


def _blur_px(microscope: Microscope, focus_um: float, pixel_size_um: float) -> float:
    return math.hypot(microscope.psf_um, BLUR_PER_UM * focus_um) / pixel_size_um
