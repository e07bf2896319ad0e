"""Exceptions and warnings that callers can catch."""


class SuperCutsError(Exception):
    """Base class of all errors; the message gives the value, the expectation and the remedy."""


class InputError(SuperCutsError, ValueError):
    """An argument has a value that the function does not accept."""


class ConstraintError(InputError):
    """An edit of a hierarchy contradicts an earlier edit, or a cut contradicts the edits."""


class ImageError(SuperCutsError, ValueError):
    """An image cannot be read or is not usable as an image."""


class ImageWarning(UserWarning):
    """Part of an image was omitted or changed during reading; the message gives the alternative."""


class CacheWarning(UserWarning):
    """Compiled loops cannot be kept on disk, so each process compiles them again; the message gives the remedy."""


class FileFormatError(SuperCutsError, ValueError):
    """The content of a file (hierarchy, weights, data set) does not match its format."""


class ConfigError(SuperCutsError, ValueError):
    """A configuration has an unknown key or a value that is out of range."""


class MissingDependencyError(SuperCutsError, ImportError):
    """A required optional package is not installed; the message names the extra that installs it."""
