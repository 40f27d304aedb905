"""gRPC on the data plane's own port: framing, deadlines, compression, the services' handlers."""
