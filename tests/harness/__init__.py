"""What the tests stand on: a host of their own, a daemon to kill, and an eye for what is left."""
