"""Everything that changes how other packages behave."""
