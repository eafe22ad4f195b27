"""Use cases: verbs that own their transactions. Pages and the command line call these and nothing below."""
