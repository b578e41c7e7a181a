"""A board that is reached through the system's OpenSSH: ``--device ssh://user@host``."""
