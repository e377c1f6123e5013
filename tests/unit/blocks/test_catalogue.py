"""What agent files rely on in the built-in blocks."""

import pytest
from blockyard.block.loader import load_blocks

CATALOGUE = load_blocks(packages=["blocks"], entry_points=False)

# Files of other installations name these blocks by id: neither may change.
IDS = {
    "AIConditionBlock": "553ec5b8-6c45-4299-8d75-b394d05f72ff",
    "AIConversationBlock": "32a87eab-381e-4dd4-bdb8-4c47151be35a",
    "AIListGeneratorBlock": "9c0b0450-d199-458b-a731-072189dd6593",
    "AIResponseBlock": "4b3d4c5e-6f7a-8b9c-0d1e-2f3a4b5c6d7e",
    "AIStructuredResponseGeneratorBlock": "ed55ac19-356e-4243-a6cb-bc599e9b716f",
    "AITextGeneratorBlock": "1f292d4a-41a4-4977-9684-7c8d560b9f91",
    "AITextSummarizerBlock": "a0a69be1-4528-491c-a85a-a4ab6873e3f0",
    "AddToDictionaryBlock": "31d1064e-7446-4693-a7d4-65e5ca1180d1",
    "AddToListBlock": "aeb08fc1-2fc1-4141-bc8e-f758f183a822",
    "AgentDateInputBlock": "7e198b09-4994-47db-8b4d-952d98241817",
    "AgentDropdownInputBlock": "655d6fdf-a334-421c-b733-520549c07cd1",
    "AgentFileInputBlock": "95ead23f-8283-4654-aef3-10c053b74a31",
    "AgentInputBlock": "c0a8e994-ebf1-4a9c-a4d8-89d09c86741b",
    "AgentLongTextInputBlock": "90a56ffb-7024-4b2b-ab50-e26c5e5ab8ba",
    "AgentNumberInputBlock": "96dae2bb-97a2-41c2-bd2f-13a3b5a8ea98",
    "AgentOutputBlock": "363ae599-353e-4804-937e-b2ee3cef3da4",
    "AgentShortTextInputBlock": "7fcd3bcb-8e1b-4e69-903d-32d3d4a92158",
    "AgentTableInputBlock": "5603b273-f41e-4020-af7d-fbc9c6a8d928",
    "AgentTimeInputBlock": "2a1c757e-86cf-4c7e-aacf-060dc382e434",
    "AgentToggleInputBlock": "cbf36ab5-df4a-43b6-8a7f-f7ed8652116e",
    "CalculatorBlock": "b1ab9b19-67a6-406d-abf5-2dba76d00c79",
    "CodeExecutionBlock": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "CodeExtractionBlock": "d3a7d896-3b78-4f44-8b4b-48fbf4f0bcd8",
    "CombineTextsBlock": "e30a4d42-7b7d-4e6a-b36e-1f9b8e3b7d85",
    "ConcatenateListsBlock": "3cf9298b-5817-4141-9d80-7c2cc5199c8e",
    "ConditionBlock": "715696a0-e1da-45c8-b209-c2fa9c3b0be6",
    "CountItemsBlock": "3c9c2f42-b0c3-435f-ba35-05f7a25c772a",
    "CountdownTimerBlock": "d67a9c52-5e4e-11e2-bcfd-0800200c9a71",
    "CreateDictionaryBlock": "b924ddf4-de4f-4b56-9a85-358930dcbc91",
    "CreateListBlock": "a912d5c7-6e00-4542-b2a9-8034136930e4",
    "DataSamplingBlock": "4a448883-71fa-49cf-91cf-70d793bd7d87",
    "DictionaryIsEmptyBlock": "a3cf3f64-6bb9-4cc6-9900-608a0b3359b0",
    "ExecuteCodeBlock": "0b02b072-abe7-11ef-8372-fb5d162dd712",
    "ExtractTextInformationBlock": "3146e4fe-2cdd-4f29-bd12-0c9d5bb4deb0",
    "FileReadBlock": "3735a31f-7e18-4aca-9e90-08a7120674bc",
    "FillTextTemplateBlock": "db7d8f02-2f44-4c55-ab7a-eae0941f0c30",
    "FindInDictionaryBlock": "0e50422c-6dee-4145-83d6-3a5a392f65de",
    "FindInListBlock": "5e2c6d0a-1e37-489f-b1d0-8e1812b23333",
    "FlattenListBlock": "cc45bb0f-d035-4756-96a7-fe3e36254b4d",
    "GetCurrentDateAndTimeBlock": "716a67b3-6760-42e7-86dc-18645c6e00fc",
    "GetCurrentDateBlock": "b29c1b50-5d0e-4d9f-8f9d-1b0e6fcbf0b1",
    "GetCurrentTimeBlock": "a892b8d9-3e4e-4e9c-9c1e-75f8efcf1bfa",
    "GetListItemBlock": "262ca24c-1025-43cf-a578-534e23234e97",
    "GetWeatherInformationBlock": "f7a8b2c3-6d4e-5f8b-9e7f-6d4e5f8b9e7f",
    "GetWikipediaSummaryBlock": "f5b0f5d0-1862-4d61-94be-3ad0fa772760",
    "IfInputMatchesBlock": "6dbbc4b3-ca6c-42b6-b508-da52d23e13f2",
    "InterleaveListsBlock": "9f616084-1d9f-4f8e-bc00-5b9d2a75cd75",
    "JSONDecoderBlock": "2b935639-65bc-48fd-9f88-823cd706fcd9",
    "JSONEncoderBlock": "9a9d20c5-5b4d-4e94-8022-83b6cb72648a",
    "ListDifferenceBlock": "05309873-9d61-447e-96b5-b804e2511829",
    "ListIntersectionBlock": "b6eb08b6-dbe3-411b-b9b4-2508cb311a1f",
    "ListIsEmptyBlock": "896ed73b-27d0-41be-813c-c1c1dc856c03",
    "MatchTextPatternBlock": "3060088f-6ed9-4928-9ba7-9c92823a7ccd",
    "NoteBlock": "cc10ff7b-7753-4ff2-9af6-9399b1a7eddc",
    "PrintToConsoleBlock": "f3b1c1b2-4c4f-4f0d-8d2f-4c4f0d8d2f4c",
    "ReadRSSFeedBlock": "5ebe6768-8e5d-41e3-9134-1c7bd89a8d52",
    "ReadSpreadsheetBlock": "acf7625e-d2cb-4941-bfeb-2819fc6fc015",
    "RemoveFromDictionaryBlock": "46afe2ea-c613-43f8-95ff-6692c3ef6876",
    "RemoveFromListBlock": "d93c5a93-ac7e-41c1-ae5c-ef67e6e9b826",
    "ReplaceDictionaryValueBlock": "27e31876-18b6-44f3-ab97-f6226d8b3889",
    "ReplaceListItemBlock": "fbf62922-bea1-4a3d-8bac-23587f810b38",
    "ReverseListOrderBlock": "422cb708-3109-4277-bfe3-bc2ae5812777",
    "SendAuthenticatedWebRequestBlock": "fff86bcd-e001-4bad-a7f6-2eae4720c8dc",
    "SendWebRequestBlock": "6595ae1f-b924-42cb-9a41-551a0611c4b4",
    "StepThroughItemsBlock": "f66a3543-28d3-4ab5-8945-9b336371e2ce",
    "StoreValueBlock": "1ff065e9-88e8-4358-9d82-8dc91f622ba9",
    "TextDecoderBlock": "2570e8fe-8447-43ed-84c7-70d657923231",
    "TextEncoderBlock": "5185f32e-4b65-4ecf-8fbb-873f003f09d6",
    "TextReplaceBlock": "7e7c87ab-3469-4bcc-9abe-67705091b713",
    "TextSplitBlock": "d5ea33c8-a575-477a-b42f-2fe3be5055ec",
    "UniversalTypeConverterBlock": "95d1b990-ce13-4d88-9737-ba5c2070c97b",
    "WordCharacterCountBlock": "ab2a782d-22cf-4587-8a70-55b59b3f9f90",
    "XMLParserBlock": "286380af-9529-4b55-8be0-1d7c854abdb5",
    "ZipListsBlock": "0d0e684f-5cb9-4c4b-b8d1-47a0860e0c07",
}


def test_all_modules_load() -> None:
    assert CATALOGUE.errors == []


@pytest.mark.parametrize("name", IDS)
def test_id_is_the_one_that_files_name(name: str) -> None:
    assert CATALOGUE.by_name[name].id == IDS[name]
