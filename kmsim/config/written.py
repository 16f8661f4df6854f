"""A study written back as YAML: the resolved config that every result carries, and the starter file.

Loading a dump gives an equal study; paths in it are absolute. What ``extends`` and overrides said is
gone: the dump stands alone.
"""

import io
from typing import Any

from ruamel.yaml import YAML

from kmsim.config.shipped import configs_folder
from kmsim.config.study import Study

SCHEMA_FILE = "kmsim.schema.json"


def dump(study: Study) -> str:
    """The resolved study as YAML, every key spelt out."""
    return yaml_text(study.model_dump(mode="json", exclude_none=True))


def yaml_text(value: Any) -> str:
    """Plain mappings, lists and scalars as YAML."""
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 110
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue()


def starter() -> str:
    """A commented config to start from, with the line by which an editor finds the schema."""
    return (configs_folder() / "starter.yaml").read_text(encoding="utf-8")
