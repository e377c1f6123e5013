"""The input or output of a block: a pydantic model with a field for each pin.

What validates and describes it is made once for each class, since a runner asks for it on every run.
"""

import types
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from blockyard import values
from blockyard.block.complaints import complaints
from blockyard.block.errors import BlockDefinitionError
from blockyard.block.fields import CredentialsReference, extra_of
from blockyard.block.json_schemas import plain_schema
from blockyard.block.requirements import CredentialsRequirement


class BlockSchema(BaseModel):
    """Base of a block's `Input` and `Output`. Inputs that it does not name are left out."""

    # Errors name the pin, however a value was called: what is secret is known by its pin.
    model_config = ConfigDict(
        protected_namespaces=(), validate_by_name=True, validate_by_alias=True, loc_by_alias=False
    )

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """A model that is shown, in a log or a message of a block, does not show its secrets."""
        secret = self.secret_fields()
        for name, value in super().__repr_args__():
            yield name, "***" if name in secret and value else value

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        for name, field in cls.model_fields.items():
            named = name == "credentials" or name.endswith("_credentials")
            typed = CredentialsReference in (field.annotation, *get_args(field.annotation))
            if typed and not named:
                raise BlockDefinitionError(
                    f"{cls.__qualname__}.{name}: is a credentials field: name it {name}_credentials"
                )
            if named and not typed:
                raise BlockDefinitionError(
                    f"{cls.__qualname__}.{name}: its name is for fields of type CredentialsReference"
                )

    @classmethod
    def jsonschema(cls) -> dict[str, Any]:
        """The JSON schema, references resolved. The caller must not change it: it is made once."""
        return _json_schema(cls)

    @classmethod
    def get_fields(cls) -> set[str]:
        """Names of all pins."""
        return set(cls.model_fields)

    @classmethod
    def get_required_fields(cls) -> set[str]:
        """Names of the pins that have no default."""
        return {name for name, field in cls.model_fields.items() if field.is_required()}

    @classmethod
    def many_pins(cls) -> frozenset[str]:
        """Names of the pins that may yield more than once in a run."""
        return frozenset(name for name, field in cls.model_fields.items() if extra_of(field).get("many"))

    @classmethod
    def secret_fields(cls) -> frozenset[str]:
        """Names of the fields whose values are never shown."""
        return _secret_fields(cls)

    @classmethod
    def unshown_fields(cls) -> frozenset[str]:
        """Names of the fields whose values no message repeats: secret ones, and those for credentials, where somebody
        may have written the secret itself in the place of its reference."""
        return _unshown_fields(cls)

    @classmethod
    def get_credentials_fields(cls) -> dict[str, CredentialsRequirement]:
        """What each credentials field asks for, by name."""
        found = {name: CredentialsRequirement.of_schema(extra_of(field)) for name, field in cls.model_fields.items()}
        return {name: requirement for name, requirement in found.items() if requirement is not None}

    @classmethod
    def validate_data(cls, data: Mapping[str, Any]) -> list[str]:
        """What is wrong with the data, a sentence for each; empty if nothing. None counts as not given."""
        try:
            cls.model_validate(without_nulls(cls, data))
        except ValidationError as error:
            return complaints(error, secret=cls.unshown_fields())
        return []

    @classmethod
    def validate_field(cls, name: str, value: Any) -> str | None:
        """What is wrong with this one value, whatever else the schema requires; None if nothing.

        As in `validate_data`, None counts as not given where the field does not require it.
        """
        field = cls.model_fields.get(name)
        if field is None:
            return f"{name}: there is no such field; there are {', '.join(cls.model_fields)}"
        if value is None and name not in nulls_kept(cls):
            return f"{name}: is required" if field.is_required() else None
        found = _complaints_alone(cls, name, value)
        if found and name in cls.unshown_fields():
            return f"{name}: does not fit"
        return "; ".join(found) or None


@cache
def _json_schema(schema: type[BlockSchema]) -> dict[str, Any]:
    return plain_schema(schema.model_json_schema(by_alias=False))


@cache
def _secret_fields(schema: type[BlockSchema]) -> frozenset[str]:
    return frozenset(name for name, field in schema.model_fields.items() if extra_of(field).get("secret"))


@cache
def _unshown_fields(schema: type[BlockSchema]) -> frozenset[str]:
    return schema.secret_fields() | schema.get_credentials_fields().keys()


@cache
def field_adapter(schema: type[BlockSchema], name: str) -> TypeAdapter[Any]:
    """Validates one field's values, by its type and its limits."""
    field = schema.model_fields[name]
    annotation: Any = field.annotation
    if field.metadata:
        annotation = Annotated[annotation, *field.metadata]
    return TypeAdapter(annotation)


def _complaints_alone(schema: type[BlockSchema], name: str, value: Any) -> list[str]:
    """What is wrong with the value for this field, by its type, its limits and its own validators.

    It is judged in a model that has nothing else, of which all other complaints are left out. Validators that look at
    a whole model before its fields are cannot be given one that is not whole: where there are some, the type alone is
    the judge.
    """
    validators = schema.__pydantic_decorators__.model_validators.values()
    in_model = all(validator.info.mode == "after" for validator in validators)
    try:
        if in_model:
            schema.model_validate({name: value})
        else:
            field_adapter(schema, name).validate_python(value)
    except ValidationError as error:
        return complaints(error, only=name) if in_model else complaints(error, path=name)
    return []


@cache
def nulls_kept(schema: type[BlockSchema]) -> frozenset[str]:
    """Required fields that take None as a value: there it is one, elsewhere it means that there is none."""
    return frozenset(name for name, f in schema.model_fields.items() if f.is_required() and takes_null(f))


def takes_null(field: FieldInfo) -> bool:
    """Whether None is among the values of the field's type."""
    annotation = field.annotation
    if annotation is Any or annotation is object:
        return True
    return get_origin(annotation) in (Union, types.UnionType) and types.NoneType in get_args(annotation)


def without_nulls(schema: type[BlockSchema], data: Mapping[str, Any]) -> dict[str, Any]:
    """The data without the Nones that mean that there is no value."""
    kept = nulls_kept(schema)
    return {name: value for name, value in data.items() if value is not None or name in kept}


@cache
def output_check(schema: type[BlockSchema], name: str) -> Callable[[Any], object] | None:
    """Raises ValidationError (or ValueError, where there is no JSON form) for what does not fit; None if all does.

    A value fits if it is of the type, or if its JSON form is: a tuple is a list to its receiver, "1" is no integer.
    """
    annotation = schema.model_fields[name].annotation
    if annotation is Any or annotation is object:
        return None
    validator = field_adapter(schema, name).validator

    def check(value: Any) -> None:
        try:
            validator.validate_python(value, strict=True)
        except ValidationError:
            validator.validate_json(values.encode(value), strict=True)

    return check
