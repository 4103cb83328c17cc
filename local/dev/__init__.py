"""Starts every part of the local cloud as a process and connects them."""
