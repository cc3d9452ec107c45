"""A cohort on disk: labels, ingest, manifest, pixels, split."""
