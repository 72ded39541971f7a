"""What is printed of a credential: everything but its values."""

from dataclasses import asdict
from typing import Any

from gateway.services.credentials.vault import CredentialView


def facts(view: CredentialView) -> dict[str, Any]:
    return {**asdict(view), "fields": list(view.fields), "state": view.state.value}
