"""Identifiers as the server makes them."""

import secrets


def new_id(prefix: str) -> str:
    """Return a new identifier, such as "item_9f86d081884c7d659a2f"."""
    return f"{prefix}_{secrets.token_hex(10)}"
