import re
from pathlib import Path

import fistula.report
from fistula.report.guidelines import read_guidelines


def test_every_item_is_answered_by_a_section_of_the_page_or_by_nobody():
    page = (Path(fistula.report.__file__).parent / "templates" / "index.html").read_text()
    sections = set(re.findall(r'id="([a-z]+)"', page)) | {"reading"}
    for guideline in read_guidelines():
        assert {item.section for item in guideline.items} - {""} <= sections
        assert all(item.topic and item.note for item in guideline.items)


def test_the_lists_are_whole():
    claim, tripod = read_guidelines()
    assert [item.number for item in claim.items] == [str(number) for number in range(1, 45)]
    assert len({re.match(r"\d+", item.number).group() for item in tripod.items}) == 27
