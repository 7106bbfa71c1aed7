"""Published methods to compare with, one file each; README.md has the table."""
