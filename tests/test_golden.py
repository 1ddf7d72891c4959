"""The seeds, whole: cleaned text and map as they were read and judged once."""

from pathlib import Path

import orjson
import pytest

import dedup

SEEDS = Path(__file__).parent.parent / "seeds"
GOLDEN = Path(__file__).parent / "golden"
SAMPLES = sorted(path for path in SEEDS.iterdir() if path.name != "README.md")


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_seed_gives_what_was_judged_right(path: Path) -> None:
    result = dedup.clean(path.read_text(encoding="utf-8"), document=path.name)
    answer = result.to_mapping() | {"record": result.document_record()}
    golden = orjson.loads((GOLDEN / f"{path.name}.json").read_bytes())
    assert orjson.loads(orjson.dumps(answer)) == golden


def test_of_the_article_one_paragraph_goes_and_nothing_else() -> None:
    path = SEEDS / "000_e161e0f97b314195.txt"
    text = path.read_text(encoding="utf-8")
    result = dedup.clean(text)
    paragraphs = text.split("\n")
    assert result.text == "\n".join(paragraphs[:2] + paragraphs[3:])
    (row,) = result.duplicates
    assert (row.kind, round(row.score, 2)) == ("near", 0.89)
    assert text[row.start : row.stop] == paragraphs[2]
    canonical = text[row.canonical.start : row.canonical.stop]
    assert paragraphs[1].endswith(canonical)
    assert canonical.startswith("Responding to his statement Russian Foreign Minister")


def test_every_seed_is_listed() -> None:
    readme = (SEEDS / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in SAMPLES if f"`{path.name}`" not in readme] == []
