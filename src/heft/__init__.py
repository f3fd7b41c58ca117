"""Heft: one engine for every weight of virtualization."""

__version__ = "0.1.0"
