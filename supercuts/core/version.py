"""The version of the installed package, for provenance in files and on the command line."""

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """Return the installed version, or `0+unknown` for a checkout that was never installed."""
    try:
        return version("supercuts")
    except PackageNotFoundError:
        return "0+unknown"
