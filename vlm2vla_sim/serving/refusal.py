"""The refusal of a request by a server of ours."""

from __future__ import annotations


class RefusalError(Exception):
    """A request that is answered with a status and a sentence."""

    def __init__(self, status: int, message: str, field: str = "") -> None:
        """field: the part of the request that is at fault, as in "messages[0].role"; the sentence begins with it."""
        super().__init__(f"{field}: {message}" if field else message)
        self.status, self.field = status, field
