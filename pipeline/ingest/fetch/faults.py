"""Why a photo was not fetched."""


class Fault(Exception):
    """An answer that is no photo, or no answer.

    Args:
        reason: in a few words; few different ones, since they are counted.
        passes: whether it may be another one the next time.
        wait: seconds that the host wishes to be left alone; None where it does not say.
        slows: whether the host shows that it has too much to do.
    """

    def __init__(self, reason: str, *, passes: bool = False, wait: float | None = None, slows: bool = False):
        super().__init__(reason)
        self.reason, self.passes, self.wait, self.slows = reason, passes, wait, slows
