from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kms.config.loader import read_settings, section_classes, settings_of
from kms.config.problems import ConfigError

KEYS = sorted({key for section_class in section_classes().values() for key in settings_of(section_class)})
PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [f"[{name}]" for name in section_classes()] + ["[routes]", "[address_groups]", "[dnsbl]"]
    ),
    st.sampled_from([f"{key} = " for key in KEYS]),
    st.sampled_from(
        ['"', ";", " # ", "=", "\n", "\n ", "\n", "group:x", "10.0.0.0/8", "tcp:1:", "yes", "30 m"]
    ),
)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_text_gives_settings_or_a_list_of_faults(text: str) -> None:
    try:
        settings = read_settings(text, Path("/srv/kms.ini"))
    except ConfigError:
        return
    assert settings.domains.local
