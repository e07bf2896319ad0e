import pytest

from supercuts.core import errors


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InputError, ValueError),
        (errors.ConstraintError, errors.InputError),
        (errors.ImageError, ValueError),
        (errors.FileFormatError, ValueError),
        (errors.ConfigError, ValueError),
        (errors.MissingDependencyError, ImportError),
    ],
)
def test_each_error_is_caught_as_ours_and_as_the_builtin(kind, builtin):
    assert issubclass(kind, errors.SuperCutsError)
    assert issubclass(kind, builtin)


def test_the_table_above_names_every_error():
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(kinds) == 7
