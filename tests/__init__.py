"""A package, so that the folder redis in it does not stand for the library of that name."""
