"""Every method against what its authors' code answered; the numbers are in
tests/fixtures/authors."""
