"""Music: notes as sequences of events, and back to something a person can see and hear."""
