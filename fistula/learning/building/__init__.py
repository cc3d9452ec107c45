"""What a configuration names, built and tried before it trains."""
