"""A synthetic cohort: anatomy, rendering, and the DICOM files with their labels."""
