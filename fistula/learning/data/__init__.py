"""From a cohort to batches."""
