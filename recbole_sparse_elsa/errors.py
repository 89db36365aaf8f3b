"""The errors that a user can mend; the command line prints each of them as one line."""


class UserError(Exception):
    """Base of the errors below: the message names what was given, and what is allowed or to be done instead."""


class OptionError(UserError, ValueError):
    """An option, or a combination of options, has a value that is not allowed."""


class DatasetError(UserError, ValueError):
    """A data set cannot be found, or nothing is left of it after filtering."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be read, or belongs to another model, data set or shape."""


class TrainingError(UserError, RuntimeError):
    """Training cannot begin, or cannot go on, with these options."""


class IndexFileError(UserError, RuntimeError):
    """An index file cannot be read, is damaged, or was written in another version of the format."""


class SegmentsFileError(UserError, RuntimeError):
    """A segments file cannot be read, is damaged, or was written in another version of the format."""
