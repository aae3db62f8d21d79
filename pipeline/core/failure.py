"""A fault in a line and an exit status, for whoever started the program."""

import errno

from pipeline.core.errors import PipelineError, SettingsError

FULL_DISK = "the disk is full: nothing half-written was left; make room and run the same command again"
NO_MEMORY = "not enough memory: nothing half-written was left; free some, or give smaller sizes in params.yaml"
OUT_OF_MEMORY = ("can't allocate memory", "out of memory")  # how torch says it


def explain(error: BaseException) -> tuple[str, int] | None:
    """What a fault that a user can mend says, and the status that the program exits with.

    Returns:
        The line, and 1, or 2 where the settings or a name are at fault; None where the program itself is.

    >>> explain(SettingsError("unknown head 'a'")), explain(ZeroDivisionError())
    (("unknown head 'a'", 2), None)
    """
    if isinstance(error, PipelineError):
        return str(error), 2 if isinstance(error, SettingsError) else 1
    # Libraries wrap what the system says in errors of their own.
    if isinstance(error, MemoryError) or any(words in str(error) for words in OUT_OF_MEMORY):
        return NO_MEMORY, 1
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error):
        return FULL_DISK, 1
    return (" ".join(str(error).split()), 1) if isinstance(error, OSError) else None
