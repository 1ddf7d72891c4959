"""Generated tables, one `.npz` each, with the script that generates it beside it."""
