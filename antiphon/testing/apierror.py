"""Errors that the server reports to the client, in the API's words."""

from collections.abc import Sequence

from antiphon.protocol import ErrorDetail, ErrorEvent
from antiphon.testing.ids import new_id


class ApiError(Exception):
    """A client event that can't be carried out; the connection goes on.

    Attributes:
        message: Text for people, as the API words it.
        code: The API's code.
        param: The parameter it is about, as a path.
        kind: The error's type.
    """

    def __init__(
        self, message: str, code: str, param: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind

    def event(self, cause: str | None = None) -> ErrorEvent:
        """The `error` event. `cause` is the id of the client event that it answers, if that had one."""
        detail = ErrorDetail(
            type=self.kind, code=self.code, message=self.message, param=self.param, event_id=cause
        )
        return ErrorEvent(event_id=new_id("event"), error=detail)


def invalid_value(value: object, supported: Sequence[str], param: str) -> ApiError:
    """The error for a value outside an enumeration."""
    quoted = [f"'{one}'" for one in supported]
    listed = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
    if len(quoted) == 2:
        listed = " and ".join(quoted)
    return ApiError(f"Invalid value: '{value}'. Supported values are: {listed}.", "invalid_value", param)


def missing_item(action: str, verb: str, item_id: str, param: str = "item_id") -> ApiError:
    """The error for an item that is not there: `action` as in the code, `verb` as in the message."""
    message = f"Error {verb} item: the item with id '{item_id}' does not exist."
    return ApiError(message, f"item_{action}_invalid_item_id", param)
