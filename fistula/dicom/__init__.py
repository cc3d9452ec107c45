"""DICOM objects: reading, series order, identity, writing. The only room that imports pydicom."""
