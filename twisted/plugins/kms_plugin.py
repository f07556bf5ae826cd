"""Tell twistd that the command ``kms`` exists; kms.tap is imported only when it is used."""

from twisted.application.service import ServiceMaker

kms = ServiceMaker("kms", "kms.tap", "A mail server whose heart is relay control.", "kms")
