"""The benchmark: kms against Postfix on one machine in one run (`python -m bench`); see docs/performance.md."""
