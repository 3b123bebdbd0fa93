//! A simulated cluster for the conductor, with a fault at every write and call.
