"""Texts that wait on the disk come back as they were and leave nothing behind."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import OutsideError
from data.spool import Spool


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_texts_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("spool")
    with Spool(folder) as spool:
        numbers = {spool.add(text): text for text in texts}
        for number in reversed(list(numbers)):
            assert spool.text(number) == numbers[number]
        later = spool.add("one more")
        assert spool.text(later) == "one more"
    assert list(folder.iterdir()) == []


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutsideError, match="could not be written"):
        Spool(tmp_path / "file")
