"""Moments of the database as text in UTC, whatever time zone the database is set to. Pure."""

from datetime import UTC, datetime


def read_moment(at: str) -> datetime:
    """A moment of an answer of the database, in UTC. `alter database … set timezone` changes in which zone it arrives."""
    return datetime.fromisoformat(at).astimezone(UTC)


def format_day(at: str) -> str:
    """The day in UTC."""
    return f"{read_moment(at):%Y-%m-%d}"


def format_moment(at: str) -> str:
    """To the minute, with its zone."""
    return f"{read_moment(at):%Y-%m-%d %H:%M} UTC"


def format_second(at: str) -> str:
    """To the second, without its zone: for a column."""
    return f"{read_moment(at):%Y-%m-%d %H:%M:%S}"
