"""DICOM objects on their way from and to an archive."""

from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

# What is asked for as an image; an association has room for 128 kinds, an archive for what it has.
IMAGE_CLASSES = (
    MRImageStorage,
    EnhancedMRImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    ComputedRadiographyImageStorage,
    SecondaryCaptureImageStorage,
)


def identifier(level: str, **attributes: str) -> Dataset:
    """A question for C-FIND or C-GET; an empty attribute is asked for, any other has to match."""
    dataset = Dataset()
    dataset.QueryRetrieveLevel = level
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def read_object(path: Path) -> Any:
    """A whole object, as written by this package."""
    return pydicom.dcmread(path)


def save_object(dataset: Any, path: Path) -> None:
    """Write a received object, with its own transfer syntax."""
    dataset.save_as(path, enforce_file_format=True)
