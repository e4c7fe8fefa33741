"""What an agent can do, one module per noun: a request in, a typed answer out. No transport, no torch."""
