"""What can go wrong, said so that a person can act on it: a code, one sentence, one remedy."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_DEFECT = 1
EXIT_BAD_INPUT = 2
EXIT_OUT_OF_RESOURCES = 3
EXIT_CANCELLED = 4


class IsdmaeError(Exception):
    """A failure that we foresaw.

    Parameters
    ----------
    code : str
        Stable identifier in kebab-case, for documentation and for programs (``"not-hu"``).
    message : str
        One plain sentence: what is wrong, with the measured values.
    remedy : str
        One plain sentence: what the user can do now.
    """

    exit_code = EXIT_DEFECT

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"

    def __reduce__(self) -> tuple[type[IsdmaeError], tuple[str, str, str]]:
        return type(self), (self.code, self.message, self.remedy)


class InputError(IsdmaeError):
    """The input, an option or a file cannot be used as it is."""

    exit_code = EXIT_BAD_INPUT


class ResourceError(IsdmaeError):
    """Memory, disk or a device is not enough or not usable."""

    exit_code = EXIT_OUT_OF_RESOURCES


class Cancelled(IsdmaeError):
    """The user stopped the run; nothing was written."""

    exit_code = EXIT_CANCELLED

    def __init__(
        self,
        code: str = "cancelled",
        message: str = "The run was cancelled.",
        remedy: str = "Start it again when you like; nothing was written.",
    ) -> None:
        super().__init__(code, message, remedy)


def says_memory_is_short(error: BaseException) -> bool:
    """Tell memory exhaustion by Python, PyTorch, oneDNN or ITK from every other error.

    A thread that cannot be started is one: its stack has no place; and a primitive of oneDNN that
    could be described and not made.
    """
    text = str(error).lower()
    words = (
        "out of memory",
        "not enough memory",
        "can't allocate",
        "failed to allocate",
        "allocate memory",
        "bad_alloc",
        "can't start new thread",
    )
    unmade = "could not create a primitive" in text and "descriptor" not in text
    return isinstance(error, MemoryError) or unmade or any(word in text for word in words)
