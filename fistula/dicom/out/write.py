"""Write one MR slice as a DICOM file, with the header that a Philips mDIXON water series has."""

import datetime
import uuid
from dataclasses import dataclass
from io import BytesIO
from math import cos, radians, sin
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

# Fixed, so that the same seed writes the same bytes with any version of this package.
IMPLEMENTATION_UID = UID("2.25.159271436507924105127843691046283947211")
LARGEST_STORED = 4095  # 12 bits


@dataclass(frozen=True)
class Series:
    """What the slices of one patient's series share."""

    patient_id: str  # pseudonym; the name is made from it
    sex: str  # M or F
    age: int  # years
    study_day: int  # days since 2020-01-01, below 10 000
    manufacturer: str  # as the scanner writes it
    model: str  # of the scanner
    tesla: float  # field strength
    pixel_mm: float  # distance of pixels, both ways
    thickness_mm: float  # of a slice
    spacing_mm: float  # between slices
    slope: float  # rescale slope: displayed value = slope * stored value
    scale_slope: float  # Philips' own: floating point value = stored value / scale slope
    tilt_degrees: float  # of the slices about the left-right axis; above 0 their posterior rows lie higher
    contrast_agent: str  # text of Contrast/Bolus Agent; may be empty, as it often is
    weighting: str = "T1"  # `T1`, or `T2` for a fat-suppressed turbo spin echo in the same study and frame of reference

    @property
    def file_prefix(self) -> str:
        """Of the names of its files."""
        return "IM" if self.weighting == "T1" else self.weighting

    @property
    def role(self) -> str:
        """What tells its UIDs from those of the patient's first series; empty for that one."""
        return "" if self.weighting == "T1" else f" {self.weighting}"


def make_uid(*parts: object) -> UID:
    """A UID under 2.25 that depends on `parts` alone.

    Source: DICOM PS3.5 B.2 (a UUID as a decimal number), RFC 4122 (version 5).
    """
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(map(str, parts))).int}")


def write_mr_slice(
    path: Path,
    stored: np.ndarray,
    series: Series,
    *,
    origin: tuple[float, float, float],
    instance_number: int,
    window: tuple[float, float],
    seed: int,
) -> str:
    """Write one axial slice in Explicit VR Little Endian.

    Args:
        path: File to write.
        stored: uint16 ``(H, W)``, at most 4095.
        series: What it shares with its neighbours.
        origin: Patient coordinates of the centre of the first pixel, mm: left, posterior, head.
        instance_number: Philips numbers slices in no order of position.
        window: Centre and width in displayed values (after the rescale slope).
        seed: Of the cohort; all UIDs follow from it, the patient and the instance number.

    Returns:
        The SOP instance UID.
    """
    uid = make_uid(seed, series.patient_id, f"instance{series.role}", instance_number)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = "FISTULA"
    image = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, uid
    _add_series(image, series, seed)
    _add_acquisition(image, series)
    if series.weighting == "T2":
        _add_t2(image)
    _add_image(image, stored, series, origin=origin, window=window)
    image.InstanceNumber = instance_number
    save(image, path)
    return uid


def _add_series(image: Dataset, series: Series, seed: int) -> None:
    """Patient, study, series, frame of reference and equipment."""
    date = datetime.date(2020, 1, 1) + datetime.timedelta(days=series.study_day)
    image.SpecificCharacterSet = "ISO_IR 100"
    image.PatientName = f"SYNTHETIC^{series.patient_id}"
    image.PatientID = series.patient_id
    image.PatientBirthDate = f"{date.year - series.age - 1}0701"
    image.PatientSex = series.sex
    image.PatientAge = f"{series.age:03d}Y"
    image.PatientComments = "Synthetic image: no person was scanned"
    image.StudyInstanceUID = make_uid(seed, series.patient_id, "study")
    image.SeriesInstanceUID = make_uid(seed, series.patient_id, f"series{series.role}")
    image.FrameOfReferenceUID = make_uid(seed, series.patient_id, "frame")
    image.PositionReferenceIndicator = ""
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = date.strftime("%Y%m%d")
    image.StudyTime, image.SeriesTime, image.AcquisitionTime = "090000", "091200", "091330"
    image.ContentTime = "091330"
    image.AccessionNumber = image.ReferringPhysicianName = ""
    image.StudyID = "1"
    image.StudyDescription = "MR perianal (synthetic)"
    image.SeriesDescription = "T1 mDIXON W tra +C"
    image.ProtocolName = "WIP T1 mDIXON tra +C"
    image.SeriesNumber = 901
    image.AcquisitionNumber = 9
    image.Modality = "MR"
    image.Manufacturer = series.manufacturer
    image.ManufacturerModelName = series.model
    image.SoftwareVersions = ["5.7.1", "5.7.1.2"]
    image.BodyPartExamined = "PELVIS"
    image.PatientPosition = "HFS"


def _add_acquisition(image: Dataset, series: Series) -> None:
    """The MR module: a 3D spoiled gradient echo, and Philips' private attributes that tell the water image."""
    image.ImageType = ["DERIVED", "PRIMARY", "W", "W", "DERIVED"]
    image.DerivationDescription = "Water image of a two-point Dixon reconstruction"
    image.ScanningSequence = "GR"
    image.SequenceVariant = ["SP", "MP"]
    image.ScanOptions = "OTHER"
    image.MRAcquisitionType = "3D"
    image.RepetitionTime, image.EchoTime, image.FlipAngle = "4.4", "1.54", "10"
    image.EchoTrainLength = 2
    image.EchoNumbers = 1
    image.NumberOfAverages = "1"
    image.MagneticFieldStrength = f"{series.tesla:g}"
    image.ImagingFrequency = f"{42.577 * series.tesla:.4f}"
    image.ImagedNucleus = "1H"
    image.ReceiveCoilName = "MULTI COIL"
    image.ContrastBolusAgent = series.contrast_agent
    image.PresentationLUTShape = "IDENTITY"
    philips = image.private_block(0x2001, "Philips Imaging DD 001", create=True)
    philips.add_new(0x20, "LO", "T1FFE")
    philips = image.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    philips.add_new(0x0E, "FL", series.scale_slope)
    philips.add_new(0x11, "CS", "W")


def _add_t2(image: Dataset) -> None:
    """What differs in a fat-suppressed turbo spin echo."""
    image.SeriesTime, image.SeriesNumber, image.AcquisitionNumber = "090500", 501, 5
    image.SeriesDescription, image.ProtocolName = "T2 SPAIR tra", "WIP T2 SPAIR tra"
    image.ImageType = ["ORIGINAL", "PRIMARY", "M_SE", "M", "SE"]
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "SE", "SK", "FS"
    image.MRAcquisitionType = "2D"
    image.RepetitionTime, image.EchoTime, image.FlipAngle, image.EchoTrainLength = "4200", "80", "90", 15
    del image.DerivationDescription, image.ContrastBolusAgent
    image[0x2001, 0x1020].value, image[0x2005, 0x1011].value = "TSE", "M"


def _add_image(
    image: Dataset,
    stored: np.ndarray,
    series: Series,
    *,
    origin: tuple[float, float, float],
    window: tuple[float, float],
) -> None:
    """Plane, pixels, rescaling and the slice's own window."""
    tilt = radians(series.tilt_degrees)
    image.ImageOrientationPatient = ["1", "0", "0", "0", f"{cos(tilt):g}", f"{sin(tilt):g}"]
    image.ImagePositionPatient = [f"{value:.4f}" for value in origin]
    image.SliceLocation = f"{origin[2]:.4f}"
    image.PixelSpacing = [f"{series.pixel_mm:.6f}"] * 2
    image.SliceThickness = f"{series.thickness_mm:g}"
    image.SpacingBetweenSlices = f"{series.spacing_mm:g}"
    image.Rows, image.Columns = stored.shape
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.RescaleSlope = f"{series.slope:.6g}"
    image.RescaleIntercept = "0"
    image.RescaleType = "normalized"
    image.WindowCenter, image.WindowWidth = (f"{value:.0f}" for value in window)
    image.PixelData = np.minimum(stored, LARGEST_STORED).astype("<u2").tobytes()


def save(dataset: Dataset, path: Path) -> None:
    """Write an object, with its file meta information, to a file.

    Raises:
        OSError: If the disk is full or does not take it; of a full one pydicom's own error has no number.
    """
    content = BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    path.write_bytes(content.getvalue())
