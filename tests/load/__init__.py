"""Under attack: everything that is done to a mail server on the Internet, at once, while others go on sending mail.

`attackers.py` has one class for each kind, `honest.py` the others, `expectations.py` what the limits must answer,
`__main__.py` the run: `python -m tests.load`.
"""
