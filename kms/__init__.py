"""kms: a mail server whose heart is relay control."""
