"""User names and passwords that nobody has, though they look like somebody's, or like something else altogether."""

_USER = "anna@example.test"
_PASSWORD = "correct horse battery"
_FULL_WIDTH = "".join("\u3000" if one == " " else chr(ord(one) + 0xFEE0) for one in _PASSWORD)

ODD_USERS = (
    "", " ", "\0", f"{_USER}\0", f"\0{_USER}", "anna\0@example.test", f"{_USER} ", f" {_USER}", f"{_USER}\t",
    f"{_USER}.", "anna@example.test@example.test", "anna@@example.test", "anna@", "@example.test", "@",
    "anna@EXAMPLE.TEST.", "a\u0301nna@example.test", "\uff41\uff4e\uff4e\uff41@example.test",
    "anna@\uff45xample.test", "аnna@example.test", "anna@examp\u200ble.test", "\ufeffanna@example.test",
    "anna\u00ad@example.test", "\u202eanna@example.test", "../anna@example.test", "../../etc/passwd",
    "example.test/anna", "/var/mail/anna", "C:\\anna", "anna%example.test", "anna!example.test",
    "*", "a*@example.test", "%", "_nna@example.test", "anna' OR '1'='1", "anna'; DROP TABLE account; --", 'anna"',
    "*)(uid=*))(|(uid=*", "anna)(&", "${jndi:ldap://example.test/a}", "$(id)", "`id`", "|id", "%s%n%x", "{0}",
    "root", "admin", "postmaster@example.test", "x" * 9000, "x" * 255 + "@example.test", "\ud800@example.test",
)  # fmt: skip
ODD_PASSWORDS = (
    "", " ", "\0", _PASSWORD + "\0", "\0" + _PASSWORD, _PASSWORD + " ", " " + _PASSWORD, _PASSWORD.upper(),
    _PASSWORD[:-1],
    _PASSWORD + _PASSWORD, _FULL_WIDTH,
    _PASSWORD.replace(" ", "\u00a0"), _PASSWORD.replace("e", "e\u200d"), "' OR '1'='1", "*", "%", "\r\n", "\ud800",
    "x" * 9000, "{PLAIN}" + _PASSWORD, "$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA",
)  # fmt: skip
