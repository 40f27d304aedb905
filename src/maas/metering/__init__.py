"""What each call came to: counts and seconds now; costs, energy and the ledger have their place."""
