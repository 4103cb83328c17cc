"""Faults that a test sets with `PUT /_sim/faults`."""
