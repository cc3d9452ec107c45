"""An archive as a source of images and as a place to store results: DICOMweb, or DICOM's own protocol."""
