"""Where hosts live: child processes of the supervisor; Ray later."""
