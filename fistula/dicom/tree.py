"""Find the files of a tree, but for folders of what was deleted and of what systems keep for themselves."""

import os
from collections import Counter
from pathlib import Path

from fistula.errors import DataError

# How such folders begin, in lower case: copies, thumbnails, old states.
PASSED = (
    "$recycle.bin", "recycler", "#recycle", "@recycle", ".trash", ".snapshot", "~snapshot", ".zfs", ".thumbnails",
    "@eadir", ".ipynb_checkpoints", "lost+found", "system volume information",
)  # fmt: skip


def find_files(folder: Path) -> tuple[list[Path], Counter[str]]:
    """Every file below `folder`, at any depth, sorted; and by what is in `PASSED` how many folders were passed over.

    Linked folders are followed once.

    Raises:
        DataError: If a folder cannot be read: what lies in it would be missing without a word.
    """
    found, seen, passed = [], set(), Counter[str]()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_folder):
        here = Path(root).stat()
        if (here.st_dev, here.st_ino) in seen:
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        why = {name: next(filter(name.lower().startswith, PASSED), None) for name in folders}
        folders[:] = [name for name in folders if why[name] is None]
        passed.update(filter(None, why.values()))
        found += [Path(root, name) for name in names]
    return sorted(found), passed


def _refuse_folder(error: OSError) -> None:
    rule = f"cannot be read ({error.strerror})"
    raise DataError(error.filename, rule, remedy="Check its permissions and the disk") from error
