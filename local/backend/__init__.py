"""The reference per-user backend: what runs inside a machine of Hangar's, small enough for forty on one laptop.

It shows the RUN_MODE contract (docs/backend-contract.md) in running code; a SaaS replaces it by its own image.
"""
