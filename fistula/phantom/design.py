"""The choices that make a synthetic cohort easy or hard, and the scanners it comes from."""

from collections.abc import Sequence
from dataclasses import dataclass

from fistula.errors import ConfigError, refuse_other, refuse_outside

LABELS = ("breach", "random")
COMPANIONS = ("horseshoe", "abscess", "seton")
FINDINGS = ("plexus", "haemorrhoid", "fissure", "healed", "blind", "pocket", "sinus")
RANGES = {
    "share": (1e-6, 1e6),
    "tesla": (0.01, 20),
    "fov_mm": (10, 1000),
    "matrix": (16, 2048),
    "acquired": (0.1, 1),
    "thickness_mm": (0.1, 20),
    "noise": (0, 1),
    "shading": (0, 2),
    "gamma": (0.1, 10),
    "masked_air": (0, 1),
    "tilt_degrees": (-45, 45),
}


@dataclass(frozen=True)
class Site:
    """A hospital's scanner and protocol."""

    name: str  # value of the `site` column
    share: float  # part of the patients, of either group
    model: str  # manufacturer's model name in the header
    manufacturer: str  # as this software release writes it
    tesla: float
    fov_mm: float  # side of the square field of view
    matrix: int  # reconstructed pixels along a side
    acquired: float  # acquired part of the reconstructed matrix, 0-1; the rest of k-space is filled with zeros
    thickness_mm: float  # of a slice; slices overlap where it exceeds their distance
    noise: float  # standard deviation of the complex noise, relative to the brightest vessels
    shading: float  # strength of the bias field: half of the range of its logarithm
    gamma: float  # exponent of the signal: below 1 flattens contrast, above 1 steepens it
    masked_air: float  # probability that air is exactly zero
    # Of the slices about the left-right axis; above 0 the back of a slice lies higher than its front.
    tilt_degrees: float

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            refuse_outside(f"phantom.sites, {self.name}, {name}", getattr(self, name), low, high)


@dataclass(frozen=True)
class Design:
    """What a cohort is drawn from."""

    sites: Sequence[Site]  # at least one
    labels: str  # `breach`: what the anatomy shows; `random`: by lot, one label a patient, to be learned by nobody
    opening_width: tuple[float, float]  # range of the breach's width, mm
    # Range of an active tract's signal; the internal sphincter has about 0.60, the mucosa 0.70.
    tract_signal: tuple[float, float]
    companions: dict[str, float]  # probabilities of `COMPANIONS` with a tract
    findings: dict[str, float]  # probabilities of `FINDINGS`, the hard negatives, in either group
    ghost: float  # probability of a motion ghost
    swap: float  # probability that water and fat are swapped in a region
    # Whether there is a T2-weighted series too, and in each control what either series alone takes for a fistula.
    t2: bool

    def __post_init__(self) -> None:
        refuse_other("phantom.labels", self.labels, LABELS)
        if not self.sites:
            raise ConfigError("phantom.sites", "must name at least one site")
        for name in ("opening_width", "tract_signal"):
            values = getattr(self, name) or []
            if len(values) != 2 or not 0 < values[0] <= values[1] < 100:
                raise ConfigError(f"phantom.{name}", "must be two positive numbers in order", found=values)
        for key, names in (("companions", COMPANIONS), ("findings", FINDINGS)):
            if getattr(self, key).keys() != set(names):
                found = ", ".join(getattr(self, key)) or "none"
                raise ConfigError(f"phantom.{key}", f"must be {', '.join(names)}", found=found)
        if not isinstance(self.t2, bool):
            raise ConfigError("phantom.t2", "must be true or false", found=self.t2)
        chances = {"ghost": self.ghost, "swap": self.swap}
        chances |= {f"companions.{name}": value for name, value in self.companions.items()}
        chances |= {f"findings.{name}": value for name, value in self.findings.items()}
        for name, value in chances.items():
            refuse_outside(f"phantom.{name}", value, 0, 1)
