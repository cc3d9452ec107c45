"""What a point of the phantom can be made of, and how bright that is."""

from enum import IntEnum

import numpy as np

# Fat-suppressed T2: fluid and granulation tissue are bright, muscle and scars dark. That sphincter and mucosa are
# as bright as an active tract is the phantom's own rule: a breach of them is then not to be seen.
BRIGHT = 0.9


class Tissue(IntEnum):
    """The labels of an anatomy, numbered from 0; `AIR` is outside the body, `GAS` inside the bowel.

    Each with its look: darkest and brightest water signal of a patient, signal of fat, strength of the texture, signal
    on T2. Water values are relative (0-1) for a post-contrast T1 mDIXON water image: working values, ordered as reviews
    say.
    """

    look: tuple[float, ...]

    def __new__(cls, *look: float) -> "Tissue":
        tissue = int.__new__(cls, len(cls.__members__))
        tissue._value_, tissue.look = len(cls.__members__), look
        return tissue

    AIR = 0.0, 0.0, 0.0, 0.0, 0.0
    GAS = 0.0, 0.02, 0.0, 0.0, 0.0
    CORTEX = 0.01, 0.03, 0.03, 0.0, 0.02
    FAT = 0.07, 0.12, 0.85, 0.018, 0.12
    MARROW = 0.11, 0.20, 0.70, 0.025, 0.15
    PLANE = 0.12, 0.24, 0.50, 0.02, 0.25  # intersphincteric fat
    SKIN = 0.36, 0.52, 0.10, 0.03, 0.3
    MUSCLE = 0.39, 0.47, 0.06, 0.035, 0.3
    IAS = 0.56, 0.65, 0.04, 0.03, BRIGHT  # internal anal sphincter; above the anorectal junction the rectum's muscle
    MUCOSA = 0.66, 0.75, 0.04, 0.05, BRIGHT  # with submucosa
    LUMEN = 0.22, 0.45, 0.02, 0.02, BRIGHT  # fluid and mucus in a collapsed canal
    CAVERNOUS = 0.74, 0.92, 0.05, 0.06, 0.8  # bulb and crura
    GLAND = 0.52, 0.68, 0.05, 0.05, 0.7  # prostate, vagina, urethra
    BLADDER = 0.15, 0.45, 0.01, 0.01, 1.0
    VESSEL = 0.85, 1.0, 0.02, 0.0, 0.4
    LIGAMENT = 0.18, 0.28, 0.08, 0.02, 0.1  # ligaments and tendons
    PLEXUS = 0.86, 0.98, 0.02, 0.03, 0.8  # haemorrhoidal cushions
    TRACT = 0.90, 1.1, 0.03, 0.03, BRIGHT  # granulation tissue: the wall of a wide tract, all of a thin one
    TRACT_LUMEN = 0.25, 0.50, 0.02, 0.02, BRIGHT
    RIM = 0.90, 1.05, 0.02, 0.03, 0.7  # wall of an abscess
    PUS = 0.12, 0.30, 0.02, 0.02, 1.0
    HALO = 0.45, 0.65, 0.25, 0.05, 0.6  # oedema around an active tract
    HEALED = 0.25, 0.42, 0.05, 0.02, 0.05  # scar
    SETON = 0.02, 0.06, 0.02, 0.0, 0.05
    SINUS = 0.80, 1.0, 0.03, 0.03, 0.9  # natal cleft (pilonidal) sinus
    STROMA = 0.36, 0.48, 0.08, 0.04, 0.3  # perineal body, wall of the vagina: fibromuscular
    FISSURE = 0.80, 0.95, 0.03, 0.02, 0.9


# Rows: darkest water, brightest water, fat, texture, T2. Columns: the tissues, by their number.
LOOK = np.array([tissue.look for tissue in Tissue], dtype=np.float32).T
