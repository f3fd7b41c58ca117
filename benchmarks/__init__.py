"""Heft beside Docker and Podman, measured in one run on one host."""
