"""Dovecot, twice: the SASL server of a Postfix, and a second POP3 server on the Maildirs that kms delivers to.

Dovecot opens no mailbox as root, so the second one gets the Maildirs as the user `mail`, to whom they are given; kms,
which runs as root, does not notice.
"""

from pathlib import Path

from tests.e2e.peers.process import Program, free_port, run, wait_until

_SASL = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}}
service auth {{
  unix_listener {socket} {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
"""

_READER = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
protocols = pop3
ssl = no
disable_plaintext_auth = no
default_internal_user = mail
default_internal_group = mail
default_login_user = mail
first_valid_uid = 1
mail_location = maildir:{mailboxes}/%d/%n/Maildir
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""


class SaslServer:
    """dovecot-auth for a Postfix: `socket` is what smtpd_sasl_path names."""

    def __init__(self, folder: Path, socket: Path, users: dict[str, str]) -> None:
        for name in ("run", "state"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "users").write_text(
            "".join(f"{user}:{{PLAIN}}{password}\n" for user, password in users.items())
        )
        (folder / "users").chmod(0o644)
        (folder / "dovecot.conf").write_text(_SASL.format(folder=folder, socket=socket))
        self._program = Program(["/usr/sbin/dovecot", "-F", "-c", folder / "dovecot.conf"], folder / "output")
        wait_until(
            socket.exists, what=f"dovecot-auth: {self._program.output()} {_text(folder / 'dovecot.log')}"
        )

    def stop(self) -> None:
        self._program.stop()


class MaildirReader:
    """A Dovecot POP3 server on `port`, on the mailboxes folder of a kms; one password for all."""

    def __init__(self, folder: Path, mailboxes: Path, password: str) -> None:
        self.port = free_port()
        for name in ("run", "state"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "dovecot.conf").write_text(
            _READER.format(folder=folder, mailboxes=mailboxes, password=password, port=self.port)
        )
        mailboxes.parent.chmod(0o711)
        run(["chown", "-R", "mail:mail", mailboxes])
        self._program = Program(["/usr/sbin/dovecot", "-F", "-c", folder / "dovecot.conf"], folder / "output")
        try:
            self._program.wait_for_port("127.0.0.1", self.port)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{_text(folder / 'dovecot.log')}") from None

    def stop(self) -> None:
        self._program.stop()


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
