"""Is the finding where it is said to be?"""
