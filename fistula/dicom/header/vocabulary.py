"""The words that may leave a header: what is not in a list here becomes a pseudonym or `OTHER`."""

import re
from functools import lru_cache

from fistula.dicom.identity import Pseudonyms

VENDORS = (
    "philips", "siemens", "ge", "canon", "toshiba", "hitachi", "fujifilm", "united imaging", "uih", "esaote",
    "bruker", "agilent", "varian", "neusoft", "paramed", "hologic", "carestream", "agfa", "fonar", "hyperfine",
    "aspect", "time medical",
)  # fmt: skip
_MODELS = (
    "ingenia elition ambition achieva dstream intera gyroscan panorama multiva prodiva skyra prisma aera "
    "avanto vida sola lumina verio trio triotim espree symphony sonata harmony essenza amira altea free.max "
    "cima terra magnetom spectra biograph allegra concerto vision signa discovery optima brivo genesis "
    "architect artist premier pioneer voyager explorer excite hdxt hdx hdi mr450 mr450w mr750 mr750w mr355 "
    "mr360 titan vantage galan orian elan fortian atlas echelon oasis aperto airis trillium oval umr o-scan "
    "s-scan g-scan fit plus xt xr x s cx tx xq nova mr 0.2t 0.35t 0.5t 1t 1.0t 1.5t 3t 3.0t 7t _fit dot uhp nt t5 "
    "ct ct/i ict lightspeed hispeed vct revolution brilliance ingenuity iqon incisive spectral aquilion one prime "
    "somatom definition as as+ force sensation emotion drive edge go go.up go.top confidence naeotom alpha "
)
MODELS = frozenset(_MODELS.split())
_IMAGE_TYPES = (
    "ORIGINAL DERIVED PRIMARY SECONDARY OTHER LOCALIZER AXIAL CORONAL SAGITTAL OBLIQUE VOLUME MIXED NONE "
    "MOSAIC PROJECTION M P R I W F IP OP T1 T2 T2_STAR ADC FA EADC TRACE TRACEW DIFFUSION DIFFUSION_ISO "
    "PERFUSION RELCBF RELCBV RELMTT TTP FIELD_MAP B0 M_FFE M_SE M_IR M_TFE M_B0 M_B1 M_PCA M_MC P_FFE P_SE "
    "P_IR PHASE_CONTRAST R_FFE R_SE R_IR I_FFE I_SE I_IR FFE SE IR TFE TSE EPI PCA MPR MIP MINIP AVERAGE MEAN "
    "SUM SUB SUBTRACT ADDITION MAX_IP MIN_IP RESAMPLED CPR CSAMPR CSAPARALLEL CSAMANIP WATER FAT IN_PHASE "
    "OUT_OF_PHASE OUT_PHASE OPP_PHASE OPPOSED_PHASE FAT_FRACTION WATER_FRACTION DIXON MAGNITUDE PHASE REAL "
    "IMAGINARY ND NORM DIS2D DIS3D DIS2D_ND FIL MFSPLIT FM1 FM2 FM3 FM4 SCREEN REFORMATTED DERIVATIVE ANGIO "
    "FLOW_ENCODED CINE STATIC DYNAMIC GATED JP2K LOSSY LOSSLESS"
)
IMAGE_TYPES = frozenset(_IMAGE_TYPES.split())
SEQUENCES = frozenset({"SE", "IR", "GR", "EP", "RM"})
_MODALITIES = (
    "AR BI BMD CR CT DG DX EC EPS ES FS GM HC IO IVOCT IVUS LEN LS MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF "
    "OPV OSS OT PT PX RF RG RTIMAGE SM TG US VA VF XA XC XRF CF CP CS DD DF DM DS EC FA LP MA MS OPR ST VD"
)
MODALITIES = frozenset(_MODALITIES.split())
ORIENTATIONS = ("axial", "coronal", "sagittal")


@lru_cache(maxsize=1024)  # the slices of a series share their words
def vendor(manufacturer: str) -> str:
    """The maker in one lower-case word; `other` for one that is not known, empty for none.

    Example:
        >>> vendor("Philips Medical Systems"), vendor("G.E. Medical Systems"), vendor("Dr Smith's own")
        ('philips', 'ge', 'other')
    """
    words = re.sub(r"[^a-z]+", " ", manufacturer.lower().replace("g.e.", "ge")).strip()
    if not words:
        return ""
    return next((name for name in VENDORS if f" {name} " in f" {words} "), "other")


def model(name: str, pseudonyms: Pseudonyms) -> str:
    """The scanner's model if every word of it is a known one, else a pseudonym that still tells scanners apart."""
    if not name:
        return ""
    words = name.lower().replace("_", " ").split()
    if all(word in MODELS or (word.isdigit() and len(word) < 5) for word in words):
        return name
    return f"model {pseudonyms('model', name)[:8]}"


def image_type(values: list[str]) -> str:
    """ImageType's values joined by a backslash; those that are not known words become OTHER."""
    words = [value.strip().upper() for value in values]
    kept = [word if all(token in IMAGE_TYPES for token in word.split()) and word else "OTHER" for word in words]
    return "\\".join(kept)


def scanning_sequence(values: list[str]) -> str:
    """ScanningSequence's values (PS3.3 C.8.3.1.1.2) joined by a backslash."""
    return "\\".join(word for word in (value.strip().upper() for value in values) if word in SEQUENCES)


def modality(value: str) -> str:
    """The modality if it is a defined one (PS3.3 C.7.3.1.1.1), else OT."""
    return value.upper() if value.upper() in MODALITIES else "OT"


def sex(value: str) -> str | None:
    """M, F or O; None for anything else."""
    return value.upper() if value.upper() in ("M", "F", "O") else None
