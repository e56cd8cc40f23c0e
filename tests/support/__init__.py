"""Data, configs, projects, servers and checks that several tests share."""
