"""Who may do what: users and their passwords, browsers that are signed in, tokens of programs.

`identity` says what each role and scope allows (pure); the stores keep the rest in the database, secrets as hashes.
Nothing is imported here: the command line needs the names of the scopes, and not the database behind them.
"""
