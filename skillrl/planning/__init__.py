"""Says before anything is rented whether a run fits on devices, and about how long it takes."""
