"""The papers' tables as data: the numbers they print (`reported`), which of our cells their rows
and columns are (`tables`, `match`), and what was measured beside them (`measured`)."""
