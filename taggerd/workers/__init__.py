"""Worker processes, which hold all native code that reads foreign bytes."""
