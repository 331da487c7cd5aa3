"""What is done with the services, in words and with proof."""
