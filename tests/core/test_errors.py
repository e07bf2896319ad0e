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
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len([kind for kind in kinds if not issubclass(kind, Warning)]) == 7


def test_a_warning_is_shown_as_those_of_a_user_are():
    assert issubclass(errors.ImageWarning, UserWarning)
