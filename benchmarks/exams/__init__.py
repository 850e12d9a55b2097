"""What the calibration of examinations is made of: planted skills, a simulated and a real policy."""
