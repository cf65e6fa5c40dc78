"""Write a run's network for another runtime, and check what that runtime gives."""
