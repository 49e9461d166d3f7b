"""What every Polaris Express service shares: settings, energy, database, events, jobs and upstream clients."""
