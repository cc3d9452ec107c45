"""A cohort on disk: ingest, manifest, pixels, split."""
