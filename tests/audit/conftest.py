from pelves import draw_patient, make_cohort

__all__ = ["draw_patient", "make_cohort"]
