"""The reference per-user backend, which runs in a Hangar machine. Forty of them fit on a laptop.

It implements the RUN_MODE contract (docs/backend-contract.md). A SaaS replaces it by its own image.
"""
