"""What pages are made of: templates, the viewer's scripts and styles as text, and JSON that a page may hold."""

import json
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from fistula.errors import say_class

SCRIPTS = ("pixels.js", "pane.js", "mouse.js", "viewer.js")
STYLE = "viewer.css"


def template(room: str, name: str) -> Template:
    """A template of a room of this package; what HTML is given is escaped, unless it is markup of our own."""
    environment = Environment(
        loader=PackageLoader(f"fistula.{room}"), autoescape=name.endswith(".html"), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["say_class"] = say_class
    return environment.get_template(name)


def scripts() -> str:
    """All scripts, in their order."""
    return "\n".join(_text(name) for name in SCRIPTS)


def style() -> str:
    """The style sheet."""
    return _text(STYLE)


def as_json(value: Any) -> str:
    r"""JSON that cannot end the script element that it stands in.

    Example:
        >>> as_json("</script>")
        '"\\u003c/script>"'
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _text(name: str) -> str:
    return files("fistula.viewer").joinpath(name).read_text(encoding="utf-8")
