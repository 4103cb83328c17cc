"""Handlers: one module per group of Fly's operations, the route table, and the controls below `/_sim`."""
