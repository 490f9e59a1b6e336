"""What the command lines share: declared settings become options with their help."""

import dataclasses
from typing import Annotated, Any

import tyro


def argument(field: dataclasses.Field[Any], default: Any) -> tuple[str, Any, Any]:
    """Turn a declared parameter into a command-line field with its help."""
    unit = field.metadata["unit"]
    text = field.metadata["doc"] + (f" [{unit}]" if unit else "")
    return field.name, Annotated[field.type, tyro.conf.arg(help=text)], dataclasses.field(default=default)
