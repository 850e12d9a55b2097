"""Where arrays live and how large they are: mesh, sharding rules, buckets, keys by address."""
