"""What the calibration of examinations is made of: planted skills and two kinds of policy."""
