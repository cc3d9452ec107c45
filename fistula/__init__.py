"""From DICOM and a table of labels to a defensible imaging study."""

from typing import Any

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Give `fistula.load` when it is first asked for: the command line must not wait for its imports."""
    if name == "load":
        from fistula.predict.predictor import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
