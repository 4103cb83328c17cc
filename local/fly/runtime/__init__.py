"""Machines as real processes, with their health checks."""
