"""The report of a study: collected runs, figures, one page."""
