"""Faults that a user can mend. Every message is one line: what, where, what to do."""


class PipelineError(Exception):
    """A fault that the user can mend; the command line prints it as one line and exits with a status that is not 0."""


class SettingsError(PipelineError):
    """params.yaml, or a name given on the command line, asks for something that does not exist."""


class SourceError(PipelineError):
    """The raw data as a whole cannot be used: missing, of another type, forbidden, or empty."""


class StageError(PipelineError):
    """A stage lacks what an earlier stage should have left, or its result would be empty."""


class WeightsError(PipelineError):
    """A backbone's weights are missing, out of reach, or do not fit its architecture."""


class StoreError(PipelineError):
    """An embedding store has another fingerprint, is damaged, unfinished, or held by another process."""


class Unusable(Exception):
    """A single item, image or purchase that cannot be used.

    Raised where the fault is met and caught where rejects are collected: it never ends a run.

    Args:
        reason: a few words, as they appear in rejects.parquet.
    """

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason
