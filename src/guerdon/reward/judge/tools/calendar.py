"""A calendar: the day of the week, days between two dates, the date so many days later. Gregorian, years 1 to 9999."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from guerdon.reward.judge.tools.tool import Tool, tool

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%d %B %Y", "%B %d, %Y", "%B %d %Y", "%d %b %Y", "%b %d, %Y")
OPERATIONS = ("week_day", "day_difference", "target_day")


def as_date(text: str) -> date:
    """A date from ``2015-03-24``, ``24 March 2015`` or ``March 24, 2015``; ValueError for anything else."""
    clean = re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", " ".join(text.split()))
    for form in FORMATS:
        try:
            return datetime.strptime(clean, form).date()
        except ValueError:
            continue
    raise ValueError(f"{text[:40]!r} is no date; write YYYY-MM-DD")


@tool(
    says="Knows dates (YYYY-MM-DD). week_day: the day of the week of a date. day_difference: days between date and "
    "other. target_day: the date so many days after date (before it, where days is negative).",
    arguments={
        "type": "object",
        "properties": {
            "operation": {"type": "string", "enum": list(OPERATIONS)},
            "date": {"type": "string"},
            "other": {"type": "string"},
            "days": {"type": "integer"},
        },
        "required": ["operation", "date"],
        "additionalProperties": False,
    },
)
def calendar(operation: str, date: str, other: str = "", days: int | None = None) -> str:
    """The weekday's English name, a number of days (not negative), or a date."""
    first = as_date(date)
    if operation == "week_day":
        return DAYS[first.weekday()]
    if operation == "day_difference":
        return str(abs((as_date(other) - first).days))
    if days is None:
        raise ValueError("target_day needs days")
    try:
        return (first + timedelta(days=days)).isoformat()
    except OverflowError:
        raise ValueError(f"{days} days from {date} is outside the years 1 to 9999") from None


def make() -> Tool:
    """The calendar, as it is."""
    return calendar
