"""A world of tools: forty functions with typed parameters, templated requests, and the calls that are right.

A request speaks of what its values are for in words of its own ("for 4 people", "on 2025-03-14"); the schema describes
the same parameter in others ("How many guests come.") that share some of them, as real descriptions do. A catalogue
holds the functions that are called and others, among them functions of the same field. One request in three asks for
two calls; optional parameters are given where the request speaks of them and only there; one in six quotes a name. For
one in twenty no function of its catalogue is right, so that no call is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.feedback.messages import Message
from guerdon.feedback.tool_calls import Call, Tool, as_prompt

PARAMETERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "city": ("string", "The city it is about.", ("in {}", "in the city of {}", "near {}")),
    "date": ("string", "The date, as YYYY-MM-DD.", ("on {}", "for the date {}", "dated {}")),
    "guests": ("integer", "How many people take part.", ("for {} people", "for a party of {}", "with {} people")),
    "nights": ("integer", "How many nights to stay.", ("for {} nights", "staying {} nights", "{} nights long")),
    "budget": ("number", "The most money to spend, in euros.", ("for at most {} euros", "with {} euros to spend")),
    "title": ("string", "The title or name that is searched.", ('titled "{}"', 'with the title "{}"', 'called "{}"')),
    "author": ("string", "Who made it.", ("by {}", "made by {}", "from the author {}")),
    "language": ("string", "The language of the text.", ("in the language {}", "written in {}", "in {} language")),
    "origin": ("string", "The city from which it starts.", ("from {}", "starting from {}", "leaving from {}")),
    "destination": ("string", "The city to which it goes.", ("to {}", "going to {}", "bound to {}")),
    "weight": ("number", "The weight in kilograms.", ("weighing {} kilograms", "of {} kilograms", "{} kg in weight")),
    "email": ("string", "The e-mail address to write to.", ("writing to {}", "to the address {}", "by e-mail to {}")),
    "minutes": ("integer", "How many minutes it lasts.", ("lasting {} minutes", "for {} minutes", "{} minutes long")),
    "colour": ("string", "The colour wanted.", ("in {}", "in the colour {}", "coloured {}")),
    "express": ("boolean", "Whether it has to be express.", ("as an express order", "by express")),
    "insured": ("boolean", "Whether it is insured.", ("with insurance, so insured", "and have it insured")),
    "size": ("string", "The size: small, medium or large.", ("of {} size", "in size {}", "{}-sized")),
    "tags": ("array", "Tags that describe it.", ("tagged {}", "with the tags {}")),
    "limit": ("integer", "The most results to show.", ("showing at most {} results", "limited to {} results")),
    "rating": ("number", "The lowest rating to accept.", ("rated {} or better", "with a rating from {} up")),
}
"""Name: type, description, how a request speaks of it."""
CITIES = (
    "Lisbon", "New York", "Oslo", "Buenos Aires", "Kyoto", "Cape Town", "Graz", "San Sebastian", "Riga", "Hanoi",
    "Porto Alegre", "Utrecht", "Bologna", "Quito", "Tampere", "Novi Sad",
)  # fmt: skip
PEOPLE = (
    "Ada Moreau",
    "Ben Okafor",
    "Clara Lind",
    "Dmitri Sava",
    "Edith Wu",
    "Farid Haddad",
    "Gita Rao",
    "Hugo Brandt",
)
WORDS = ("river", "lantern", "winter", "garden", "engine", "harbour", "silver", "letter", "mirror", "orchard", "copper")
ENUMS = {"size": ("small", "medium", "large")}

SCHEMAS: tuple[tuple[str, str, str, str, str], ...] = (
    ("book_hotel", "Book a hotel room.", "reserve a hotel room", "city nights", "guests budget"),
    ("find_hotel", "Search hotels and list them.", "look for hotels", "city", "rating budget limit"),
    ("book_table", "Book a table in a restaurant.", "get a restaurant table", "city date", "guests"),
    ("find_restaurant", "Search restaurants.", "find a restaurant", "city", "rating budget"),
    ("book_flight", "Book a flight.", "buy a flight", "origin destination", "date guests"),
    ("track_flight", "Show where a flight is now.", "see where the flight is now", "origin destination", "email"),
    ("book_train", "Buy a ticket for the train.", "buy a train ticket", "origin destination", "date express"),
    ("train_times", "List the times of trains.", "tell me the times of trains", "origin destination", "limit"),
    ("rent_car", "Rent a car.", "rent me a car", "city date", "insured budget"),
    ("find_parking", "Search parking for a car.", "find parking for my car", "city", "minutes"),
    ("send_parcel", "Send a parcel.", "send a parcel", "destination weight", "express insured"),
    ("price_parcel", "Price of sending a parcel.", "tell me the price of a parcel", "destination weight", "express"),
    ("send_letter", "Send a letter by post.", "post a letter", "destination", "express email"),
    ("find_book", "Search books in the library.", "search the library for a book", "title", "author language"),
    ("borrow_book", "Borrow a book from the library.", "borrow a book", "title date", "email"),
    ("renew_book", "Renew the loan of a book.", "renew my loan of the book", "title", "date"),
    ("play_song", "Play a song now.", "play the song", "title", "author"),
    ("find_song", "Search songs.", "search songs", "author", "language limit"),
    ("make_playlist", "Make a playlist of songs.", "make a playlist", "title tags", "minutes"),
    ("find_film", "Search films.", "search for a film", "title", "language rating"),
    ("book_cinema", "Buy cinema tickets.", "buy cinema tickets", "title city", "guests date"),
    ("find_concert", "Search concerts.", "look for concerts", "city date", "budget author"),
    ("weather_now", "The weather at this moment.", "tell me the weather now", "city", "language"),
    ("weather_day", "The weather forecast of a day.", "give me the weather forecast", "city date", "email"),
    ("set_timer", "Set a kitchen timer.", "set a timer", "minutes", "title"),
    ("set_alarm", "Set an alarm.", "set an alarm", "date", "title express"),
    ("add_event", "Add an event to the calendar.", "put an event in my calendar", "title date", "city minutes"),
    ("list_events", "List the events of the calendar.", "list the events of my calendar", "date", "tags limit"),
    ("invite", "Invite somebody to an event.", "invite somebody to the event", "title email", "date"),
    ("write_note", "Write a note.", "write a note", "title", "tags language"),
    ("find_note", "Search notes.", "search my notes", "tags", "date limit"),
    ("buy_shirt", "Buy a shirt.", "buy a shirt", "colour size", "budget express"),
    ("buy_paint", "Buy paint.", "buy paint", "colour weight", "budget"),
    ("order_flowers", "Order flowers.", "order flowers", "colour destination", "date express"),
    ("order_cake", "Order a cake.", "order a cake", "size", "colour date"),
    ("move_furniture", "Have furniture moved.", "have furniture moved", "origin destination", "weight insured"),
    ("hire_gardener", "Hire a gardener.", "hire a gardener", "city minutes", "budget date"),
    ("hire_tutor", "Hire a tutor for a language.", "hire a tutor", "language", "minutes rating"),
    ("translate", "Translate a text.", "translate the text", "title language", "express"),
    ("print_poster", "Print a poster.", "print a poster", "title size", "colour express"),
)
"""Name, description, how a request asks for it, required parameters, optional parameters."""


@dataclass(frozen=True)
class Asked:
    """One request: the functions it may use, what is said, the calls that are right."""

    tools: list[Tool]
    text: str
    calls: list[Call]

    @property
    def prompt(self) -> list[Message]:
        """Catalogue and request as messages."""
        return as_prompt(self.tools, [{"role": "user", "content": self.text}])


def tool(number: int) -> Tool:
    """The schema of function ``number`` of :data:`SCHEMAS`."""
    name, description, _, required, optional = SCHEMAS[number]
    properties: dict[str, Any] = {}
    for key in (*required.split(), *optional.split()):
        kind, about, _ = PARAMETERS[key]
        properties[key] = {"type": kind, "description": about}
        if kind == "array":
            properties[key]["items"] = {"type": "string"}
        if key in ENUMS:
            properties[key]["enum"] = list(ENUMS[key])
    schema = {"type": "dict", "properties": properties, "required": required.split()}
    return {"name": name, "description": description, "parameters": schema}


def value(key: str, rng: np.random.Generator) -> Any:
    """A value of parameter ``key``."""
    kind = PARAMETERS[key][0]
    if key == "date":
        return f"2025-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
    if kind == "boolean":
        return True
    if kind == "integer":
        return int(rng.integers(2, 40))
    if kind == "number":
        return float(rng.integers(1, 90)) + float(rng.choice([0.0, 0.5]))
    if kind == "array":
        return rng.choice(WORDS, 2, replace=False).tolist()
    if key in ENUMS:
        return str(rng.choice(ENUMS[key]))
    pools = {"author": PEOPLE, "language": ("Danish", "Urdu", "Welsh", "Finnish", "Greek", "Tamil")}
    pools["colour"] = ("crimson", "teal", "ochre", "ivory", "indigo", "olive")
    if key == "title":
        return " ".join(rng.choice(WORDS, 2, replace=False))
    if key == "email":
        return f"{rng.choice(WORDS)}{rng.integers(100)}@example.org"
    return str(rng.choice(pools.get(key, CITIES)))


def asked(
    functions: np.ndarray,
    rng: np.random.Generator,
    *,
    catalogue: int = 5,
    two: float = 1 / 3,
    quoted: float = 1 / 6,
    irrelevant: float = 0.05,
) -> Asked:
    """A request for one of ``functions`` (indices of :data:`SCHEMAS`), or for two of them with chance ``two``.

    catalogue   functions to choose from, of which at least one is wanted where a call is right
    quoted      chance that the request quotes a function's name
    irrelevant  chance that no function of the catalogue is for it, so that no call is right
    """
    order = rng.permutation(functions)
    wanted = order[: 1 + int(rng.random() < two)]
    off = rng.random() < irrelevant
    listed = order[2 : catalogue + 2] if off else order[:catalogue]
    tools = [tool(int(i)) for i in rng.permutation(listed)]
    parts, calls = [], []
    for i in wanted.tolist():
        name, _, ask, required, optional = SCHEMAS[i]
        given = [*required.split(), *(k for k in optional.split() if rng.random() < 0.5)]
        arguments = {key: value(key, rng) for key in given}
        said = [str(rng.choice(PARAMETERS[k][2])).format(_spoken(arguments[k])) for k in rng.permutation(given)]
        use = f" with {name}" if rng.random() < quoted and not off else ""
        parts.append(f"{ask}{use} {', '.join(said)}")
        calls.append({name: {key: arguments[key] for key in rng.permutation(given).tolist()}})
    opening = str(rng.choice(["Please {}.", "Could you {}?", "I would like you to {}.", "{}, thank you."]))
    joined = str(rng.choice([" and then ", ", and also "])).join(parts)
    text = opening.format(joined)
    return Asked(tools, text[0].upper() + text[1:], [] if off else calls)


def _spoken(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def split(seed: int, unseen: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """(functions to learn from, ``unseen`` functions) as indices of :data:`SCHEMAS`."""
    order = np.random.default_rng([seed, 96]).permutation(len(SCHEMAS))
    return np.sort(order[unseen:]), np.sort(order[:unseen])
