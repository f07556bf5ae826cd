"""Bytes in, events out: the sessions of SMTP and POP3, without I/O."""
