import pytest

from kms.cli.sendmail_options import Mode, Options, UsageFault, parse


@pytest.mark.parametrize(
    ("line", "options"),
    [
        (
            "-i -FCron -B8BITMIME -oem root",
            Options(full_name="Cron", ignores_dots=True, recipients=["root"]),
        ),
        ("-t -i", Options(takes_header=True, ignores_dots=True)),
        ("-ti", Options(takes_header=True, ignores_dots=True)),
        ("-oem -oi -f a@b -- -x", Options(sender="a@b", ignores_dots=True, recipients=["-x"])),
        ("-fa@b c d", Options(sender="a@b", recipients=["c", "d"])),
        ("-r a@b -N never -R hdrs -V id x", Options(sender="a@b", recipients=["x"])),
        ("-bp", Options(mode=Mode.PRINT_QUEUE)),
        ("-bm -G -v -odi x", Options(is_verbose=True, recipients=["x"])),
        ("-bs", Options(mode=Mode.SMTP)),
        ("-bv anna root", Options(mode=Mode.VERIFY, recipients=["anna", "root"])),
        ("-bi -v", Options(mode=Mode.CHECK_ALIASES, is_verbose=True)),
        ("-I", Options(mode=Mode.CHECK_ALIASES)),
        ("-C /etc/x.ini -f <> x", Options(config="/etc/x.ini", sender="<>", recipients=["x"])),
    ],
)
def test_command_lines_of_real_callers(line: str, options: Options) -> None:
    assert parse(line.split()) == options


@pytest.mark.parametrize("line", ["-f", "-Z", "-bz"])
def test_what_cannot_be_understood_is_a_fault(line: str) -> None:
    with pytest.raises(UsageFault):
        parse(line.split())
