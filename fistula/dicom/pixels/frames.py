"""One frame's attributes, wherever they stand: per-frame group, shared group, or the object itself."""

from functools import cached_property

from pydicom.dataset import Dataset

from fistula.dicom.header.private import Private
from fistula.dicom.header.raw import is_absent
from fistula.dicom.parse import number, numbers, sequence, text, whole

# What Philips (2005,1011), ImageType and FrameType call the parts of a Dixon pair, and of a complex image.
COMPONENTS = {
    "W": "water",
    "WATER": "water",
    "F": "fat",
    "FAT": "fat",
    "IP": "in_phase",
    "IN_PHASE": "in_phase",
    "INPHASE": "in_phase",
    "OP": "out_phase",
    "OUT_OF_PHASE": "out_phase",
    "OUT_PHASE": "out_phase",
    "OPP_PHASE": "out_phase",
    "OPPOSED_PHASE": "out_phase",
    "FF": "fat_fraction",
    "FAT_FRACTION": "fat_fraction",
}
COMPLEX = {
    "M": "magnitude",
    "MAGNITUDE": "magnitude",
    "P": "phase",
    "PHASE": "phase",
    "PHASE MAP": "phase",
    "R": "real",
    "REAL": "real",
    "I": "imaginary",
    "IMAGINARY": "imaginary",
}
PHILIPS, PHILIPS_FRAME, GE = "Philips MR Imaging DD 001", "Philips MR Imaging DD 005", "GEMS_PARM_01"
# What GE's (0043,102F) says in the place of an ImageType.
GE_TYPES = ("M", "P", "R", "I")
# What has no group of its own in an object that was converted from classic ones (PS3.3 C.7.6.16.2.25).
CONVERTED = tuple(f"Unassigned{whose}ConvertedAttributesSequence" for whose in ("PerFrame", "Shared"))
# What each group is for; some converters leave that among the rest.
SUBJECTS = {
    "PixelValueTransformationSequence": "RescaleSlope",
    "FrameVOILUTSequence": "WindowCenter",
    "PixelMeasuresSequence": "PixelSpacing",
    "PlanePositionSequence": "ImagePositionPatient",
    "PlaneOrientationSequence": "ImageOrientationPatient",
}
# Words of ImageType for many slices in one picture: Siemens', and United Imaging's.
MOSAICS = ("MOSAIC", "VFRAME")


class Frame:
    """A view of frame `index` of a data set; one of an enhanced object, or the whole of a classic one."""

    def __init__(self, dataset: Dataset, index: int) -> None:
        self.dataset, self.index = dataset, index

    @cached_property
    def groups(self) -> list[Dataset]:
        """Functional groups of this frame, the frame's own before the shared ones (PS3.3 C.7.6.16)."""
        own = sequence(self.dataset, "PerFrameFunctionalGroupsSequence")
        shared = sequence(self.dataset, "SharedFunctionalGroupsSequence")
        return own[self.index : self.index + 1] + shared[:1]

    def group(self, keyword: str) -> Dataset:
        """The item of one functional group; the object itself where there is none.

        Some writers part a group: of what the frame's own item lacks, the shared one speaks.
        """
        found = [items[0] for group in self.groups if (items := sequence(group, keyword))]
        if not found:
            return self.stated(SUBJECTS[keyword]) if keyword in SUBJECTS else self.dataset
        if len(found) < 2:
            return found[0]
        whole = Dataset()  # of its own: Dataset(item) would share the item's elements
        for item in reversed(found):
            whole.update(item)
        return whole

    @cached_property
    def converted(self) -> list[Dataset]:
        """What was said of a classic image that became this frame, and has no group of its own."""
        return [item for group in self.groups for name in CONVERTED for item in sequence(group, name)[:1]]

    def stated(self, keyword: str, group: str = "") -> Dataset:
        """Where something is stated of this frame: its functional group, what was converted with it, or the object."""
        places = [item] if group and (item := self.group(group)) is not self.dataset else []
        found = (place for place in [*places, *self.converted] if not is_absent(place, keyword))
        return next(found, self.dataset)

    def cosines(self) -> list[float] | None:
        """ImageOrientationPatient, six numbers."""
        return numbers(self.group("PlaneOrientationSequence"), "ImageOrientationPatient", 6)

    def corner(self) -> list[float] | None:
        """ImagePositionPatient, three numbers in mm; None if the object has one for all of its frames."""
        place = self.group("PlanePositionSequence")
        return None if self._is_of_all(place) else numbers(place, "ImagePositionPatient", 3)

    def location(self) -> float | None:
        """SliceLocation in mm, along an axis of the maker's choice; None if it is one for all frames of an object."""
        return None if self._is_of_all(self.dataset) else number(self.dataset, "SliceLocation")

    def _is_of_all(self, place: Dataset) -> bool:
        return place is self.dataset and (whole(self.dataset, "NumberOfFrames") or 1) > 1

    def spacing(self) -> tuple[float, float] | None:
        """Distance of rows, of columns in mm; None if not stated or not positive."""
        measures = self.group("PixelMeasuresSequence")
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            values = numbers(measures, keyword, 2)
            if values and min(values) > 1e-4 and max(values) < 1e3:
                return values[0], values[1]
        return None

    def aspect(self) -> float:
        """Height of a pixel over its width, where no spacing is stated (PS3.3 C.7.6.3.1.7); 1 if not stated."""
        tall, wide = numbers(self.dataset, "PixelAspectRatio", 2) or (1.0, 1.0)
        return tall / wide

    def image_type(self) -> list[str]:
        """FrameType of an enhanced frame, or ImageType."""
        for keyword in TYPE_GROUPS if self.groups else ():
            if (item := self.group(keyword)) is not self.dataset and (words := text(item, "FrameType")):
                return words.split("\\")
        return text(self.stated("ImageType"), "ImageType").split("\\")

    def scanning_sequence(self) -> list[str]:
        """ScanningSequence as classic objects state it; enhanced ones have EchoPulseSequence in its place."""
        if words := text(self.stated("ScanningSequence"), "ScanningSequence"):
            return words.split("\\")
        pulse = text(self.dataset, "EchoPulseSequence").upper()
        return {"GRADIENT": ["GR"], "SPIN": ["SE"], "BOTH": ["SE", "GR"]}.get(pulse, [])

    def complex_component(self) -> str:
        """ComplexImageComponent of the frame or of the object, upper case."""
        for keyword in TYPE_GROUPS if self.groups else ():
            if word := text(self.group(keyword), "ComplexImageComponent"):
                return word.upper()
        return text(self.stated("ComplexImageComponent"), "ComplexImageComponent").upper()

    @cached_property
    def places(self) -> list[Private]:
        """Where makers' own elements stand: items of the frame's groups that hold what no group is for, the object."""
        items = [item for group in self.groups for item in Private(group).items(0x2005, PHILIPS_FRAME, 0x0F)[:1]]
        return [Private(place) for place in [*items, *self.converted, self.dataset]]

    def scale_slope(self) -> float | None:
        """Philips' scale slope (2005,xx0E); None elsewhere.

        Raises:
            Refused: If it is there and cannot be read.
        """
        found = (place.numbers(0x2005, PHILIPS, 0x0E, "FL") for place in self.places)
        return next((values[0] for values in found if values), None)

    def is_scale_as_written(self) -> bool:
        """Whether the scale slope is a number of the type that Philips gives it, if there is one."""
        return all(place.is_as_written(0x2005, PHILIPS, 0x0E, "FL") for place in self.places)

    def philips_type(self) -> str:
        """Philips' own image type (2005,xx11), upper case; empty elsewhere."""
        words = (place.word(0x2005, PHILIPS, 0x11) for place in self.places)
        return next((word for word in words if word), "")

    def num_tiles(self) -> int:
        """Slices in one picture by Siemens' own count (0019,xx0A), which a derived mosaic keeps; 0 elsewhere."""
        values = self.places[-1].numbers(0x0019, "SIEMENS MR HEADER", 0x0A, "US")
        return int(values[0]) if values else 0

    def ge_type(self) -> str:
        """M, P, R or I: GE's own image type (0043,xx2F); empty elsewhere."""
        values = self.places[-1].numbers(0x0043, GE, 0x2F, "SS")
        return GE_TYPES[int(values[0])] if values and values[0] in range(len(GE_TYPES)) else ""


TYPE_GROUPS = (
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XAXRFFrameCharacteristicsSequence",
)


def component(frame: Frame) -> str:
    """Which image of those that one acquisition gives: a Dixon part, else a part of the complex image, else empty.

    Philips may put all under one SeriesInstanceUID and description, so that ImageType's third value or (2005,1011)
    alone tells them apart.
    """
    words = [word.strip().upper() for word in frame.image_type()]
    for word in [frame.philips_type(), *words[2:]]:
        if word in COMPONENTS:
            return COMPONENTS[word]
    own = frame.ge_type()
    if own == "M" and words[0] != "ORIGINAL":
        own = ""  # GE calls what it computes, such as diffusion maps, a magnitude too
    for word in [frame.complex_component(), *words[2:], own]:
        short = word.split("_")[0] if word[:2] in ("M_", "P_", "R_", "I_") else word
        if short in COMPLEX:
            return COMPLEX[short]
    return ""


def contrast(dataset: Dataset) -> str:
    """`yes` if an agent, its dose or its start is stated; `unknown` if the attribute is there but empty; else `no`."""
    found = {_contrast(place) for place in [*Frame(dataset, 0).converted, dataset]}
    return next(word for word in ("yes", "unknown", "no") if word in found)


def _contrast(dataset: Dataset) -> str:
    stated = text(dataset, "ContrastBolusAgent"), text(dataset, "ContrastBolusStartTime")
    if any(stated) and stated[0].upper() not in ("NONE", "NO", "N"):
        return "yes"
    if sequence(dataset, "ContrastBolusAgentSequence") or (number(dataset, "ContrastBolusVolume") or 0) > 0:
        return "yes"
    return "no" if is_absent(dataset, "ContrastBolusAgent") else "unknown"
