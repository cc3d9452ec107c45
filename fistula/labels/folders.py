"""Labels from folders: each class has one, or several, of its name."""

import unicodedata
from collections import Counter
from collections.abc import Sequence

from fistula.errors import ConfigError, DataError
from fistula.labels.tables.classes import as_names, in_order
from fistula.labels.tables.lines import Labels, Row
from fistula.source.survey import Survey

FOLDERS = "folders"


def folder_labels(survey: Survey, *, classes: Sequence[str] | None = None) -> Labels:
    """Label the images below a source by the folder that they lie in.

    `classes` are names of folders at any level; without it the classes are the folders of the first level that has
    several. A zip archive is a folder of its name without the ending.

    Raises:
        DataError: If an image lies in folders of two classes.
        ConfigError: If there is no such folder, or if the order of the classes is not known.
    """
    images = survey.images
    columns = images.select("file", "member", "slice_key").unique(maintain_order=True)
    paths = {
        (file, member): [
            unicodedata.normalize("NFC", folder.removesuffix(".zip"))
            for folder in survey.name(file, member).split("/")[:-1]
        ]
        for file, member in columns.select("file", "member").unique().iter_rows()
    }
    level = 0
    while len(first := sorted({folders[level] for folders in paths.values() if len(folders) > level})) == 1:
        level += 1
    names = as_names(classes) if classes is not None else in_order("labels=folders", set(first))
    rows: dict[str, Row] = {}
    noted: Counter[str] = Counter()
    for file, member, key in columns.iter_rows():
        folders = paths[file, member] if classes else paths[file, member][level : level + 1]
        found = {names.index(folder) for folder in folders if folder in names}
        name = survey.name(file, member)
        if len(found) > 1:
            raise DataError(
                name, "lies in folders of two classes", found=", ".join(names[one] for one in sorted(found))
            )
        if not found:
            noted["labels=folders: images in no folder of a class"] += 1
            continue
        row = Row(len(rows) + 1, (key,), None, found.pop(), "", None, None, (None, None), name)
        if (other := rows.setdefault(key, row)).label != row.label:
            raise DataError(name, f"is a copy of {other.origin}, which lies in another class", remedy="Remove one")
    if not rows:
        rule = "must be names of folders below source"
        raise ConfigError("classes", rule, found=", ".join(names), remedy=f"There are {', '.join(first[:8]) or 'none'}")
    return Labels(survey.folder, ("slice_key",), names, list(rows.values()), noted=dict(noted))
