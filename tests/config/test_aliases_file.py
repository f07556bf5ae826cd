from __future__ import annotations

import os
from pathlib import Path

import pytest

from kms.config.aliases_file import describe_troubles, load_aliases_file
from kms.config.loader import load_settings
from kms.config.problems import ConfigError
from kms.domain.account import Alias
from kms.domain.address import Mailbox

DOMAINS = ("example.org", "example.net")


def read(folder: Path, text: str) -> tuple[Alias, ...]:
    path = folder / "aliases"
    path.write_text(text, encoding="utf-8")
    return load_aliases_file(path, DOMAINS)


def faults_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def targets_of(folder: Path, text: str) -> list[str]:
    (alias,) = read(folder, text)
    return [str(target) for target in alias.targets]


def test_a_file_of_a_fresh_system_is_understood(tmp_path: Path) -> None:
    text = "# See man 5 aliases for format\n\nmailer-daemon: postmaster\npostmaster:    root\nRoot: anna\n"
    postmaster, root, anna = (Mailbox(name, "example.org") for name in ("postmaster", "root", "anna"))
    assert read(tmp_path, text) == (
        Alias("mailer-daemon", "", (postmaster,)),
        Alias("postmaster", "", (root,)),
        Alias("root", "", (anna,)),
    )


def test_an_empty_file_has_no_aliases(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing\n") == ()


def test_lines_that_begin_with_a_blank_go_on_with_the_one_before(tmp_path: Path) -> None:
    text = "team: anna,\n\tbob@far.test\n# a comment between\n\n  , Carl <carl@far.test>, anna\r\n"
    assert targets_of(tmp_path, text) == ["anna@example.org", "bob@far.test", "carl@far.test"]


def test_commas_with_nothing_between_say_nothing(tmp_path: Path) -> None:
    assert targets_of(tmp_path, "team: anna, , bob@far.test,\n") == ["anna@example.org", "bob@far.test"]


def test_names_and_targets_may_be_quoted(tmp_path: Path) -> None:
    (alias,) = read(tmp_path, '"Anna, Bob: both" : "anna b", "c, d"@far.test, <"e@f">\n')
    assert alias.local_part == "anna, bob: both"
    assert alias.targets == (
        Mailbox("anna b", "example.org"),
        Mailbox("c, d", "far.test"),
        Mailbox("e@f", "example.org"),
    )


def test_a_name_may_be_of_one_domain_only(tmp_path: Path) -> None:
    assert read(tmp_path, "Info@Example.NET: anna\n")[0].domain == "example.net"


def test_an_included_file_holds_targets_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# members\nanna, bob\n\n  carl@far.test\n", encoding="utf-8")
    found = targets_of(tmp_path, f'team: ":include:{tmp_path}/list", dora\n')
    assert found == ["anna@example.org", "bob@example.org", "carl@far.test", "dora@example.org"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a\n", 'aliases:1: "a" is no alias; write name: target, target'),
        ("# x\n\na:\n", "aliases:3: a has no target"),
        ("a: b\nb: c\nA: d\n", "aliases:3: A is there already, in line 1"),
        ("a@far.test: b\n", "aliases:1: far.test is no local domain"),
        ("sales-*: b\n", "aliases:1: sales-* is a pattern; make it with kmsctl alias add"),
        ("a?: b\n", "aliases:1: a? is a pattern; make it with kmsctl alias add"),
        ("a..b: b\n", 'aliases:1: "a..b@example.org" is no address: '),
        ("a: b # me\n", 'aliases:1: "b # me@example.org" is no address: '),
        ("a: b c\n", 'aliases:1: "b c@example.org" is no address: '),
        ('a: "b\n', 'aliases:1: a quote is not closed: "b'),
        ("a: |/bin/cat\n", "aliases:1: |/bin/cat: kms runs no programs for aliases"),
        ('a: "|/bin/cat x"\n', 'aliases:1: "|/bin/cat x": kms runs no programs for aliases'),
        ("a: b,\n /var/x\n", "aliases:1: /var/x: kms delivers to accounts and addresses, not into files"),
        ("a: \\a, b\n", "aliases:1: \\a: an account comes before its alias here"),
        ("a: :include:list\n", "aliases:1: :include:list: write the path from / on"),
    ],
)
def test_what_cannot_be_obeyed_is_named_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    (found,) = faults_of(tmp_path, text)
    assert found.startswith(fault)


def test_every_fault_is_told_also_those_of_included_files(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("anna\n|/bin/cat\n", encoding="utf-8")
    (tmp_path / "nest").write_text(f":include:{tmp_path}/list\n", encoding="utf-8")
    text = f"x\na: :include:{tmp_path}/list\nb: :include:{tmp_path}/nest\n"
    assert faults_of(tmp_path, text) == [
        'aliases:1: "x" is no alias; write name: target, target',
        "aliases:2: list:2: |/bin/cat: kms runs no programs for aliases",
        "aliases:3: nest:1: :include:list: an included file includes no other",
    ]


def test_a_file_that_is_missing_or_no_text_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "aliases"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_aliases_file(path, DOMAINS)
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="is not in UTF-8"):
        load_aliases_file(path, DOMAINS)


def test_a_byte_order_mark_belongs_to_no_name(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffroot: anna\n")[0].local_part == "root"


def test_what_would_never_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list")
    for path in ("/dev/zero", str(tmp_path / "list"), str(tmp_path)):
        (alias,) = read(tmp_path, f"a: :include:{path}\n")
        assert alias.trouble == f"{path} is no plain file"


def test_a_list_that_is_not_there_makes_its_alias_unusable_and_no_other(tmp_path: Path) -> None:
    broken, whole = read(tmp_path, "a: b, :include:/none/x,\n :include:/none/y\nc: d\n")
    assert broken.trouble == (
        "/none/x cannot be read: No such file or directory; /none/y cannot be read: No such file or directory"
    )
    assert broken.targets == (Mailbox("b", "example.org"),)
    assert whole.trouble == ""


def test_a_list_that_is_being_written_anew_is_no_fault_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("# nobody\n")
    alone, one_of_two = read(tmp_path, f"a: :include:{tmp_path}/list\nb: c, :include:{tmp_path}/list\n")
    assert (alone.trouble, one_of_two.trouble) == ("its list names nobody", "")


def test_what_stands_beside_a_missing_list_is_read_all_the_same(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, "a: :include:/none/x, |/bin/cat\n")
    assert fault == "aliases:1: |/bin/cat: kms runs no programs for aliases"


def test_the_aliases_file_itself_must_be_a_plain_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no plain file"):
        load_aliases_file(tmp_path, DOMAINS)


def test_the_operator_is_told_which_alias_waits_for_which_list(tmp_path: Path) -> None:
    assert [*describe_troubles(read(tmp_path, "a: :include:/none/x\nb: c\n"))] == [
        "[domains] aliases_file: mail for the alias a is deferred: /none/x cannot be read: No such file or directory"
    ]


def test_a_path_that_no_file_can_have_is_a_fault(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, "a: :include:/list\0\n")
    assert "cannot be read" in fault


def test_the_configuration_has_the_aliases_or_their_faults(tmp_path: Path) -> None:
    path = tmp_path / "kms.ini"
    path.write_text("[domains]\nlocal = example.org\naliases_file = aliases\n", encoding="utf-8")
    (tmp_path / "aliases").write_text("root: anna\n", encoding="utf-8")
    settings = load_settings(path)
    assert settings.directory.file_aliases == (Alias("root", "", (Mailbox("anna", "example.org"),)),)
    assert settings.warnings == ()
    (tmp_path / "aliases").write_text("root\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{tmp_path}/aliases:1: "):
        load_settings(path)
    assert load_settings(path, with_aliases=False).file_aliases == ()
    (tmp_path / "aliases").write_text("root: :include:/none/x\n", encoding="utf-8")
    (warning,) = load_settings(path).warnings
    assert "mail for the alias root is deferred: /none/x cannot be read" in warning


def test_without_a_local_domain_the_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "kms.ini"
    path.write_text("[domains]\naliases_file = none\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert "no domain is local" in str(caught.value)
