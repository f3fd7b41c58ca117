"""Heft under load: what it does, and what it leaves behind."""
