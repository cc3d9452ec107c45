"""What a point of the phantom can be made of, and how bright that is."""

from enum import IntEnum

import numpy as np


class Tissue(IntEnum):
    """The labels of an anatomy; `AIR` is outside the body, `GAS` inside the bowel."""

    AIR = 0
    GAS = 1
    CORTEX = 2
    FAT = 3
    MARROW = 4
    PLANE = 5  # intersphincteric fat
    SKIN = 6
    MUSCLE = 7
    IAS = 8  # internal anal sphincter; above the anorectal junction the rectum's own muscle
    MUCOSA = 9  # with submucosa
    LUMEN = 10  # fluid and mucus in a collapsed canal
    CAVERNOUS = 11  # bulb and crura
    GLAND = 12  # prostate, vagina, urethra
    BLADDER = 13
    VESSEL = 14
    LIGAMENT = 15  # ligaments and tendons
    PLEXUS = 16  # haemorrhoidal cushions
    TRACT = 17  # granulation tissue: the wall of a wide tract, all of a thin one
    TRACT_LUMEN = 18
    RIM = 19  # wall of an abscess
    PUS = 20
    HALO = 21  # oedema around an active tract
    HEALED = 22  # scar
    SETON = 23
    SINUS = 24  # natal cleft (pilonidal) sinus
    STROMA = 25  # perineal body, wall of the vagina: fibromuscular
    FISSURE = 26


# Fat-suppressed T2: fluid and granulation tissue are bright, muscle and scars dark. That sphincter and mucosa are
# as bright as an active tract is the phantom's own rule: a breach of them is then not to be seen.
BRIGHT = 0.9
# Per tissue: darkest and brightest water signal of a patient, signal of fat, strength of the texture, signal on T2.
# Water values are relative (0-1) for a post-contrast T1 mDIXON water image: working values, ordered as reviews say.
_LOOK: dict[Tissue, tuple[float, ...]] = {
    Tissue.AIR: (0.0, 0.0, 0.0, 0.0, 0.0),
    Tissue.GAS: (0.0, 0.02, 0.0, 0.0, 0.0),
    Tissue.CORTEX: (0.01, 0.03, 0.03, 0.0, 0.02),
    Tissue.FAT: (0.07, 0.12, 0.85, 0.018, 0.12),
    Tissue.MARROW: (0.11, 0.20, 0.70, 0.025, 0.15),
    Tissue.PLANE: (0.12, 0.24, 0.50, 0.02, 0.25),
    Tissue.SKIN: (0.36, 0.52, 0.10, 0.03, 0.3),
    Tissue.MUSCLE: (0.39, 0.47, 0.06, 0.035, 0.3),
    Tissue.IAS: (0.56, 0.65, 0.04, 0.03, BRIGHT),
    Tissue.MUCOSA: (0.66, 0.75, 0.04, 0.05, BRIGHT),
    Tissue.LUMEN: (0.22, 0.45, 0.02, 0.02, BRIGHT),
    Tissue.CAVERNOUS: (0.74, 0.92, 0.05, 0.06, 0.8),
    Tissue.GLAND: (0.52, 0.68, 0.05, 0.05, 0.7),
    Tissue.BLADDER: (0.15, 0.45, 0.01, 0.01, 1.0),
    Tissue.VESSEL: (0.85, 1.0, 0.02, 0.0, 0.4),
    Tissue.LIGAMENT: (0.18, 0.28, 0.08, 0.02, 0.1),
    Tissue.PLEXUS: (0.86, 0.98, 0.02, 0.03, 0.8),
    Tissue.TRACT: (0.90, 1.1, 0.03, 0.03, BRIGHT),
    Tissue.TRACT_LUMEN: (0.25, 0.50, 0.02, 0.02, BRIGHT),
    Tissue.RIM: (0.90, 1.05, 0.02, 0.03, 0.7),
    Tissue.PUS: (0.12, 0.30, 0.02, 0.02, 1.0),
    Tissue.HALO: (0.45, 0.65, 0.25, 0.05, 0.6),
    Tissue.HEALED: (0.25, 0.42, 0.05, 0.02, 0.05),
    Tissue.SETON: (0.02, 0.06, 0.02, 0.0, 0.05),
    Tissue.SINUS: (0.80, 1.0, 0.03, 0.03, 0.9),
    Tissue.STROMA: (0.36, 0.48, 0.08, 0.04, 0.3),
    Tissue.FISSURE: (0.80, 0.95, 0.03, 0.02, 0.9),
}

# Rows: darkest water, brightest water, fat, texture, T2. Columns: the tissues, by their number.
LOOK = np.array([_LOOK[tissue] for tissue in Tissue], dtype=np.float32).T
