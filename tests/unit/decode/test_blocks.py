"""Is a word that only Arrow takes for a number found wherever it stands in a block?"""

import pytest

from streams.decode import blocks
from streams.decode.blocks import is_block


@pytest.mark.parametrize("word", ["NaN", "Inf", "Infinity"])
@pytest.mark.parametrize("place", range(24))
def test_a_word_is_found_wherever_one_stretch_ends_and_the_next_begins(
    word: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "LOOK_BYTES", 8)
    head = '{"a": "' + "N" * place + '", "b":'
    assert not is_block(f"{head}{word}}}".encode(), 1)
    assert is_block(f'{head}"{word}"}}'.encode(), 1)


@pytest.mark.parametrize("bytes_at_a_time", range(1, 12))
def test_no_word_is_found_where_only_its_letters_are(bytes_at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "LOOK_BYTES", bytes_at_a_time)
    assert is_block(b'{"N": 1, "a": 2, "I": "nf", "Na": "N"}', 1)
