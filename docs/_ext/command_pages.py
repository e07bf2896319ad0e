"""The page of the command line, written from the help texts of the commands."""

import re

from typer.main import get_command

from supercuts.cli.main import app

TOP = """# Command line

`supercuts COMMAND --help` prints what this page lists; it is written from the same texts.
"""


def page() -> str:
    """Return the page in Markdown: one section a command."""
    sections = [TOP]
    for path, command in sorted(commands("supercuts", get_command(app))):
        sections.append(section(path, command))
    return "\n".join(sections)


def commands(path, command):
    """Yield the path and the object of each visible command that is not a group."""
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    for name in command.list_commands(None):
        if not (inner := command.get_command(None, name)).hidden:
            yield from commands(f"{path} {name}", inner)


def section(path, command):
    """Return the section of one command: what it does, its usage, arguments, options and example."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name != "argument" and not p.hidden]
    usage = " ".join([path, *("[OPTIONS]" for _ in options[:1]), *(argument(p) for p in arguments)])
    lines = [f"## {path}", "", plain(command.help), "", "```text", usage, "```", ""]
    for title, params in (("argument", arguments), ("option", options)):
        if params:
            lines += [f"| {title} | meaning | default |", "|---|---|---|"]
            lines += [f"| {names(p)} | {cell(p.help)} | {default(p)} |" for p in params]
            lines.append("")
    if command.epilog:
        example = plain(command.epilog).removeprefix("Example:").strip()
        lines += ["```bash", example, "```", ""]
    return "\n".join(lines)


def argument(param):
    name = param.metavar or param.name.upper()
    name = name.strip("[]").removesuffix("...")
    dots = "..." if param.nargs != 1 else ""
    return f"{name}{dots}" if param.required else f"[{name}]{dots}"


def names(param):
    if param.param_type_name == "argument":
        return f"`{argument(param)}`"
    spelled = ", ".join(f"`{name}`" for name in [*param.opts, *param.secondary_opts])
    if getattr(param, "is_flag", False):
        return spelled
    return f"{spelled} *{cell(param.metavar or 'value')}*"


def default(param):
    value = param.default
    if callable(value) or value in (None, False, "", (), []) or "Sentinel" in type(value).__name__:
        return ""
    return "on" if value is True else f"`{value}`"


def plain(text):
    """Return a help text as Markdown: paragraphs kept, markup of the terminal removed."""
    text = re.sub(r"\[/?(bold|italic|dim|green|red|cyan)\]", "", (text or "").replace("\\[", "["))
    return text.replace("<", "&lt;").strip()


def cell(text):
    return " ".join(plain(text).split()).replace("|", "\\|")
