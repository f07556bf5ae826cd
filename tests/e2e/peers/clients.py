"""The programs people send and read mail with, called as they call them."""

import re
from pathlib import Path
from subprocess import CompletedProcess

import attrs

from tests.e2e.peers.process import run


@attrs.frozen
class Dialogue:
    """What a program did: its exit status and all it printed."""

    status: int
    text: str

    def has_reply(self, code: str) -> bool:
        """Did the server say a line that begins so, for example `550 5.7.1`? (As swaks shows it.)"""
        return re.search(rf"^<[-~*]*\s+{re.escape(code)}", self.text, re.MULTILINE) is not None


def _dialogue(result: CompletedProcess[bytes]) -> Dialogue:
    return Dialogue(result.returncode, (result.stdout + result.stderr).decode(errors="replace"))


@attrs.frozen
class Clients:
    """One method a program; `source` is the loopback address to come from."""

    folder: Path

    def swaks(
        self,
        port: int,
        to: str,
        *more: str,
        source: str = "127.0.0.2",
        sender: str = "carol@stranger.test",
        host: str = "127.0.0.1",
    ) -> Dialogue:
        """swaks: one message, or as far as `more` says."""
        return _dialogue(
            run(
                [
                    "swaks",
                    "--server",
                    host,
                    "--port",
                    str(port),
                    "--local-interface",
                    source,
                    "--helo",
                    "client.stranger.test",
                    "--from",
                    sender,
                    "--to",
                    to,
                    "--timeout",
                    "20",
                    *more,
                ]
            )
        )

    def swaks_file(self, port: int, to: str, message: bytes, source: str = "127.0.0.2") -> Dialogue:
        """swaks with the octets of this message (lines end in LF here and in CRLF on the wire)."""
        path = self.folder / "swaks.eml"
        path.write_bytes(message)
        return self.swaks(port, to, "--data", f"@{path}", source=source)

    def curl_send(
        self,
        url: str,
        to: str,
        message: bytes,
        *more: str,
        source: str = "127.0.0.2",
        sender: str = "carol@stranger.test",
    ) -> Dialogue:
        """curl -T: the octets as they are (lines must end in CRLF)."""
        path = self.folder / "curl.eml"
        path.write_bytes(message)
        return _dialogue(
            run(
                [
                    "curl",
                    "-sSv",
                    "--max-time",
                    "20",
                    "--interface",
                    source,
                    url,
                    "--mail-from",
                    sender,
                    "--mail-rcpt",
                    to,
                    "-T",
                    path,
                    *more,
                ]
            )
        )

    def curl_read(
        self, url: str, login: str, *more: str, source: str = "127.0.0.2"
    ) -> CompletedProcess[bytes]:
        """curl pop3: or pop3s:, the octets on standard output."""
        return run(["curl", "-sS", "--max-time", "20", "--interface", source, "-u", login, url, *more])

    def msmtp(
        self,
        port: int,
        to: str,
        message: bytes,
        *more: str,
        source: str = "127.0.0.2",
        sender: str = "carol@stranger.test",
    ) -> Dialogue:
        """msmtp: a message with LF lines on standard input."""
        return _dialogue(
            run(
                [
                    "msmtp",
                    "--file=/dev/null",
                    "--host=127.0.0.1",
                    f"--port={port}",
                    f"--source-ip={source}",
                    f"--from={sender}",
                    "--domain=client.stranger.test",
                    "--timeout=20",
                    *more,
                    to,
                ],
                stdin=message,
            )
        )

    def mpop(self, port: int, user: str, password: str, *, source: str = "127.0.0.2") -> list[bytes]:
        """mpop into a Maildir: the new messages, LF lines."""
        maildir = self.folder / "mpop"
        for name in ("new", "cur", "tmp"):
            (maildir / name).mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "mpoprc"
        configuration.write_text(
            f"account here\nhost 127.0.0.1\nport {port}\nuser {user}\npassword {password}\nauth user\n"
            f"tls off\nsource_ip {source}\nkeep on\nreceived_header off\n"
            f"uidls_file {self.folder}/uidls\ndelivery maildir {maildir}\ntimeout 20\n"
        )
        configuration.chmod(0o600)
        result = run(["mpop", f"--file={configuration}", "--quiet", "here"])
        assert result.returncode == 0, result.stderr.decode()
        return [path.read_bytes() for path in sorted((maildir / "new").iterdir())]

    def mpop_log_in(self, port: int, user: str, password: str, method: str, *more: str) -> Dialogue:
        """mpop, told how to log in; it only looks at what there is."""
        (self.folder / "mpop-look").mkdir(exist_ok=True)
        return _dialogue(
            run(
                [
                    "mpop",
                    "--file=/dev/null",
                    "--debug",
                    "--host=127.0.0.1",
                    f"--port={port}",
                    f"--user={user}",
                    f"--passwordeval=echo '{password}'",
                    f"--auth={method}",
                    "--timeout=20",
                    "--keep=on",
                    f"--uidls-file={self.folder}/uidls-look",
                    f"--delivery=mbox,{self.folder}/mbox",
                    *more,
                ]
            )
        )

    def gsasl(self, port: int, user: str, password: str, *more: str) -> Dialogue:
        """gsasl over SMTP with STARTTLS: binds SCRAM to the TLS channel."""
        return _dialogue(
            run(
                [
                    "gsasl",
                    "--smtp",
                    f"--connect=127.0.0.1:{port}",
                    f"--authentication-id={user}",
                    f"--authorization-id={user}",
                    f"--password={password}",
                    "--x509-ca-file=",
                    "--verbose",
                    *more,
                ]
            )
        )

    def fetchmail(self, port: int, user: str, password: str) -> bytes:
        """fetchmail through an MDA that appends to a file: all unread mail, LF lines."""
        target = self.folder / "fetched"
        target.unlink(missing_ok=True)
        configuration = self.folder / "fetchmailrc"
        configuration.write_text(
            f"set no bouncemail\nset invisible\n"
            f"poll 127.0.0.1 protocol pop3 service {port} auth password\n"
            f'  user "{user}" password "{password}" sslproto "" keep fetchall no rewrite mimedecode off\n'
            f'  mda "cat >> {target}"\n'.replace(" mimedecode off", "")
        )
        configuration.chmod(0o600)
        result = run(
            [
                "fetchmail",
                "--fetchmailrc",
                configuration,
                "--idfile",
                self.folder / "fetchids",
                "--pidfile",
                self.folder / "fetchmail.pid",
                "--nosyslog",
                "--nodetach",
                "--timeout",
                "20",
            ],
            environment={"HOME": str(self.folder), "FETCHMAILHOME": str(self.folder)},
        )
        assert result.returncode == 0, (result.stdout + result.stderr).decode()
        return target.read_bytes()

    def openssl(self, port: int, dialogue: bytes, *more: str) -> str:
        """openssl s_client: sends these lines inside TLS one after the other; gives all it printed."""
        result = run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-crlf", "-ign_eof", *more],
            stdin=dialogue,
            seconds=30,
        )
        return (result.stdout + result.stderr).decode(errors="replace")
