"""Neighbours of slices, where scripts of others have imported them since 0.1."""

from fistula.learning.data.channels import channel_rows

__all__ = ["channel_rows"]
