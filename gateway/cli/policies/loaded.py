"""Loading valid policies from a directory."""

from pathlib import Path

from gateway.domain.errors import OperationError
from gateway.domain.policies.snapshot import Policies
from gateway.services.policies.directory import read_directory


def loaded_policies(directory: Path) -> Policies:
    """Return the policies in `directory`; OperationError if they have problems."""
    loaded = read_directory(directory)
    if loaded.policies is None:
        count = len(loaded.problems)
        first = loaded.problems[0]
        more = f" ({count - 1} more: see 'gateway policy check')" if count > 1 else ""
        raise OperationError(f"The policies cannot be used: {first}{more}")
    return loaded.policies
