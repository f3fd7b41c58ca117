"""The real docker command, docker-py and heft against a real daemon."""
