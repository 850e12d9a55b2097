"""Says where arrays live and how large they are: mesh, sharding rules, buckets, random keys."""
