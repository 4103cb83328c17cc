"""The simulated world and how it changes. No I/O."""
