"""What people run by hand: `tccap check` and `tccap tls inspect`."""
