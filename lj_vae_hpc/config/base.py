"""What every section of the configuration is made of."""

from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_bool(value: Any) -> Any:
    """Refuses true and false where a number is meant; text like 1e-4, which YAML reads as such, is a number."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number")
    return value


Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[int, Field(gt=0, strict=True)]


class Section(BaseModel):
    """A part of the configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def to_yaml(tree: Any) -> str:
    """Plain dictionaries, lists and numbers as YAML, in their order."""
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return text
