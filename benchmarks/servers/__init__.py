"""The peers' programs: what a user of each framework would write, with the session loaded once."""
