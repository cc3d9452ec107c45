"""Which images a drawing is of: those that it names, else those beside it by name, folder and geometry."""

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import PurePosixPath

import numpy as np

from fistula.dicom.container import Part
from fistula.dicom.drawn.drawings import Drawing
from fistula.dicom.look import Look
from fistula.dicom.outcome import NotTaken, Refused
from fistula.dicom.pixels.planes import Plane, read_planes
from fistula.errors import DataError
from fistula.labels.drawn.drawings import Found
from fistula.source.files.formats import CHANNEL, plain, stem_of
from fistula.source.files.pictures import picture_shape
from fistula.source.files.volumes import read_volume_header
from fistula.source.rules import KeepRules
from fistula.source.survey import Survey

SAME_PLACE_MM = 0.01
NAMELESS = ("", "segmentation")  # names of masks that say nothing of their image: mask.png, Segmentation.seg.nrrd
COLUMNS = (
    "file", "member", "frame", "frames", "slice_key", "instance_key", "series_key", "study_key", "patient_key",
    "rows", "columns", "position_mm", "orientation", "frame_key",
)  # fmt: skip
REMEDY = "Put it into the folder of its images, or keep one series (keep=)"


class Images:
    """The images of a survey, by what a drawing may say of them; numbered as they stand in it.

    Where a drawing does not say of which series it is, it is of those that `keep` keeps, if it keeps any.
    """

    def __init__(self, survey: Survey, *, keep: KeepRules | None, look: Look) -> None:
        images = survey.images
        self.survey, self.kind, self.look = survey, survey.kind, look
        self.rows = images.select(COLUMNS).rows(named=True)
        is_kept = [True] * len(images) if keep is None else keep.reasons(images).is_null().to_list()
        self.kept = {row for row, is_wanted in enumerate(is_kept) if is_wanted} or set(range(len(images)))
        self.by_instance: dict[str, list[int]] = defaultdict(list)
        self.by_series: dict[str, list[int]] = defaultdict(list)
        self.by_study: dict[str, list[int]] = defaultdict(list)
        for number, row in enumerate(self.rows):
            self.by_instance[row["instance_key"]].append(number)
            self.by_series[row["series_key"]].append(number)
            self.by_study[row["study_key"]].append(number)
        self._planes = lru_cache(maxsize=4096)(self._read_planes)

    def key_of(self, uid: str) -> str:
        """The pseudonym of an instance."""
        return self.look.pseudonyms("instance", uid)

    def name(self, row: int) -> str:
        """Path of an image, for messages."""
        return self.survey.name(self.rows[row]["file"], self.rows[row]["member"])

    def shape(self, row: int) -> tuple[int, int]:
        """Rows and columns. Raises Refused if it is a picture that cannot be read."""
        found = self.rows[row]
        if found["rows"] is None:
            return picture_shape(self._part(row), limit=self.look.limit)
        return found["rows"], found["columns"]

    def is_image(self, row: int, uid: str, frame: int) -> bool:
        """Whether an image is that frame of the instance; any is of an empty UID.

        Raises:
            Refused: If the instance has several frames, and which is not said.
        """
        found = self.rows[row]
        if not uid or found["instance_key"] != self.key_of(uid):
            return not uid
        is_one = (found["frames"] or 1) == 1
        if not is_one and not frame:
            raise Refused("of a multiframe image, without the number of the frame")
        return is_one or found["frame"] == frame - 1

    def of_space(self, rows: Sequence[int], uid: str) -> list[int]:
        """Of these images those that do not state another frame of reference.

        Raises:
            Refused: If all do: places in one say nothing of places in another.
        """
        key = self.look.pseudonyms("frame of reference", uid) if uid else ""
        same = [row for row in rows if not key or (self.rows[row]["frame_key"] or key) == key]
        if rows and not same:
            raise Refused("drawn in another frame of reference than that of its images")
        return same

    def plane(self, row: int) -> Plane | None:
        """Where an image lies; None where it does not say."""
        planes = self._planes(self.rows[row]["file"], self.rows[row]["member"] or "")
        return planes[self.rows[row]["frame"] % len(planes)] if planes else None

    def reach(self, row: int) -> float | None:
        """Half of what a slice stands for across itself: of its thickness, or of the way to the next one if shorter."""
        found, plane = self.rows[row], self.plane(row)
        others = (self.rows[other] for other in self.by_series[found["series_key"]])
        gaps = [
            abs(other["position_mm"] - found["position_mm"])
            for other in others
            if other["orientation"] == found["orientation"] and None not in (other["position_mm"], found["position_mm"])
        ]
        known = [gap for gap in gaps if gap > SAME_PLACE_MM]
        known += [plane.thickness] if plane is not None and plane.thickness else []
        return min(known) / 2 if known else None

    def of(self, found: Found, drawing: Drawing) -> list[int]:
        """The images that a drawing is of: every one of the series that it names, or that it is found to lie on.

        Raises:
            DataError: If more than one series, or patient, may be meant.
            Refused: If it does not say where it lies.
        """
        if drawing.images:
            named = {row for uid in drawing.images for row in self.by_instance.get(self.key_of(uid), ())}
            series = {self.rows[row]["series_key"] for row in named}
            # A series may hold other images of the same places, such as fat beside water.
            return sorted(named | {row for key in series for row in self.by_series[key] if row in self.kept})
        if found.is_dicom:
            of_study = [row for row in self.by_study[self.look.pseudonyms("study", drawing.study)] if row in self.kept]
            return self._one_series(found, drawing, of_study)
        rows = self._beside(found, drawing)
        if any(self._is_placed(row) != drawing.is_placed for row in rows[:1]):
            raise Refused("a mask without position, or whose image has none")
        return rows

    def _beside(self, found: Found, drawing: Drawing) -> list[int]:
        if self.kind == "dicom":
            near = {row: self._nearness(row, found) for row in self.kept}
            closest = max(near.values(), default=0)
            return self._one_series(found, drawing, [row for row, value in near.items() if value == closest])
        base = plain(found.base)
        alike = {
            row: self._nearness(row, found)
            for row in range(len(self.rows))
            if base and base in (self._stems[row], CHANNEL.sub("", self._stems[row]))
        }
        if base in NAMELESS:  # the one image beside it
            alike = {row: 0 for row in range(len(self.rows)) if self._folders[row] == found.folder}
        most = max(alike.values(), default=0)
        nearest = sorted(row for row, value in alike.items() if value == most)
        folders = {self._folders[row] for row in nearest}
        stems = {CHANNEL.sub("", self._stems[row]) for row in nearest}
        if len(folders) > 1 or len(stems) > 1:
            names = ", ".join(sorted({self.name(row) for row in nearest})[:3])
            raise DataError(found.name, "may be of several images", found=names, remedy="Name it after one of them")
        return nearest

    def _one_series(self, found: Found, drawing: Drawing, rows: Sequence[int]) -> list[int]:
        """Of these images those of the series on whose pixels the drawing lies, or of the only one."""
        series = {self.rows[row]["series_key"] for row in rows}
        if len(series) > 1 and (level := [key for key in series if self._lies_on(drawing, self.by_series[key])]):
            series = set(level)
        elif len(series) > 1 and not drawing.points:
            raise DataError(found.name, f"may be of {len(series)} series", remedy=REMEDY)
        whole = [row for key in series for row in self.by_series[key]]
        if len({self.rows[row]["patient_key"] for row in whole}) > 1:
            raise DataError(found.name, "may be of several patients", remedy=REMEDY)
        return sorted(whole)

    def _lies_on(self, drawing: Drawing, rows: Sequence[int]) -> bool:
        """Whether every plane of a drawing has its pixels where a series has its own."""
        own = [plane for row in rows if (plane := self.plane(row)) is not None]
        drawn = [one.plane for one in drawing.drawn] or drawing.grid
        return bool(own and drawn) and all(any(one.lies_on(other) for other in own) for one in drawn)

    def _nearness(self, row: int, found: Found) -> int:
        """How many folders an image and a file share; one more where the image's folder has the file's name."""
        folders, own = self._folders[row].parts, found.folder.parts
        shared = 0
        while shared < min(len(folders), len(own)) and folders[shared] == own[shared]:
            shared += 1
        is_named = found.base and plain(found.base) in map(plain, folders[shared : shared + 1])
        return 2 * shared + bool(is_named)

    @cached_property
    def _folders(self) -> list[PurePosixPath]:
        return [PurePosixPath(self.name(row)).parent for row in range(len(self.rows))]

    @cached_property
    def _stems(self) -> list[str]:
        """Names of the images' files without format."""
        return [plain(stem_of(self.name(row))) for row in range(len(self.rows))]

    def _is_placed(self, row: int) -> bool:
        if self.kind != "volumes":
            return True
        return read_volume_header(self._part(row), limit=self.look.limit).is_placed

    def _part(self, row: int) -> Part:
        return self.survey.part(self.rows[row]["file"], self.rows[row]["member"])

    def _read_planes(self, file: int, member: str) -> list[Plane | None]:
        part = self.survey.part(file, member)
        if self.kind == "pictures":
            return []
        if self.kind == "volumes":
            return list(read_volume_header(part, limit=self.look.limit).planes())
        try:
            return read_planes(part, limit=self.look.limit)
        except NotTaken:  # the survey has said why
            return []


def nearest_slices(
    images: Images, rows: Sequence[int], place: Sequence[float]
) -> list[tuple[float, int, tuple[float, float]]]:
    """Of each series the slices that are nearest to a point: distance in mm, number, and row and column.

    Slices that the point does not lie above or below of are passed over; of those in one place each comes.
    """
    found: dict[str, list[tuple[float, int, tuple[float, float]]]] = defaultdict(list)
    for number in rows:
        plane = images.plane(number)
        if plane is None:
            continue
        row, column, across = map(float, plane.places(np.array([place]))[0])
        if -0.5 <= row <= plane.shape[0] - 0.5 and -0.5 <= column <= plane.shape[1] - 0.5:
            found[images.rows[number]["series_key"]].append((abs(across), number, (row, column)))
    return [one for of in found.values() for one in of if one[0] <= min(of)[0] + SAME_PLACE_MM]
