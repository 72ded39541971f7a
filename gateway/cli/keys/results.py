"""The outcomes of an act on several keys, as one table."""

import sys
from collections.abc import Sequence
from dataclasses import asdict

from gateway.cli.output import note, print_json, print_table
from gateway.services.keys.lifecycle import KeyChange


def print_changes(changes: Sequence[KeyChange], *, as_json: bool) -> None:
    """Print the outcomes; exit 1 if a key was refused."""
    if as_json:
        print_json({"results": [asdict(change) for change in changes]})
    elif changes:
        print_table(("ID", "OUTCOME"), [(c.id, c.outcome) for c in changes])
    else:
        note("There are no keys to act on.")
    notes = [c.note for c in changes if c.note and (c.refused or not as_json)]
    for sentence in dict.fromkeys(notes):
        note(sentence)
    if any(change.refused for change in changes):
        sys.exit(1)
