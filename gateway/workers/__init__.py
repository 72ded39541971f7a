"""Several processes on the same sockets: the supervisor that keeps them, and what it tells them."""
