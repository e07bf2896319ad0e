"""The page of configuration keys, written from the fields of the configuration classes and their comments."""

import ast
import importlib
import inspect
import textwrap
import tokenize
from io import StringIO

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

TOP = """# Configuration keys

Commands read these keys from a YAML file and from the command line, `key=value` or `group.key=value`; Python passes
the classes. Unknown keys are refused. Each run saves all values that it used as `config.yaml`.
"""
ROOTS = (  # title, module, class, where it is used
    ("Training", "supercuts.training.training_config", "TrainConfig", "`supercuts train CONFIG.yaml [key=value ...]`"),
    ("Segmenting", "supercuts.settings", "PipelineConfig", "`supercuts.load(config=PipelineConfig(...))`"),
    (
        "Refining",
        "supercuts.refine.refine_config",
        "RefineConfig",
        "`supercuts refine IMAGE... -o OUT [key=value ...]`",
    ),
    (
        "Learning to segment without annotations",
        "supercuts.training.learned_refiners",
        "LearnedTrainConfig",
        "`supercuts refine train CONFIG.yaml [key=value ...]`",
    ),
)


def page() -> str:
    """Return the page in Markdown: a section for each configuration, a table for each group of keys."""
    lines = [TOP]
    for title, module, name, use in ROOTS:
        model = getattr(importlib.import_module(module), name)
        lines += [f"## {title}", "", f"{use}: `{module}.{name}`.", ""]
        lines += tables(model, "", {model})
    return "\n".join(lines)


def tables(model, prefix, done):
    """Return the table of a class, then the tables of the classes among its fields."""
    rows, inner = [], []
    notes = comments(model)
    for key, field in model.model_fields.items():
        nested = [kind for kind in kinds(field.annotation) if kind not in done]
        default = value(field)
        if nested and default is None:
            inner += [(f"{prefix}{key}.", kind) for kind in nested]
            default = f"see `{prefix}{key}.*`"
        rows.append(
            f"| `{prefix}{key}` | {cell(type_name(field.annotation))} | {default or ''} | {cell(notes.get(key, ''))} |"
        )
    lines = ["| key | values | default | meaning |", "|---|---|---|---|", *rows, ""]
    for key, kind in inner:
        lines += [f"### {key.removesuffix('.')}", "", " ".join((kind.__doc__ or "").split()), ""]
        lines += tables(kind, key, {*done, kind})
    return lines


def kinds(annotation):
    """Return the configuration classes in an annotation."""
    found = [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
    return found + [kind for part in getattr(annotation, "__args__", ()) for kind in kinds(part)]


def value(field):
    """Return the default as text, or None if it is a configuration itself."""
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, BaseModel):
        return None
    return f"`{'null' if default is None else str(default).lower() if isinstance(default, bool) else default}`"


def type_name(annotation):
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    if kinds(annotation):
        return "keys"
    for old, new in (("typing.", ""), ("pathlib.", ""), ("NoneType", "null"), ("None", "null"), ("Literal", "one of ")):
        text = text.replace(old, new)
    if "Annotated" in text:
        text = text.split("Annotated[")[1].split(", ")[0] if "tuple" not in text else "list of numbers"
    return text.replace(" | ", " or ")


def comments(model):
    """Return the comment at each field, beside it or above it, also of inherited fields."""
    found = {}
    for base in reversed([kind for kind in model.__mro__ if issubclass(kind, BaseModel) and kind is not BaseModel]):
        source = textwrap.dedent(inspect.getsource(base))
        tokens = tokenize.generate_tokens(StringIO(source).readline)
        notes = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}
        for node in ast.parse(source).body[0].body:
            if not isinstance(node, ast.AnnAssign):
                continue
            lines = [n for n in range(node.lineno, node.end_lineno + 1) if n in notes]
            above = node.lineno - 1
            while above in notes and not notes[above].line[: notes[above].start[1]].strip():
                lines.insert(0, above)
                above -= 1
            found[node.target.id] = " ".join(notes[n].string.lstrip("# ") for n in lines)
    return found


def cell(text):
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
