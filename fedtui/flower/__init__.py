"""The front door that Flower's machinery comes through: agent, trainer and coordinator."""
