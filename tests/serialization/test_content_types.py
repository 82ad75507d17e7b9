"""The table of MIME types."""

import pytest

from beautyspot.serialization.content_types import ContentType, is_shown_by_browsers, label_of, suffix_of


@pytest.mark.parametrize("content_type", ContentType)
def test_every_content_type_has_a_label(content_type: ContentType) -> None:
    assert label_of(content_type)
    assert label_of(str(content_type)) == label_of(content_type)


def test_a_type_that_is_not_in_the_table_is_labelled_by_its_subtype() -> None:
    assert label_of("application/x-notebook") == "X-NOTEBOOK"
    assert label_of(None) == ""
    assert suffix_of("application/x-notebook") == ""


def test_browsers_get_only_what_they_show_without_running_it() -> None:
    assert all(map(is_shown_by_browsers, ("image/png", "image/avif", "audio/ogg", "video/mp4", "application/pdf")))
    assert not any(map(is_shown_by_browsers, ("image/svg+xml", "text/html", "application/json", "audio/x\r\nX: y")))
