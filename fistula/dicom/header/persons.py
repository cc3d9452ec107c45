"""Whose an object is: pseudonyms of what its header says of the person, to hold one fact against others."""

import re
from datetime import date
from typing import Any

from pydicom.dataset import Dataset

from fistula.dicom.identity import Pseudonyms
from fistula.dicom.parse import text

# What de-identification and scanners put where a PatientID should stand, letters and digits alone.
DEFAULTS = re.compile(
    r"(0*|0*1|123(4(56?(78?9?)?)?)?|x+|n?/?a|anon\w*|de?identified|default|dummy|na|nil|no(id|name|ne)?|null|patient(id)?"
    r"|phantom|removed|sample|subject|test|unknown|unbekannt|inconnu|desconocido|xxx+)",
    re.IGNORECASE,
)


def person_facts(dataset: Dataset, pseudonyms: Pseudonyms, *, birth: date | None, day: date | None) -> dict[str, Any]:
    """The object's patient, and what may contradict that it is one person.

    Args:
        dataset: The header.
        pseudonyms: Names everything.
        birth: Date of birth, where it is known and no placeholder.
        day: Of the study.

    Returns:
        `patient_key`, of the PatientID, or where there is none of the study; `is_named`, whether there is one, and
        `is_default_id`, whether it is a word that many people may share and no birth date tells apart (1 January
        does not: it is what de-identification leaves of a year); `issuer_key`, `birth_key`, `institution_key`
        and `person_key` (birth date, sex and day together), each empty where the header does not say.
    """
    patient, sex = text(dataset, "PatientID"), text(dataset, "PatientSex")
    study = text(dataset, "StudyInstanceUID") or text(dataset, "SeriesInstanceUID") or text(dataset, "SOPInstanceUID")
    issuer, institution = text(dataset, "IssuerOfPatientID"), text(dataset, "InstitutionName")
    person = f"{birth}|{sex}|{day}" if birth and day else ""
    told = {"issuer": issuer.upper(), "birth": str(birth or ""), "institution": institution.upper(), "person": person}
    return {
        "patient_key": pseudonyms("patient", patient) if patient else pseudonyms("patient of study", study),
        "is_named": bool(patient),
        "is_default_id": DEFAULTS.fullmatch(re.sub(r"[\W_]", "", patient)) is not None
        and (birth is None or (birth.month, birth.day) == (1, 1)),
        **{f"{kind}_key": pseudonyms(kind, value) if value else "" for kind, value in told.items()},
    }
