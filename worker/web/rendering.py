"""Turn values into HTML and JSON. A text is shown as text. Knows no queue."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from worker.core import plain_text
from worker.core.redact import presentable, visible

FOLDER = Path(__file__).parent


def _shown(value: object) -> object:
    """Return what an expression of a template shows: no control and no bidirectional characters."""
    return value if isinstance(value, Markup) else plain_text.text(value)


def _time(moment: datetime) -> Markup:
    machine = plain_text.for_json(moment)
    return Markup('<time datetime="{}">{}</time>').format(machine, plain_text.text(moment))


def static(name: str) -> Markup:
    """Return a file of our own, to be shown as it is."""
    return Markup((FOLDER / "static" / name).read_text(encoding="utf-8"))  # noqa: S704


_FILTERS: dict[str, Callable[..., object]] = {
    "number": "{:,}".format,
    "time": _time,
    "whole": lambda line: escape(visible(line)),
    "static": static,
}
ENVIRONMENT = Environment(
    autoescape=True,
    finalize=_shown,
    loader=FileSystemLoader(FOLDER / "templates"),
    lstrip_blocks=True,
    trim_blocks=True,
    undefined=StrictUndefined,
)
ENVIRONMENT.filters |= _FILTERS


def prepare() -> None:
    """Compile every template, so that no request waits for it."""
    for name in ENVIRONMENT.list_templates():
        ENVIRONMENT.get_template(name)


def render(template: str, values: Mapping[str, object]) -> str:
    """Return a page."""
    return ENVIRONMENT.get_template(template).render(values)


def as_json(values: Mapping[str, object]) -> str:
    """Return the values of a page as one JSON document, as the command line prints them."""
    return json.dumps(values, default=_plain, indent=2)


def _plain(value: Any) -> object:  # noqa: ANN401 - whatever JSON lacks
    if dataclasses.is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return dict(value) if isinstance(value, Mapping) else plain_text.for_json(value)


def public(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row as everybody may see it: no query of any URL, no password."""
    return {
        name: presentable(value, "") if isinstance(value, str) else value
        for name, value in row.items()
    }
