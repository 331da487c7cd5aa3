"""A real Cyrus IMAP source, its real sync_client, and a backup server behind a real master(8).

Everything is in one directory, on 127.0.0.1, on free ports. Run as
root: Cyrus drops to its own user. Python's standard library only.
"""
