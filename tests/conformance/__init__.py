"""What every weight must do, written against `heft.weights.base` alone."""
