"""From DICOM and a table of labels to an imaging study that can be defended."""

__version__ = "0.1.0"
