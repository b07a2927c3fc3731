"""The cluster: connection, capacity, and the mailbox between workers and driver."""
