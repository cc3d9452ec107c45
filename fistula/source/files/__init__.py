"""Files that are not DICOM."""
