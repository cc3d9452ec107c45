"""Read what lies below a folder: survey, choice, volumes, and the slices on the cohort's grid."""
