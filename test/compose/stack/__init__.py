"""The services of docker-compose.yml, run by Docker or as plain processes."""
