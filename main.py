"""Deploy entry."""
