"""A simulator of the Fly Machines API (docs/fly-simulator.md). It needs the standard library only."""
