"""The exceptions a caller may want to catch."""


class SuperCutsError(Exception):
    """Anything SuperCuts refuses: the message gives the value, what was expected and the remedy."""


class InputError(SuperCutsError, ValueError):
    """An argument is outside what the function accepts."""


class ConstraintError(InputError):
    """An edit of a hierarchy contradicts an earlier one, or a cut the edits."""


class ImageError(SuperCutsError, ValueError):
    """An image cannot be read or is not usable as an image."""


class ImageWarning(UserWarning):
    """An image was read, and part of it was left out or changed; the message says how to have it otherwise."""


class CacheWarning(UserWarning):
    """Compiled loops cannot be kept on disk, so each process compiles them again; the message gives the remedy."""


class FileFormatError(SuperCutsError, ValueError):
    """A file (hierarchy, weights, data set) does not hold what its kind must hold."""


class ConfigError(SuperCutsError, ValueError):
    """A configuration has an unknown key or a value out of range."""


class MissingDependencyError(SuperCutsError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""
