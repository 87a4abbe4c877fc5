"""The command `rewardpost`: everything that a person does from a terminal or a script."""
