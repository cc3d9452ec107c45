"""The table of PNG and JPEG pictures below a folder, in the shape of a survey of DICOM."""

from pathlib import Path

import polars as pl

from fistula.cohort.labels import IMAGE_SUFFIXES
from fistula.cohort.survey import FACTS, Survey, files_below
from fistula.dicom.identity import Pseudonyms
from fistula.dicom.survey import file_stamp


def survey_pictures(folder: Path, pseudonyms: Pseudonyms) -> Survey:
    """List the files below `folder`; PNG and JPEG are images, named by the pseudonym of their path.

    Raises:
        DataError: If the folder is not there or has no files.
    """
    paths = files_below(folder)
    rows = []
    for index, path in enumerate(paths):
        name = path.relative_to(folder).as_posix()
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        key = pseudonyms("image", name)
        rows.append(
            {
                "file": index,
                "member": "",
                "frame": 0,
                "frames": 1,
                "stamp": file_stamp(path, name, pseudonyms),
                "outcome": "image" if is_image else "skipped",
                "reason": "" if is_image else "neither PNG nor JPEG",
                "slice_key": key,
                "instance_key": key,
                "series_key": pseudonyms("image series", name),
                "patient_key": key,  # the table of labels says who it is
                "study_key": key,
                "notes": "",
            }
        )
    return Survey(folder, paths, pl.DataFrame(rows, schema=FACTS))
