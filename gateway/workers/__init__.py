"""Several processes on the same sockets: what keeps them, and what each of them is told."""
