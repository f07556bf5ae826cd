"""kmsctl: talks to the running server, or works on the store where that is safe. Never imports Twisted."""
