"""Send and read mail by hand on a kms that `make run` started: what a mail program does, shown line by line.

    python etc/demo/mail.py send ADDRESS     one message to ADDRESS, as anybody on this machine
    python etc/demo/mail.py read             log in over POP3 as the demo account and show what is there

Needs Python alone. It speaks to 127.0.0.1 on the ports of the shipped etc/kms.ini; the demo account's password is the
one that `make run` wrote to var/demo-password.
"""

import poplib
import smtplib
import sys
from pathlib import Path

HOST, SMTP_PORT, POP3_PORT = "127.0.0.1", 2525, 2110
ACCOUNT = "demo@example.test"
PASSWORD_FILE = Path(__file__).resolve().parents[2] / "var" / "demo-password"


def send(recipient: str) -> int:
    """Send one message; gives 0 when it was accepted, 1 when it was refused."""
    with smtplib.SMTP(HOST, SMTP_PORT, local_hostname="demo.example.test", timeout=20) as session:
        session.ehlo()
        message = f"From: {ACCOUNT}\r\nTo: {recipient}\r\nSubject: hello\r\n\r\nHello from kms.\r\n"
        steps = (f"MAIL FROM:<{ACCOUNT}>", f"RCPT TO:<{recipient}>", "DATA", message + ".")
        for step in steps:
            session.send(step + "\r\n")
            code, text = session.getreply()
            print(f"C: {step.partition(chr(13))[0]}\nS: {code} {text.decode()}")
            if code >= 400:
                return 1
    return 0


def read() -> int:
    """Log in, show every message's first lines, leave all where it is."""
    session = poplib.POP3(HOST, POP3_PORT, timeout=20)
    session.user(ACCOUNT)
    print("C: USER and PASS\nS: " + session.pass_(PASSWORD_FILE.read_text().strip()).decode())
    count, octets = session.stat()
    print(f"{count} messages, {octets} octets")
    for number in range(1, count + 1):
        print(f"--- message {number}")
        _, lines, _ = session.retr(number)
        print("\n".join(line.decode(errors="replace") for line in lines[:40]))
    session.quit()
    return 0


def main(words: list[str]) -> int:
    """Run the command; 64 when it is none."""
    match words:
        case ["send", recipient]:
            return send(recipient)
        case ["read"]:
            return read()
    print(__doc__)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
