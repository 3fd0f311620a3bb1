"""Files on a filesystem that several nodes and users share: opened safely, published whole, held by leases."""
