"""From frames to physical values, and where they lie in the patient."""
