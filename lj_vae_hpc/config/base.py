"""What every section of the configuration is made of."""

from collections.abc import Callable
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator


def _no_bool(value: Any) -> Any:
    """Refuses true and false where a number is meant."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number")
    return value


def between(least: float, most: float, reason: str) -> AfterValidator:
    """Bounds of a number, and why it has them."""

    def check(value: Any) -> Any:
        if not least <= value <= most:
            raise ValueError(f"{value!s:.40} is not between {least:,.10g} and {most:,.10g}: {reason}")
        return value

    return AfterValidator(check)


def _number_or_auto(value: Any, check: Callable[[Any], int]) -> Any:
    if value == AUTO:
        return value
    if isinstance(value, str):
        raise ValueError(f"must be a positive integer or auto, not {value!r}")
    return check(value)


AUTO: Any = "auto"  # until RunConfig has made a number of it
OR_AUTO = WrapValidator(_number_or_auto)
Number = Annotated[float, BeforeValidator(_no_bool), Field(allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[int, Field(gt=0, strict=True)]
SINGLE = "positions are in single precision"
Length = Annotated[Positive, between(1e-3, 1e4, SINGLE)]
Displacement = Annotated[Positive, between(1e-6, 1e4, SINGLE)]
Gamma = Annotated[Number, between(-1e4, 1e4, "beside such weights the energies of pairs are lost in rounding")]
Temperature = Annotated[Positive, between(1e-4, 1e6, "there, either pairs or everything but pairs is without effect")]
Weight = Annotated[NotNegative, between(0, 1e6, "the other terms would be lost in rounding")]
Epochs = Annotated[NotNegative, between(0, 1e6, "no training is that long")]


class Section(BaseModel):
    """A part of the configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def to_yaml(tree: Any) -> str:
    """Plain dictionaries, lists and numbers as YAML, in their order."""
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return text
