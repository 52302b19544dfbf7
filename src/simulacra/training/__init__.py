"""The loop over turns, and what it needs: engine, averages, log, monitors, resume."""
