"""Pretrained weights on this machine."""
