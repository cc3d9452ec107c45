"""Images that no run of the tests has learned from."""

import numpy as np

from ..conftest import write_dicom


def head(shape=(200, 200)):
    """A slice through a head: scalp, skull, brain, ventricles."""
    row, column = np.mgrid[: shape[0], : shape[1]]
    radius = np.hypot((row - shape[0] / 2) / 95, (column - shape[1] / 2) / 75)
    picture = np.zeros(shape)
    for edge, value in ((1.0, 3000), (0.93, 100), (0.88, 1200), (0.25, 200)):
        picture[radius < edge] = value
    return (picture + 30 * np.random.default_rng(0).random(shape)).astype(np.uint16)


def write_series(folder, pixels, *, slices=4, **attributes):
    """Write `pixels` as every slice of a series of an unknown patient."""
    for place in range(slices):
        write_dicom(
            folder / f"{place}.dcm",
            pixels,
            **{
                "SOPInstanceUID": f"2.25.77{place}",
                "SeriesInstanceUID": "2.25.771",
                "StudyInstanceUID": "2.25.772",
                "PatientID": "NEW",
                "ImagePositionPatient": [0, 0, 3.0 * place],
                "InstanceNumber": place + 1,
                **attributes,
            },
        )
    return folder
