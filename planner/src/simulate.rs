//! What the live state is after a step.
