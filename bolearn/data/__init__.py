"""Small stored tables, each beside the script that computed it."""
