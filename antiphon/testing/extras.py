"""Packages of the optional extras, loaded when they are first needed."""

import importlib
from typing import Any


class MissingExtraError(ImportError):
    """An optional extra is not installed; the message says how to install it."""


def require(module: str, extra: str) -> Any:
    """Import and return a module that an optional extra brings.

    Args:
        module: Its full name.
        extra: The extra of antiphon that installs it.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtraError(
            f"this needs the package of {module!r}, which is not installed: pip install 'antiphon[{extra}]'",
            name=module,
        ) from None
