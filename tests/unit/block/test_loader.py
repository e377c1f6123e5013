"""The loader finds blocks, and refuses each that breaks a rule with its name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockyard.block.loader import load_blocks

HEADER = (
    "import collections.abc\nimport datetime\nimport pydantic\nfrom typing import Any\nfrom blockyard.block import *\n"
)
ID = "7c3f1a52-6d0e-4f6b-9f6f-0c3b8a0d1e01"
ASKED = "provider='p', types=['api_key']"
OTHER_ID = "7c3f1a52-6d0e-4f6b-9f6f-0c3b8a0d1e02"


def block_source(
    name: str = "GoodBlock",
    *,
    id: str = ID,
    text: str = "text: str = SchemaField()",
    error: str = "error: str = SchemaField()",
    run: str = "async def run(self, input_data: Input) -> BlockOutput:\n        yield 'out', 1",
    options: str = "",
    base: str = "BlockSchema",
) -> str:
    """Source of a block that keeps all rules, but for what is given."""
    return f"""{HEADER}
class {name}(Block):
    class Input({base}):
        {text}

    class Output(BlockSchema):
        out: Any = SchemaField()
        {error}

    def __init__(self) -> None:
        super().__init__(id="{id}", input_schema=self.Input, output_schema=self.Output, {options})

    {run}
"""


class Package:
    """A package of blocks in a folder of its own."""

    name = "sample_package"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / self.name
        self.write("__init__", "")

    def write(self, module: str, source: str) -> None:
        path = self.folder.joinpath(*module.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Package]:
    sys.path.insert(0, str(tmp_path))
    yield Package(tmp_path)
    sys.path.remove(str(tmp_path))
    for module in [name for name in sys.modules if name.split(".")[0] == Package.name]:
        del sys.modules[module]


def errors_of(package: Package) -> list[str]:
    return [error.message for error in load_blocks([package.name], entry_points=False).errors]


def test_blocks_of_all_modules_are_found(package: Package) -> None:
    package.write("text", block_source())
    package.write("deep.inside", block_source("DeepBlock", id=OTHER_ID))
    package.write("deep.__init__", "")

    catalogue = load_blocks([package.name], entry_points=False)

    assert catalogue.errors == []
    assert set(catalogue.blocks) == {ID, OTHER_ID}
    assert set(catalogue.by_name) == {"GoodBlock", "DeepBlock"}


def test_imported_and_abstract_blocks_are_not_counted(package: Package) -> None:
    package.write("text", block_source() + "\nclass TextBlockBase(Block):\n    pass\n")
    package.write("other", f"from {package.name}.text import GoodBlock\n")

    catalogue = load_blocks([package.name, package.name], entry_points=False)

    assert catalogue.errors == []
    assert list(catalogue.by_name) == ["GoodBlock"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (block_source("GoodStep"), "GoodStep: the name of a block's class must end in Block"),
        (block_source(id="no-uuid"), "GoodBlock: its id must be a UUID in lower case, got 'no-uuid'"),
        (block_source(id=ID.upper()), "GoodBlock: its id must be a UUID in lower case"),
        (block_source(error="error: int = SchemaField()"), "GoodBlock: output error: must be of type str"),
        (block_source(error=""), "GoodBlock: output error: is missing"),
        (block_source(text="text = SchemaField()"), "GoodBlock: text: must have an annotation, such as `text: str ="),
        (block_source(text="text = 7"), "GoodBlock: text: must have an annotation, such as `text: str ="),
        (
            block_source(text="text: collections.abc.Callable[[], int] = SchemaField()"),
            "GoodBlock: input schema: cannot be written as JSON: PydanticInvalidForJsonSchema",
        ),
        (
            block_source(options="categories=['TEXT']"),
            "GoodBlock: description: cannot be written as JSON: AttributeError",
        ),
        (block_source(options="timeout=0"), "GoodBlock: its timeout must be 0.001 to 604800 seconds, got 0"),
        (
            block_source(options="timeout=float('nan')"),
            "GoodBlock: its timeout must be 0.001 to 604800 seconds, got nan",
        ),
        (
            block_source(options="timeout=30 * 86_400"),
            "GoodBlock: its timeout must be 0.001 to 604800 seconds, got 2.592e",
        ),
        (block_source(options="pool='GPU'"), "GoodBlock: its pool must be 1 to 63 characters of a-z 0-9 -"),
        (block_source(options="retry=RetryPolicy(max_attempts=101)"), "GoodBlock: retry: at most 100 attempts"),
        (block_source(options="retry=RetryPolicy(multiplier=101)"), "GoodBlock: retry: at most 100 attempts"),
        (
            block_source(options="retry=RetryPolicy(max_backoff=datetime.timedelta(days=2))"),
            "GoodBlock: retry: max_backoff must be at most 1 day, 0:00:00, got 2 days, 0:00:00",
        ),
        (
            block_source(options="retry=RetryPolicy(reasons=('BAD_LUCK',))"),
            "GoodBlock: retry: there is no reason 'BAD_LUCK'; there are BLOCK_ERROR",
        ),
        (
            block_source(text="value: Any = SchemaField()", options="block_type=BlockType.INPUT"),
            "GoodBlock: input name: is missing; a block of type INPUT needs it",
        ),
        (
            block_source(options="effect=Effect.ONCE, cache=CachePolicy(60)"),
            "GoodBlock: cache: its effect is ONCE, so each run has to happen",
        ),
        (
            block_source(
                text="credentials: CredentialsReference = CredentialsField(provider='p', types=['api_key'])",
                options="cache=CachePolicy(60)",
            ),
            "GoodBlock: cache: input credentials: what credentials give is not for others",
        ),
        (block_source(options="cache=60"), "GoodBlock: description: cannot be written as JSON: TypeError"),
        (
            block_source(options="cache=CachePolicy(0)"),
            "GoodBlock: cannot be made: ValueError: seconds: expected above 0",
        ),
        (
            block_source(text="text: str = SchemaField(hidden=True)"),
            "GoodBlock: input text: is hidden, so nobody can fill it in: it needs a default",
        ),
        (
            block_source(text="text: str = SchemaField(secret=True, default='sesame')"),
            "GoodBlock: input text: is secret, and its default would be in the catalogue",
        ),
        (
            block_source(text="text: int = SchemaField(default=11, le=10)"),
            "GoodBlock: input text: its default does not fit: text: expected less than or equal to 10, got 11",
        ),
        (block_source(text="text: str = SchemaField(many=True)"), "GoodBlock: input text: many is for outputs"),
        (
            block_source(text="text: str = SchemaField(depends_on=['other'])"),
            "GoodBlock: input text: depends_on: there is no other input 'other'",
        ),
        (
            block_source(options="costs=[BlockCost(1), BlockCost(1, filter={'model': 'x'})]"),
            "GoodBlock: costs[1]: filter: there is no input 'model'",
        ),
        (
            block_source(options="webhook_config=WebhookConfig('p', 't', resource_format='{text}/{repository}')"),
            "GoodBlock: webhook_config: there is no input 'repository'",
        ),
        (
            block_source(options="webhook_config=WebhookConfig('p', 't', resource_format='{text')"),
            "GoodBlock: webhook_config: resource_format: expected '}' before end of string",
        ),
        (
            block_source(options="webhook_config=WebhookConfig('p', 't', event_filter_input='events')"),
            "GoodBlock: webhook_config: there is no input 'events'",
        ),
        (block_source(base="pydantic.BaseModel"), "GoodBlock: input schema: must be a subclass of BlockSchema"),
        (block_source(options="retry=exit()"), "GoodBlock: cannot be made: SystemExit"),
        (block_source(text="text: str"), "GoodBlock: input text: must be declared with SchemaField"),
        (block_source(text="text: bool = SchemaField()"), "GoodBlock: input text: a bool needs a default"),
        (block_source(text="text: bool | None = SchemaField()"), "GoodBlock: input text: a bool needs a default"),
        (block_source(text="credentials: str = SchemaField()"), "GoodBlock: cannot be imported: BlockDefinitionError"),
        (block_source(run="async def run(self, input_data): return []"), "GoodBlock: run must be an async generator"),
        (block_source(run=""), "GoodBlock: run must be an async generator"),
        (block_source(options="retry=1 / 0"), "GoodBlock: cannot be made: ZeroDivisionError"),
        (block_source(options="block_type=BlockType.WEBHOOK"), "GoodBlock: a webhook block needs a webhook_config"),
        (
            block_source(run="cpu_bound = True\n    async def run(self, input_data):\n        yield 'out', 1"),
            "GoodBlock: a cpu_bound block runs in a process, so its run must be a plain generator",
        ),
    ],
)
def test_block_that_breaks_a_rule_is_refused_with_its_name(package: Package, source: str, message: str) -> None:
    package.write("text", source)

    catalogue = load_blocks([package.name], entry_points=False)

    assert catalogue.blocks == {}
    assert len(catalogue.errors) == 1
    assert catalogue.errors[0].message.startswith(message)
    assert catalogue.errors[0].block == message.split(":")[0]
    assert catalogue.errors[0].module == f"{package.name}.text"


def credentials_source(options: str, run: str = "", pins: str = "", default: str = "") -> str:
    """Source of a block with a credentials field."""
    field = f"credentials: CredentialsReference{default and ' | None'} = CredentialsField({options}{default})"
    return block_source(
        text="\n        ".join(filter(None, ["text: str = SchemaField()", pins, field])),
        **({"run": f"async def run(self, input_data: Input, {run}):\n        yield 'out', 1"} if run else {}),
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (credentials_source("provider=[], types=['api_key']"), "provider: name at least one"),
        (
            credentials_source("provider='Git Hub', types=['api_key']"),
            "provider: expected 1 to 100 characters of a-z 0-9 _ -, got 'Git Hub'",
        ),
        (
            credentials_source("provider='p', types=[]"),
            "types: name at least one of api_key, oauth2, user_password, host_scoped",
        ),
        (
            credentials_source("provider='p', types=['apikey']"),
            "types: there is no type 'apikey'; there are api_key, oauth2, user_password, host_scoped",
        ),
        (
            credentials_source("provider='p', types=['api_key'], scopes=['read']"),
            "scopes: only credentials of the type oauth2 have some",
        ),
        (
            credentials_source("provider='p', types=['api_key'], discriminator_mapping={'a': 'p'}"),
            "discriminator_mapping: name in `discriminator` the input whose values it has",
        ),
        (
            credentials_source("provider='p', types=['api_key'], discriminator='model'"),
            "discriminator: there is no other input 'model'",
        ),
        (
            credentials_source("provider='p', types=['api_key'], discriminator='credentials.id'"),
            "discriminator: there is no other input 'credentials'",
        ),
        (
            credentials_source("provider='p', types=['api_key'], discriminator='text'"),
            "discriminator: without discriminator_mapping it is for the type host_scoped alone",
        ),
        (
            credentials_source(
                "provider='p', types=['host_scoped'], discriminator='url'", pins="url: str = SchemaField(secret=True)"
            ),
            "discriminator: url is secret, and what picks a credential is shown",
        ),
        (
            credentials_source(
                "provider='p', types=['api_key'], discriminator='text', discriminator_mapping={'a': 'q'}"
            ),
            "discriminator_mapping: 'a': there is no provider 'q'; there are p",
        ),
        (
            credentials_source(
                "provider='p', types=['api_key'], discriminator='text', discriminator_mapping={'a*b': 'p'}"
            ),
            "discriminator_mapping: 'a*b': a * may stand at the end alone",
        ),
        (
            credentials_source(
                "provider='p', types=['api_key'], discriminator='times', discriminator_mapping={'a': 'p'}",
                pins="times: int = SchemaField()",
            ),
            "discriminator_mapping: 'a': is no value that times takes",
        ),
        (
            credentials_source("provider='p', types=['api_key']", default=", default={'id': 'x'}"),
            "a credential belongs to a user, so its only default is None",
        ),
    ],
)
def test_a_credentials_field_that_breaks_a_rule_is_refused(package: Package, source: str, message: str) -> None:
    package.write("text", source)

    assert f"GoodBlock: input credentials: {message}" in errors_of(package)


def test_a_field_takes_one_credential(package: Package) -> None:
    package.write(
        "text", block_source(text="credentials: list[CredentialsReference] = CredentialsField(" + ASKED + ")")
    )

    assert errors_of(package) == [
        "GoodBlock: input credentials: takes one credential: its type is CredentialsReference, or that or None"
    ]


def test_a_credential_is_no_output(package: Package) -> None:
    pins = f"error: str = SchemaField()\n        credentials: CredentialsReference = CredentialsField({ASKED})"
    package.write("text", block_source(error=pins))

    assert errors_of(package) == ["GoodBlock: output credentials: a credential is an input alone"]


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            "key: ApiKeyCredentials",
            "GoodBlock: run: key: there is no credentials field of that name; name the parameter after its field",
        ),
        (
            "credentials: OAuth2Credentials",
            "GoodBlock: run: credentials: is annotated for oauth2, and the field takes api_key",
        ),
    ],
)
def test_a_parameter_for_credentials_that_fits_no_field_is_refused(package: Package, run: str, message: str) -> None:
    package.write("text", credentials_source("provider='p', types=['api_key']", run=run))

    assert errors_of(package) == [message]


def test_what_a_credentials_field_may_be_is_taken(package: Package) -> None:
    picked = "discriminator='text', discriminator_mapping={'a': 'p', 'b*': 'q'}"
    options = f"provider=['p', 'q'], types=['api_key', 'oauth2'], scopes=['read'], {picked}"
    package.write("text", credentials_source(options, run="credentials: Credentials | None", default=", default=None"))

    assert errors_of(package) == []


def test_module_name_not_in_lower_case_is_refused(package: Package) -> None:
    package.write("TextBlocks", block_source())

    assert errors_of(package) == ["GoodBlock: the name of its module must be in lower case, got 'TextBlocks'"]


def test_id_taken_twice_is_refused(package: Package) -> None:
    package.write("first", block_source("FirstBlock"))
    package.write("second", block_source("SecondBlock"))

    catalogue = load_blocks([package.name], entry_points=False)

    assert [error.message for error in catalogue.errors] == [f"SecondBlock: its id {ID} is taken by FirstBlock"]
    assert list(catalogue.by_name) == ["FirstBlock"]


def test_name_taken_twice_is_refused(package: Package) -> None:
    package.write("first", block_source())
    package.write("second", block_source(id=OTHER_ID))

    assert errors_of(package) == [f"GoodBlock: its name is taken by the block {ID}"]


def test_a_pin_that_loses_its_annotation_in_a_subclass_is_refused(package: Package) -> None:
    package.write("base", f"{HEADER}\nclass Named(BlockSchema):\n    text: str = SchemaField()\n")
    child = block_source(text="text = SchemaField()", base="Named").replace(
        HEADER, f"{HEADER}from {package.name}.base import Named\n"
    )
    package.write("text", child)

    (message,) = errors_of(package)

    assert message.startswith("GoodBlock: text: must have an annotation")


def test_abstract_blocks_are_called_base(package: Package) -> None:
    package.write("text", f"{HEADER}\nclass HalfBlock(Block):\n    pass\n\nclass HalfBlockBase(Block):\n    pass\n")

    assert errors_of(package) == ["HalfBlock: run must be an async generator or a generator that yields (pin, value)"]


def test_every_rule_that_a_block_breaks_is_told(package: Package) -> None:
    package.write("text", block_source(id="1", error="error: int = SchemaField()", text="text: bool"))

    assert errors_of(package) == [
        "GoodBlock: its id must be a UUID in lower case, got '1'",
        "GoodBlock: input text: must be declared with SchemaField",
        "GoodBlock: input text: a bool needs a default",
        "GoodBlock: output error: must be of type str",
    ]


def test_what_an_input_may_be_is_taken(package: Package) -> None:
    pins = """text: str = SchemaField(secret=True, default='')
        hidden: str | None = SchemaField(hidden=True, default=None, depends_on=['text'])
        limited: int = SchemaField(default=10, le=10)
        made: list[int] = SchemaField(default_factory=list)"""
    options = "costs=[BlockCost(1, filter={'text': ''})], webhook_config=WebhookConfig('p', 't', '{text}', 'hidden')"
    package.write("text", block_source(text=pins, options=options))

    assert errors_of(package) == []


def test_agent_blocks_need_no_error_pin(package: Package) -> None:
    package.write("text", block_source(error="", options="block_type=BlockType.AGENT"))

    assert errors_of(package) == []


def test_input_blocks_need_no_error_pin(package: Package) -> None:
    pins = "name: str = SchemaField()\n        value: Any = SchemaField()"
    package.write("text", block_source(error="", text=pins, options="block_type=BlockType.INPUT"))

    assert errors_of(package) == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('no library')", "RuntimeError: no library"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_broken_module_does_not_take_the_others_down(package: Package, source: str, message: str) -> None:
    package.write("broken", source)
    package.write("text", block_source())

    catalogue = load_blocks([package.name], entry_points=False)

    assert list(catalogue.by_name) == ["GoodBlock"]
    assert len(catalogue.errors) == 1
    assert catalogue.errors[0].module == f"{package.name}.broken"
    assert message in catalogue.errors[0].message


def test_package_that_does_not_exist_is_reported() -> None:
    catalogue = load_blocks(["nothing_of_that_name"], entry_points=False)

    assert [error.module for error in catalogue.errors] == ["nothing_of_that_name"]


def test_examples_are_loaded_only_when_asked_for(package: Package) -> None:
    package.write("examples.__init__", "")
    package.write("examples.greeting", block_source())

    assert load_blocks([package.name], entry_points=False).blocks == {}
    assert list(load_blocks([package.name], entry_points=False, examples=True).blocks) == [ID]


def offer(package: Package, name: str, *modules: str) -> None:
    """What an installed distribution says of its packages of blocks."""
    information = package.folder.parent / f"{name}-1.0.dist-info"
    information.mkdir()
    information.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = "".join(f"{module.replace('.', '_')} = {module}\n" for module in modules)
    information.joinpath("entry_points.txt").write_text(f"[blockyard.blocks]\n{points}")


def test_a_broken_distribution_does_not_take_the_others_down(package: Package) -> None:
    package.write("text", block_source())
    package.write("broken", "raise ImportError('the library is of another release')")
    offer(package, "good", f"{package.name}.text")
    offer(package, "broken", f"{package.name}.broken", "nothing_of_that_name")

    catalogue = load_blocks()

    assert ID in catalogue.blocks
    assert [str(error) for error in catalogue.errors if not error.module.startswith("blocks")] == [
        "nothing_of_that_name: nothing_of_that_name: cannot be imported: ModuleNotFoundError: "
        "No module named 'nothing_of_that_name'",
        f"{package.name}.broken: {package.name}.broken: cannot be imported: ImportError: "
        "the library is of another release",
    ]


def test_entry_points_are_found(package: Package) -> None:
    package.write("text", block_source())
    offer(package, "sample", package.name)

    assert ID in load_blocks().blocks
    assert ID not in load_blocks(entry_points=False).blocks
