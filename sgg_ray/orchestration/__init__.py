"""Everything that talks to Ray: a room for each command, and what they share.

Import from the modules: a process that Ray starts for an event log or a task worker must not wait for drivers that it
has no use for.
"""
