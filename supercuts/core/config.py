"""Read YAML configuration into frozen pydantic models; write the values that a run used."""

import difflib
import os
import re
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from supercuts.core.errors import ConfigError
from supercuts.core.files import IMAGES, atomic_path, package_version

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_BYTES = 1 << 20  # largest file
_MAX_VALUES = 100_000
PROVENANCE = "provenance"  # top-level key that save_resolved adds and load_config skips


def load_config(path: str | os.PathLike[str] | None, model_cls: type[ModelT], overrides: Sequence[str] = ()) -> ModelT:
    """Return the model of the file's values, or of the defaults if `path` is None, with overrides applied in order.

    An override is `key.sub=value`, its value read as YAML: `ssn.superpixels=200`, `widths=[16, 32]`, `init=null`.
    A file written by save_resolved loads unchanged. Raise ConfigError, with one line per problem, for invalid values.
    """
    assert model_cls.model_config.get("extra") == "forbid", f"{model_cls.__name__} must refuse unknown keys"
    assert model_cls.model_config.get("frozen"), f"{model_cls.__name__} must be frozen"
    written = {} if path is None else _read_mapping(Path(path))
    values = {key: value for key, value in written.items() if key != PROVENANCE}
    sources: list[tuple[tuple[str, ...], str]] = []
    for override in overrides:
        keys, value = _parse_override(override)
        values = _with_value(values, keys, value, override)
        sources.append((keys, f"override {override}"))
    try:
        return model_cls.model_validate(values)
    except ValidationError as error:
        lines = [
            _explain(detail, model_cls, values, sources, os.fspath(path or "defaults")) for detail in error.errors()
        ]
        raise ConfigError("\n".join(lines)) from error


def save_resolved(config: BaseModel, path: str | os.PathLike[str], *, seed: int | None = None) -> None:
    """Write every field, including defaults, with the package version and the seed, as YAML that load_config reads.

    If `seed` is None, the model's field `seed` is recorded, or null if it has none.
    """
    recorded = getattr(config, "seed", None) if seed is None else seed
    document = {**config.model_dump(mode="json"), PROVENANCE: {"supercuts": package_version(), "seed": recorded}}
    with atomic_path(path) as temporary:
        temporary.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe loader that raises an error for a repeated key instead of overwriting silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if (key.tag, str(key.value)) in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} appears twice", problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return super().construct_mapping(node, deep)


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        siblings = sorted(p.name for pattern in ("*.yaml", "*.yml") for p in path.parent.glob(pattern))
        raise ConfigError(f"{path}: no such file; {path.parent} holds {', '.join(siblings) or 'no YAML file'}")
    if path.suffix.lower() in IMAGES:
        raise ConfigError(f"{path}: is an image, not a configuration (.yaml); supercuts segment takes images")
    try:
        values = _parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}{_place(error)}") from error
    if values is None:
        return {}  # an empty file means the defaults
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds {_shorten(values)}; expected keys and values such as 'name: value'")
    return values


def _parse(text: str | bytes) -> Any:
    """Return the text as plain values; raise yaml.YAMLError if it is not valid."""
    if len(text) > MAX_BYTES:
        raise yaml.YAMLError(f"{len(text)} bytes, above the limit of {MAX_BYTES}: is it a configuration?")
    loader = _UniqueKeyLoader(text)  # a subclass of SafeLoader: builds no objects
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _extent(node, {}) > _MAX_VALUES:
            raise yaml.YAMLError(f"more than {_MAX_VALUES} values, counted with those that aliases repeat")
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply: write it flatter") from error
    # PyYAML raises these for values that contradict their tag or form, such as 2001-99-99
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        raise yaml.YAMLError(f"a value that YAML cannot read ({error}): quote it") from error
    finally:
        loader.dispose()


def _extent(node: yaml.Node, extents: dict[int, int]) -> int:
    """Return the number of values that a node expands to; nested aliases may be billions in a few lines."""
    if id(node) not in extents:
        extents[id(node)] = _MAX_VALUES + 1  # until counted: a node that contains itself is infinite
        items = node.value if isinstance(node, yaml.CollectionNode) else ()
        inner = [child for item in items for child in (item if isinstance(item, tuple) else (item,))]
        extents[id(node)] = 1 + sum(_extent(child, extents) for child in inner)
    return extents[id(node)]


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    position = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
    return f"{position}: not valid YAML: {problem}"


def _parse_override(override: str) -> tuple[tuple[str, ...], Any]:
    name, equals, text = override.partition("=")
    keys = tuple(name.strip().split("."))
    if not equals or not all(keys):
        raise ConfigError(f"override {override!r} is not understood; expected key=value or key.sub=value")
    try:
        return keys, _parse(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override}: the value is not valid YAML; quote it: {name}='\"...\"'") from error


def _with_value(values: dict[str, Any], keys: tuple[str, ...], value: Any, override: str) -> dict[str, Any]:
    """Return a copy with one nested value set; a copy, because YAML aliases make two keys share one mapping."""
    key, *rest = keys
    if not rest:
        return {**values, key: value}
    inner = values.get(key)
    if not isinstance(inner, dict | None):
        raise ConfigError(f"override {override}: {key} is {_shorten(inner)} and has no keys; set {key}=... itself")
    return {**values, key: _with_value(inner or {}, tuple(rest), value, override)}


def _explain(
    detail: ErrorDetails,
    model_cls: type[BaseModel],
    values: dict[str, Any],
    sources: list[tuple[tuple[str, ...], str]],
    path: str,
) -> str:
    loc = _written_keys(detail["loc"], values, is_missing=detail["type"] == "missing")
    source = next((text for keys, text in reversed(sources) if loc[: len(keys)] == keys), path)
    *parents, key = loc or ("",)
    under = f" under {_dotted(parents)}" if parents else ""
    if detail["type"] == "extra_forbidden":
        return f"{source}: unknown key '{key}'{under}; {_suggest(str(key), _field_names(model_cls, parents))}"
    if detail["type"] == "missing":
        return f"{source}: missing key '{key}'{under}; add it, it has no default"
    expected = re.sub(r"^(Value error, |Assertion failed, )", "", detail["msg"])
    expected = re.sub(r"^Input should be", "expected", expected)
    if isinstance(detail["input"], dict | BaseModel):  # a rule about several fields: the message names them
        return f"{source}: {_dotted(loc)}: {expected}" if loc else f"{source}: {expected}"
    return f"{source}: {_dotted(loc)}={_shorten(detail['input'])}: {expected}"


def _written_keys(loc: tuple[int | str, ...], values: object, *, is_missing: bool) -> tuple[int | str, ...]:
    """Return the keys of a pydantic location that are in the file, without the tags of union members."""
    kept = []
    for key in loc[: len(loc) - is_missing]:
        is_written = key in values if isinstance(values, dict) else isinstance(values, list) and isinstance(key, int)
        if is_written:
            values = values[key]  # type: ignore[index]
            kept.append(key)
    return (*kept, *loc[len(loc) - is_missing :])


def _suggest(key: str, names: list[str]) -> str:
    close = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(names) or 'none'}"


def _field_names(model_cls: type[BaseModel], parents: Iterable[int | str]) -> list[str]:
    models = [model_cls]
    for key in parents:
        annotations = [model.model_fields[str(key)].annotation for model in models if str(key) in model.model_fields]
        if annotations:  # else the key is a list index, a mapping key or a union tag: the models stay the same
            models = [inner for annotation in annotations for inner in _models_in(annotation)]
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _models_in(inner)


def _dotted(loc: Iterable[int | str]) -> str:
    return ".".join(map(str, loc))


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
