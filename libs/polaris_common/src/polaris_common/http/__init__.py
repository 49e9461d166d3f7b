"""What every HTTP service and client shares: errors, the request id, the application factory, the transport policy."""
