"""The refusal of a request by a server of ours."""

from __future__ import annotations


class RefusalError(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, message: str, field: str = "") -> None:
        """field: the part of the request that is at fault, as in "messages[0].role"; the sentence begins with it."""
        self.status, self.field = status, field[:100]
        super().__init__(f"{self.field}: {message}" if field.strip() and field.isprintable() else message)
