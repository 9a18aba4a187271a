"""What went wrong, in words a clinician can act on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """A code for the troubleshooting page, one sentence, and what to do now."""

    code: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


class SegmentationError(RuntimeError):
    """A failure that was foreseen; ``failure`` says what to show."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


def refuse(code: str, message: str, remedy: str) -> SegmentationError:
    """Return the error to raise."""
    return SegmentationError(Failure(code, message, remedy))
