"""Simulators of what stands outside Polaris Express: SteVe, Lago, the email Worker and a fleet of cars."""
